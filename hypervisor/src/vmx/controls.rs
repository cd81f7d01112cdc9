//! The VM-execution, VM-exit and VM-entry controls, from tables: what must be on, what is used where the processor has
//! it; all else is off. One function fits a table to the capability MSRs (Intel SDM vol. 3D, appendix A).

/// Pin-based controls (25.6.1).
pub mod pin {
    /// External interrupts exit.
    pub const EXTERNAL_INTERRUPT: u32 = 1 << 0;
    /// NMIs exit.
    pub const NMI: u32 = 1 << 3;
    /// NMI blocking is the guest's own.
    pub const VIRTUAL_NMI: u32 = 1 << 5;
    /// The preemption timer bounds a run.
    pub const TIMER: u32 = 1 << 6;
}

/// Primary processor-based controls (25.6.2).
pub mod primary {
    /// Exits as soon as the guest accepts interrupts.
    pub const INTERRUPT_WINDOW: u32 = 1 << 2;
    /// HLT exits.
    pub const HLT: u32 = 1 << 7;
    /// INVLPG exits.
    pub const INVLPG: u32 = 1 << 9;
    /// MWAIT exits.
    pub const MWAIT: u32 = 1 << 10;
    /// RDPMC exits.
    pub const RDPMC: u32 = 1 << 11;
    /// RDTSC and RDTSCP exit.
    pub const RDTSC: u32 = 1 << 12;
    /// MOV to CR3 exits.
    pub const CR3_LOAD: u32 = 1 << 15;
    /// MOV from CR3 exits.
    pub const CR3_STORE: u32 = 1 << 16;
    /// MOV to CR8 exits.
    pub const CR8_LOAD: u32 = 1 << 19;
    /// MOV from CR8 exits.
    pub const CR8_STORE: u32 = 1 << 20;
    /// Debug-register accesses exit.
    pub const DEBUG_REGISTER: u32 = 1 << 23;
    /// Every port access exits.
    pub const IO: u32 = 1 << 24;
    /// The MSR bitmap decides which MSR accesses exit.
    pub const MSR_BITMAP: u32 = 1 << 28;
    /// MONITOR exits.
    pub const MONITOR: u32 = 1 << 29;
    /// There are secondary controls.
    pub const SECONDARY: u32 = 1 << 31;
}

/// Secondary processor-based controls (25.6.2).
pub mod secondary {
    /// Extended page tables.
    pub const EPT: u32 = 1 << 1;
    /// LGDT, SGDT and the like exit. Not used.
    pub const RDTSCP: u32 = 1 << 3;
    /// Translations are tagged.
    pub const VPID: u32 = 1 << 5;
    /// WBINVD exits.
    pub const WBINVD: u32 = 1 << 6;
    /// Real mode and no paging in a guest.
    pub const UNRESTRICTED: u32 = 1 << 7;
    /// INVPCID works.
    pub const INVPCID: u32 = 1 << 12;
    /// XSAVES and XRSTORS work.
    pub const XSAVES: u32 = 1 << 20;
    /// TPAUSE, UMONITOR and UMWAIT work.
    pub const USER_WAIT: u32 = 1 << 26;
}

/// VM-exit controls (25.7.1).
pub mod exit {
    /// Saves DR7 and IA32_DEBUGCTL.
    pub const SAVE_DEBUG: u32 = 1 << 2;
    /// The host runs in 64-bit mode.
    pub const HOST_64: u32 = 1 << 9;
    /// Saves IA32_PAT.
    pub const SAVE_PAT: u32 = 1 << 18;
    /// Loads IA32_PAT.
    pub const LOAD_PAT: u32 = 1 << 19;
    /// Saves IA32_EFER.
    pub const SAVE_EFER: u32 = 1 << 20;
    /// Loads IA32_EFER.
    pub const LOAD_EFER: u32 = 1 << 21;
    /// Saves what is left of the preemption timer.
    pub const SAVE_TIMER: u32 = 1 << 22;
}

/// VM-entry controls (25.8.1).
pub mod entry {
    /// Loads DR7 and IA32_DEBUGCTL.
    pub const LOAD_DEBUG: u32 = 1 << 2;
    /// The guest is in IA-32e mode.
    pub const GUEST_64: u32 = 1 << 9;
    /// Loads IA32_PAT.
    pub const LOAD_PAT: u32 = 1 << 14;
    /// Loads IA32_EFER.
    pub const LOAD_EFER: u32 = 1 << 15;
}

/// What one field of controls should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The field's name in messages.
    pub name: &'static str,
    /// Bits that must be 1.
    pub required: u32,
    /// Bits that are 1 where possible.
    pub optional: u32,
    /// Bits that must be 0, whatever the default: an exit or a feature that would change what a guest may do.
    pub forbidden: u32,
}

/// The processor cannot do what must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which field.
    pub name: &'static str,
    /// Required bits that are fixed to 0.
    pub missing: u32,
    /// Forbidden bits that are fixed to 1.
    pub stuck: u32,
}

/// Fits `wish` to a capability MSR: bits 31:0 must be 1 ("allowed 0"), bits 63:32 may be 1 ("allowed 1").
pub const fn fit(wish: Wish, capability: u64) -> Result<u32, Missing> {
    let (fixed, possible) = (capability as u32, (capability >> 32) as u32);
    let missing = wish.required & !possible;
    let stuck = wish.forbidden & fixed;
    if missing != 0 || stuck != 0 {
        return Err(Missing { name: wish.name, missing, stuck });
    }
    Ok(fixed | wish.required | (wish.optional & possible))
}

/// The five fields of controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Pin-based.
    pub pin: Wish,
    /// Primary processor-based.
    pub primary: Wish,
    /// Secondary processor-based.
    pub secondary: Wish,
    /// VM exit.
    pub exit: Wish,
    /// VM entry.
    pub entry: Wish,
}

const EXIT: Wish = Wish {
    name: "VM-exit controls",
    required: exit::SAVE_DEBUG | exit::HOST_64 | exit::SAVE_PAT | exit::LOAD_PAT | exit::SAVE_EFER | exit::LOAD_EFER,
    optional: 0,
    forbidden: 0,
};

const ENTRY: Wish = Wish {
    name: "VM-entry controls",
    required: entry::LOAD_DEBUG | entry::LOAD_PAT | entry::LOAD_EFER,
    optional: 0,
    forbidden: 0,
};

/// Exits that the kernel must never see, and a machine only where its policy says so.
const PAGING_EXITS: u32 = primary::INVLPG | primary::CR3_LOAD | primary::CR3_STORE;

/// For the kernel: it runs as on the bare processor.
pub const KERNEL: Wishes = Wishes {
    pin: Wish {
        name: "pin-based controls",
        required: 0,
        optional: 0,
        forbidden: pin::EXTERNAL_INTERRUPT | pin::NMI | pin::VIRTUAL_NMI | pin::TIMER,
    },
    primary: Wish {
        name: "primary processor-based controls",
        required: primary::MSR_BITMAP | primary::SECONDARY,
        optional: 0,
        forbidden: PAGING_EXITS
            | primary::INTERRUPT_WINDOW
            | primary::HLT
            | primary::MWAIT
            | primary::RDTSC
            | primary::CR8_LOAD
            | primary::CR8_STORE
            | primary::DEBUG_REGISTER
            | primary::IO
            | primary::MONITOR,
    },
    secondary: Wish {
        name: "secondary processor-based controls",
        required: secondary::EPT | secondary::UNRESTRICTED,
        optional: secondary::RDTSCP | secondary::VPID | secondary::INVPCID | secondary::XSAVES | secondary::USER_WAIT,
        forbidden: secondary::WBINVD,
    },
    exit: EXIT,
    entry: Wish { required: ENTRY.required | entry::GUEST_64, ..ENTRY },
};

/// For a virtual CPU: everything that is not its own exits.
pub const MACHINE: Wishes = Wishes {
    pin: Wish {
        name: "pin-based controls",
        required: pin::EXTERNAL_INTERRUPT | pin::NMI,
        optional: pin::VIRTUAL_NMI | pin::TIMER,
        forbidden: 0,
    },
    primary: Wish {
        name: "primary processor-based controls",
        required: primary::HLT
            | primary::MWAIT
            | primary::RDPMC
            | primary::CR8_LOAD
            | primary::CR8_STORE
            | primary::IO
            | primary::MSR_BITMAP
            | primary::MONITOR
            | primary::SECONDARY,
        optional: 0,
        forbidden: PAGING_EXITS | primary::INTERRUPT_WINDOW | primary::RDTSC | primary::DEBUG_REGISTER,
    },
    secondary: Wish {
        name: "secondary processor-based controls",
        required: secondary::EPT | secondary::UNRESTRICTED,
        optional: secondary::RDTSCP | secondary::VPID | secondary::WBINVD | secondary::INVPCID | secondary::XSAVES,
        forbidden: secondary::USER_WAIT,
    },
    exit: Wish { optional: exit::SAVE_TIMER, ..EXIT },
    entry: ENTRY,
};

/// Fitted controls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// Pin-based.
    pub pin: u32,
    /// Primary processor-based.
    pub primary: u32,
    /// Secondary processor-based.
    pub secondary: u32,
    /// VM exit.
    pub exit: u32,
    /// VM entry.
    pub entry: u32,
}

/// The capability MSRs of the five fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// IA32_VMX_TRUE_PINBASED_CTLS.
    pub pin: u64,
    /// IA32_VMX_TRUE_PROCBASED_CTLS.
    pub primary: u64,
    /// IA32_VMX_PROCBASED_CTLS2.
    pub secondary: u64,
    /// IA32_VMX_TRUE_EXIT_CTLS.
    pub exit: u64,
    /// IA32_VMX_TRUE_ENTRY_CTLS.
    pub entry: u64,
}

impl Wishes {
    /// Fits every field.
    pub fn fit(&self, capabilities: &Capabilities) -> Result<Controls, Missing> {
        Ok(Controls {
            pin: fit(self.pin, capabilities.pin)?,
            primary: fit(self.primary, capabilities.primary)?,
            secondary: fit(self.secondary, capabilities.secondary)?,
            exit: fit(self.exit, capabilities.exit)?,
            entry: fit(self.entry, capabilities.entry)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WISH: Wish = Wish { name: "test", required: 0b0001, optional: 0b0110, forbidden: 0b1000 };

    #[test]
    fn optional_bits_follow_the_processor() {
        assert_eq!(fit(WISH, 0b0011 << 32), Ok(0b0011));
        assert_eq!(fit(WISH, 0b1_0111 << 32 | 0b1_0000), Ok(0b1_0111));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(fit(WISH, 0).unwrap_err().missing, 1);
        assert_eq!(fit(WISH, 0b1001 << 32 | 0b1000).unwrap_err().stuck, 8);
    }

    #[test]
    fn the_tables_do_not_contradict_themselves() {
        for wishes in [KERNEL, MACHINE] {
            for wish in [wishes.pin, wishes.primary, wishes.secondary, wishes.exit, wishes.entry] {
                assert_eq!(wish.forbidden & (wish.required | wish.optional), 0, "{}", wish.name);
            }
        }
    }

    proptest! {
        #[test]
        fn fitted_controls_pass_the_processors_check(required: u32, optional: u32, fixed: u32, possible: u32) {
            let possible = possible | fixed;
            let wish = Wish { name: "test", required, optional, forbidden: 0 };
            if let Ok(value) = fit(wish, u64::from(possible) << 32 | u64::from(fixed)) {
                prop_assert_eq!(value & !possible, 0);
                prop_assert_eq!(!value & fixed, 0);
                prop_assert_eq!(value & required, required);
            }
        }
    }
}
