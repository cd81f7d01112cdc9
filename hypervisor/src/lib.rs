//! The monitor of Nestor: the only code that runs in VMX root mode.
//!
//! It owns the processor's VMX state, every EPT and VMCS, and the memory that holds them. It runs one privileged
//! client, the kernel, and the kernel's machines.
//!
//! # What it guarantees, and to whom
//!
//! | to | guarantee | where |
//! |---|---|---|
//! | itself | neither the kernel nor a machine reads or writes its memory or a donated frame through the processor | [`frames`], [`kernel_memory`], [`machine`] |
//! | the kernel | it runs as on the bare processor: no exits for interrupts, ports, MSRs, timers, page tables; CPUID without VMX and SMX; VMX instructions raise #UD | [`kernel`] |
//! | the kernel | a run of a virtual CPU ends with every interrupt, and in bounded time; the interrupt is still pending | [`virtual_cpu::exit`] |
//! | the kernel | every failure of an entry is an exit like others, with the event that was to be delivered kept | [`virtual_cpu`] |
//! | the kernel | donated frames come back, all of them, zeroed; no call fails for want of the monitor's own memory | [`machine`] |
//! | the kernel | NMIs and machine checks are its own, whoever ran when they came | [`interrupt`], [`virtual_cpu::exit`] |
//! | a machine | it sees no other's memory, translations or state; what no policy entry allows goes to its keeper or raises the architectural exception | [`policy`], [`vpid`] |
//! | the user | each thing that keeps Nestor from starting is named on serial line and screen, with what to do | [`start`], [`vmx::support`] |
//!
//! # What it refuses
//!
//! No policy, no scheduling, no devices, no interrupts: it never touches an APIC and keeps no time. It does not protect
//! against the kernel's devices: a device that writes memory by itself (DMA) obeys no EPT, so the kernel must confine
//! it. It does not switch what the kernel can switch natively (x87 to AVX state, XCR0, DR0 to DR3, DR6, the SYSCALL
//! registers), see [`virtual_cpu`]. It keeps no list of machines: an identifier is the number of a control frame.
//!
//! # Invariants
//!
//! 1. A frame is the kernel's (and then counts how many machine mappings it has), or the monitor's, donated, or a state
//!    page. No EPT of a machine maps a frame of another class; the kernel's EPT maps the kernel's frames and state
//!    pages only. [`frames`] says how both directions are checked once, at the border.
//! 2. Between VM exits the current VMCS is that of whoever runs; in root mode, outside [`virtual_cpu`], it is the
//!    kernel's. A VMCS is used on one processor only.
//! 3. No input from below panics: calls return a [`Status`](protocols::machine::Status), machine faults become exits,
//!    and only a triple fault of the kernel, a fault of the monitor itself or broken hardware ends in [`stop`], with a
//!    message.
//! 4. VMX controls are the sum of tables ([`vmx::controls`]) and capability MSRs; policy only adds exits.
//!
//! # Structure
//!
//! `unsafe` is in the modules that touch the machine: [`world`] (world switch), [`vmx::instruction`], [`vmx::host`],
//! [`register`], [`port`], [`interrupt`], [`physical`] and [`objects`] (typed memory), [`boot::multiboot`]; elsewhere
//! only single calls of these, each with its reason. All logic that is not hardware ([`boot::map`], [`boot::image`],
//! [`boot::tables`], [`frames`], [`ept`], [`mtrr`], [`policy`], [`guest_rules`], [`vmx::controls`], [`vmx::support`])
//! is tested on the host; the rest by the micro-guests of `testkernel`.
//!
//! ```text
//! entry.s -> start -> world::start -> kernel
//! exit of the kernel      -> world -> kernel::exit  -> call, virtual_cpu::run -> world -> entry
//! exit of a virtual CPU   -> world -> virtual_cpu::exit::exit -> (answered, or to the kernel) -> world -> entry
//! ```
//!
//! # What was tried and changed
//!
//! * EFER and PAT were to be handled in the monitor. The VMCS holds them for each guest and the processor checks what
//!   is written to them, so guests access them directly: no code, no exits, the same rules.
//! * Handlers returned what to enter, and the exit record was made anew at each exit. Now they end in the entry, and each
//!   reason writes what it has: fields that it has not keep what an earlier exit of the same virtual CPU left there.
//! * The kernel's EPT was to make all memory write-back, as machines' EPTs do. It repeats the types of the firmware's
//!   MTRRs, which do not count under EPT by themselves: what firmware keeps uncached has its reasons.
//! * I/O bitmaps are not used: every port access exits, unconditionally, since no port can belong to a machine.
//! * A step of `DestroyMachine` on an identifier that is gone answers `Ok` with no frames, so that the loop of the
//!   caller, and a repeated call, end well.
#![cfg_attr(not(test), no_std)]

pub mod boot;
pub mod call;
pub mod console;
pub mod cpu;
pub mod ept;
pub mod frames;
pub mod guest_rules;
pub mod interrupt;
pub mod kernel;
pub mod kernel_memory;
pub mod machine;
pub mod mtrr;
pub mod objects;
pub mod physical;
pub mod policy;
pub mod port;
pub mod power;
pub mod register;
pub mod screen;
pub mod start;
pub mod stop;
pub mod virtual_cpu;
pub mod vmx;
pub mod vpid;
pub mod world;
