//! The caller's memory, copied from and to.

use super::Stop;
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use protocols::address::HostPhysical;
use protocols::api::Rights;
use protocols::exception::Misuse;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

impl Kernel {
    /// Where up to `length` bytes from `address` on are: the first physical address, and how many from there on.
    #[inline]
    pub(super) fn reach(
        &mut self,
        space: Id<Space>,
        address: u64,
        length: u64,
        want: Rights,
    ) -> Result<(HostPhysical, u64), Stop> {
        match self.window(space, address, want) {
            Ok(window) if window.device => Err(Misuse::NoRight.into()),
            Ok(window) => Ok((window.physical(address), length.min(window.end - address))),
            Err(unresolved) => Err(Stop::Memory(unresolved, address, want)),
        }
    }

    /// Copies from or to the memory of a Space.
    pub(super) fn copy(
        &mut self,
        space: Id<Space>,
        address: u64,
        length: usize,
        want: Rights,
        mut part: impl FnMut(HostPhysical, core::ops::Range<usize>) -> bool,
    ) -> Result<(), Stop> {
        let mut done = 0;
        while done < length {
            let here = address.checked_add(done as u64).ok_or(Misuse::BadArgument)?;
            let (physical, size) = self.reach(space, here, (length - done) as u64, want)?;
            let end = done + size as usize;
            if !part(physical, done..end) {
                return Err(Misuse::NoRight.into());
            }
            done = end;
        }
        Ok(())
    }

    pub(super) fn read<T: FromBytes + FromZeros + IntoBytes + Immutable + KnownLayout>(
        &mut self,
        space: Id<Space>,
        address: u64,
    ) -> Result<T, Stop> {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        self.copy(space, address, bytes.len(), Rights::READ, |physical, range| {
            crate::arch::physical::read(physical, &mut bytes[range])
        })?;
        Ok(value)
    }

    pub(super) fn write(&mut self, space: Id<Space>, address: u64, bytes: &[u8]) -> Result<(), Stop> {
        // Both halves of what crosses a page must be there before the first is written.
        self.copy(space, address, bytes.len(), Rights::WRITE, |_, _| true)?;
        self.copy(space, address, bytes.len(), Rights::WRITE, |physical, range| {
            crate::arch::physical::write(physical, &bytes[range])
        })
    }
}
