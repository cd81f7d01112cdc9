//! Power-off as the firmware describes it: the PM1 control registers from the FADT, and the sleep types of state S5
//! from the DSDT (ACPI 6.5, 4.8.3.2.1 and 7.4.2.6).
//!
//! The one AML object needed, `\_S5_`, is a package of constants in practice, which is found without an interpreter.

use core::ptr::{self, NonNull};

use acpi::address::AddressSpace;
use acpi::fadt::Fadt;
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use spin::Once;

use crate::port::Port;

static SOFT_OFF: Once<SoftOff> = Once::new();

/// SLP_EN of a PM1 control register; SLP_TYP is in bits 12:10.
const SLEEP_ENABLE: u16 = 1 << 13;
/// SCI_EN: ACPI is on.
const ACPI_ENABLED: u16 = 1;
/// How often to look whether the firmware switched ACPI on.
const POLLS: u32 = 10_000_000;

/// What to write where.
#[derive(Clone, Copy, Debug)]
struct SoftOff {
    control: [Option<(Port, u16)>; 2],
    /// The port and the command with which the firmware switches ACPI on.
    enable: Option<(Port, u8)>,
}

/// All physical memory is mapped one to one.
#[derive(Clone)]
struct Identity;

impl AcpiHandler for Identity {
    unsafe fn map_physical_region<T>(&self, address: usize, size: usize) -> PhysicalMapping<Self, T> {
        let start = NonNull::new(ptr::with_exposed_provenance_mut(address)).unwrap_or(NonNull::dangling());
        // SAFETY: firmware tables lie in memory, all of which is mapped; the caller says that a T is there.
        unsafe { PhysicalMapping::new(address, start, size, size, Self) }
    }
    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}

/// Reads the firmware's tables. Returns whether they say how to power off.
pub fn read_tables(rsdp: &[u8]) -> bool {
    let soft_off = find(rsdp);
    if let Some(soft_off) = soft_off {
        SOFT_OFF.call_once(|| soft_off);
    }
    soft_off.is_some()
}

fn find(rsdp: &[u8]) -> Option<SoftOff> {
    // SAFETY: a copy of the RSDP that the boot loader found; the crate checks signatures and checksums.
    let tables = unsafe { AcpiTables::from_rsdp(Identity, rsdp.as_ptr().expose_provenance()) }.ok()?;
    let fadt = tables.find_table::<Fadt>().ok()?;
    let fadt = fadt.get();
    let dsdt = tables.dsdt().ok()?;
    // SAFETY: the DSDT that the FADT names: memory, mapped, with a length from its own checked header.
    let aml = unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(dsdt.address), dsdt.length as usize) };
    let (type_a, type_b) = sleep_types(aml)?;
    let port = |address: u64| u16::try_from(address).ok().filter(|&port| port != 0).map(Port::power_management);
    let control = |register: acpi::address::GenericAddress, kind: u8| {
        let port = port(register.address).filter(|_| register.address_space == AddressSpace::SystemIo)?;
        Some((port, SLEEP_ENABLE | u16::from(kind & 7) << 10))
    };
    let a = control(fadt.pm1a_control_block().ok()?, type_a)?;
    let b = fadt.pm1b_control_block().ok().flatten().and_then(|register| control(register, type_b));
    let command = fadt.acpi_enable;
    let enable = port(u64::from(fadt.smi_cmd_port)).filter(|_| command != 0).map(|port| (port, command));
    Some(SoftOff { control: [Some(a), b], enable })
}

/// Powers off, if the tables said how.
pub fn soft_off() {
    let Some(soft_off) = SOFT_OFF.get() else { return };
    let [Some((first, _)), _] = soft_off.control else { return };
    if let Some((port, command)) = soft_off.enable
        && first.read_word() & ACPI_ENABLED == 0
    {
        port.write(command);
        for _ in 0..POLLS {
            if first.read_word() & ACPI_ENABLED != 0 {
                break;
            }
        }
    }
    for (port, value) in soft_off.control.into_iter().flatten() {
        port.write_word(value);
    }
}

/// SLP_TYPa and SLP_TYPb from `Name (\_S5_, Package () { a, b, ... })` in AML (ACPI 6.5, 20.2).
fn sleep_types(aml: &[u8]) -> Option<(u8, u8)> {
    const PACKAGE: u8 = 0x12;
    let at = aml.windows(4).position(|window| window == b"_S5_")? + 4;
    let rest = aml.get(at..)?;
    if *rest.first()? != PACKAGE {
        return None;
    }
    // A package length has 0 to 3 further bytes, as the top bits of its first say; then comes the element count.
    let further = usize::from(rest.get(1)? >> 6);
    let elements = rest.get(2 + further..)?;
    let (a, elements) = constant(elements.get(1..)?)?;
    let b = if *rest.get(2 + further)? > 1 { constant(elements)?.0 } else { a };
    Some((a, b))
}

/// A constant in front of `aml`, and what follows it.
fn constant(aml: &[u8]) -> Option<(u8, &[u8])> {
    match *aml {
        [value @ (0 | 1), ref rest @ ..] => Some((value, rest)),
        [0x0a, value, ref rest @ ..] | [0x0b, value, _, ref rest @ ..] => Some((value, rest)),
        [0x0c, value, _, _, _, ref rest @ ..] => Some((value, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sleep_types_are_found() {
        let bochs = b"junk\x08_S5_\x12\x06\x04\x00\x00\x00\x00rest";
        assert_eq!(sleep_types(bochs), Some((0, 0)));
        let pc = b"\x08_S5_\x12\x0a\x04\x0a\x05\x0a\x07\x00\x00";
        assert_eq!(sleep_types(pc), Some((5, 7)));
        let long = b"\x08_S5_\x12\x4a\x00\x02\x0b\x03\x00\x01";
        assert_eq!(sleep_types(long), Some((3, 1)));
        assert_eq!(sleep_types(b"_S4_\x12\x06\x04\x00\x00"), None);
        assert_eq!(sleep_types(b"_S5_\x12"), None);
    }

    proptest! {
        #[test]
        fn no_table_crashes_the_search(tail in prop::collection::vec(any::<u8>(), 0..16)) {
            let aml: Vec<u8> = b"_S5_".iter().copied().chain(tail).collect();
            sleep_types(&aml);
        }
    }
}
