//! The pair of 8259A interrupt controllers (Intel 8259A data sheet) with their ELCR (ports 0x4d0, 0x4d1).

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Ready,
    Vector,
    Cascade,
    Mode,
}

#[derive(Debug, Default)]
struct Chip {
    requested: u8,
    in_service: u8,
    mask: u8,
    lines: u8,
    level: u8,
    vector: u8,
    lowest: u8,
    step: Step,
    wants_mode: bool,
    automatic_end: bool,
    read_in_service: bool,
    special_mask: bool,
    poll: bool,
}

impl Chip {
    fn set(&mut self, line: u8, level: bool) {
        let bit = 1 << line;
        if level && (self.level & bit != 0 || self.lines & bit == 0) {
            self.requested |= bit;
        } else if !level && self.level & bit != 0 {
            self.requested &= !bit;
        }
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
    }

    /// The line of highest priority that may interrupt.
    fn pending(&self) -> Option<u8> {
        for at in 1..=8 {
            let line = (self.lowest + at) & 7;
            let bit = 1 << line;
            if self.in_service & bit != 0 && !self.special_mask {
                return None;
            }
            if self.requested & !self.mask & bit != 0 && self.in_service & bit == 0 {
                return Some(line);
            }
        }
        None
    }

    fn acknowledge(&mut self, line: u8) {
        let bit = 1 << line;
        if self.level & bit == 0 {
            self.requested &= !bit;
        }
        if !self.automatic_end {
            self.in_service |= bit;
        }
    }

    fn end(&mut self, line: Option<u8>, rotate: bool) {
        let highest = (1..=8).map(|at| (self.lowest + at) & 7).find(|line| self.in_service & 1 << line != 0);
        let Some(line) = line.or(highest) else { return };
        self.in_service &= !(1 << line);
        if rotate {
            self.lowest = line;
        }
    }

    fn read(&mut self, data: bool) -> u8 {
        if core::mem::take(&mut self.poll) {
            return match self.pending() {
                Some(line) => {
                    self.acknowledge(line);
                    0x80 | line
                }
                None => 0,
            };
        }
        match (data, self.read_in_service) {
            (true, _) => self.mask,
            (false, true) => self.in_service,
            (false, false) => self.requested,
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            // ICW1: initialise.
            *self = Self { lines: self.lines, level: self.level, lowest: 7, step: Step::Vector, ..Self::default() };
            self.wants_mode = value & 1 != 0;
            self.requested = self.lines & self.level;
        } else if value & 8 != 0 {
            // OCW3.
            self.poll = value & 4 != 0;
            if value & 2 != 0 {
                self.read_in_service = value & 1 != 0;
            }
            if value & 0x40 != 0 {
                self.special_mask = value & 0x20 != 0;
            }
        } else {
            // OCW2.
            let line = value & 7;
            match value >> 5 {
                1 => self.end(None, false),
                3 => self.end(Some(line), false),
                5 => self.end(None, true),
                6 => self.lowest = line,
                7 => self.end(Some(line), true),
                _ => {}
            }
        }
    }

    fn write_data(&mut self, value: u8) {
        self.step = match self.step {
            Step::Ready => {
                self.mask = value;
                Step::Ready
            }
            Step::Vector => {
                self.vector = value & 0xf8;
                Step::Cascade
            }
            Step::Cascade if self.wants_mode => Step::Mode,
            Step::Cascade => Step::Ready,
            Step::Mode => {
                self.automatic_end = value & 2 != 0;
                Step::Ready
            }
        };
    }
}

/// Both controllers; the slave is on line 2 of the master.
#[derive(Debug)]
pub struct Pics {
    chips: [Chip; 2],
}

impl Default for Pics {
    fn default() -> Self {
        let chip = || Chip { mask: 0xff, lowest: 7, ..Chip::default() };
        Self { chips: [chip(), chip()] }
    }
}

impl Pics {
    /// Reads from `port`: 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1.
    pub fn read(&mut self, port: u16) -> u8 {
        let value = match port {
            0x20 | 0x21 => self.chips[0].read(port & 1 != 0),
            0xa0 | 0xa1 => self.chips[1].read(port & 1 != 0),
            0x4d0 | 0x4d1 => self.chips[usize::from(port & 1)].level,
            _ => 0xff,
        };
        self.cascade();
        value
    }

    /// Writes to one of these ports.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            0x20 => self.chips[0].write_command(value),
            0x21 => self.chips[0].write_data(value),
            0xa0 => self.chips[1].write_command(value),
            0xa1 => self.chips[1].write_data(value),
            // Timer, keyboard, cascade, clock and coprocessor stay edge-triggered.
            0x4d0 => self.chips[0].level = value & 0xf8,
            0x4d1 => self.chips[1].level = value & 0xde,
            _ => {}
        }
        self.cascade();
    }

    /// Sets the level of `line` (0 to 15).
    pub fn set(&mut self, line: u8, level: bool) {
        if line < 16 && line != 2 {
            self.chips[usize::from(line >> 3)].set(line & 7, level);
            self.cascade();
        }
    }

    fn cascade(&mut self) {
        let request = self.chips[1].pending().is_some();
        // The slave's output falls and rises again for each of its requests.
        self.chips[0].set(2, false);
        self.chips[0].requested &= !4;
        self.chips[0].set(2, request);
    }

    /// The vector that the controllers would answer an acknowledge cycle with, if they interrupt.
    pub fn pending(&self) -> Option<u8> {
        let [master, slave] = &self.chips;
        match master.pending()? {
            2 => Some(slave.vector | slave.pending()?),
            line => Some(master.vector | line),
        }
    }

    /// The processor has taken the [pending](Self::pending) interrupt.
    pub fn acknowledge(&mut self) {
        let Some(line) = self.chips[0].pending() else { return };
        self.chips[0].acknowledge(line);
        if line == 2
            && let Some(line) = self.chips[1].pending()
        {
            self.chips[1].acknowledge(line);
        }
        self.cascade();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initialised() -> Pics {
        let mut pics = Pics::default();
        for (port, vector, cascade) in [(0x20, 0x30, 4), (0xa0, 0x38, 2)] {
            pics.write(port, 0x11);
            pics.write(port + 1, vector);
            pics.write(port + 1, cascade);
            pics.write(port + 1, 1);
            pics.write(port + 1, 0);
        }
        pics
    }

    #[test]
    fn the_mask_reads_back_as_linux_probes_it() {
        let mut pics = Pics::default();
        pics.write(0xa1, 0xff);
        pics.write(0x21, 0xfb);
        assert_eq!(pics.read(0x21), 0xfb);
    }

    #[test]
    fn priorities_and_end_of_interrupt() {
        let mut pics = initialised();
        pics.set(4, true);
        pics.set(0, true);
        assert_eq!(pics.pending(), Some(0x30));
        pics.acknowledge();
        assert_eq!(pics.pending(), None);
        pics.write(0x20, 0x0b);
        assert_eq!(pics.read(0x20), 1, "in service");
        pics.write(0x20, 0x60);
        assert_eq!(pics.pending(), Some(0x34));
        pics.acknowledge();
        pics.write(0x20, 0x20);
        assert_eq!(pics.pending(), None, "edges are latched once");
    }

    #[test]
    fn the_slave_interrupts_through_line_2() {
        let mut pics = initialised();
        pics.set(8, true);
        pics.set(12, true);
        assert_eq!(pics.pending(), Some(0x38));
        pics.acknowledge();
        pics.write(0xa0, 0x20);
        pics.write(0x20, 0x20);
        assert_eq!(pics.pending(), Some(0x3c));
        pics.write(0xa1, 0x10);
        assert_eq!(pics.pending(), None);
    }

    #[test]
    fn level_lines_ask_until_they_fall() {
        let mut pics = initialised();
        pics.write(0x4d1, 0xff);
        assert_eq!(pics.read(0x4d1), 0xde);
        pics.set(9, true);
        pics.acknowledge();
        pics.write(0xa0, 0x20);
        pics.write(0x20, 0x20);
        assert_eq!(pics.pending(), Some(0x39));
        pics.set(9, false);
        assert_eq!(pics.pending(), None);
    }
}
