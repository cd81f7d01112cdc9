//! A random tree of Spaces that come, go, charge and are given more or less, against a tree that is counted anew each time.

use super::*;
use crate::space::Contents;
use alloc::vec::Vec;
use proptest::prelude::*;

#[test]
fn no_more_than_the_allowance() {
    let mut account = Account::new(100, None);
    assert_eq!(account.charge(60), Ok(()));
    assert_eq!(account.charge(41), Err(Exhausted));
    assert_eq!(account.charge(40), Ok(()));
    assert_eq!(account.charge(u64::MAX), Err(Exhausted));
    account.refund(1);
    assert_eq!(account.charge(1), Ok(()));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create(usize, u64, u64),
    Destroy(usize),
    Object(usize, u64),
    Drop(usize),
    Table(usize, u64),
    Set(usize, Option<u64>, Option<u64>),
}

/// A Space as the model sees it: it knows its own quotas and nothing of what is used.
struct Node {
    id: Id<Space>,
    parent: Option<usize>,
    alive: bool,
    memory: u64,
    objects: u64,
    tables: u64,
}

struct World {
    objects: Objects,
    nodes: Vec<Node>,
    /// Objects: who paid, how much.
    things: Vec<(usize, Id<Payer>, u64)>,
}

impl World {
    fn new(memory: u64, objects: u64) -> Self {
        let mut world = Self {
            objects: Objects::new(crate::memory::places::Places::on_host(1)),
            nodes: Vec::new(),
            things: Vec::new(),
        };
        let account = world.objects.open_first_account(memory, objects);
        world.add(account, None, memory, objects);
        world
    }

    fn add(&mut self, account: Account, parent: Option<usize>, memory: u64, objects: u64) {
        let id = self.objects.spaces.insert(Space::new(Contents::Unbuilt, account));
        self.objects.settle_in(id);
        self.nodes.push(Node { id, parent, alive: true, memory, objects, tables: 0 });
    }

    /// What a Space has used, by looking at everything: memory that lasts, objects.
    fn used(&self, index: usize) -> (u64, u64) {
        let own = self.things.iter().filter(|thing| thing.0 == index);
        let mut used = own.fold((0, 0), |sum, thing| (sum.0 + thing.2, sum.1 + 1));
        for (child, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.parent == Some(index)) {
            let below = self.used(child);
            let held = match () {
                () if node.alive => (node.memory + PAYER_COST, node.objects),
                () if below == (0, 0) => (0, 0),
                () => (below.0 + PAYER_COST, below.1),
            };
            used = (used.0 + held.0, used.1 + held.1);
        }
        used
    }

    fn left(&self, index: usize) -> (u64, u64) {
        let (used, node) = (self.used(index), &self.nodes[index]);
        (node.memory - used.0 - node.tables, node.objects - used.1)
    }

    fn perform(&mut self, step: Step) -> Result<(), TestCaseError> {
        let alive = |world: &Self, index: usize| {
            let index = index % world.nodes.len();
            world.nodes[index].alive.then_some(index)
        };
        match step {
            Step::Create(parent, memory, objects) => {
                let Some(parent) = alive(self, parent) else { return Ok(()) };
                let left = self.left(parent);
                let opened = self.objects.open_account(self.nodes[parent].id, memory, objects);
                let expected = match () {
                    () if objects > left.1 => Err(Status::NoObjects),
                    () if memory + PAYER_COST > left.0 => Err(Status::NoMemory),
                    () => Ok(()),
                };
                prop_assert_eq!(opened.map(|_| ()), expected);
                if let Ok(account) = opened {
                    self.add(account, Some(parent), memory, objects);
                }
            }
            Step::Destroy(index) => {
                // The first one is not to end.
                let Some(index) = alive(self, index).filter(|&index| index > 0) else { return Ok(()) };
                self.nodes[index].alive = false;
                let account = self.objects.spaces.remove(self.nodes[index].id).unwrap().account;
                self.objects.close_account(account);
            }
            Step::Object(index, bytes) => {
                let Some(index) = alive(self, index) else { return Ok(()) };
                let left = self.left(index);
                let charged = self.objects.charge_object(self.nodes[index].id, bytes);
                let expected = match () {
                    () if left.1 == 0 => Err(Status::NoObjects),
                    () if bytes > left.0 => Err(Status::NoMemory),
                    () => Ok(()),
                };
                prop_assert_eq!(charged.map(|_| ()), expected);
                self.things.extend(charged.ok().map(|payer| (index, payer, bytes)));
            }
            Step::Drop(number) if !self.things.is_empty() => {
                let (_, payer, bytes) = self.things.swap_remove(number % self.things.len());
                self.objects.refund_object(payer, bytes);
            }
            Step::Drop(_) => {}
            Step::Table(index, bytes) => {
                let Some(index) = alive(self, index) else { return Ok(()) };
                let fits = bytes <= self.left(index).0;
                let account = &mut self.objects.spaces.get_mut(self.nodes[index].id).unwrap().account;
                prop_assert_eq!(account.charge(bytes).is_ok(), fits);
                if fits {
                    self.nodes[index].tables += bytes;
                }
            }
            Step::Set(index, memory, objects) => {
                let Some(index) = alive(self, index) else { return Ok(()) };
                let node = &self.nodes[index];
                let new = (memory.unwrap_or(node.memory), objects.unwrap_or(node.objects));
                let used = self.used(index);
                let more = (new.0.saturating_sub(node.memory), new.1.saturating_sub(node.objects));
                let expected = match node.parent {
                    None => Err(Status::Refused),
                    Some(_) if new.0 < used.0 + node.tables || new.1 < used.1 => Err(Status::Refused),
                    Some(_) if more == (0, 0) => Ok(()),
                    Some(parent) if !self.nodes[parent].alive => Err(Status::NoMemory),
                    Some(parent) if more.1 > self.left(parent).1 => Err(Status::NoObjects),
                    Some(parent) if more.0 > self.left(parent).0 => Err(Status::NoMemory),
                    Some(_) => Ok(()),
                };
                let set = self.objects.set_quotas(node.id, NewQuotas { memory, objects });
                prop_assert_eq!(set, expected);
                if set.is_ok() {
                    (self.nodes[index].memory, self.nodes[index].objects) = new;
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut payers = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            let used = self.used(index);
            payers += usize::from(node.alive || used != (0, 0));
            let Some(space) = self.objects.spaces.get(node.id) else { continue };
            prop_assert_eq!((space.account.allowance, space.account.used), (node.memory, used.0 + node.tables));
            let payer = self.objects.payers.get(space.account.payer.unwrap()).unwrap();
            prop_assert_eq!(payer.objects(), (node.objects, used.1));
            prop_assert!(used.0 + node.tables <= node.memory && used.1 <= node.objects);
        }
        // None stays whom nothing needs.
        prop_assert_eq!(self.objects.payers.len(), payers);
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let (index, amount, count) = (0usize..1000, 0u64..3000, 0u64..10);
    prop_oneof![
        4 => (index.clone(), 0u64..20_000, count.clone()).prop_map(|(i, m, o)| Step::Create(i, m, o)),
        2 => index.clone().prop_map(Step::Destroy),
        5 => (index.clone(), amount.clone()).prop_map(|(i, b)| Step::Object(i, b)),
        4 => index.clone().prop_map(Step::Drop),
        2 => (index.clone(), amount).prop_map(|(i, b)| Step::Table(i, b)),
        3 => (index, prop::option::of(0u64..20_000), prop::option::of(count)).prop_map(|(i, m, o)| Step::Set(i, m, o)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    #[test]
    fn nobody_uses_more_than_was_given_and_everything_returns(steps in prop::collection::vec(steps(), 0..120)) {
        let mut world = World::new(60_000, 40);
        for step in steps {
            world.perform(step)?;
            world.check()?;
        }
        // In whatever order the rest goes, the first has everything back at the end.
        for index in 1..world.nodes.len() {
            world.perform(Step::Destroy(index))?;
        }
        while !world.things.is_empty() {
            world.perform(Step::Drop(0))?;
        }
        world.check()?;
        prop_assert_eq!(world.used(0), (0, 0));
    }
}

#[test]
fn there_is_an_end_to_nesting() {
    let mut world = World::new(1 << 40, 1 << 20);
    for depth in 0..MAX_SPACE_DEPTH {
        let memory = (1 << 40) - (depth + 1) * 4096;
        let account = world.objects.open_account(world.nodes[depth as usize].id, memory, 0).unwrap();
        world.add(account, Some(depth as usize), memory, 0);
    }
    let last = world.nodes.last().unwrap().id;
    assert_eq!(world.objects.open_account(last, 0, 0).err(), Some(Status::Refused));
    assert!(world.objects.is_above(world.nodes[0].id, last) && !world.objects.is_above(last, last));
    assert!(!world.objects.is_above(last, world.nodes[0].id));
}
