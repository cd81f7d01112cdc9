//! The I/O APIC (Intel 82093AA data sheet), version 0x11, with 24 pins.

/// Physical address of its registers, one page.
pub const ADDRESS: u64 = 0xfec0_0000;
/// Its identifier.
pub const ID: u8 = 1;
/// Pins.
pub const PINS: usize = 24;

const MASKED: u64 = 1 << 16;
const LEVEL: u64 = 1 << 15;
const REMOTE_IRR: u64 = 1 << 14;
const LOGICAL: u64 = 1 << 11;
/// Delivery status and remote IRR: read-only.
const READ_ONLY: u64 = 1 << 12 | REMOTE_IRR;
const WRITABLE: u64 = 0xff00_0000_0001_afff;

/// An interrupt message to the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Vector.
    pub vector: u8,
    /// Delivery mode (0 fixed, 1 lowest priority, 4 NMI, 7 ExtINT).
    pub mode: u8,
    /// Whether it is level-triggered.
    pub level: bool,
}

/// The I/O APIC.
#[derive(Debug)]
pub struct IoApic {
    id: u32,
    select: u8,
    entries: [u64; PINS],
    lines: u32,
}

impl Default for IoApic {
    fn default() -> Self {
        Self { id: u32::from(ID) << 24, select: 0, entries: [MASKED; PINS], lines: 0 }
    }
}

impl IoApic {
    /// Reads the 32-bit register at `offset` of the page.
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            0x00 => u32::from(self.select),
            0x10 => match self.select {
                0 | 2 => self.id,
                1 => (PINS as u32 - 1) << 16 | 0x11,
                register => match self.entries.get(usize::from(register.wrapping_sub(0x10) / 2)) {
                    Some(entry) if register & 1 == 0 => *entry as u32,
                    Some(entry) => (entry >> 32) as u32,
                    None => 0,
                },
            },
            _ => 0,
        }
    }

    /// Writes the 32-bit register at `offset` of the page. A message results when a pin that waits is unmasked.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Message> {
        match (offset, self.select) {
            (0x00, _) => self.select = value as u8,
            (0x10, 0) => self.id = value & 0x0f00_0000,
            (0x10, register @ 0x10..) => {
                let pin = usize::from(register - 0x10) / 2;
                let entry = self.entries.get_mut(pin)?;
                let value = if register & 1 == 0 {
                    *entry & !0xffff_ffff | u64::from(value)
                } else {
                    *entry & 0xffff_ffff | u64::from(value) << 32
                };
                *entry = value & WRITABLE | *entry & READ_ONLY;
                if *entry & LEVEL == 0 {
                    *entry &= !REMOTE_IRR;
                } else {
                    return self.send_level(pin);
                }
            }
            _ => {}
        }
        None
    }

    /// Sets the level of `pin`.
    pub fn set(&mut self, pin: u8, level: bool) -> Option<Message> {
        let bit = 1u32.checked_shl(u32::from(pin))?;
        let rises = level && self.lines & bit == 0;
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        let entry = *self.entries.get(usize::from(pin))?;
        if entry & LEVEL != 0 {
            return self.send_level(usize::from(pin));
        }
        if rises && entry & MASKED == 0 { message(entry) } else { None }
    }

    /// The local APIC ended interrupt `vector`, a level-triggered one. Up to one pin sends again.
    pub fn end_of_interrupt(&mut self, vector: u8) -> Option<Message> {
        let mut again = None;
        for pin in 0..PINS {
            let entry = &mut self.entries[pin];
            if *entry as u8 == vector && *entry & (LEVEL | REMOTE_IRR) == LEVEL | REMOTE_IRR {
                *entry &= !REMOTE_IRR;
                again = self.send_level(pin).or(again);
            }
        }
        again
    }

    fn send_level(&mut self, pin: usize) -> Option<Message> {
        let entry = self.entries.get_mut(pin)?;
        if *entry & (MASKED | REMOTE_IRR) != 0 || self.lines & 1 << pin == 0 {
            return None;
        }
        let message = message(*entry)?;
        *entry |= REMOTE_IRR;
        Some(message)
    }
}

/// The message of a redirection entry, if it addresses the only CPU: local APIC 0, logical 1.
fn message(entry: u64) -> Option<Message> {
    let destination = (entry >> 56) as u8;
    let ours = match (destination, entry & LOGICAL != 0) {
        (0xff, _) => true,
        (id, false) => id == 0,
        (set, true) => set & 1 != 0,
    };
    ours.then_some(Message { vector: entry as u8, mode: (entry >> 8) as u8 & 7, level: entry & LEVEL != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(apic: &mut IoApic, pin: u8, low: u32) -> Option<Message> {
        apic.write(0, u32::from(0x10 + 2 * pin));
        apic.write(0x10, low)
    }

    #[test]
    fn registers_read_back() {
        let mut apic = IoApic::default();
        apic.write(0, 1);
        assert_eq!(apic.read(0x10), 0x17_0011);
        apic.write(0, 0x10);
        assert_eq!(apic.read(0x10), 0x1_0000);
        apic.write(0x10, 0xffff_ffff);
        assert_eq!(apic.read(0x10), 0x1_afff, "status and remote IRR are read-only");
        apic.write(0, 0xff);
        assert_eq!(apic.read(0x10), 0);
    }

    #[test]
    fn edges_are_sent_once_and_lost_while_masked() {
        let mut apic = IoApic::default();
        assert_eq!(apic.set(4, true), None);
        assert_eq!(program(&mut apic, 4, 0x24), None);
        assert_eq!(apic.set(4, true), None, "no edge");
        apic.set(4, false);
        assert_eq!(apic.set(4, true), Some(Message { vector: 0x24, mode: 0, level: false }));
        assert_eq!(apic.set(200, true), None);
    }

    #[test]
    fn levels_are_sent_again_after_the_end_of_interrupt() {
        let mut apic = IoApic::default();
        apic.set(9, true);
        let sent = program(&mut apic, 9, 0x8029);
        assert_eq!(sent, Some(Message { vector: 0x29, mode: 0, level: true }));
        assert_eq!(apic.set(9, true), None, "remote IRR is set");
        assert_eq!(apic.end_of_interrupt(0x29), sent);
        apic.set(9, false);
        assert_eq!(apic.end_of_interrupt(0x29), None);
    }

    #[test]
    fn other_destinations_get_nothing() {
        let mut apic = IoApic::default();
        program(&mut apic, 3, 0x23);
        apic.write(0, 0x17);
        apic.write(0x10, 5 << 24);
        assert_eq!(apic.set(3, true), None);
    }
}
