//! References: links to objects, counted, limited, and revoked at once.
//!
//! Grants form a tree: one derived from a grant lies below it. What is linked through a grant names it, by an identifier that
//! matches nothing once the grant is gone, so that ending a grant ends all of that without looking for it.
//! A grant counts who names it, so that what it ends is known as one number.
//!
//! Invariants:
//! * A Port's and a Region's count is the number of References that link to it and are not void.
//! * A grant exists for as long as something names it or is derived from it, it has not been revoked and its payer exists.
//! * The grants above and below one another have the same target, and are at most [`MAX_GRANT_DEPTH`] in a row.
//!
//! Counts do not overflow: everything that is counted takes memory, of which there are less than 2^64 bytes.

use crate::arena::{Arena, Id};
use crate::list::{List, Member, Place};
use crate::memory::hierarchy::{Mapping, Space};
use crate::objects::{Object, Objects, Port};
use protocols::api::{MAX_GRANT_DEPTH, ReferenceRights, Rights};

/// What one grant costs its payer, in bytes.
pub const GRANT_COST: u64 = 256;
const _: () = assert!(Arena::<Grant>::SLOT_SIZE as u64 <= GRANT_COST);

/// A link to an object, with what it is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The object.
    pub target: Object,
    /// What it may be used for.
    pub rights: ReferenceRights,
    /// What messages through it carry in place of the Port's alias; 0 for none.
    pub badge: u64,
    /// What it ends with.
    pub grant: Option<Id<Grant>>,
}

impl Capability {
    /// To an object, with all that its owner may do.
    pub fn new(target: Object) -> Self {
        Self { target, rights: ReferenceRights::all() - ReferenceRights::REVOKE, badge: 0, grant: None }
    }

    /// A copy with these rights at most.
    #[must_use]
    pub fn limited(self, rights: ReferenceRights) -> Self {
        Self { rights: self.rights & (rights - ReferenceRights::REVOKE), ..self }
    }

    /// A copy.
    #[must_use]
    pub fn copy(self) -> Self {
        self.limited(ReferenceRights::all())
    }
}

/// Where messages go, and as whose.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// The Port.
    pub port: Id<Port>,
    /// What they carry in place of the Port's alias; 0 for none.
    pub badge: u64,
    /// Which bits of the alias they carry: all, or none if there is a badge. RPC has no time for a branch.
    alias_mask: u64,
}

impl Destination {
    /// A Port, and the badge or 0.
    pub fn new(port: Id<Port>, badge: u64) -> Self {
        Self { port, badge, alias_mask: if badge == 0 { u64::MAX } else { 0 } }
    }

    /// What messages to the Port carry.
    #[inline(always)]
    pub fn name(&self, port: &Port) -> u64 {
        port.alias & self.alias_mask | self.badge
    }
}

/// A Reference: a capability, or none. Those that the kernel itself keeps are not counted by their targets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference {
    capability: Option<Capability>,
    /// Where calls through it go, if that does not depend on a grant.
    pub direct: Option<Destination>,
}

impl Reference {
    /// A Reference that holds `capability`.
    pub fn new(capability: Option<Capability>) -> Self {
        let mut reference = Self { capability, direct: None };
        reference.direct = reference.plain(ReferenceRights::CALL);
        reference
    }

    /// Where messages go for which it needs a right, if it depends on no grant.
    #[inline]
    pub fn plain(&self, right: ReferenceRights) -> Option<Destination> {
        match &self.capability {
            &Some(Capability { target: Object::Port(port), rights, badge, grant: None }) if rights.contains(right) => {
                Some(Destination::new(port, badge))
            }
            _ => None,
        }
    }

    /// What it holds.
    pub fn capability(&self) -> Option<Capability> {
        self.capability
    }
}

/// What somebody has given away and can take back.
#[derive(Debug)]
pub struct Grant {
    /// What capabilities through it link to.
    target: Object,
    /// References that name it.
    references: u64,
    /// Links of other objects that were made through it.
    links: u64,
    /// Mappings of the target that were made through it.
    mappings: List<Mapping, Through>,
    /// The grant that it was derived from.
    parent: Option<Id<Grant>>,
    derived: List<Grant, Derived>,
    siblings: Place<Grant>,
    /// It is being revoked.
    ending: bool,
    payer: Id<Space>,
    of_payer: Place<Grant>,
}

/// Grants that were derived from the same one.
#[derive(Debug)]
pub enum Derived {}
/// Grants of one payer.
#[derive(Debug)]
pub enum Paid {}
/// Mappings that were made through one grant.
#[derive(Debug)]
pub enum Through {}

impl Member<Derived> for Grant {
    fn place(&mut self) -> &mut Place<Self> {
        &mut self.siblings
    }
    fn place_ref(&self) -> &Place<Self> {
        &self.siblings
    }
}

impl Member<Paid> for Grant {
    fn place(&mut self) -> &mut Place<Self> {
        &mut self.of_payer
    }
    fn place_ref(&self) -> &Place<Self> {
        &self.of_payer
    }
}

impl Member<Through> for Mapping {
    fn place(&mut self) -> &mut Place<Self> {
        &mut self.access.place
    }
    fn place_ref(&self) -> &Place<Self> {
        &self.access.place
    }
}

impl Grant {
    fn is_unused(&self) -> bool {
        self.references == 0 && self.links == 0 && self.mappings.first().is_none() && self.derived.first().is_none()
    }
}

/// A revocation under way.
#[derive(Clone, Copy, Debug)]
pub struct Revocation {
    grant: Id<Grant>,
    /// Where to go on, at or below the grant.
    next: Id<Grant>,
}

/// How a Mapping came to its Region.
#[derive(Debug, Default)]
pub struct Access {
    /// By what it was linked.
    pub link: Option<Capability>,
    /// The rights that were asked for.
    pub wanted: Rights,
    /// Its place among the Mappings that were made through the same grant.
    place: Place<Mapping>,
}

impl Access {
    /// The grant has ended, and the list of its Mappings with it.
    pub fn end(&mut self) {
        self.link = None;
        self.place = Place::default();
    }

    /// The most rights that it gives.
    pub fn limit(&self) -> Rights {
        self.link.map_or(Rights::all(), |link| link.rights.memory())
    }
}

impl Objects {
    /// Whether a capability links to something that exists and has not been taken back.
    pub fn is_valid(&self, capability: &Capability) -> bool {
        self.is_granted(capability) && self.exists(capability.target)
    }

    fn is_granted(&self, capability: &Capability) -> bool {
        capability.grant.is_none_or(|grant| self.grants.get(grant).is_some())
    }

    /// Where calls through a Reference go.
    pub fn destination(&self, reference: &Reference) -> Option<Destination> {
        if reference.direct.is_some() {
            return reference.direct;
        }
        let capability = reference.capability.filter(|capability| self.is_granted(capability))?;
        match capability.target {
            Object::Port(port) if capability.rights.contains(ReferenceRights::CALL) => {
                Some(Destination::new(port, capability.badge))
            }
            _ => None,
        }
    }

    /// The Port that notifications through a Reference go to.
    #[inline(always)]
    pub fn notified(&self, reference: &Reference) -> Option<Id<Port>> {
        let capability = reference.capability.filter(|capability| self.is_granted(capability))?;
        match capability.target {
            Object::Port(port) if capability.rights.contains(ReferenceRights::SEND) => Some(port),
            _ => None,
        }
    }

    /// Makes a Reference hold a capability, or none.
    pub fn set_reference(&mut self, id: Id<Reference>, capability: Option<Capability>) {
        let Some(reference) = self.references.get_mut(id) else { return };
        let before = core::mem::replace(reference, Reference::new(capability));
        // The new one first: who links to the same object as before was never without a link.
        if let Some(capability) = capability {
            self.count(&capability);
        }
        self.discount(before);
    }

    /// Takes a Reference out.
    pub fn remove_reference(&mut self, id: Id<Reference>) {
        if let Some(reference) = self.references.remove(id) {
            self.discount(reference);
        }
    }

    fn count(&mut self, capability: &Capability) {
        if let Some(grant) = capability.grant {
            let Some(grant) = self.grants.get_mut(grant) else { return };
            grant.references += 1;
        }
        match capability.target {
            Object::Port(id) => {
                if let Some(port) = self.ports.get_mut(id) {
                    port.references += 1;
                    port.unreferenced = false;
                }
            }
            Object::Region(id) => {
                if let Some(region) = self.regions.get_mut(id) {
                    region.references += 1;
                }
            }
            _ => {}
        }
    }

    fn discount(&mut self, reference: Reference) {
        let Some(capability) = reference.capability else { return };
        if let Some(id) = capability.grant {
            // A grant that has ended took its References off the target's count.
            let Some(grant) = self.grants.get_mut(id) else { return };
            grant.references -= 1;
            self.end_unused(id);
        }
        self.drop_count(capability.target, 1);
    }

    /// Takes References off the count of their target.
    fn drop_count(&mut self, target: Object, references: u64) {
        match target {
            Object::Port(id) => {
                let Some(port) = self.ports.get_mut(id) else { return };
                port.references -= references;
                if port.tells && references != 0 && port.references == 0 && !port.unreferenced {
                    port.unreferenced = true;
                    port.next_unreferenced = self.first_unreferenced.replace(id);
                }
            }
            Object::Region(id) => {
                if let Some(region) = self.regions.get_mut(id) {
                    region.references -= references;
                }
            }
            _ => {}
        }
    }

    /// Takes a Port whose last Reference has gone, and whose server wants to know, off the list of those.
    pub fn take_unreferenced(&mut self) -> Option<Id<Port>> {
        let id = self.first_unreferenced?;
        self.first_unreferenced = self.ports.get_mut(id).and_then(|port| port.next_unreferenced.take());
        Some(id)
    }

    /// Makes a copy of a valid capability through a new grant, for which `payer` has been charged already. `None` if no
    /// grant may be derived from that of the capability.
    pub fn grant(&mut self, source: Capability, payer: Id<Space>) -> Option<Capability> {
        let mut depth = 0;
        let mut above = source.grant;
        while let Some(id) = above {
            let grant = self.grants.get(id)?;
            depth += 1;
            if grant.ending || depth >= MAX_GRANT_DEPTH {
                return None;
            }
            above = grant.parent;
        }
        let id = self.grants.insert(Grant {
            target: source.target,
            references: 0,
            links: 0,
            mappings: List::default(),
            parent: source.grant,
            derived: List::default(),
            siblings: Place::default(),
            ending: false,
            payer,
            of_payer: Place::default(),
        });
        self.change_derived(source.grant, |derived, grants| derived.add(grants, id));
        if let Some(space) = self.spaces.get_mut(payer) {
            space.grants.add(&mut self.grants, id);
        }
        Some(Capability { rights: source.rights | ReferenceRights::REVOKE, grant: Some(id), ..source })
    }

    /// Begins to revoke a grant: no more are derived from it. `None` if it does not exist any more.
    pub fn begin_revocation(&mut self, grant: Id<Grant>) -> Option<Revocation> {
        self.grants.get_mut(grant)?.ending = true;
        Some(Revocation { grant, next: grant })
    }

    /// Ends one grant, from which none is derived. Returns the first of the Mappings that were made through it; `None` if the
    /// revocation is complete.
    pub fn end_one(&mut self, revocation: &mut Revocation) -> Option<Option<Id<Mapping>>> {
        let mut id = revocation.next;
        while let Some(child) = self.grants.get(id)?.derived.first() {
            id = child;
        }
        let grant = self.remove_grant(id)?;
        self.drop_count(grant.target, grant.references);
        if id != revocation.grant {
            revocation.next = grant.parent.unwrap_or(revocation.grant);
        } else {
            revocation.next = id;
            grant.parent.into_iter().for_each(|parent| self.end_unused(parent));
        }
        Some(grant.mappings.first())
    }

    /// Ends a grant that nothing needs any more, and those above that nothing needs without it.
    pub fn end_unused(&mut self, id: Id<Grant>) {
        let mut here = Some(id);
        while let Some(id) = here {
            if !self.grants.get(id).is_some_and(Grant::is_unused) {
                return;
            }
            here = self.remove_grant(id).and_then(|grant| grant.parent);
        }
    }

    /// Changes the list of the grants that were derived from `parent`.
    fn change_derived(
        &mut self,
        parent: Option<Id<Grant>>,
        change: impl FnOnce(&mut List<Grant, Derived>, &mut Arena<Grant>),
    ) {
        // The list is part of what it links, hence taken out.
        let list = |grant: &mut Grant| core::mem::take(&mut grant.derived);
        let Some((parent, mut derived)) = parent.and_then(|id| Some((id, list(self.grants.get_mut(id)?)))) else {
            return;
        };
        change(&mut derived, &mut self.grants);
        if let Some(parent) = self.grants.get_mut(parent) {
            parent.derived = derived;
        }
    }

    fn remove_grant(&mut self, id: Id<Grant>) -> Option<Grant> {
        let grant = self.grants.get(id)?;
        let (parent, payer) = (grant.parent, grant.payer);
        self.change_derived(parent, |derived, grants| derived.remove(grants, id));
        if let Some(space) = self.spaces.get_mut(payer) {
            space.grants.remove(&mut self.grants, id);
            space.account.refund(GRANT_COST);
        }
        self.grants.remove(id)
    }

    /// An object that is no Reference links by a capability from now on.
    pub fn keep(&mut self, capability: &Capability) {
        if let Some(grant) = capability.grant.and_then(|grant| self.grants.get_mut(grant)) {
            grant.links += 1;
        }
    }

    /// A link that was [kept](Self::keep) is there no more.
    pub fn drop_kept(&mut self, link: Option<Capability>) {
        let Some(id) = link.and_then(|capability| capability.grant) else { return };
        if let Some(grant) = self.grants.get_mut(id) {
            grant.links -= 1;
            self.end_unused(id);
        }
    }

    /// Notes that a Mapping came to its Region through a capability.
    pub fn set_access(&mut self, id: Id<Mapping>, capability: &Capability) {
        self.drop_access(id);
        let Some(mapping) = self.mappings.get_mut(id) else { return };
        mapping.access.link = Some(*capability);
        if let Some(grant) = capability.grant.and_then(|grant| self.grants.get_mut(grant)) {
            grant.mappings.add(&mut self.mappings, id);
        }
    }

    /// Forgets how a Mapping came to its Region.
    pub fn drop_access(&mut self, id: Id<Mapping>) {
        let Some(mapping) = self.mappings.get_mut(id) else { return };
        let Some(grant_id) = mapping.access.link.take().and_then(|link| link.grant) else { return };
        if let Some(grant) = self.grants.get_mut(grant_id) {
            grant.mappings.remove(&mut self.mappings, id);
            self.end_unused(grant_id);
        }
    }
}

#[cfg(test)]
mod tests;
