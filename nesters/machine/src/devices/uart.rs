//! The serial port: a 16550A whose transmitter is never busy (National Semiconductor PC16550D data sheet).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// First I/O port of the serial port.
pub const PORT: u16 = 0x3f8;
/// Its interrupt line.
pub const INTERRUPT: u8 = 4;
/// Bytes of input that wait for the guest at most.
pub const MAX_INPUT: usize = 1024;
/// Bytes of output kept at most until somebody takes them.
pub const MAX_OUTPUT: usize = 4096;

const IER_RECEIVED: u8 = 1;
const IER_TRANSMITTED: u8 = 2;
const LCR_DIVISOR: u8 = 0x80;
const MCR_OUT2: u8 = 8;
const MCR_LOOPBACK: u8 = 0x10;
const LSR_DATA: u8 = 1;
const LSR_IDLE: u8 = 0x60;

const IIR_NONE: u8 = 1;
const IIR_TRANSMITTED: u8 = 2;
const IIR_RECEIVED: u8 = 4;
const IIR_TIMEOUT: u8 = 0xc;

/// The serial port.
#[derive(Debug)]
pub struct Uart {
    ier: u8,
    lcr: u8,
    mcr: u8,
    scratch: u8,
    divisor: [u8; 2],
    fifo: bool,
    trigger: usize,
    transmitted: bool,
    input: VecDeque<u8>,
    output: Vec<u8>,
    line: bool,
    pulse: bool,
}

impl Default for Uart {
    fn default() -> Self {
        Self {
            ier: 0,
            lcr: 0,
            mcr: 0,
            scratch: 0,
            divisor: [1, 0],
            fifo: false,
            trigger: 1,
            transmitted: false,
            input: VecDeque::with_capacity(64),
            output: Vec::with_capacity(256),
            line: false,
            pulse: false,
        }
    }
}

impl Uart {
    /// Reads register `offset` (0 to 7).
    #[inline]
    pub fn read(&mut self, offset: u16) -> u8 {
        match offset & 7 {
            5 => LSR_IDLE | if self.input.is_empty() { 0 } else { LSR_DATA },
            other => self.read_rarely(other),
        }
    }

    fn read_rarely(&mut self, offset: u16) -> u8 {
        match offset {
            0 | 1 if self.lcr & LCR_DIVISOR != 0 => self.divisor[usize::from(offset)],
            0 => {
                let byte = self.input.pop_front().unwrap_or(0);
                self.update();
                byte
            }
            1 => self.ier,
            2 => {
                let cause = self.cause();
                if cause == IIR_TRANSMITTED {
                    self.transmitted = false;
                    self.update();
                }
                cause | if self.fifo { 0xc0 } else { 0 }
            }
            3 => self.lcr,
            4 => self.mcr,
            // In loopback the modem outputs appear as the modem inputs; else a peer is always there and ready.
            6 if self.mcr & MCR_LOOPBACK != 0 => {
                let mcr = self.mcr;
                (mcr & 2) << 3 | (mcr & 1) << 5 | (mcr & 4) << 4 | (mcr & 8) << 4
            }
            6 => 0xb0,
            _ => self.scratch,
        }
    }

    /// Writes register `offset` (0 to 7).
    #[inline]
    pub fn write(&mut self, offset: u16, value: u8) {
        match offset & 7 {
            0 if self.lcr & LCR_DIVISOR == 0 => self.transmit(value),
            other => self.write_rarely(other, value),
        }
    }

    fn transmit(&mut self, value: u8) {
        if self.mcr & MCR_LOOPBACK != 0 {
            self.receive(&[value]);
        } else if self.output.len() < MAX_OUTPUT {
            self.output.push(value);
        }
        // The byte is gone at once: the interrupt of an empty transmitter falls and rises again.
        self.transmitted = true;
        if self.ier != 0 {
            self.pulse |= self.line && self.cause() == IIR_TRANSMITTED;
            self.update();
        }
    }

    fn write_rarely(&mut self, offset: u16, value: u8) {
        match offset {
            0 | 1 if self.lcr & LCR_DIVISOR != 0 => self.divisor[usize::from(offset)] = value,
            1 => {
                if value & !self.ier & IER_TRANSMITTED != 0 {
                    self.transmitted = true;
                }
                self.ier = value & 0xf;
            }
            2 => {
                let enable = value & 1 != 0;
                if enable != self.fifo || value & 2 != 0 {
                    self.input.clear();
                }
                self.fifo = enable;
                self.trigger = if enable { [1, 4, 8, 14][usize::from(value >> 6)] } else { 1 };
            }
            3 => self.lcr = value,
            4 => self.mcr = value & 0x1f,
            7 => self.scratch = value,
            _ => {}
        }
        self.update();
    }

    /// Takes input from outside, as much of `bytes` as there is room for; says how much.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.input.extend(&bytes[..taken]);
        self.update();
        taken
    }

    /// How much more input there is room for.
    pub fn room(&self) -> usize {
        MAX_INPUT.saturating_sub(self.input.len())
    }

    /// What the guest has written and nobody has taken yet.
    #[inline]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Forgets the output.
    pub fn clear_output(&mut self) {
        self.output.clear();
    }

    /// The interrupt line: whether it fell for a moment since the last call, and its level.
    #[inline]
    pub fn line(&mut self) -> (bool, bool) {
        (core::mem::take(&mut self.pulse), self.line)
    }

    fn cause(&self) -> u8 {
        if self.ier & IER_RECEIVED != 0 && !self.input.is_empty() {
            if self.input.len() >= self.trigger { IIR_RECEIVED } else { IIR_TIMEOUT }
        } else if self.ier & IER_TRANSMITTED != 0 && self.transmitted {
            IIR_TRANSMITTED
        } else {
            IIR_NONE
        }
    }

    fn update(&mut self) {
        // OUT2 gates the interrupt on a PC; in loopback it is not connected.
        let connected = self.mcr & (MCR_OUT2 | MCR_LOOPBACK) == MCR_OUT2;
        self.line = connected && self.cause() != IIR_NONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_autodetection_finds_a_16550a() {
        let mut uart = Uart::default();
        uart.write(1, 0);
        assert_eq!(uart.read(1), 0);
        uart.write(1, 0xff);
        assert_eq!(uart.read(1), 0xf, "no sleep mode, no XScale unit bit");
        uart.write(1, 0);
        uart.write(4, 0x1a);
        assert_eq!(uart.read(6) & 0xf0, 0x90, "loopback");
        uart.write(4, 0);
        uart.write(2, 1);
        assert_eq!(uart.read(2), 0xc1);
        uart.write(3, 0x80);
        uart.write(2, 0x21);
        assert_eq!(uart.read(2) >> 5, 6, "no 64-byte FIFO");
        uart.write(3, 0);
        uart.write(7, 0x5a);
        assert_eq!(uart.read(7), 0x5a);
    }

    #[test]
    fn enabling_the_transmit_interrupt_raises_it_each_time() {
        let mut uart = Uart::default();
        uart.write(4, 8);
        for _ in 0..2 {
            uart.write(1, 2);
            assert!(uart.line().1);
            assert_eq!(uart.read(2), 2);
            assert!(!uart.line().1, "reading IIR clears it");
            assert_eq!(uart.read(2), 1);
            uart.write(1, 0);
        }
        uart.write(1, 2);
        uart.write(0, b'x');
        assert_eq!(uart.line(), (true, true), "a byte written without reading IIR gives a new edge");
        assert_eq!(uart.output(), b"x");
    }

    #[test]
    fn input_has_priority_and_is_bounded() {
        let mut uart = Uart::default();
        uart.write(2, 0xc1);
        uart.write(4, 8);
        uart.write(1, 3);
        assert_eq!(uart.receive(b"a"), 1);
        assert_eq!(uart.read(2) & 0xf, 0xc);
        assert_eq!(uart.receive(&[b'b'; 2000]), MAX_INPUT - 1);
        assert_eq!(uart.read(2) & 0xf, 4);
        assert_eq!(uart.read(5), 0x61);
        assert_eq!(uart.read(0), b'a');
        uart.write(2, 3);
        assert_eq!(uart.read(5), 0x60, "FIFO cleared");
        assert_eq!(uart.read(2) & 0xf, 2);
    }

    #[test]
    fn the_divisor_latch_hides_data_and_interrupt_registers() {
        let mut uart = Uart::default();
        uart.write(3, 0x83);
        uart.write(0, 12);
        uart.write(1, 1);
        assert_eq!((uart.read(0), uart.read(1)), (12, 1));
        uart.write(3, 3);
        assert_eq!(uart.read(1), 0);
        assert!(uart.output().is_empty());
    }
}
