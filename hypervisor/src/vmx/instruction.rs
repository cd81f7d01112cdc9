//! The VMX instructions (Intel SDM vol. 3C, chapter 31), one function each. The flags that tell success are taken inside
//! the same `asm!`.

use core::arch::asm;

use protocols::address::HostPhysical;

use super::field::{ControlField, Field, GuestField, ReadField};

/// A VMX instruction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

fn result(failed: u8) -> Result<(), Failed> {
    if failed == 0 { Ok(()) } else { Err(Failed) }
}

macro_rules! frame_instruction {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub unsafe fn $name(frame: HostPhysical) -> Result<(), Failed> {
            let failed: u8;
            // SAFETY: the caller's promise.
            unsafe {
                asm!(concat!(stringify!($name), " [{}]"), "setbe {}", in(reg) &frame.get(), out(reg_byte) failed,
                    options(nostack));
            }
            result(failed)
        }
    };
}

frame_instruction! {
    /// Enters VMX operation with the VMXON region at `frame`.
    ///
    /// # Safety
    /// CR0, CR4 and IA32_FEATURE_CONTROL must allow VMX; the frame is one that only the processor uses from now on and
    /// that starts with the VMCS revision.
    vmxon
}

frame_instruction! {
    /// Initialises the VMCS at `frame`, or writes it back to memory.
    ///
    /// # Safety
    /// Only the processor uses the frame while it is a VMCS.
    vmclear
}

frame_instruction! {
    /// Makes the VMCS at `frame` current.
    ///
    /// # Safety
    /// It was initialised with [`vmclear`] and starts with the VMCS revision.
    vmptrld
}

/// Makes the VMCS at `vmcs` current, which was current before: so it cannot fail, and if it did, the processor would
/// be broken.
///
/// # Safety
/// As [`vmptrld`].
#[inline(always)]
pub unsafe fn vmptrld_again(vmcs: &HostPhysical) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("vmptrld [{}]", "jbe {}", in(reg) vmcs, label {
            crate::stop::stop(format_args!("the processor refuses a VMCS that it had before"))
        }, options(nostack));
    }
}

/// Reads a field of the current VMCS and says whether it exists.
pub fn vmread_checked(field: impl Field) -> Result<u64, Failed> {
    let (value, failed): (u64, u8);
    // SAFETY: VMREAD to a register touches no memory.
    unsafe {
        asm!("vmread {}, {}", "setbe {}", out(reg) value, in(reg) u64::from(field.encoding()), out(reg_byte) failed,
            options(nomem, nostack));
    }
    result(failed).map(|()| value)
}

/// Reads a field of the current VMCS; 0 without one. The monitor checked at its start that the fields it names exist,
/// so that failure need not be looked at again.
#[inline(always)]
pub fn vmread(field: impl Field) -> u64 {
    let value: u64;
    // SAFETY: VMREAD to a register touches no memory.
    unsafe {
        asm!("vmread {}, {}", out(reg) value, in(reg) u64::from(field.encoding()), options(nomem, nostack));
    }
    value
}

/// Writes a field that can do no harm to the monitor. Failure, as with [`vmread`], cannot happen.
#[inline(always)]
pub fn vmwrite(field: GuestField, value: u64) {
    // SAFETY: see `GuestField`.
    unsafe { write(field, value) };
}

/// Writes a field that the monitor's isolation depends on.
///
/// # Safety
/// With the field's new value, a VM entry and the exit that follows must leave the monitor as Rust expects it.
#[inline(always)]
pub unsafe fn vmwrite_control(field: ControlField, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { write(field, value) };
}

/// # Safety
/// As [`vmwrite_control`].
#[inline(always)]
unsafe fn write(field: impl Field, value: u64) {
    // SAFETY: VMWRITE itself touches no memory that Rust owns; the rest is the caller's promise.
    unsafe {
        asm!("vmwrite {}, {}", in(reg) u64::from(field.encoding()), in(reg) value, options(nostack));
    }
}

/// Whether the processor has every field that the monitor names. Needs a current VMCS.
pub fn fields_exist() -> bool {
    GuestField::ALL.iter().all(|&field| vmread_checked(field).is_ok())
        && ControlField::ALL.iter().all(|&field| vmread_checked(field).is_ok())
        && ReadField::ALL.iter().all(|&field| vmread_checked(field).is_ok())
}

/// Drops all translations made with the EPT of `pointer`.
pub fn invept(pointer: u64) -> Result<(), Failed> {
    let failed: u8;
    // SAFETY: dropping cached translations is always allowed.
    unsafe {
        asm!("invept {}, [{}]", "setbe {}", in(reg) 1u64, in(reg) &[pointer, 0], out(reg_byte) failed, options(nostack))
    };
    result(failed)
}

/// Drops all translations made with `vpid`.
pub fn invvpid(vpid: u16) -> Result<(), Failed> {
    let failed: u8;
    // SAFETY: dropping cached translations is always allowed.
    unsafe {
        asm!("invvpid {}, [{}]", "setbe {}", in(reg) 1u64, in(reg) &[u64::from(vpid), 0], out(reg_byte) failed, options(nostack));
    }
    result(failed)
}
