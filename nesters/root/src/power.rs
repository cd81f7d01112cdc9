//! Switching the host off.

use protocols::libc::port;

/// Switches the host off, where it is one of those that can be by a write to a port: Bochs' shutdown port, then ACPI's
/// PM1a control register (ACPI 6.5, 4.8.3.2.1; SLP_EN with sleep type 0) as QEMU and older Bochs have it.
pub fn off() {
    for byte in *b"Shutdown" {
        port::write_u8(0x8900, byte);
    }
    port::write_u16(0x604, 0x2000);
    port::write_u16(0xb004, 0x2000);
}
