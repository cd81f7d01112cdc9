//! I/O ports.
//!
//! Safe to call: only the serial port and power and reset ports can be named, and none of them reaches memory that Rust
//! owns.

use x86::io;

/// A port that the monitor may use.
#[derive(Clone, Copy, Debug)]
pub struct Port(u16);

impl Port {
    /// Register `index` of the first serial port.
    pub const fn serial(index: u16) -> Self {
        Self(0x3f8 + (index & 7))
    }
    /// Bochs: the bytes "Shutdown" end the emulator (Bochs, iodev/unmapped.cc).
    pub const BOCHS_SHUTDOWN: Self = Self(0x8900);
    /// A power management register that the firmware's tables name.
    pub fn power_management(number: u16) -> Self {
        Self(number)
    }
    /// The ACPI PM1a control register of QEMU's Q35 and PIIX4 (and Bochs' PIIX4) chipsets.
    pub const PM1A_CONTROL: [Self; 2] = [Self(0x604), Self(0xb004)];
    /// The reset control register of Intel chipsets.
    pub const RESET_CONTROL: Self = Self(0xcf9);
    /// The keyboard controller's command register.
    pub const KEYBOARD_COMMAND: Self = Self(0x64);

    /// Reads a byte.
    pub fn read(self) -> u8 {
        // SAFETY: see the module: none of the ports that can be named affects memory.
        unsafe { io::inb(self.0) }
    }

    /// Writes a byte.
    pub fn write(self, value: u8) {
        // SAFETY: as in `read`.
        unsafe { io::outb(self.0, value) }
    }

    /// Reads a 16-bit word.
    pub fn read_word(self) -> u16 {
        // SAFETY: as in `read`.
        unsafe { io::inw(self.0) }
    }

    /// Writes a 16-bit word.
    pub fn write_word(self, value: u16) {
        // SAFETY: as in `read`.
        unsafe { io::outw(self.0, value) }
    }
}
