//! The `SYSCALL` instruction: every call of the [low-level API](crate::api) as one function.
//!
//! Functions are `unsafe` where the call can change what the caller's own memory holds or maps, or runs code in it;
//! [`libnest`](crate::libnest) wraps those in handles that make it impossible. The others can at worst end the
//! program: misuse is an exception, never undefined behaviour.
#![allow(unsafe_code)]

pub mod cond;
pub mod connection;
pub mod ipc;
pub mod mapping;
pub mod mutex;
pub mod port;
pub mod portset;
pub mod reference;
pub mod region;
pub mod scheduling;
pub mod space;
pub mod thread;

#[doc(no_inline)]
pub use cond::*;
#[doc(no_inline)]
pub use ipc::*;
#[doc(no_inline)]
pub use mapping::*;
#[doc(no_inline)]
pub use mutex::*;
#[doc(no_inline)]
pub use port::*;
#[doc(no_inline)]
pub use portset::*;
#[doc(no_inline)]
pub use reference::*;
#[doc(no_inline)]
pub use region::*;
#[doc(no_inline)]
pub use scheduling::*;
#[doc(no_inline)]
pub use space::*;
#[doc(no_inline)]
pub use thread::*;

use core::arch::asm;

use zerocopy::try_transmute;

use crate::api::{Call, ObjectType, Status};

/// What a call returns: `Err` with every [`Status`] but `Ok`.
pub type Result<T> = core::result::Result<T, Status>;
/// A message: eight words.
pub type Message = [u64; crate::exception::MESSAGE_WORDS];

/// Registers after a call.
#[derive(Clone, Copy, Debug)]
pub struct Returned {
    /// RAX: a [`Status`].
    pub status: u64,
    /// RDI.
    pub rdi: u64,
    /// RSI.
    pub rsi: u64,
    /// RDX.
    pub rdx: u64,
}

impl Returned {
    #[inline(always)]
    fn ok(self) -> Result<Self> {
        check(self.status).map(|()| self)
    }
}

#[inline(always)]
fn check(status: u64) -> Result<()> {
    if status == Status::Ok as u64 { Ok(()) } else { Err(decode(status)) }
}

#[cold]
fn decode(status: u64) -> Status {
    try_transmute!(status).unwrap_or(Status::Unsupported)
}

/// Makes call `call` with up to five arguments (RDI, RSI, RDX, R10, R8).
///
/// # Safety
/// The call must not touch memory that Rust code relies on: see the documentation of the [`Call`].
#[inline(always)]
pub unsafe fn raw(call: u64, arguments: [u64; 5]) -> Returned {
    let (mut status, mut rdi, mut rsi, mut rdx) = (call, arguments[0], arguments[1], arguments[2]);
    // SAFETY: the API keeps all registers but those named, and uses no stack of the caller; what the call itself does is
    // the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            inout("rdi") rdi,
            inout("rsi") rsi,
            inout("rdx") rdx,
            // Some calls return values in these two.
            inout("r10") arguments[3] => _,
            inout("r8") arguments[4] => _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    Returned { status, rdi, rsi, rdx }
}

/// [`raw`] for calls that only work on objects.
#[inline(always)]
fn on_objects(call: Call, arguments: [u64; 5]) -> Returned {
    // SAFETY: every caller in this module passes a call that neither maps nor writes the caller's memory, but for lock
    // words, which are shared with the kernel for as long as their Mutexes exist, nor runs code in it.
    unsafe { raw(call as u64, arguments) }
}
/// [`on_objects`] of calls that return nothing but a status.
#[inline(always)]
fn done(call: Call, arguments: [u64; 5]) -> Result<()> {
    on_objects(call, arguments).ok().map(|_| ())
}

fn object_type(number: u64) -> Option<ObjectType> {
    try_transmute!(number).ok()
}

fn address<T>(value: &T) -> u64 {
    core::ptr::from_ref(value) as u64
}

fn address_mut<T>(value: &mut T) -> u64 {
    core::ptr::from_mut(value) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_types_are_decoded() {
        assert_eq!(check(0), Ok(()));
        assert_eq!(check(4), Err(Status::TimedOut));
        assert_eq!(check(99), Err(Status::Unsupported), "unknown numbers must not become undefined values");
        assert_eq!(object_type(5), Some(ObjectType::Port));
        assert_eq!(object_type(0), None);
    }
}
