//! Calls on References.

use super::{Done, Stop};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::list::List;
use crate::memory::hierarchy::{Mapping, Space, unlink_mapping};
use crate::objects::Object;
use crate::references::{Capability, Destination, GRANT_COST, Grant, Reference, Through};
use crate::thread::Thread;
use protocols::api::{ObjectType, ReferenceRights, Rights, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::{RDX, RSI};

/// How many grants one call ends before it lets others run.
const MOST_AT_ONCE: usize = 256;

impl Kernel {
    /// The Reference at an address.
    #[inline]
    pub(super) fn reference_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Reference>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Reference(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    fn capability_at(&mut self, space: Id<Space>, address: u64) -> Result<Option<Capability>, Stop> {
        let id = self.reference_at(space, address, Rights::READ)?;
        Ok(self.objects.references.get(id).and_then(Reference::capability))
    }

    /// What the Reference at an address links to, which must be of a type, for a use that needs a right.
    fn link(
        &mut self,
        space: Id<Space>,
        address: u64,
        kind: ObjectType,
        right: ReferenceRights,
    ) -> Result<Capability, Stop> {
        let capability = self.capability_at(space, address)?.ok_or(Misuse::NullReference)?;
        if capability.target.kind() != kind {
            return Err(Misuse::WrongType.into());
        }
        if !capability.rights.contains(right) {
            return Err(Misuse::NoRight.into());
        }
        if !self.objects.is_valid(&capability) {
            return Err(Stop::Status(Status::InvalidDestination));
        }
        Ok(capability)
    }

    /// [`link`](Self::link), where 0 means none.
    pub(super) fn optional_link(
        &mut self,
        space: Id<Space>,
        address: u64,
        kind: ObjectType,
        right: ReferenceRights,
    ) -> Result<Option<Capability>, Stop> {
        if address == 0 { Ok(None) } else { self.link(space, address, kind, right).map(Some) }
    }

    /// The Space that the Reference at an address links to, where 0 means none.
    pub(super) fn optional_space(
        &mut self,
        space: Id<Space>,
        address: u64,
        right: ReferenceRights,
    ) -> Result<Option<(Id<Space>, Capability)>, Stop> {
        let link = self.optional_link(space, address, ObjectType::Space, right)?;
        Ok(link.and_then(|link| match link.target {
            Object::Space(space) => Some((space, link)),
            _ => None,
        }))
    }

    /// Where messages through the Reference at an address go, if the Port exists.
    #[inline]
    pub(super) fn destination_of(
        &mut self,
        space: Id<Space>,
        address: u64,
        right: ReferenceRights,
    ) -> Result<Destination, Stop> {
        let id = self.reference_at(space, address, Rights::READ)?;
        match self.objects.references.get(id).and_then(|reference| reference.plain(right)) {
            Some(destination) => Ok(destination),
            None => self.checked_destination(space, address, right),
        }
    }

    #[cold]
    #[inline(never)]
    fn checked_destination(
        &mut self,
        space: Id<Space>,
        address: u64,
        right: ReferenceRights,
    ) -> Result<Destination, Stop> {
        let Capability { target, badge, .. } = self.link(space, address, ObjectType::Port, right)?;
        match target {
            Object::Port(port) => Ok(Destination::new(port, badge)),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    /// What the Reference at an address links to, to be copied. `None` if to nothing.
    pub(super) fn original(&mut self, space: Id<Space>, address: u64) -> Result<Option<Capability>, Stop> {
        let capability = self.capability_at(space, address)?;
        if capability.is_some_and(|capability| !capability.rights.contains(ReferenceRights::COPY)) {
            return Err(Misuse::NoRight.into());
        }
        Ok(capability)
    }

    pub(super) fn copy_reference(&mut self, caller: Id<Space>, from: u64, to: u64) -> Done {
        let capability = self.original(caller, from)?;
        let to = self.reference_at(caller, to, Rights::WRITE)?;
        self.objects.set_reference(to, capability.map(Capability::copy));
        Ok(Status::Ok)
    }

    pub(super) fn check_reference(&mut self, id: Id<Thread>, caller: Id<Space>, address: u64) -> Done {
        let capability = self.capability_at(caller, address)?;
        let valid = capability.filter(|capability| self.objects.is_valid(capability));
        self.set_result(id, RSI, valid.map_or(0, |capability| capability.target.kind() as u64))?;
        self.set_result(id, RDX, capability.map_or(0, |capability| capability.rights.bits()))
    }

    pub(super) fn restrict_reference(&mut self, caller: Id<Space>, [from, to, rights, badge]: [u64; 4]) -> Done {
        let capability = self.original(caller, from)?.ok_or(Misuse::NullReference)?;
        let to = self.reference_at(caller, to, Rights::WRITE)?;
        let rights = ReferenceRights::from_bits(rights).ok_or(Misuse::BadArgument)?;
        let mut restricted = capability.limited(rights);
        if badge != 0 {
            if capability.target.kind() != ObjectType::Port {
                return Err(Misuse::WrongType.into());
            }
            if !capability.rights.contains(ReferenceRights::BADGE) {
                return Err(Misuse::NoRight.into());
            }
            restricted.badge = badge;
            restricted.rights -= ReferenceRights::BADGE;
        }
        self.objects.set_reference(to, Some(restricted));
        Ok(Status::Ok)
    }

    pub(super) fn grant_reference(&mut self, caller: Id<Space>, from: u64, to: u64) -> Done {
        let capability = self.original(caller, from)?.ok_or(Misuse::NullReference)?;
        let to = self.reference_at(caller, to, Rights::WRITE)?;
        if !capability.rights.contains(ReferenceRights::GRANT) {
            return Err(Misuse::NoRight.into());
        }
        if !self.objects.is_valid(&capability) {
            return Ok(Status::InvalidDestination);
        }
        let payer = self.objects.spaces.get_mut(caller).ok_or(Misuse::NoObject)?;
        if payer.account.charge(GRANT_COST).is_err() {
            return Ok(Status::NoMemory);
        }
        if !self.prepare_heap() {
            self.refund(caller, GRANT_COST);
            return Ok(Status::NoMemory);
        }
        let Some(granted) = self.objects.grant(capability, caller) else {
            self.refund(caller, GRANT_COST);
            return Ok(Status::Refused);
        };
        self.objects.set_reference(to, Some(granted));
        Ok(Status::Ok)
    }

    /// `None`: the caller makes the call again.
    pub(super) fn revoke_reference(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        address: u64,
    ) -> Result<Option<Status>, Stop> {
        let reference = self.reference_at(caller, address, Rights::WRITE)?;
        let capability = self.objects.references.get(reference).and_then(Reference::capability);
        let capability = capability.ok_or(Misuse::NullReference)?;
        if !capability.rights.contains(ReferenceRights::REVOKE) {
            return Err(Misuse::NoRight.into());
        }
        if let Some(grant) = capability.grant
            && !self.end_grant(grant, MOST_AT_ONCE)
        {
            return Ok(self.repeat(id));
        }
        self.objects.set_reference(reference, None);
        Ok(Some(Status::Ok))
    }

    /// Ends a grant and all that are derived from it, or so many of them: then false.
    fn end_grant(&mut self, grant: Id<Grant>, most: usize) -> bool {
        let Some(mut revocation) = self.objects.begin_revocation(grant) else { return true };
        for _ in 0..most {
            match self.objects.end_one(&mut revocation) {
                Some(mappings) => self.withdraw_mappings(mappings),
                None => return true,
            }
        }
        false
    }

    /// Ends a grant that a Space pays for, or as much of it as one entry may. Whether none are left.
    pub fn end_grants_of(&mut self, space: Id<Space>) -> bool {
        match self.objects.spaces.get(space).and_then(|space| space.grants.first()) {
            Some(grant) => {
                self.end_grant(grant, MOST_AT_ONCE);
                self.objects.spaces.get(space).is_none_or(|space| space.grants.first().is_none())
            }
            None => true,
        }
    }

    /// Has Mappings that were made through a grant show nothing.
    fn withdraw_mappings(&mut self, first: Option<Id<Mapping>>) {
        let mut next = first;
        while let Some(id) = next {
            next = List::<Mapping, Through>::after(&self.objects.mappings, id);
            self.withdraw_mapping(id);
            unlink_mapping(&mut self.objects.regions, &mut self.objects.mappings, id);
            if let Some(mapping) = self.objects.mappings.get_mut(id) {
                mapping.region = None;
                mapping.access.end();
            }
        }
    }
}
