//! Names: from addresses to objects, and from References to what they link to.

use super::{Done, Stop};
use crate::arena::Id;
use crate::fault::Unresolved;
use crate::kernel::Kernel;
use crate::memory::hierarchy::{Fault, Mapping, Region, Space};
use crate::objects::{Object, Portset};
use crate::references::{Capability, Reference};
use crate::thread::Thread;
use protocols::address::HostPhysical;
use protocols::api::{OBJECT_SIZE, ObjectType, Rights, Status};
use protocols::exception::Misuse;

impl Kernel {
    /// The object named by an address of a Space.
    #[inline]
    pub fn object_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Object, Stop> {
        let names = self.objects.spaces.get(space).map(|space| (&space.names, self.objects.naming_epoch(space)));
        match names.and_then(|(names, epoch)| names.get_existing(address, want, epoch, &self.objects)) {
            Some(object) => Ok(object),
            None => self.find_object(space, address, want),
        }
    }

    #[cold]
    fn find_object(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Object, Stop> {
        let (physical, rights) = self.object_memory(space, address, want)?;
        let object = self.objects.at(physical).ok_or(Misuse::NoObject)?;
        let moves = self.objects.moves;
        if let Some(space) = self.objects.spaces.get_mut(space) {
            space.names.put(address, rights, space.epoch + moves, object);
        }
        Ok(object)
    }

    /// The memory of an object at an address of a Space.
    pub fn object_memory(
        &mut self,
        space: Id<Space>,
        address: u64,
        want: Rights,
    ) -> Result<(HostPhysical, Rights), Stop> {
        if !address.is_multiple_of(OBJECT_SIZE) {
            return Err(Misuse::NotAligned.into());
        }
        match self.window(space, address, want) {
            Ok(window) if window.device => Err(Misuse::NoRight.into()),
            // A name by which a tracked page can be changed is found again, and the page marked, once it was reported.
            Ok(window) if window.tracked => {
                Ok((window.physical(address), window.rights.difference(Rights::WRITE) | want))
            }
            Ok(window) => Ok((window.physical(address), window.rights)),
            Err(Unresolved::Fault(Fault::Unmapped)) => Err(Misuse::NoRight.into()),
            Err(unresolved) => Err(Stop::Memory(unresolved, address, want)),
        }
    }

    /// What an address names to a thread, or named until it was destroyed, where that was found before.
    #[inline(always)]
    fn cached_name(&self, thread: Id<Thread>, address: u64) -> Option<Object> {
        let space = self.objects.spaces.get(self.objects.threads.get(thread)?.space?)?;
        space.names.get(address, Rights::READ, self.objects.naming_epoch(space))
    }

    /// The Reference at an address, where it was found before.
    #[inline(always)]
    pub fn quick_reference(&self, thread: Id<Thread>, address: u64) -> Option<Id<Reference>> {
        match self.cached_name(thread, address)? {
            Object::Reference(reference) => Some(reference),
            _ => None,
        }
    }

    /// The Portset at an address, where it was found before.
    #[inline(always)]
    pub fn quick_portset(&self, thread: Id<Thread>, address: u64) -> Option<Id<Portset>> {
        match self.cached_name(thread, address)? {
            Object::Portset(portset) => self.objects.portsets.get(portset).map(|_| portset),
            _ => None,
        }
    }

    /// The Mapping at an address, to be changed, which may have been destroyed, where it was found before.
    #[inline(always)]
    pub fn quick_mapping(&self, thread: Id<Thread>, address: u64) -> Option<Id<Mapping>> {
        let space = self.objects.spaces.get(self.objects.threads.get(thread)?.space?)?;
        match space.names.get(address, Rights::WRITE, self.objects.naming_epoch(space))? {
            Object::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The Thread at an address, which may have been destroyed, where it was found before with rights that contain `want`.
    #[inline(always)]
    pub fn quick_thread(&self, thread: Id<Thread>, address: u64, want: Rights) -> Option<Id<Thread>> {
        let space = self.objects.spaces.get(self.objects.threads.get(thread)?.space?)?;
        match space.names.get(address, want, self.objects.naming_epoch(space))? {
            Object::Thread(thread) => Some(thread),
            _ => None,
        }
    }

    pub(super) fn refer(&mut self, space: Id<Space>, address: u64, kind: ObjectType, reference: u64) -> Done {
        let object = self.object_at(space, address, Rights::READ)?;
        if object.kind() != kind {
            return Err(Misuse::WrongType.into());
        }
        let reference = self.reference_at(space, reference, Rights::WRITE)?;
        self.objects.set_reference(reference, Some(Capability::new(object)));
        Ok(Status::Ok)
    }

    #[inline]
    pub(super) fn portset_at(&mut self, id: Id<Thread>, address: u64) -> Result<Id<Portset>, Stop> {
        let space = self.objects.threads.get(id).and_then(|thread| thread.space).ok_or(Misuse::NoObject)?;
        match self.object_at(space, address, Rights::READ)? {
            Object::Portset(portset) => Ok(portset),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    pub(super) fn space_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Space>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Space(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    pub(super) fn thread_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Thread>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Thread(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    #[inline(always)]
    pub(crate) fn mapping_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Mapping>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Mapping(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    pub(super) fn region_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Region>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Region(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }
}
