# Multiboot2 header and the way from 32-bit protected mode to 64-bit Rust (Multiboot2 specification 1.6, 3.1 and 3.2).
# GRUB enters here on BIOS and on UEFI machines alike, since the header asks for no EFI entry.

.section .multiboot, "a"
.align 8
header:
    .long 0xe85250d6                        # magic
    .long 0                                 # i386 protected mode
    .long header_end - header
    .long -(0xe85250d6 + 0 + (header_end - header))
    .short 5, 1                             # framebuffer, optional: any size, any depth
    .long 20
    .long 0, 0, 0
    .long 0                                 # padding to 8 bytes
    .short 4, 1                             # console flags, optional: EGA text is supported
    .long 12
    .long 2
    .long 0
    .short 6, 0                             # modules at page boundaries
    .long 8
    .short 0, 0                             # end
    .long 8
header_end:

.section .bss
.align 4096
.global early_tables
early_tables:                               # PML4, PDPT, four page directories
    .skip 6 * 4096

.section .rodata
.align 8
early_gdt:
    .quad 0
    .quad 0x00af9b000000ffff                # 64-bit code
    .quad 0x00cf93000000ffff                # data
early_gdt_pointer:
    .short 23
    .long early_gdt
no_long_mode:
    .asciz "\r\n[monitor] stop: this processor has no 64-bit mode; Nestor needs one with VT-x and EPT\r\n"
shutdown:
    .ascii "Shutdown"

.section .text.entry, "ax"
.code32
.global _start
_start:
    cli
    cld
    mov $early_stack_top, %esp
    mov %eax, %esi                          # magic
    mov %ebx, %edi                          # information

    mov $0x80000000, %eax
    cpuid
    cmp $0x80000001, %eax
    jb 9f
    mov $0x80000001, %eax
    cpuid
    bt $29, %edx
    jnc 9f

    # Identity map of the first 4 GiB in 2 MiB pages.
    mov $early_tables, %ebx
    lea 0x1003(%ebx), %eax
    mov %eax, (%ebx)
    xor %ecx, %ecx
1:  lea 2(%ecx), %eax
    shl $12, %eax
    lea 3(%ebx, %eax), %eax
    mov %eax, 0x1000(%ebx, %ecx, 8)
    inc %ecx
    cmp $4, %ecx
    jb 1b
    xor %ecx, %ecx
2:  mov %ecx, %eax
    shl $21, %eax
    or $0x83, %eax
    mov %eax, 0x2000(%ebx, %ecx, 8)
    inc %ecx
    cmp $2048, %ecx
    jb 2b

    mov %cr4, %eax
    or $0x20, %eax                          # PAE
    mov %eax, %cr4
    mov %ebx, %cr3
    mov $0xc0000080, %ecx                   # EFER
    rdmsr
    or $0x100, %eax                         # LME
    wrmsr
    mov %cr0, %eax
    and $0x9fffffff, %eax                   # caches on
    or $0x80010021, %eax                    # PG, WP, NE, PE
    mov %eax, %cr0
    lgdt early_gdt_pointer
    ljmp $8, $3f

    # No 64-bit mode: say so on the serial port and the text screen, and switch an emulator off.
9:  mov $0x3fb, %dx
    mov $0x80, %al                          # divisor 1: 115200
    out %al, %dx
    mov $0x3f8, %dx
    mov $1, %al
    out %al, %dx
    mov $0x3fb, %dx
    mov $3, %al                             # 8N1
    out %al, %dx
    mov $no_long_mode, %esi
    mov $0xb8000, %edi
8:  mov $0x3fd, %dx
    in %dx, %al
    test $0x20, %al
    jz 8b
    lodsb
    test %al, %al
    jz 7f
    mov $0x3f8, %dx
    out %al, %dx
    mov $0x4f, %ah
    stosw
    jmp 8b
7:  mov $shutdown, %esi
    mov $8, %ecx
    mov $0x8900, %dx
    rep outsb
6:  hlt
    jmp 6b

.code64
3:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $early_stack_top, %rsp
    xor %ebp, %ebp
    mov %edi, %eax
    mov %esi, %edi                          # magic
    mov %eax, %esi                          # information
    rdtsc
    shl $32, %rdx
    or %rax, %rdx                           # when
    call monitor_start
    ud2

.section .bss
.align 16
    .skip 64 * 1024
early_stack_top:
