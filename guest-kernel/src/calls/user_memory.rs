//! The caller's memory, copied from and to.

use super::Stop;
use crate::arena::Id;
use crate::fault::Unresolved;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use protocols::address::HostPhysical;
use protocols::api::Rights;
use protocols::exception::Misuse;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

impl Kernel {
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
            let window = match self.window(space, here, want) {
                Ok(window) => window,
                Err(fault) => return Err(Stop::Memory(Unresolved::Fault(fault), here, want)),
            };
            let size = (length - done).min((window.end - here) as usize);
            if window.device || !part(window.physical(here), done..done + size) {
                return Err(Misuse::NoRight.into());
            }
            done += size;
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
