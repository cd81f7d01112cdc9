//! References.

use super::Rights;
use bitflags::bitflags;

/// How many grants may be derived from each other in a row.
pub const MAX_GRANT_DEPTH: u32 = 256;

bitflags! {
    /// What a Reference is good for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ReferenceRights: u64 {
        /// To a Port: send notifications.
        const SEND = 1 << 0;
        /// To a Port: call, and make it a keeper.
        const CALL = 1 << 1;
        /// Copy the Reference, and send it in messages.
        const COPY = 1 << 2;
        /// To a Port: set a badge, once.
        const BADGE = 1 << 3;
        /// Make copies that can be revoked.
        const GRANT = 1 << 4;
        /// Revoke the grant. No copy has it.
        const REVOKE = 1 << 5;
        /// To a Portset: put Ports into it.
        const SERVE = 1 << 6;
        /// To a Region: map it to be read.
        const READ = 1 << 8;
        /// To a Region: map it to be written.
        const WRITE = 1 << 9;
        /// To a Region: map it to be executed.
        const EXECUTE = 1 << 10;
        /// To a Region: map it to create objects in it.
        const CREATE_OBJECT = 1 << 11;
        /// To a Space: make Mappings appear in it.
        const MAP = 1 << 12;
        /// To a Space: export its memory.
        const EXPORT = 1 << 13;
        /// To a Space: have Threads run in it.
        const RUN = 1 << 14;
    }
}

impl ReferenceRights {
    /// The rights of the Mappings of a Region that are made through the Reference.
    pub const fn memory(self) -> Rights {
        Rights::from_bits_truncate(self.bits() >> 8)
    }
}

const _: () = assert!(ReferenceRights::all().memory().bits() == Rights::all().bits());
