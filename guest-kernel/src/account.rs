//! Kernel memory accounts: what a Space may use, and whom it got that from.
//!
//! An account is opened with an allowance taken from its parent's, so no subtree ever uses more than its root was given.
//! What an account has passed on counts as used until the child's account is closed.

use crate::arena::Id;
use crate::memory::hierarchy::Space;
use protocols::address::PAGE_SIZE;

/// The kernel memory account of a Space, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    allowance: u64,
    used: u64,
    parent: Option<Id<Space>>,
}

/// The allowance does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl Account {
    /// An account with an allowance in bytes that was charged to `parent`.
    pub const fn new(allowance: u64, parent: Option<Id<Space>>) -> Self {
        Self { allowance, used: 0, parent }
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

    /// Whom the allowance came from.
    pub fn parent(&self) -> Option<Id<Space>> {
        self.parent
    }

    /// The allowance in bytes.
    pub fn allowance(&self) -> u64 {
        self.allowance
    }

    /// Allowance and use in frames, rounded up.
    pub fn frames(&self) -> (u64, u64) {
        (self.allowance / PAGE_SIZE, self.used.div_ceil(PAGE_SIZE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
