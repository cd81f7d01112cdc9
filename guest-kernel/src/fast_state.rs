//! The short way for what debuggers and tracers do most: the registers of a stopped native thread, read and set.
//!
//! As on the [short way of RPC](crate::fast_path): everything is checked first, and where something does not hold, nothing has
//! changed and the general way is taken.

use crate::arch::entry::Resume;
use crate::arch::user_copy;
use crate::kernel::Kernel;
use crate::native::{Particulars, RegisterWords};
use crate::thread::{Thread, Wait};
use core::mem::MaybeUninit;
use protocols::api::{Rights, Run, Status};

use protocols::native_thread::NativeState;
use protocols::virtual_cpu::Groups;
use protocols::virtual_cpu::register::{R8, R9, R10, RAX, RDI, RDX, RSI, RSP};

impl Kernel {
    /// Performs `thread_get_state`, the running native thread's call, if that can be done the short way.
    #[inline(always)]
    pub fn fast_get_state(&mut self) -> Option<Resume> {
        let id = self.current?;
        let gpr = &self.objects.threads.get(id)?.registers.gpr;
        let (address, groups, references) = (gpr[RSI], gpr[RDX], gpr[R10] | gpr[R8]);
        let target = self.quick_thread(id, gpr[RDI], Rights::READ)?;
        let (caller, target) = self.objects.threads.pair_mut(id, target)?;
        if groups & !NativeState::REGISTERS.bits() != 0 || address == 0 || references != 0 || !target.is_at_rest() {
            return None;
        }
        target.registers.gpr[RSP] = target.registers.rsp;
        if !user_copy::write(address, &target.registers.gpr) {
            return None;
        }
        if groups != Groups::GENERAL.bits() {
            let behind = address + size_of_val(&target.registers.gpr) as u64;
            if !user_copy::write(behind, &target.particulars(Groups::from_bits_retain(groups))) {
                return None;
            }
        }
        caller.registers.gpr[RAX] = Status::Ok as u64;
        caller.registers.gpr[RDX] = target.registers.self_address;
        Some(Resume::thread(&caller.registers))
    }

    /// Performs `thread_set_state`, the running native thread's call, if that can be done the short way.
    #[inline(always)]
    pub fn fast_set_state(&mut self) -> Option<Resume> {
        let id = self.current?;
        const GROUPS: Groups = Groups::GENERAL.union(Groups::INSTRUCTION);
        let gpr = &self.objects.threads.get(id)?.registers.gpr;
        let (address, groups, others) = (gpr[RSI], gpr[RDX], gpr[R10] | gpr[R9] | gpr[R8]);
        let target = self.quick_thread(id, gpr[RDI], Rights::WRITE)?;
        let (caller, target) = self.objects.threads.pair_mut(id, target)?;
        let unusual = groups & !GROUPS.bits() | others;
        if unusual != 0 || address == 0 || !target.is_at_rest() {
            return None;
        }
        if groups == Groups::GENERAL.bits() {
            if !user_copy::read_at_once(address, &mut target.registers.gpr) {
                return None;
            }
            target.registers.make_whole();
        } else {
            let mut words = MaybeUninit::uninit();
            let words: &RegisterWords = user_copy::read(address, &mut words)?;
            if !target.set_registers(words, Groups::from_bits_retain(groups)) {
                return None;
            }
        }
        caller.registers.gpr[RAX] = Status::Ok as u64;
        Some(Resume::thread(&caller.registers))
    }
}

impl Thread {
    /// Whether it is native, stopped, and waits for nothing.
    #[inline(always)]
    fn is_at_rest(&self) -> bool {
        self.stopped && self.wait == Wait::Nothing && self.virtual_cpu.is_none()
    }
}

// Neither a Space nor an address of its own is given, and it is not let go or stopped.
const _: () = assert!(Run::Unchanged as u64 == 0);
const _: () = assert!(size_of::<RegisterWords>() == size_of::<[u64; 16]>() + size_of::<Particulars>());
