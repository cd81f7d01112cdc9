//! References and grants.

use super::create;
use crate::api::{ObjectType, ReferenceRights, Status};
use crate::libc::system_call::{self as call, Message, Result};
use crate::libnest::place::Place;

handle! {
    /// A link to an object: the only thing that others can be given.
    Reference, reference_destroy
}

impl Reference {
    /// A Reference to nothing.
    pub fn new() -> Result<Self> {
        Ok(Self { place: create(call::reference_create)? })
    }

    /// Another Reference to the same object.
    pub fn duplicate(&self) -> Result<Self> {
        let copy = Self::new()?;
        call::reference_copy(self.address(), copy.address())?;
        Ok(copy)
    }

    /// Another Reference to the same object with these of its rights.
    pub fn restricted(&self, rights: ReferenceRights) -> Result<Self> {
        let copy = Self::new()?;
        call::reference_restrict(self.address(), copy.address(), rights, 0)?;
        Ok(copy)
    }

    /// Another Reference to the same Port, which has no badge yet, with these of its rights and a badge other than 0.
    pub fn badged(&self, badge: u64, rights: ReferenceRights) -> Result<Self> {
        if badge == 0 {
            return Err(Status::Refused);
        }
        let copy = Self::new()?;
        call::reference_restrict(self.address(), copy.address(), rights, badge)?;
        Ok(copy)
    }

    /// A grant of what it links to: what is given away as [copies](Grant::reference) of it ends with it.
    pub fn grant(&self) -> Result<Grant> {
        let reference = Self::new()?;
        call::reference_grant(self.address(), reference.address())?;
        Ok(Grant { reference })
    }

    /// Its rights.
    pub fn rights(&self) -> Result<ReferenceRights> {
        call::reference_rights(self.address())
    }

    /// What it links to, `None` if that does not exist any more.
    pub fn check(&self) -> Result<Option<ObjectType>> {
        call::reference_check(self.address())
    }

    /// Calls the Port that it links to and waits for the reply.
    #[inline]
    pub fn call(&self, message: &mut Message) -> Result<()> {
        call::ipc_call(self.address(), message)
    }

    /// [`call`](Self::call) that sends a Reference along, if there is one, and has `taking` link as the one that comes with the
    /// reply. Returns whether one came.
    pub fn call_with(
        &self,
        message: &mut Message,
        sent: Option<&Reference>,
        taking: Option<&Reference>,
    ) -> Result<bool> {
        let address = |reference: Option<&Reference>| reference.map_or(0, Reference::address);
        call::ipc_call_with_reference(self.address(), message, address(sent), address(taking))
    }

    /// Sends notification bits to the Port that it links to. Never waits.
    #[inline]
    pub fn send(&self, bits: u64) -> Result<()> {
        call::ipc_send(self.address(), bits)
    }
}

/// What has been given away and can be taken back: dropping it revokes it, and all that was derived from it.
#[derive(Debug)]
pub struct Grant {
    reference: Reference,
}

impl Grant {
    /// A Reference to give away, which ends with the grant.
    pub fn reference(&self) -> Result<Reference> {
        self.reference.duplicate()
    }

    /// The Reference that grants: copies of it end with the grant.
    pub fn granting(&self) -> &Reference {
        &self.reference
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        // The Reference has the right for as long as its handle, so that revoking cannot fail.
        let _ = call::reference_revoke(self.reference.address());
    }
}
