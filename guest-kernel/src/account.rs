//! Accounts: what a Space and its descendants may use of kernel memory, objects and CPU time, and whom they got it from.
//!
//! Kernel memory and objects are handed down: an account is opened with quotas that are taken from its parent's, so no subtree
//! ever uses more than its root was given. What an account has passed on counts as used until it comes back.
//!
//! CPU time is limited, not handed down: what a Space uses counts for all above it ([`Time`]).
//!
//! # What outlives a Space
//!
//! Objects live in memory, not in Spaces, so some of those that a Space has paid for may be there when it is gone, and so may
//! its children. They are paid for all the same: a [`Payer`] stands for the Space as long as anything does that it has paid for. With the Space the
//! quotas return to the parent but for what such things cost, and that returns when they go.
//!
//! Invariants, for every payer: what it has used is the sum of what its objects cost and its children's quotas are, and of what the tables
//! of its Space take while there is one; that is no more than its quotas. One without a Space has used all that it has.

use crate::arena::{Arena, Id};
use crate::dispatch::Time;
use crate::memory::hierarchy::Space;
use crate::objects::Objects;
use protocols::address::PAGE_SIZE;
use protocols::api::{MAX_SPACE_DEPTH, Status};

/// What a payer costs the one above it for as long as it exists, in bytes.
pub const PAYER_COST: u64 = 320;
const _: () = assert!(Arena::<Payer>::SLOT_SIZE as u64 <= PAYER_COST);

/// The kernel memory of a Space, in bytes, and who stands for it.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    allowance: u64,
    used: u64,
    payer: Option<Id<Payer>>,
}

/// The allowance does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl Account {
    /// An account with an allowance in bytes.
    pub const fn new(allowance: u64, payer: Option<Id<Payer>>) -> Self {
        Self { allowance, used: 0, payer }
    }

    /// Takes `bytes` of the allowance.
    #[inline]
    pub fn charge(&mut self, bytes: u64) -> Result<(), Exhausted> {
        let used = self.used.checked_add(bytes).ok_or(Exhausted)?;
        if used > self.allowance {
            return Err(Exhausted);
        }
        self.used = used;
        Ok(())
    }

    /// Gives `bytes` back.
    #[inline]
    pub fn refund(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Who stands for the Space. `None` for those that pay for nothing.
    pub fn payer(&self) -> Option<Id<Payer>> {
        self.payer
    }

    /// Allowance and use in frames, rounded up.
    pub fn frames(&self) -> (u64, u64) {
        (self.allowance / PAGE_SIZE, self.used.div_ceil(PAGE_SIZE))
    }
}

/// Who pays: a Space, or what is left of its account when it is gone.
#[derive(Debug)]
pub struct Payer {
    /// Whom the quotas came from.
    parent: Option<Id<Self>>,
    /// The Space, while it exists.
    space: Option<Id<Space>>,
    /// How many are above it.
    depth: u64,
    objects: u64,
    objects_used: u64,
    /// Kernel memory that does not return with the Space: that of its objects, and what it has passed on.
    lasting: u64,
    /// CPU time.
    pub time: Time,
}

impl Payer {
    fn new(parent: Option<Id<Self>>, depth: u64, objects: u64) -> Self {
        Self { parent, space: None, depth, objects, objects_used: 0, lasting: 0, time: Time::default() }
    }

    /// Whom the quotas came from.
    pub fn parent(&self) -> Option<Id<Self>> {
        self.parent
    }

    /// How many objects it may have, and how many it has or has passed on.
    pub fn objects(&self) -> (u64, u64) {
        (self.objects, self.objects_used)
    }

    fn is_unused(&self) -> bool {
        self.space.is_none() && self.lasting == 0 && self.objects_used == 0
    }
}

/// New quotas of a Space, in bytes and objects; `None` for one that stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewQuotas {
    /// Kernel memory.
    pub memory: Option<u64>,
    /// Objects.
    pub objects: Option<u64>,
}

impl Objects {
    /// The account of the first Space, whose quotas come from nobody.
    pub fn open_first_account(&mut self, memory: u64, objects: u64) -> Account {
        Account::new(memory, Some(self.payers.insert(Payer::new(None, 0, objects))))
    }

    /// Notes whose account it is that a Space was made with.
    pub fn settle_in(&mut self, space: Id<Space>) {
        let payer = self.spaces.get(space).and_then(|space| space.account.payer);
        if let Some(payer) = payer.and_then(|payer| self.payers.get_mut(payer)) {
            payer.space = Some(space);
        }
    }

    /// Opens an account with quotas of `memory` bytes and `objects`, taken from those of `parent`.
    pub fn open_account(&mut self, parent: Id<Space>, memory: u64, objects: u64) -> Result<Account, Status> {
        let id = self.payer_of(parent).ok_or(Status::NoMemory)?;
        let depth = self.payers.get(id).map_or(0, |payer| payer.depth) + 1;
        if depth > MAX_SPACE_DEPTH {
            return Err(Status::Refused);
        }
        self.take(parent, memory.saturating_add(PAYER_COST), objects)?;
        Ok(Account::new(memory, Some(self.payers.insert(Payer::new(Some(id), depth, objects)))))
    }

    /// Closes the account of a Space that is gone, or was never made. What is used of it lasts; the rest returns.
    pub fn close_account(&mut self, account: Account) {
        let Some((id, payer)) = account.payer.and_then(|id| Some((id, self.payers.get_mut(id)?))) else { return };
        let mut memory = account.allowance.saturating_sub(payer.lasting);
        let objects = payer.objects - payer.objects_used;
        (payer.space, payer.objects) = (None, payer.objects_used);
        let parent = payer.parent;
        if payer.is_unused() {
            self.remove_payer(id);
            memory += PAYER_COST;
        }
        if let Some(parent) = parent {
            self.give_back(parent, memory, objects);
        }
    }

    /// Charges a Space for an object of `bytes`.
    pub fn charge_object(&mut self, space: Id<Space>, bytes: u64) -> Result<Id<Payer>, Status> {
        self.take(space, bytes, 1)
    }

    /// An object is gone that `payer` was charged for.
    pub fn refund_object(&mut self, payer: Id<Payer>, bytes: u64) {
        self.give_back(payer, bytes, 1);
    }

    /// Charges who pays for an object `bytes` more for it. False, with nothing changed, if it cannot pay, or its Space is gone.
    pub fn charge_more(&mut self, payer: Id<Payer>, bytes: u64) -> bool {
        let space = self.payers.get(payer).and_then(|payer| payer.space);
        space.is_some_and(|space| self.take(space, bytes, 0).is_ok())
    }

    /// Gives back what was [charged more](Self::charge_more).
    pub fn refund_more(&mut self, payer: Id<Payer>, bytes: u64) {
        self.give_back(payer, bytes, 0);
    }

    /// Who stands for a Space.
    pub fn payer_of(&self, space: Id<Space>) -> Option<Id<Payer>> {
        self.spaces.get(space)?.account.payer
    }

    /// Takes what lasts longer than the Space itself may from its quotas.
    fn take(&mut self, space: Id<Space>, bytes: u64, objects: u64) -> Result<Id<Payer>, Status> {
        let account = &mut self.spaces.get_mut(space).ok_or(Status::NoMemory)?.account;
        let id = account.payer.ok_or(Status::NoMemory)?;
        let payer = self.payers.get_mut(id).ok_or(Status::NoMemory)?;
        if objects > payer.objects - payer.objects_used {
            return Err(Status::NoObjects);
        }
        account.charge(bytes).map_err(|_| Status::NoMemory)?;
        payer.objects_used += objects;
        payer.lasting += bytes;
        Ok(id)
    }

    /// Gives back what was [taken](Self::take): to the Space, or, where that is gone, to whom its quotas came from.
    fn give_back(&mut self, payer: Id<Payer>, bytes: u64, objects: u64) {
        let (mut next, mut bytes) = (Some(payer), bytes);
        while let Some((id, payer)) = next.and_then(|id| Some((id, self.payers.get_mut(id)?))) {
            payer.lasting = payer.lasting.saturating_sub(bytes);
            payer.objects_used = payer.objects_used.saturating_sub(objects);
            if let Some(space) = payer.space.and_then(|space| self.spaces.get_mut(space)) {
                return space.account.refund(bytes);
            }
            payer.objects = payer.objects_used;
            next = payer.parent;
            if payer.is_unused() {
                self.remove_payer(id);
                bytes += PAYER_COST;
            }
        }
    }

    /// Whether the quotas of `space` came from `above`, directly or not.
    pub fn is_above(&self, above: Id<Space>, space: Id<Space>) -> bool {
        let Some(above) = self.payer_of(above) else { return false };
        let parent = |id: Id<Payer>| self.payers.get(id)?.parent;
        core::iter::successors(self.payer_of(space).and_then(parent), |&id| parent(id)).any(|id| id == above)
    }

    /// Changes quotas of a Space: more is taken from whom they came from, less returns there. All or nothing. `Refused` where less is left
    /// than is used.
    pub fn set_quotas(&mut self, space: Id<Space>, new: NewQuotas) -> Result<(), Status> {
        let account = self.spaces.get(space).ok_or(Status::Refused)?.account;
        let payer = account.payer.and_then(|id| self.payers.get(id)).ok_or(Status::Refused)?;
        let parent = payer.parent.ok_or(Status::Refused)?;
        let (memory, objects) = (new.memory.unwrap_or(account.allowance), new.objects.unwrap_or(payer.objects));
        if memory < account.used || objects < payer.objects_used {
            return Err(Status::Refused);
        }
        let (memory_before, objects_before) = (account.allowance, payer.objects);
        let more = (memory.saturating_sub(memory_before), objects.saturating_sub(objects_before));
        if more != (0, 0) {
            let parent = self.payers.get(parent).and_then(|parent| parent.space).ok_or(Status::NoMemory)?;
            self.take(parent, more.0, more.1)?;
        }
        if let Some(space) = self.spaces.get_mut(space) {
            space.account.allowance = memory;
        }
        if let Some(payer) = account.payer.and_then(|id| self.payers.get_mut(id)) {
            payer.objects = objects;
        }
        self.give_back(parent, memory_before.saturating_sub(memory), objects_before.saturating_sub(objects));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
