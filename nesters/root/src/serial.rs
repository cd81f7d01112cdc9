//! The 16550 serial port at COM1 (National Semiconductor PC16550D).

use alloc::collections::VecDeque;

/// First I/O port of COM1.
pub const BASE: u16 = 0x3f8;
/// Bytes in the transmit FIFO.
const FIFO: usize = 16;
/// How often the line status is read before a port that does not send is given up: far longer than sending a FIFO takes.
const PATIENCE: u32 = 2_000_000;

const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

const DATA_READY: u8 = 1 << 0;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// Interrupts for received data.
const ON_RECEIVE: u8 = 1 << 0;
/// Interrupts for an empty transmitter.
const ON_EMPTY: u8 = 1 << 1;

/// Access to the port's registers: the machine's, or a model of them in tests.
pub trait Registers {
    /// Reads register `offset`.
    fn read(&mut self, offset: u16) -> u8;
    /// Writes register `offset`.
    fn write(&mut self, offset: u16, value: u8);
}

/// The registers of COM1.
#[derive(Debug)]
pub struct Com1;

impl Registers for Com1 {
    fn read(&mut self, offset: u16) -> u8 {
        protocols::libc::port::read_u8(BASE + offset)
    }
    fn write(&mut self, offset: u16, value: u8) {
        protocols::libc::port::write_u8(BASE + offset, value);
    }
}

/// The driver.
#[derive(Debug)]
pub struct Serial<R> {
    registers: R,
    is_sending: bool,
    is_absent: bool,
}

impl<R: Registers> Serial<R> {
    /// The driver of a port that is not set up yet.
    pub const fn new(registers: R) -> Self {
        Self { registers, is_sending: false, is_absent: false }
    }

    /// Sets the port to 115200 baud, 8 bits, no parity, FIFOs on, interrupts for what is received.
    pub fn start(&mut self) {
        for (offset, value) in [
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, 0x80),
            (0, 1),
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, 0x03),
            // The receive FIFO asks for attention at its first byte.
            (FIFO_CONTROL, 0x01),
            // DTR, RTS, and OUT2, which lets interrupts out.
            (MODEM_CONTROL, 0x0b),
            (INTERRUPT_ENABLE, ON_RECEIVE),
        ] {
            self.registers.write(offset, value);
        }
        // An absent port reads as all ones.
        self.is_absent = self.registers.read(LINE_STATUS) == 0xff;
    }

    /// A received byte, if there is one.
    pub fn receive(&mut self) -> Option<u8> {
        let ready = !self.is_absent && self.registers.read(LINE_STATUS) & DATA_READY != 0;
        ready.then(|| self.registers.read(0))
    }

    /// Sends as much of `output` as fits in the FIFO, if that is empty; asks for an interrupt while there is more.
    pub fn send(&mut self, output: &mut VecDeque<u8>) {
        if self.is_absent {
            return output.clear();
        }
        if !output.is_empty() && self.registers.read(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
            for byte in output.drain(..output.len().min(FIFO)) {
                self.registers.write(0, byte);
            }
        }
        if self.is_sending == output.is_empty() {
            self.is_sending = !output.is_empty();
            self.registers.write(INTERRUPT_ENABLE, ON_RECEIVE | if self.is_sending { ON_EMPTY } else { 0 });
        }
    }

    /// Sends until at most `rest` bytes are left. A port that does not send at all loses them.
    pub fn send_until(&mut self, output: &mut VecDeque<u8>, rest: usize) {
        let mut patience = PATIENCE;
        while output.len() > rest {
            let before = output.len();
            self.send(output);
            patience = if output.len() < before { PATIENCE } else { patience - 1 };
            if patience == 0 {
                output.clear();
            }
        }
    }

    /// Waits until what is in the FIFO has gone out.
    pub fn drain(&mut self) {
        const IDLE: u8 = 1 << 6;
        let mut patience = PATIENCE;
        while !self.is_absent && patience > 0 && self.registers.read(LINE_STATUS) & IDLE == 0 {
            patience -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A port that needs `pace` status reads to empty its FIFO.
    #[derive(Default)]
    struct Model {
        sent: Vec<u8>,
        in_fifo: usize,
        pace: u32,
        reads: u32,
        interrupts: u8,
        input: VecDeque<u8>,
        absent: bool,
        stuck: bool,
    }

    impl Registers for Model {
        fn read(&mut self, offset: u16) -> u8 {
            if self.absent {
                return 0xff;
            }
            match offset {
                0 => self.input.pop_front().unwrap_or(0),
                _ => {
                    self.reads += 1;
                    if !self.stuck && self.reads.is_multiple_of(self.pace.max(1)) {
                        self.in_fifo = 0;
                    }
                    let empty = if self.in_fifo == 0 { TRANSMITTER_EMPTY | 1 << 6 } else { 0 };
                    empty | u8::from(!self.input.is_empty())
                }
            }
        }
        fn write(&mut self, offset: u16, value: u8) {
            match offset {
                0 => {
                    self.in_fifo += 1;
                    assert!(self.in_fifo <= FIFO, "the FIFO overflows");
                    self.sent.push(value);
                }
                1 => self.interrupts = value,
                _ => {}
            }
        }
    }

    fn text(length: usize) -> VecDeque<u8> {
        (0..length).map(|index| index as u8).collect()
    }

    #[test]
    fn output_goes_out_fifo_by_fifo() {
        let mut serial = Serial::new(Model { pace: 3, ..Model::default() });
        let mut output = text(100);
        serial.send_until(&mut output, 0);
        assert_eq!(serial.registers.sent, Vec::from(text(100)));
        assert_eq!(serial.registers.interrupts, ON_RECEIVE, "no more interrupts when there is nothing to send");
    }

    #[test]
    fn interrupts_are_asked_for_while_there_is_output() {
        let mut serial = Serial::new(Model::default());
        let mut output = text(20);
        serial.send(&mut output);
        assert_eq!((output.len(), serial.registers.interrupts), (4, ON_RECEIVE | ON_EMPTY));
        serial.send(&mut output);
        assert_eq!((output.len(), serial.registers.interrupts), (0, ON_RECEIVE));
    }

    #[test]
    fn neither_an_absent_nor_a_stuck_port_stops_the_system() {
        let mut absent = Serial::new(Model { absent: true, ..Model::default() });
        absent.start();
        absent.send_until(&mut text(100), 0);
        assert_eq!(absent.receive(), None);
        let mut stuck = Serial::new(Model { stuck: true, in_fifo: 1, ..Model::default() });
        stuck.send_until(&mut text(100), 0);
        stuck.drain();
    }

    #[test]
    fn input_is_taken_until_there_is_none() {
        let mut serial = Serial::new(Model { input: text(2), ..Model::default() });
        assert_eq!([serial.receive(), serial.receive(), serial.receive()], [Some(0), Some(1), None]);
    }
}
