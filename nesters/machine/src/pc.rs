//! The whole PC: which device answers what, and how interrupts reach the processor.

pub use crate::devices::local_apic::GeneralProtection;

use crate::devices::io_apic::{self, IoApic, Message};
use crate::devices::local_apic::{END_OF_INTERRUPT, LocalApic};
use crate::devices::mtrr::Mtrrs;
use crate::devices::pci::Pci;
use crate::devices::pic::Pics;
use crate::devices::pit::Pit;
use crate::devices::power::{Power, RESET_PORT};
use crate::devices::rtc::Rtc;
use crate::devices::uart::{self, Uart};
use crate::time::{Clock, earlier};

/// IA32_TIME_STAMP_COUNTER.
const TIME_STAMP_COUNTER: u32 = 0x10;
/// The interrupt line of the interval timer at the 8259s, and its pin at the I/O APIC.
const TIMER_LINE: (u8, u8) = (0, 2);

/// What an access does beyond the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    None,
    /// The machine starts again.
    Reset,
    /// The machine is off.
    PowerOff,
}

/// What the PC is made from.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// The time stamp counter.
    pub clock: Clock,
    /// Ticks of the time stamp counter in one of the local APIC timer, as CPUID leaf 0x15 says.
    pub ticks_per_count: u64,
    /// Seconds since 1970, UTC, at `unix_time_tsc`.
    pub unix_time: u64,
    /// Time stamp counter at `unix_time`.
    pub unix_time_tsc: u64,
    /// Bits of a physical address, as CPUID says.
    pub physical_bits: u8,
}

/// How often the guest touched what is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Accesses to ports.
    pub ports: u64,
    /// Accesses to MSRs.
    pub msrs: u64,
    /// Accesses to memory.
    pub memory: u64,
}

/// The PC.
#[derive(Debug)]
pub struct Pc {
    clock: Clock,
    uart: Uart,
    local_apic: LocalApic,
    io_apic: IoApic,
    pics: Pics,
    pit: Pit,
    rtc: Rtc,
    power: Power,
    pci: Pci,
    mtrrs: Mtrrs,
    /// The level of the serial port's line, as the interrupt controllers know it.
    uart_level: bool,
    unknown: Unknown,
}

impl Pc {
    /// A PC after power-on.
    pub fn new(configuration: &Configuration) -> Self {
        let clock = configuration.clock;
        Self {
            clock,
            uart: Uart::default(),
            local_apic: LocalApic::new(clock, configuration.ticks_per_count),
            io_apic: IoApic::default(),
            pics: Pics::default(),
            pit: Pit::new(clock),
            rtc: Rtc::new(clock, configuration.unix_time, configuration.unix_time_tsc),
            power: Power::default(),
            pci: Pci::default(),
            mtrrs: Mtrrs::new(configuration.physical_bits),
            uart_level: false,
            unknown: Unknown::default(),
        }
    }

    /// Reads `size` bytes (1, 2 or 4) from `port`.
    #[inline]
    pub fn port_read(&mut self, port: u16, size: u8, now: u64) -> u32 {
        if port & !7 == uart::PORT && size == 1 {
            let value = self.uart.read(port & 7);
            self.connect_uart();
            return u32::from(value);
        }
        self.port_read_rarely(port, size, now)
    }

    fn port_read_rarely(&mut self, port: u16, size: u8, now: u64) -> u32 {
        match port {
            0x600..=0x60b => self.power.read(port, size, &self.clock, now),
            0xcf8..=0xcff if port != RESET_PORT || size != 1 => self.pci.read(port - 0xcf8, size),
            _ => (0..u16::from(size.clamp(1, 4)))
                .map(|byte| u32::from(self.byte_read(port.wrapping_add(byte), now)) << (8 * byte))
                .fold(0, |value, byte| value | byte),
        }
    }

    fn byte_read(&mut self, port: u16, now: u64) -> u8 {
        match port {
            0x3f8..=0x3ff => {
                let value = self.uart.read(port & 7);
                self.connect_uart();
                value
            }
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => self.pics.read(port),
            0x40..=0x43 | 0x61 => self.pit.read(port, now),
            // The keyboard controller only resets: nothing to read, ready for a command.
            0x60 | 0x64 => 0,
            0x70..=0x73 => self.rtc.read(port, now),
            // A20 is always open.
            0x92 => 2,
            RESET_PORT => 0,
            _ => {
                self.unknown.ports += 1;
                0xff
            }
        }
    }

    /// Writes `size` bytes (1, 2 or 4) to `port`.
    #[inline]
    pub fn port_write(&mut self, port: u16, size: u8, value: u32, now: u64) -> Effect {
        if port & !7 == uart::PORT && size == 1 {
            self.uart.write(port & 7, value as u8);
            self.connect_uart();
            return Effect::None;
        }
        self.port_write_rarely(port, size, value, now)
    }

    fn port_write_rarely(&mut self, port: u16, size: u8, value: u32, now: u64) -> Effect {
        match port {
            0x600..=0x60b if self.power.write(port, value) => return Effect::PowerOff,
            0x600..=0x60b => {}
            0xcf8..=0xcff if port != RESET_PORT || size != 1 => self.pci.write(port - 0xcf8, size, value),
            _ => {
                for byte in 0..u16::from(size.clamp(1, 4)) {
                    let effect = self.byte_write(port.wrapping_add(byte), (value >> (8 * byte)) as u8, now);
                    if effect != Effect::None {
                        return effect;
                    }
                }
            }
        }
        Effect::None
    }

    fn byte_write(&mut self, port: u16, value: u8, now: u64) -> Effect {
        match port {
            0x3f8..=0x3ff => {
                self.uart.write(port & 7, value);
                self.connect_uart();
            }
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => self.pics.write(port, value),
            0x40..=0x43 | 0x61 => self.pit.write(port, value, now),
            0x64 if value == 0xfe => return Effect::Reset,
            0x92 if value & 1 != 0 => return Effect::Reset,
            RESET_PORT if value & 4 != 0 => return Effect::Reset,
            0x60 | 0x64 | 0x92 | RESET_PORT => {}
            0x70..=0x73 => self.rtc.write(port, value, now),
            // The POST code, which Linux also uses as a delay.
            0x80 | 0xed => {}
            _ => self.unknown.ports += 1,
        }
        Effect::None
    }

    /// Reads `size` bytes of device memory. What nothing answers reads as all ones.
    pub fn mmio_read(&mut self, address: u64, size: u8) -> u64 {
        let offset = address.wrapping_sub(io_apic::ADDRESS);
        if offset < 0x1000 {
            return u64::from(self.io_apic.read(offset));
        }
        self.unknown.memory += 1;
        u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
    }

    /// Writes device memory.
    pub fn mmio_write(&mut self, address: u64, value: u64) {
        let offset = address.wrapping_sub(io_apic::ADDRESS);
        if offset < 0x1000 {
            let message = self.io_apic.write(offset, value as u32);
            self.send(message);
        } else {
            self.unknown.memory += 1;
        }
    }

    /// Reads `msr`.
    pub fn msr_read(&mut self, msr: u32, now: u64) -> Result<u64, GeneralProtection> {
        let result = match msr {
            _ if LocalApic::owns(msr) => self.local_apic.read(msr, now),
            _ if Mtrrs::owns(msr) => self.mtrrs.read(msr),
            TIME_STAMP_COUNTER => Ok(now),
            _ => Err(GeneralProtection),
        };
        self.unknown.msrs += u64::from(result.is_err());
        result
    }

    /// Writes `msr`.
    #[inline]
    pub fn msr_write(&mut self, msr: u32, value: u64, now: u64) -> Result<(), GeneralProtection> {
        if LocalApic::owns(msr) {
            let ended = self.local_apic.write(msr, value, now)?;
            if let (Some(vector), END_OF_INTERRUPT) = (ended, msr) {
                let message = self.io_apic.end_of_interrupt(vector);
                self.send(message);
            }
            return Ok(());
        }
        if Mtrrs::owns(msr) {
            return self.mtrrs.write(msr, value);
        }
        self.unknown.msrs += 1;
        Err(GeneralProtection)
    }

    /// Gives input to the serial port; says how many bytes it took.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let taken = self.uart.receive(bytes);
        self.connect_uart();
        taken
    }

    /// How many bytes of input the serial port has room for.
    pub fn input_room(&self) -> usize {
        self.uart.room()
    }

    /// What the guest has written to the serial port since [`clear_output`](Self::clear_output).
    #[inline]
    pub fn output(&self) -> &[u8] {
        self.uart.output()
    }

    /// Forgets the output.
    pub fn clear_output(&mut self) {
        self.uart.clear_output();
    }

    /// Lets time pass: fires the timers that are due.
    pub fn advance(&mut self, now: u64) {
        self.local_apic.advance(now);
        if self.pit.advance(now) {
            self.raise(TIMER_LINE, true);
            self.raise(TIMER_LINE, false);
        }
    }

    /// When [`advance`](Self::advance) is needed next.
    #[inline]
    pub fn next_event(&self) -> Option<u64> {
        earlier(self.local_apic.next_event(), self.pit.next_event())
    }

    /// The vector that the processor should be interrupted with next, if any.
    #[inline]
    pub fn pending_vector(&self) -> Option<u8> {
        if self.local_apic.accepts_external()
            && let Some(vector) = self.pics.pending()
        {
            return Some(vector);
        }
        self.local_apic.next_vector()
    }

    /// The processor has taken `vector`, which was [pending](Self::pending_vector).
    pub fn accepted(&mut self, vector: u8) {
        if !self.local_apic.accepted(vector) && self.pics.pending() == Some(vector) {
            self.pics.acknowledge();
        }
    }

    /// How often the guest touched what is not there.
    pub fn unknown(&self) -> Unknown {
        self.unknown
    }

    #[inline]
    fn connect_uart(&mut self) {
        let (fell, level) = self.uart.line();
        if !fell && level == self.uart_level {
            return;
        }
        self.uart_level = level;
        if fell {
            self.raise((uart::INTERRUPT, uart::INTERRUPT), false);
        }
        self.raise((uart::INTERRUPT, uart::INTERRUPT), level);
    }

    fn raise(&mut self, (line, pin): (u8, u8), level: bool) {
        self.pics.set(line, level);
        let message = self.io_apic.set(pin, level);
        self.send(message);
    }

    fn send(&mut self, message: Option<Message>) {
        // NMI, SMI, INIT and ExtINT through the I/O APIC are not offered; Linux uses none of them.
        if let Some(Message { vector, mode: 0 | 1, level }) = message {
            self.local_apic.deliver(vector, level);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    pub(crate) fn pc() -> Pc {
        Pc::new(&Configuration {
            clock: Clock::new(1_000_000_000),
            ticks_per_count: 1,
            unix_time: 1_700_000_000,
            unix_time_tsc: 0,
            physical_bits: 39,
        })
    }

    fn route(pc: &mut Pc, pin: u64, low: u64) {
        pc.msr_write(0x80f, 0x1ff, 0).unwrap();
        pc.mmio_write(io_apic::ADDRESS, 0x10 + 2 * pin);
        pc.mmio_write(io_apic::ADDRESS + 0x10, low);
    }

    #[test]
    fn serial_input_reaches_the_processor_through_the_io_apic() {
        let mut pc = pc();
        route(&mut pc, 4, 0x24);
        let _ = pc.port_write(0x3fc, 1, 8, 0);
        let _ = pc.port_write(0x3f9, 1, 1, 0);
        assert_eq!(pc.pending_vector(), None);
        assert_eq!(pc.receive(b"ok"), 2);
        assert_eq!(pc.pending_vector(), Some(0x24));
        pc.accepted(0x24);
        assert_eq!(pc.pending_vector(), None);
        assert_eq!(pc.port_read(0x3f8, 1, 0), u32::from(b'o'));
        assert_eq!(pc.port_read(0x3fd, 1, 0), 0x61);
        assert_eq!(pc.msr_write(END_OF_INTERRUPT, 0, 0), Ok(()));
    }

    #[test]
    fn the_interval_timer_reaches_pin_2_and_the_8259() {
        let mut pc = pc();
        route(&mut pc, 2, 0x30);
        let _ = pc.port_write(0x43, 1, 0x34, 0);
        let _ = pc.port_write(0x40, 1, 0xa9, 0);
        let _ = pc.port_write(0x40, 1, 0x04, 0);
        let due = pc.next_event().unwrap();
        pc.advance(due);
        assert_eq!(pc.pending_vector(), Some(0x30));
        pc.accepted(0x30);
        // Virtual wire: LINT0 as ExtINT.
        for (port, value) in [(0x20, 0x11), (0x21, 0x40), (0x21, 4), (0x21, 1), (0x21, 0xfe)] {
            let _ = pc.port_write(port, 1, value, 0);
        }
        pc.msr_write(0x835, 0x700, 0).unwrap();
        let due = pc.next_event().unwrap();
        pc.advance(due);
        assert_eq!(pc.pending_vector(), Some(0x40));
        pc.accepted(0x40);
        assert_eq!(pc.pics.pending(), None);
    }

    #[test]
    fn reset_and_power_off() {
        let mut pc = pc();
        assert_eq!(pc.port_write(0x64, 1, 0xfe, 0), Effect::Reset);
        assert_eq!(pc.port_write(0xcf9, 1, 6, 0), Effect::Reset);
        assert_eq!(pc.port_write(0xcf9, 1, 2, 0), Effect::None);
        assert_eq!(pc.port_write(0x604, 2, 0x3400, 0), Effect::PowerOff);
    }

    #[test]
    fn what_is_not_there_reads_as_ones_and_is_counted() {
        let mut pc = pc();
        assert_eq!(pc.port_read(0x2f8, 1, 0), 0xff);
        assert_eq!(pc.port_read(0xffff, 4, 0), u32::MAX);
        assert_eq!(pc.port_write(0x300, 2, 0, 0), Effect::None);
        assert_eq!(pc.mmio_read(0xd000_0000, 2), 0xffff);
        pc.mmio_write(0xfee0_0000, 1);
        assert_eq!(pc.msr_read(0x1234, 0), Err(GeneralProtection));
        assert_eq!(pc.msr_write(0xc000_0080, 1, 0), Err(GeneralProtection));
        assert_eq!(pc.unknown(), Unknown { ports: 7, msrs: 2, memory: 2 });
    }

    #[derive(Clone, Debug)]
    enum Access {
        PortRead(u16, u8),
        PortWrite(u16, u8, u32),
        MmioRead(u64, u8),
        MmioWrite(u64, u64),
        MsrRead(u32),
        MsrWrite(u32, u64),
        Receive(usize),
        Take,
    }

    fn access() -> impl Strategy<Value = Access> {
        let port = prop_oneof![
            3 => prop::sample::select(vec![
                0x20u16, 0x21, 0xa0, 0xa1, 0x4d0, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x602, 0x608, 0xcf8, 0xcfc
            ]),
            2 => 0x3f8u16..0x400,
            1 => any::<u16>()
        ];
        let size = prop::sample::select(vec![1u8, 2, 4]);
        let msr = prop_oneof![4 => 0x800u32..0x840, 1 => 0x1f0u32..0x300, 1 => Just(0x6e0u32), 1 => any::<u32>()];
        let mmio = prop_oneof![3 => prop::sample::select(vec![0xfec0_0000u64, 0xfec0_0010]), 1 => any::<u64>()];
        let value =
            prop_oneof![2 => any::<u8>().prop_map(u64::from), 1 => any::<u32>().prop_map(u64::from), 1 => any::<u64>()];
        prop_oneof![
            (port.clone(), size.clone()).prop_map(|(port, size)| Access::PortRead(port, size)),
            (port, size, value.clone()).prop_map(|(port, size, value)| Access::PortWrite(port, size, value as u32)),
            (mmio.clone(), 0u8..9).prop_map(|(address, size)| Access::MmioRead(address, size)),
            (mmio, value.clone()).prop_map(|(address, value)| Access::MmioWrite(address, value)),
            msr.clone().prop_map(Access::MsrRead),
            (msr, value).prop_map(|(msr, value)| Access::MsrWrite(msr, value)),
            (0usize..40).prop_map(Access::Receive),
            Just(Access::Take),
        ]
    }

    proptest! {
        #[test]
        fn no_sequence_of_accesses_panics(
            frequency in prop_oneof![Just(0u64), Just(1), Just(20_000_000), Just(3_000_000_000), any::<u64>()],
            accesses in prop::collection::vec((access(), prop_oneof![3 => 0u64..100_000, 1 => any::<u64>()]), 1..200),
        ) {
            let mut pc = Pc::new(&Configuration {
                clock: Clock::new(frequency),
                ticks_per_count: frequency,
                unix_time: frequency,
                unix_time_tsc: 5,
                physical_bits: frequency as u8,
            });
            let mut now = 0u64;
            for (access, passed) in accesses {
                now = now.saturating_add(passed);
                match access {
                    Access::PortRead(port, size) => { pc.port_read(port, size, now); }
                    Access::PortWrite(port, size, value) => { let _ = pc.port_write(port, size, value, now); }
                    Access::MmioRead(address, size) => { pc.mmio_read(address, size); }
                    Access::MmioWrite(address, value) => pc.mmio_write(address, value),
                    Access::MsrRead(msr) => { let _ = pc.msr_read(msr, now); }
                    Access::MsrWrite(msr, value) => { let _ = pc.msr_write(msr, value, now); }
                    Access::Receive(count) => { pc.receive(&[7; 40][..count]); }
                    Access::Take => if let Some(vector) = pc.pending_vector() {
                        pc.accepted(vector);
                    }
                }
                pc.advance(now);
                if now < u64::MAX {
                    prop_assert!(pc.next_event().is_none_or(|event| event > now), "an event that is due stays due");
                }
                prop_assert!(pc.output().len() <= uart::MAX_OUTPUT);
            }
        }
    }
}
