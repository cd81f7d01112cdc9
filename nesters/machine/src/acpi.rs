//! The ACPI tables of the PC (ACPI 6.5, chapter 5): RSDP, XSDT, FADT, FACS, DSDT and MADT, in one block.

use crate::devices::{io_apic, power};
use alloc::vec::Vec;

/// Guest-physical address of the block, which begins with the RSDP.
pub const ADDRESS: u64 = 0xe_0000;

const OEM: &[u8; 6] = b"NESTOR";
const OEM_TABLE: &[u8; 8] = b"NESTORPC";
const SCI: u8 = 9;
const HEADER: usize = 36;

/// `\_S5`: SLP_TYP values 5 and 5 for the soft-off state. `Name (_S5, Package () { 5, 5, 0, 0 })`
const DSDT: [u8; 14] = [
    0x08,
    b'_',
    b'S',
    b'5',
    b'_',
    0x12,
    0x08,
    0x04,
    0x0a,
    power::SOFT_OFF as u8,
    0x0a,
    power::SOFT_OFF as u8,
    0x00,
    0x00,
];

/// The block of tables, to be placed at [`ADDRESS`].
pub fn tables() -> Vec<u8> {
    let mut block = Block(Vec::new());
    let rsdp = block.place(&[0; HEADER]);
    let facs = block.place(&facs());
    let dsdt = block.place(&table(b"DSDT", 2, &DSDT));
    let fadt = block.place(&fadt(facs, dsdt));
    let madt = block.place(&madt());
    let mut entries = Vec::new();
    for address in [fadt, madt] {
        entries.extend(address.to_le_bytes());
    }
    let xsdt = block.place(&table(b"XSDT", 1, &entries));
    block.0[(rsdp - ADDRESS) as usize..][..HEADER].copy_from_slice(&rsdp_for(xsdt));
    block.0
}

struct Block(Vec<u8>);

impl Block {
    /// Appends `bytes` at a multiple of 64 (the FACS wants it) and returns their address.
    fn place(&mut self, bytes: &[u8]) -> u64 {
        self.0.resize(self.0.len().next_multiple_of(64), 0);
        let address = ADDRESS + self.0.len() as u64;
        self.0.extend(bytes);
        address
    }
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)).wrapping_neg()
}

fn rsdp_for(xsdt: u64) -> [u8; HEADER] {
    let mut rsdp = [0; HEADER];
    rsdp[..8].copy_from_slice(b"RSD PTR ");
    rsdp[9..15].copy_from_slice(OEM);
    rsdp[15] = 2;
    rsdp[20..24].copy_from_slice(&(HEADER as u32).to_le_bytes());
    rsdp[24..32].copy_from_slice(&xsdt.to_le_bytes());
    rsdp[8] = checksum(&rsdp[..20]);
    rsdp[32] = checksum(&rsdp);
    rsdp
}

fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(signature);
    bytes.extend(((HEADER + body.len()) as u32).to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.extend(OEM);
    bytes.extend(OEM_TABLE);
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(b"NSTR");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(body);
    bytes[9] = checksum(&bytes);
    bytes
}

fn facs() -> [u8; 64] {
    let mut facs = [0; 64];
    facs[..4].copy_from_slice(b"FACS");
    facs[4] = 64;
    facs[32] = 2;
    facs
}

/// A generic address structure in I/O space (ACPI 6.5, 5.2.3.2).
fn port(port: u16, bits: u8, access: u8) -> [u8; 12] {
    let mut address = [1, bits, 0, access, 0, 0, 0, 0, 0, 0, 0, 0];
    address[4..6].copy_from_slice(&port.to_le_bytes());
    address
}

fn fadt(facs: u64, dsdt: u64) -> Vec<u8> {
    const LENGTH: usize = 276;
    let mut body = [0; LENGTH - HEADER];
    // Offsets below are those of the specification (ACPI 6.5, table 5.9), from the start of the table.
    let mut put = |offset: usize, bytes: &[u8]| body[offset - HEADER..][..bytes.len()].copy_from_slice(bytes);
    put(36, &(facs as u32).to_le_bytes());
    put(40, &(dsdt as u32).to_le_bytes());
    put(46, &[SCI, 0]);
    put(56, &u32::from(power::EVENT_PORT).to_le_bytes());
    put(64, &u32::from(power::CONTROL_PORT).to_le_bytes());
    put(76, &u32::from(power::TIMER_PORT).to_le_bytes());
    // Lengths of the PM1 event, PM1 control and PM timer blocks.
    put(88, &[4, 2, 0, 4]);
    // Latencies of C2 and C3 that mean "none".
    put(96, &101u16.to_le_bytes());
    put(98, &1001u16.to_le_bytes());
    put(108, &[0x32]);
    // Boot architecture: legacy devices, no 8042, no VGA, no MSI, no ASPM.
    put(109, &(1u16 | 1 << 2 | 1 << 3 | 1 << 4).to_le_bytes());
    // WBINVD, C1, no fixed power or sleep button, 32-bit PM timer, reset register.
    put(112, &(1u32 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 10).to_le_bytes());
    put(116, &port(power::RESET_PORT, 8, 1));
    put(128, &[power::RESET_VALUE]);
    put(131, &[5]);
    put(140, &dsdt.to_le_bytes());
    put(148, &port(power::EVENT_PORT, 32, 2));
    put(172, &port(power::CONTROL_PORT, 16, 2));
    put(208, &port(power::TIMER_PORT, 32, 3));
    table(b"FACP", 6, &body)
}

fn madt() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(0xfee0_0000u32.to_le_bytes());
    // There is a pair of 8259s.
    body.extend(1u32.to_le_bytes());
    // Local APIC 0 of processor 0, enabled.
    body.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    body.extend([1, 12, io_apic::ID, 0]);
    body.extend((io_apic::ADDRESS as u32).to_le_bytes());
    body.extend(0u32.to_le_bytes());
    // ISA interrupt 0 is on pin 2; interrupt 9 is level-triggered and active high.
    body.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    body.extend([2, 10, 0, SCI, SCI, 0, 0, 0, 0x0d, 0]);
    // LINT1 of every processor is NMI.
    body.extend([4, 6, 0xff, 0, 0, 1]);
    table(b"APIC", 5, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(block: &[u8], at: usize) -> usize {
        u32::from_le_bytes(block[at..at + 4].try_into().unwrap()) as usize
    }

    fn u64_at(block: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(block[at..at + 8].try_into().unwrap())
    }

    fn checked<'a>(block: &'a [u8], address: u64, signature: &[u8]) -> &'a [u8] {
        let at = (address - ADDRESS) as usize;
        let table = &block[at..at + u32_at(block, at + 4)];
        assert_eq!(&table[..4], signature);
        assert_eq!(checksum(table), 0, "{signature:?}");
        table
    }

    #[test]
    fn every_table_is_reachable_and_sums_to_zero() {
        let block = tables();
        assert!(block.len() < 0x1_0000);
        assert_eq!((checksum(&block[..20]), checksum(&block[..36])), (0, 0));
        let xsdt = checked(&block, u64_at(&block, 24), b"XSDT");
        let fadt = checked(&block, u64_at(xsdt, 36), b"FACP");
        let madt = checked(&block, u64_at(xsdt, 44), b"APIC");
        assert_eq!((fadt.len(), xsdt.len()), (276, 52));
        let dsdt = checked(&block, u64_at(fadt, 140), b"DSDT");
        assert_eq!(u64_at(fadt, 140) as usize, u32_at(fadt, 40));
        assert_eq!(usize::from(dsdt[42]), DSDT.len() - 6, "the package length counts itself");
        let facs = u32_at(fadt, 36) as u64;
        assert!(facs.is_multiple_of(64));
        assert_eq!(&block[(facs - ADDRESS) as usize..][..4], b"FACS");
        let mut at = 44;
        while at < madt.len() {
            at += usize::from(madt[at + 1]);
        }
        assert_eq!(at, madt.len());
    }
}
