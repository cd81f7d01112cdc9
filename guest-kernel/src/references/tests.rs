//! References against a model that knows no counts and no grants, only who got what from whom.

use super::*;
use crate::account::Account;
use crate::space::Contents;
use alloc::vec::Vec;
use proptest::prelude::*;

const PORTS: usize = 2;
const SLOTS: usize = 6;
const PAYERS: usize = 2;
const ALLOWANCE: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Point a Reference at a Port.
    Refer(usize, usize),
    Copy(usize, usize),
    Restrict(usize, usize, u64),
    /// From, to, who pays.
    Grant(usize, usize, usize),
    /// Revoke the grant of a Reference, at most so many grants at a time.
    Revoke(usize, usize),
    Clear(usize),
    /// Destroy a Reference and make another.
    Renew(usize),
    /// Make a Reference the keeper of a payer's Space.
    Keep(usize, usize),
    DestroyPort(usize),
    /// End all grants that somebody pays for.
    EndGrants(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = || 0..SLOTS;
    let step = prop_oneof![
        3 => (slot(), 0..PORTS).prop_map(|(to, port)| Step::Refer(to, port)),
        6 => (slot(), slot()).prop_map(|(from, to)| Step::Copy(from, to)),
        2 => (slot(), slot(), any::<u64>()).prop_map(|(from, to, rights)| Step::Restrict(from, to, rights)),
        5 => (slot(), slot(), 0..PAYERS).prop_map(|(from, to, payer)| Step::Grant(from, to, payer)),
        3 => (slot(), 1usize..4).prop_map(|(of, most)| Step::Revoke(of, most)),
        5 => slot().prop_map(Step::Clear),
        1 => slot().prop_map(Step::Renew),
        2 => (slot(), 0..PAYERS).prop_map(|(from, payer)| Step::Keep(from, payer)),
        1 => (0..PORTS).prop_map(Step::DestroyPort),
        1 => (0..PAYERS).prop_map(Step::EndGrants),
    ];
    prop::collection::vec(step, 0..150)
}

/// What a Reference holds, in the model: the grants are those that it came through, oldest first.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    port: usize,
    rights: ReferenceRights,
    through: Vec<usize>,
}

#[derive(Default)]
struct Model {
    slots: [Option<Held>; SLOTS],
    keepers: [Option<Held>; PAYERS],
    /// Who pays for each grant, and whether it has been revoked.
    grants: Vec<(usize, bool)>,
}

impl Model {
    fn is_granted(&self, held: &Held) -> bool {
        held.through.iter().all(|&grant| !self.grants[grant].1)
    }

    fn count(&self, port: usize) -> u64 {
        self.slots.iter().flatten().filter(|held| held.port == port && self.is_granted(held)).count() as u64
    }

    /// Grants that something was made through that is not void, by payer.
    fn needed(&self, payer: usize) -> u64 {
        let holders = || self.slots.iter().chain(&self.keepers).flatten().filter(|held| self.is_granted(held));
        let needed = |grant| holders().any(|held| held.through.contains(&grant));
        (0..self.grants.len()).filter(|&grant| self.grants[grant].0 == payer && needed(grant)).count() as u64
    }
}

struct World {
    objects: Objects,
    ports: Vec<Id<Port>>,
    payers: Vec<Id<Space>>,
    slots: Vec<Id<Reference>>,
    model: Model,
}

impl World {
    fn new() -> Self {
        let mut objects = Objects::new(crate::memory::places::Places::on_host(1));
        let ports = (0..PORTS).map(|_| objects.ports.insert(Port { tells: true, ..Port::default() })).collect();
        let space = || Space::new(Contents::Unbuilt, Account::new(ALLOWANCE, None));
        let payers = (0..PAYERS).map(|_| objects.spaces.insert(space())).collect();
        let slots = (0..SLOTS).map(|_| objects.references.insert(Reference::default())).collect();
        Self { objects, ports, payers, slots, model: Model::default() }
    }

    fn capability(&self, slot: usize) -> Option<Capability> {
        self.objects.references.get(self.slots[slot]).unwrap().capability()
    }

    fn revoke(&mut self, grant: Id<Grant>, most: usize) {
        while let Some(mut revocation) = self.objects.begin_revocation(grant) {
            // Interrupted after some, it begins anew.
            let mut left = most;
            while left > 0 && self.objects.end_one(&mut revocation).is_some() {
                left -= 1;
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Refer(to, port) => {
                let capability = Capability::new(Object::Port(self.ports[port]));
                self.objects.set_reference(self.slots[to], Some(capability));
                let rights = ReferenceRights::all() - ReferenceRights::REVOKE;
                self.model.slots[to] = Some(Held { port, rights, through: Vec::new() });
            }
            Step::Copy(from, to) => {
                let capability = self.capability(from).map(Capability::copy);
                self.objects.set_reference(self.slots[to], capability);
                self.model.slots[to] = self.model.slots[from]
                    .clone()
                    .map(|held| Held { rights: held.rights - ReferenceRights::REVOKE, ..held });
            }
            Step::Restrict(from, to, rights) => {
                let rights = ReferenceRights::from_bits_truncate(rights);
                let capability = self.capability(from).map(|capability| capability.limited(rights));
                self.objects.set_reference(self.slots[to], capability);
                self.model.slots[to] = self.model.slots[from]
                    .clone()
                    .map(|held| Held { rights: held.rights & (rights - ReferenceRights::REVOKE), ..held });
            }
            Step::Grant(from, to, payer) => {
                let Some(capability) = self.capability(from) else { return };
                if !self.objects.is_valid(&capability) {
                    return;
                }
                self.objects.spaces.get_mut(self.payers[payer]).unwrap().account.charge(GRANT_COST).unwrap();
                let granted = self.objects.grant(capability, self.payers[payer]).unwrap();
                self.objects.set_reference(self.slots[to], Some(granted));
                let mut held = self.model.slots[from].clone().unwrap();
                held.through.push(self.model.grants.len());
                held.rights |= ReferenceRights::REVOKE;
                self.model.grants.push((payer, false));
                self.model.slots[to] = Some(held);
            }
            Step::Revoke(of, most) => {
                let Some(grant) = self.capability(of).and_then(|capability| capability.grant) else { return };
                self.revoke(grant, most);
                let grant = *self.model.slots[of].as_ref().unwrap().through.last().unwrap();
                self.model.grants[grant].1 = true;
            }
            Step::Clear(slot) => {
                self.objects.set_reference(self.slots[slot], None);
                self.model.slots[slot] = None;
            }
            Step::Renew(slot) => {
                self.objects.remove_reference(self.slots[slot]);
                self.slots[slot] = self.objects.references.insert(Reference::default());
                self.model.slots[slot] = None;
            }
            Step::Keep(from, payer) => {
                let Some(capability) = self.capability(from) else { return };
                self.objects.keep(&capability);
                let space = self.objects.spaces.get_mut(self.payers[payer]).unwrap();
                let before = core::mem::replace(&mut space.keeper, Reference::new(Some(capability)));
                self.objects.drop_kept(before.capability());
                self.model.keepers[payer] = self.model.slots[from].clone();
            }
            Step::DestroyPort(port) => {
                self.objects.ports.remove(self.ports[port]);
                // Its number stands for another one from now on.
                self.ports[port] = self.objects.ports.insert(Port { tells: true, ..Port::default() });
                let held = self.model.slots.iter_mut().chain(&mut self.model.keepers).flatten();
                held.filter(|held| held.port == port).for_each(|held| held.port = usize::MAX);
            }
            Step::EndGrants(payer) => {
                while let Some(grant) = self.objects.spaces.get(self.payers[payer]).unwrap().grants.first() {
                    self.revoke(grant, usize::MAX);
                }
                for grant in self.model.grants.iter_mut().filter(|grant| grant.0 == payer) {
                    grant.1 = true;
                }
            }
        }
    }

    fn check(&mut self, before: [u64; PORTS], destroyed: Option<usize>) -> Result<(), TestCaseError> {
        let mut told: Vec<_> = core::iter::from_fn(|| self.objects.take_unreferenced()).collect();
        for (number, &id) in self.ports.iter().enumerate() {
            let port = self.objects.ports.get_mut(id).unwrap();
            prop_assert_eq!(port.references, self.model.count(number));
            let lost = destroyed != Some(number) && before[number] > 0 && port.references == 0;
            prop_assert_eq!(told.contains(&id), lost, "port {}", number);
            told.retain(|&other| other != id);
            port.unreferenced = false;
        }
        prop_assert!(told.is_empty());
        for (slot, held) in self.model.slots.iter().enumerate() {
            let capability = self.capability(slot);
            prop_assert_eq!(capability.is_some(), held.is_some());
            if let (Some(capability), Some(held)) = (capability, held) {
                let valid = held.port != usize::MAX && self.model.is_granted(held);
                prop_assert_eq!(self.objects.is_valid(&capability), valid);
                prop_assert_eq!(capability.rights, held.rights);
                let reference = self.objects.references.get(self.slots[slot]).unwrap();
                let destination = self.objects.destination(reference).map(|destination| destination.port);
                let calls = self.model.is_granted(held) && held.rights.contains(ReferenceRights::CALL);
                prop_assert_eq!(destination.is_some(), calls);
            }
        }
        let mut needed = 0;
        for (number, &payer) in self.payers.iter().enumerate() {
            let mut account = self.objects.spaces.get(payer).unwrap().account;
            let of_payer = self.model.needed(number);
            needed += of_payer;
            let left = ALLOWANCE - of_payer * GRANT_COST;
            prop_assert!(account.charge(left).is_ok() && account.charge(1).is_err(), "not {} grants", of_payer);
        }
        prop_assert_eq!(self.objects.grants.len() as u64, needed);
        Ok(())
    }
}

proptest! {
    #[test]
    fn references_are_what_the_model_says(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            let before = core::array::from_fn(|port| world.model.count(port));
            world.take(step);
            let destroyed = if let Step::DestroyPort(port) = step { Some(port) } else { None };
            world.check(before, destroyed)?;
        }
    }
}

#[test]
fn grants_are_derived_no_deeper_than_documented() {
    let mut world = World::new();
    let mut capability = Capability::new(Object::Port(world.ports[0]));
    let mut held = Vec::new();
    let mut depth = 0;
    while let Some(granted) = world.objects.grant(capability, world.payers[0]) {
        depth += 1;
        let reference = world.objects.references.insert(Reference::default());
        world.objects.set_reference(reference, Some(granted));
        held.push(granted);
        capability = granted;
    }
    assert_eq!(depth, MAX_GRANT_DEPTH);
    // Below a grant that is being revoked, nothing more is derived.
    world.objects.begin_revocation(held[3].grant.unwrap());
    assert_eq!(world.objects.grant(held[9], world.payers[0]), None);
    assert!(world.objects.grant(held[2], world.payers[0]).is_some());
}
