//! What the calls of all types have in common: moving an object, and handing out its links.

use super::{Done, Stop};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::objects::{Object, Objects};
use crate::references::{Capability, Reference};
use protocols::api::{ObjectType, Rights, Status};
use protocols::exception::Misuse;

impl Kernel {
    /// Moves the object at `from` to `to`.
    pub(super) fn move_object(&mut self, caller: Id<Space>, from: u64, to: u64, kind: ObjectType) -> Done {
        let change = Rights::WRITE | Rights::CREATE_OBJECT;
        let (old, _) = self.object_memory(caller, from, change)?;
        let object = self.objects.at(old).ok_or(Misuse::NoObject)?;
        if object.kind() != kind {
            return Err(Misuse::WrongType.into());
        }
        let (new, _) = self.object_memory(caller, to, change)?;
        if self.objects.at(new).is_some() {
            return Err(Misuse::ObjectExists.into());
        }
        if !self.prepare_heap() {
            return Ok(Status::NoMemory);
        }
        match object {
            Object::Mutex(id) if !self.move_mutex(id, new) => return Err(Misuse::NoRight.into()),
            Object::Thread(id) => {
                if let Some(thread) = self.objects.threads.get_mut(id) {
                    let is_named_here = thread.home.0 == caller;
                    thread.set_home((thread.home.0, if is_named_here { to } else { 0 }));
                }
            }
            _ => {}
        }
        if let Some(place) = self.objects.places.remove(old.get()) {
            self.objects.places.insert(new.get(), place);
        }
        // No Space finds it where it was, by a name that it remembers.
        self.objects.moves += 1;
        Ok(Status::Ok)
    }

    /// The Reference at an address that is to be pointed elsewhere; 0 names none.
    pub(super) fn optional_reference(&mut self, space: Id<Space>, address: u64) -> Result<Option<Id<Reference>>, Stop> {
        if address == 0 { Ok(None) } else { self.reference_at(space, address, Rights::WRITE).map(Some) }
    }

    /// Points a Reference, if one was asked for, at what an object links to: with the rights that it was linked by, no more.
    pub(super) fn point(&mut self, reference: Option<Id<Reference>>, link: Option<Capability>) {
        let link = link.filter(|link| self.objects.is_valid(link));
        if let Some(reference) = reference {
            self.objects.set_reference(reference, link.map(Capability::copy));
        }
    }

    /// Has an object link by a capability, if there is one, where `slot` says.
    pub(super) fn set_link(
        &mut self,
        capability: Option<Capability>,
        slot: impl FnOnce(&mut Objects) -> Option<&mut Option<Capability>>,
    ) {
        let Some(capability) = capability else { return };
        self.objects.keep(&capability);
        let before = slot(&mut self.objects).and_then(|link| link.replace(capability));
        self.objects.drop_kept(before);
    }

    /// Gives an object a keeper, if there is one, where `slot` says.
    pub(super) fn set_keeper(
        &mut self,
        capability: Option<Capability>,
        slot: impl FnOnce(&mut Objects) -> Option<&mut Reference>,
    ) {
        let Some(capability) = capability else { return };
        self.objects.keep(&capability);
        let keeper = slot(&mut self.objects);
        let before = keeper.map(|keeper| core::mem::replace(keeper, Reference::new(Some(capability))));
        self.objects.drop_kept(before.and_then(|before| before.capability()));
    }
}
