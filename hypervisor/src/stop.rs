//! The ends: power-off, reset, and the stop with a reason.

use core::fmt;

use crate::console;
use crate::port::Port;
use crate::power;
use crate::register;

/// Says why the system cannot go on, on every console, and powers the machine off. Where power-off does not work (a
/// real machine before ACPI), the text stays on the screen.
pub fn stop(reason: fmt::Arguments) -> ! {
    console::line(format_args!("[monitor] stop: {reason}"));
    power_off()
}

/// Powers the machine off: Bochs' own port, then as the firmware's tables say, then the ACPI registers of the emulated
/// chipsets.
pub fn power_off() -> ! {
    console::drain();
    for byte in b"Shutdown" {
        Port::BOCHS_SHUTDOWN.write(*byte);
    }
    power::soft_off();
    for port in Port::PM1A_CONTROL {
        port.write_word(0x2000); // SLP_EN with sleep type 0
    }
    register::halt()
}

/// Resets the machine: chipset, then keyboard controller.
pub fn reset() -> ! {
    console::drain();
    Port::RESET_CONTROL.write(0x02);
    Port::RESET_CONTROL.write(0x06);
    Port::KEYBOARD_COMMAND.write(0xfe);
    register::halt()
}
