//! A machine with one virtual CPU and 2 MiB of memory, and the states that micro-guests start in.

use core::sync::atomic::{AtomicU64, Ordering};

use protocols::address::PAGE_SIZE;
use protocols::boot_info::DIRECT_MAP;
use protocols::machine::{Call, EptEntry, MACHINE_FRAMES};
use protocols::policy::{Controls, CpuidEntry, Kind, MsrEntry};
use protocols::virtual_cpu::{Groups, Segment, Table, VirtualCpuState, segment};
use zerocopy::{Immutable, IntoBytes};

use crate::code;
use crate::monitor::{self, ask, bytes, frame, memory, write};

/// Guest-physical address of the guest's code.
pub const CODE: u64 = 0x8000;
/// Guest-physical address of the exception handlers.
const HANDLERS: u64 = 0x1_0000;
/// Guest-physical memory: 2 MiB.
pub const MEMORY: u64 = 2 << 20;
/// Frames donated at first.
const FRAMES: u64 = MACHINE_FRAMES as u64 + 24;

/// Reason, qualification, RIP, RAX of the last exit, for the message of a test that fails.
pub static LAST: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// A machine.
pub struct Guest {
    pub machine: u64,
    pub cpu: u64,
    pub state: &'static mut VirtualCpuState,
    pub state_frame: u64,
    pub memory: u64,
    /// A page for lists.
    pub list: u64,
    /// What was donated.
    pub donated: u64,
}

/// All that can be allowed.
pub const OPEN: Controls = Controls { exception_bitmap: 0, flags: 0, xcr0_allowed: 7, cr4_allowed: !0 };

impl Guest {
    /// A machine with memory at 0, `code` in it, in 64-bit mode.
    pub fn new(code: &[u8]) -> Result<Self, &'static str> {
        let list = frame();
        let donated = memory(FRAMES * PAGE_SIZE, PAGE_SIZE);
        let frames: [u64; FRAMES as usize] = core::array::from_fn(|index| donated + index as u64 * PAGE_SIZE);
        write(list, &frames);
        let machine = ask(Call::CreateMachine, [list, FRAMES, 0, 0]).map_err(|_| "CreateMachine")?;
        let (state_frame, memory) = (frame(), memory(MEMORY, MEMORY));
        let cpu = ask(Call::CreateVirtualCpu, [machine, state_frame, 0, 0]).map_err(|_| "CreateVirtualCpu")?;
        // SAFETY: a frame of ours that only the monitor uses too, while we do not run.
        let state = unsafe { &mut *((DIRECT_MAP + state_frame) as *mut VirtualCpuState) };
        *state = VirtualCpuState::zeroed();
        let mut guest = Self { machine, cpu, state, state_frame, memory, list, donated };
        guest.map(0, memory, MEMORY, 7).map_err(|_| "UpdateEpt")?;
        guest.policy(Kind::Controls, &[OPEN]).map_err(|_| "SetPolicy")?;
        guest.prepare_memory(code);
        guest.long_mode();
        Ok(guest)
    }

    /// Changes the machine's EPT.
    pub fn map(&mut self, guest: u64, host: u64, length: u64, rights: u16) -> Result<u64, u64> {
        let memory_type = 6;
        write(self.list, &[EptEntry { guest, host, frames: (length / PAGE_SIZE) as u32, rights, memory_type }]);
        ask(Call::UpdateEpt, [self.machine, self.list, 1, 0])
    }

    /// Sets policy.
    pub fn policy<T: IntoBytes + Immutable>(&mut self, kind: Kind, entries: &[T]) -> Result<u64, u64> {
        write(self.list, entries);
        ask(Call::SetPolicy, [self.machine, kind as u64, self.list, entries.len() as u64])
    }

    /// Sets a CPUID table of one leaf.
    pub fn cpuid(&mut self, leaf: u32, [eax, ebx, ecx, edx]: [u32; 4]) {
        let _ = self.policy(Kind::Cpuid, &[CpuidEntry { leaf, subleaf: CpuidEntry::ANY, eax, ebx, ecx, edx }]);
    }

    /// Sets how an MSR is answered.
    pub fn msr(&mut self, msr: u32, mode: u32, value: u64) -> Result<u64, u64> {
        self.policy(Kind::Msr, &[MsrEntry { msr, mode, value }])
    }

    /// The guest's memory at a guest-physical address.
    pub fn at(&self, address: u64, length: usize) -> &'static mut [u8] {
        bytes(self.memory + address, length)
    }

    fn word(&self, address: u64, value: u64) {
        self.at(address, 8).copy_from_slice(&value.to_le_bytes());
    }

    /// Page tables for 64-bit mode at 0x1000 and for PAE at 0x4000, a GDT at 0x6000, an IDT at 0x5000.
    fn prepare_memory(&mut self, code: &[u8]) {
        self.word(0x1000, 0x2003);
        self.word(0x2000, 0x3003);
        for index in 0..512 {
            self.word(0x3000 + index * 8, index << 21 | 0x83);
        }
        self.word(0x4000, 0x3001);
        for (index, descriptor) in
            [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00af_9b00_0000_ffffu64].into_iter().enumerate()
        {
            self.word(0x6000 + index as u64 * 8, descriptor);
        }
        self.at(0x6100, 6).copy_from_slice(&[31, 0, 0, 0x60, 0, 0]);
        for vector in 0..256 {
            let handler = HANDLERS + vector * 16;
            self.word(
                0x7000 - 0x2000 + vector * 16,
                handler & 0xffff | 24 << 16 | 0x8e << 40 | (handler >> 16 & 0xffff) << 48,
            );
        }
        self.at(HANDLERS, code::handlers().len()).copy_from_slice(code::handlers());
        self.at(CODE, code.len()).copy_from_slice(code);
    }

    /// 64-bit mode, interrupts off, at the code.
    pub fn long_mode(&mut self) {
        let state = &mut *self.state;
        state.rip = CODE;
        state.gpr[4] = 0xf000;
        state.rflags = 2;
        state.cr0 = 0x8000_0031;
        state.cr3 = 0x1000;
        state.cr4 = 0x20;
        state.efer = 0x500;
        let flat = Segment { base: 0, limit: 0xffff_ffff, access: 0xc093, selector: 16 };
        state.segments = [flat; 8];
        state.segments[segment::CS] = Segment { access: 0xa09b, selector: 24, ..flat };
        state.segments[segment::LDTR] = Segment { access: Segment::UNUSABLE, ..Segment::default() };
        state.segments[segment::TR] = Segment { access: 0x8b, limit: 103, ..Segment::default() };
        state.gdtr = Table { base: 0x6000, limit: 31 };
        state.idtr = Table { base: 0x5000, limit: 0xfff };
        state.dirty = Groups::VMCS.bits();
        state.wanted = (Groups::INSTRUCTION | Groups::CONTROL | Groups::EFER).bits();
    }

    /// Real mode at the code, as after a reset but for the place.
    pub fn real_mode(&mut self) {
        self.long_mode();
        let state = &mut *self.state;
        (state.cr0, state.cr4, state.efer) = (0x6000_0010, 0, 0);
        let flat = Segment { base: 0, limit: 0xffff, access: 0x93, selector: 0 };
        state.segments[..6].fill(flat);
        state.segments[segment::CS].access = 0x9b;
        state.idtr = Table { base: 0, limit: 0x3ff };
    }

    /// 32-bit protected mode without paging, at the code.
    pub fn protected_mode(&mut self) {
        self.long_mode();
        let state = &mut *self.state;
        (state.cr0, state.cr4, state.efer) = (0x31, 0, 0);
        state.segments[segment::CS] = Segment { base: 0, limit: 0xffff_ffff, access: 0xc09b, selector: 8 };
    }

    /// Runs until an exit. Returns its reason.
    pub fn run(&mut self) -> Result<u32, &'static str> {
        (monitor::run(self.cpu) == 0).then_some(()).ok_or("Run")?;
        Ok(self.exit_reason())
    }

    /// The reason of the last exit.
    pub fn exit_reason(&self) -> u32 {
        // SAFETY: the monitor changed the state while this function could not see it.
        let exit = unsafe { (&raw const self.state.exit).read_volatile() };
        let facts = [u64::from(exit.reason), exit.qualification, self.state.rip, self.state.gpr[0]];
        for (slot, fact) in LAST.iter().zip(facts) {
            slot.store(fact, Ordering::Relaxed);
        }
        exit.reason
    }

    /// Runs on after the instruction that exited.
    pub fn step(&mut self) -> Result<u32, &'static str> {
        self.state.advance = 1;
        self.run()
    }

    /// The port of the last exit, a port write.
    pub fn port(&self) -> u64 {
        self.state.exit.qualification >> 16
    }

    /// Destroys the machine. Returns how many frames came back.
    pub fn destroy(self) -> Result<u64, &'static str> {
        let mut count = 0;
        loop {
            match ask(Call::DestroyMachine, [self.machine, self.list, 512, 0]).map_err(|_| "DestroyMachine")? {
                0 => return Ok(count),
                given => count += given,
            }
            if count > FRAMES + 1000 {
                return Err("more frames than were donated");
            }
        }
    }
}
