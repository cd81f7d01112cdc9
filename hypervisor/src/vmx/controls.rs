//! The VM-execution, VM-exit and VM-entry controls, from tables: what must be on, what is used where the processor has
//! it; all else is off. One function fits a table to the capability MSRs (Intel SDM vol. 3D, appendix A).

pub use x86::vmx::vmcs::control::{
    EntryControls as Entry, ExitControls as Exit, PinbasedControls as Pin, PrimaryControls as Primary,
    SecondaryControls as Secondary,
};

/// The sum of named controls of one field.
macro_rules! controls {
    ($field:ident: $($name:ident)|*) => { 0 $(| $field::$name.bits())* };
}

/// What one field of controls should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
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

const NOTHING: Wish = Wish { required: 0, optional: 0, forbidden: 0 };

/// Fits `wish`, for the field called `name` in messages, to a capability MSR: bits 31:0 must be 1 ("allowed 0"), bits 63:32 may be 1 ("allowed 1").
pub const fn fit(name: &'static str, wish: Wish, capability: u64) -> Result<u32, Missing> {
    let (fixed, possible) = (capability as u32, (capability >> 32) as u32);
    let missing = wish.required & !possible;
    let stuck = wish.forbidden & fixed;
    if missing != 0 || stuck != 0 {
        return Err(Missing { name, missing, stuck });
    }
    Ok(fixed | wish.required | (wish.optional & possible))
}

/// Something for each of the five fields of controls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<T> {
    /// Pin-based (25.6.1).
    pub pin: T,
    /// Primary processor-based (25.6.2).
    pub primary: T,
    /// Secondary processor-based (25.6.2).
    pub secondary: T,
    /// VM exit (25.7.1).
    pub exit: T,
    /// VM entry (25.8.1).
    pub entry: T,
}

/// Fitted controls.
pub type Controls = Fields<u32>;

const EXIT: Wish = Wish {
    required: controls!(Exit: SAVE_DEBUG_CONTROLS | HOST_ADDRESS_SPACE_SIZE | SAVE_IA32_PAT | LOAD_IA32_PAT
        | SAVE_IA32_EFER | LOAD_IA32_EFER),
    ..NOTHING
};

const ENTRY: Wish =
    Wish { required: controls!(Entry: LOAD_DEBUG_CONTROLS | LOAD_IA32_PAT | LOAD_IA32_EFER), ..NOTHING };

/// Exits that the kernel must never see, and a machine only where its policy says so.
pub const PAGING_EXITS: u32 = controls!(Primary: INVLPG_EXITING | CR3_LOAD_EXITING | CR3_STORE_EXITING);

/// For the kernel: it runs as on the bare processor.
pub const KERNEL: Fields<Wish> = Fields {
    pin: Wish {
        forbidden: controls!(Pin: EXTERNAL_INTERRUPT_EXITING | NMI_EXITING | VIRTUAL_NMIS | VMX_PREEMPTION_TIMER),
        ..NOTHING
    },
    primary: Wish {
        required: controls!(Primary: USE_MSR_BITMAPS | SECONDARY_CONTROLS),
        forbidden: PAGING_EXITS
            | controls!(Primary: INTERRUPT_WINDOW_EXITING | HLT_EXITING | MWAIT_EXITING | RDTSC_EXITING
                | CR8_LOAD_EXITING | CR8_STORE_EXITING | MOV_DR_EXITING | UNCOND_IO_EXITING | MONITOR_EXITING),
        ..NOTHING
    },
    secondary: Wish {
        required: controls!(Secondary: ENABLE_EPT | UNRESTRICTED_GUEST),
        optional: controls!(Secondary: ENABLE_RDTSCP | ENABLE_VPID | ENABLE_INVPCID | ENABLE_XSAVES_XRSTORS
            | ENABLE_USER_WAIT_PAUSE),
        forbidden: controls!(Secondary: WBINVD_EXITING),
    },
    exit: EXIT,
    entry: Wish { required: ENTRY.required | controls!(Entry: IA32E_MODE_GUEST), ..ENTRY },
};

/// For a virtual CPU: everything that is not its own exits.
pub const MACHINE: Fields<Wish> = Fields {
    pin: Wish {
        required: controls!(Pin: EXTERNAL_INTERRUPT_EXITING | NMI_EXITING),
        optional: controls!(Pin: VIRTUAL_NMIS | VMX_PREEMPTION_TIMER),
        ..NOTHING
    },
    primary: Wish {
        required: controls!(Primary: USE_TSC_OFFSETTING | HLT_EXITING | MWAIT_EXITING | RDPMC_EXITING | CR8_LOAD_EXITING
            | CR8_STORE_EXITING | UNCOND_IO_EXITING | USE_MSR_BITMAPS | MONITOR_EXITING | SECONDARY_CONTROLS),
        forbidden: PAGING_EXITS | controls!(Primary: INTERRUPT_WINDOW_EXITING | RDTSC_EXITING | MOV_DR_EXITING),
        ..NOTHING
    },
    secondary: Wish {
        required: controls!(Secondary: ENABLE_EPT | UNRESTRICTED_GUEST),
        optional: controls!(Secondary: ENABLE_RDTSCP | ENABLE_VPID | WBINVD_EXITING | ENABLE_INVPCID
            | ENABLE_XSAVES_XRSTORS),
        forbidden: controls!(Secondary: ENABLE_USER_WAIT_PAUSE),
    },
    exit: Wish { optional: controls!(Exit: SAVE_VMX_PREEMPTION_TIMER), ..EXIT },
    entry: ENTRY,
};

impl Fields<Wish> {
    /// Fits every field to its capability MSR.
    pub fn fit(&self, capabilities: &Fields<u64>) -> Result<Controls, Missing> {
        Ok(Fields {
            pin: fit("pin-based controls", self.pin, capabilities.pin)?,
            primary: fit("primary processor-based controls", self.primary, capabilities.primary)?,
            secondary: fit("secondary processor-based controls", self.secondary, capabilities.secondary)?,
            exit: fit("VM-exit controls", self.exit, capabilities.exit)?,
            entry: fit("VM-entry controls", self.entry, capabilities.entry)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WISH: Wish = Wish { required: 0b0001, optional: 0b0110, forbidden: 0b1000 };

    #[test]
    fn optional_bits_follow_the_processor() {
        assert_eq!(fit("test", WISH, 0b0011 << 32), Ok(0b0011));
        assert_eq!(fit("test", WISH, 0b1_0111 << 32 | 0b1_0000), Ok(0b1_0111));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(fit("test", WISH, 0).unwrap_err().missing, 1);
        assert_eq!(fit("test", WISH, 0b1001 << 32 | 0b1000).unwrap_err().stuck, 8);
    }

    #[test]
    fn the_tables_do_not_contradict_themselves() {
        for wishes in [KERNEL, MACHINE] {
            for wish in [wishes.pin, wishes.primary, wishes.secondary, wishes.exit, wishes.entry] {
                assert_eq!(wish.forbidden & (wish.required | wish.optional), 0, "{wish:x?}");
            }
        }
    }

    proptest! {
        #[test]
        fn fitted_controls_pass_the_processors_check(required: u32, optional: u32, fixed: u32, possible: u32) {
            let possible = possible | fixed;
            let wish = Wish { required, optional, forbidden: 0 };
            if let Ok(value) = fit("test", wish, u64::from(possible) << 32 | u64::from(fixed)) {
                prop_assert_eq!(value & !possible, 0);
                prop_assert_eq!(!value & fixed, 0);
                prop_assert_eq!(value & required, required);
            }
        }
    }
}
