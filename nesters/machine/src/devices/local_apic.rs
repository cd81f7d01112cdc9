//! The local APIC of the only CPU, always in x2APIC mode (Intel SDM vol. 3A, chapter 11).

use crate::time::Clock;

/// A read or write that raises #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

/// IA32_APIC_BASE.
pub const BASE: u32 = 0x1b;
/// IA32_TSC_DEADLINE.
pub const TSC_DEADLINE: u32 = 0x6e0;
/// First MSR of the registers.
pub const FIRST: u32 = 0x800;
/// Last MSR of the registers.
pub const LAST: u32 = 0x8ff;
/// End of interrupt.
pub const END_OF_INTERRUPT: u32 = 0x80b;

/// Enabled, x2APIC mode, bootstrap processor, at 0xfee00000.
const BASE_VALUE: u64 = 0xfee0_0000 | 1 << 11 | 1 << 10 | 1 << 8;
const MASKED: u32 = 1 << 16;
const ENABLED: u32 = 1 << 8;

const TIMER: usize = 0;
const LINT0: usize = 3;
/// Local vector table: timer, thermal, performance, LINT0, LINT1, error (MSRs 0x832 to 0x837), and what can be written.
const LVT_WRITABLE: [u32; 6] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];

/// 256 bits, one for each vector.
#[derive(Clone, Copy, Debug, Default)]
struct Vectors {
    words: [u32; 8],
    /// Which words are not zero.
    used: u32,
}

impl Vectors {
    fn set(&mut self, vector: u8, value: bool) {
        let (bit, index) = (1 << (vector & 31), usize::from(vector >> 5));
        let word = &mut self.words[index];
        *word = if value { *word | bit } else { *word & !bit };
        self.used = self.used & !(1 << index) | u32::from(*word != 0) << index;
    }

    fn get(&self, vector: u8) -> bool {
        self.words[usize::from(vector >> 5)] & 1 << (vector & 31) != 0
    }

    #[inline]
    fn highest(&self) -> Option<u8> {
        let index = self.used.checked_ilog2()?;
        Some((index * 32 + self.words[index as usize & 7].checked_ilog2()?) as u8)
    }
}

/// The local APIC.
#[derive(Debug)]
pub struct LocalApic {
    clock: Clock,
    ticks_per_count: u64,
    task_priority: u8,
    spurious: u32,
    error: u32,
    error_shown: u32,
    command: u64,
    table: [u32; 6],
    initial_count: u32,
    divide: u32,
    /// When the timer fires, in ticks of the time stamp counter.
    fires: Option<u64>,
    requested: Vectors,
    in_service: Vectors,
    level: Vectors,
}

impl LocalApic {
    /// The local APIC after reset. The timer counts once in `ticks_per_count` ticks of the time stamp counter.
    pub fn new(clock: Clock, ticks_per_count: u64) -> Self {
        Self {
            clock,
            ticks_per_count: ticks_per_count.max(1),
            task_priority: 0,
            spurious: 0xff,
            error: 0,
            error_shown: 0,
            command: 0,
            table: [MASKED; 6],
            initial_count: 0,
            divide: 0,
            fires: None,
            requested: Vectors::default(),
            in_service: Vectors::default(),
            level: Vectors::default(),
        }
    }

    /// Whether `msr` belongs to the local APIC.
    pub fn owns(msr: u32) -> bool {
        matches!(msr, BASE | TSC_DEADLINE | FIRST..=LAST)
    }

    /// Reads `msr`, one that it [owns](Self::owns).
    pub fn read(&self, msr: u32, now: u64) -> Result<u64, GeneralProtection> {
        let vectors = |vectors: &Vectors, first: u32| u64::from(vectors.words[(msr - first) as usize & 7]);
        Ok(match msr {
            BASE => BASE_VALUE,
            TSC_DEADLINE => self.fires.filter(|_| self.is_deadline()).unwrap_or(0),
            0x802 => 0,
            // Version 0x14, six entries in the local vector table.
            0x803 => 0x0005_0014,
            0x808 => u64::from(self.task_priority),
            0x80a => u64::from(self.processor_priority()),
            // Logical identifier: bit 0 of cluster 0.
            0x80d => 1,
            0x80f => u64::from(self.spurious),
            0x810..=0x817 => vectors(&self.in_service, 0x810),
            0x818..=0x81f => vectors(&self.level, 0x818),
            0x820..=0x827 => vectors(&self.requested, 0x820),
            0x828 => u64::from(self.error_shown),
            0x830 => self.command,
            0x832..=0x837 => u64::from(self.table[(msr - 0x832) as usize]),
            0x838 => u64::from(self.initial_count),
            0x839 => u64::from(self.current_count(now)),
            0x83e => u64::from(self.divide),
            _ => return Err(GeneralProtection),
        })
    }

    /// Writes `msr`, one that it [owns](Self::owns). Returns the vector of a level-triggered interrupt that ended.
    pub fn write(&mut self, msr: u32, value: u64, now: u64) -> Result<Option<u8>, GeneralProtection> {
        if msr == TSC_DEADLINE {
            if self.is_deadline() {
                self.fires = (value != 0).then_some(value);
            }
            return Ok(None);
        }
        if msr == END_OF_INTERRUPT {
            return if value == 0 { Ok(self.end_of_interrupt()) } else { Err(GeneralProtection) };
        }
        if msr == BASE {
            // The mode and the address are fixed.
            return if value == BASE_VALUE { Ok(None) } else { Err(GeneralProtection) };
        }
        if msr == 0x830 {
            self.send(value);
            return Ok(None);
        }
        let value = u32::try_from(value).map_err(|_| GeneralProtection)?;
        match msr {
            0x808 => self.task_priority = u8::try_from(value).map_err(|_| GeneralProtection)?,
            0x80f if value & !0x13ff == 0 => {
                self.spurious = value & 0x1ff;
                if !self.is_enabled() {
                    for entry in &mut self.table {
                        *entry |= MASKED;
                    }
                }
            }
            0x828 if value == 0 => self.error_shown = core::mem::take(&mut self.error),
            0x832..=0x837 => self.write_table((msr - 0x832) as usize, value),
            0x838 => {
                self.initial_count = value;
                if !self.is_deadline() {
                    self.fires = (value != 0).then(|| now.saturating_add(self.ticks(value)));
                }
            }
            0x83e if value & !0xb == 0 => {
                let left = self.current_count(now);
                self.divide = value;
                if !self.is_deadline() && self.fires.is_some() {
                    self.fires = Some(now.saturating_add(self.ticks(left)));
                }
            }
            // Self IPI.
            0x83f if value & !0xff == 0 => self.deliver(value as u8, false),
            _ => return Err(GeneralProtection),
        }
        Ok(None)
    }

    fn write_table(&mut self, entry: usize, value: u32) {
        let old_mode = self.table[TIMER] >> 17 & 3;
        let forced = if self.is_enabled() { 0 } else { MASKED };
        self.table[entry] = value & LVT_WRITABLE[entry] | forced;
        let new_mode = self.table[TIMER] >> 17 & 3;
        if old_mode != new_mode && (old_mode == 2 || new_mode == 2) {
            self.fires = None;
        }
    }

    /// An inter-processor interrupt; the only processor to reach is this one.
    fn send(&mut self, command: u64) {
        self.command = command & 0xffff_ffff_000c_cfff;
        let destination = (command >> 32) as u32;
        let to_self = match command >> 18 & 3 {
            0 if command & 1 << 11 == 0 => destination == 0 || destination == u32::MAX,
            0 => destination == u32::MAX || destination >> 16 == 0 && destination & 1 != 0,
            1 | 2 => true,
            _ => false,
        };
        if to_self && matches!(command >> 8 & 7, 0 | 1) {
            self.deliver(command as u8, false);
        }
    }

    /// Takes interrupt `vector`, from an I/O APIC or the processor itself.
    pub fn deliver(&mut self, vector: u8, level: bool) {
        if vector < 16 {
            // Received illegal vector.
            self.error |= 1 << 6;
        } else if self.is_enabled() {
            self.requested.set(vector, true);
            self.level.set(vector, level);
        }
    }

    /// The vector that the processor should be interrupted with next.
    #[inline]
    pub fn next_vector(&self) -> Option<u8> {
        let vector = self.requested.highest()?;
        (vector >> 4 > self.processor_priority() >> 4 && self.is_enabled()).then_some(vector)
    }

    /// The processor has taken interrupt `vector`. False if the local APIC has not asked for it.
    pub fn accepted(&mut self, vector: u8) -> bool {
        let requested = self.requested.get(vector);
        if requested {
            self.requested.set(vector, false);
            self.in_service.set(vector, true);
        }
        requested
    }

    fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = self.in_service.highest()?;
        self.in_service.set(vector, false);
        // Bit 12 of the spurious vector register (suppress broadcasts) is not offered by the version register.
        self.level.get(vector).then_some(vector)
    }

    /// Whether an 8259 connected to LINT0 reaches the processor.
    pub fn accepts_external(&self) -> bool {
        let entry = self.table[LINT0];
        self.is_enabled() && entry & MASKED == 0 && entry >> 8 & 7 == 7
    }

    /// When the timer fires next.
    pub fn next_event(&self) -> Option<u64> {
        self.fires
    }

    /// Fires the timer if it is due.
    pub fn advance(&mut self, now: u64) {
        let Some(due) = self.fires.filter(|&due| due <= now) else { return };
        let entry = self.table[TIMER];
        self.fires = None;
        if entry >> 17 & 3 == 1 {
            let period = self.ticks(self.initial_count).max(self.clock.shortest_period());
            let missed = (now - due) / period;
            self.fires = Some(due.saturating_add(period.saturating_mul(missed + 1)));
        }
        if entry & MASKED == 0 {
            self.deliver(entry as u8, false);
        }
    }

    fn is_enabled(&self) -> bool {
        self.spurious & ENABLED != 0
    }

    fn is_deadline(&self) -> bool {
        self.table[TIMER] >> 17 & 3 == 2
    }

    fn processor_priority(&self) -> u8 {
        let service = self.in_service.highest().unwrap_or(0) & 0xf0;
        if self.task_priority & 0xf0 >= service { self.task_priority } else { service }
    }

    /// Ticks of the time stamp counter in which the timer counts `count`.
    fn ticks(&self, count: u32) -> u64 {
        u64::from(count) * self.ticks_per_count.min(1 << 24) * self.divisor()
    }

    fn divisor(&self) -> u64 {
        let code = self.divide & 3 | self.divide >> 1 & 4;
        1 << ((code + 1) & 7)
    }

    fn current_count(&self, now: u64) -> u32 {
        match self.fires {
            Some(fires) if !self.is_deadline() => {
                u32::try_from(fires.saturating_sub(now) / self.ticks(1).max(1)).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_highest_vector_is_that_of_a_set(steps in prop::collection::vec((any::<u8>(), any::<bool>()), 0..200)) {
            let (mut vectors, mut model) = (Vectors::default(), alloc::collections::BTreeSet::new());
            for (vector, value) in steps {
                vectors.set(vector, value);
                if value { model.insert(vector) } else { model.remove(&vector) };
                prop_assert_eq!(vectors.highest(), model.last().copied());
                prop_assert_eq!(vectors.get(vector), value);
            }
        }
    }

    fn enabled() -> LocalApic {
        let mut apic = LocalApic::new(Clock::new(1_000_000_000), 2);
        apic.write(0x80f, 0x1ff, 0).unwrap();
        apic
    }

    #[test]
    fn starts_in_x2apic_mode_and_stays() {
        let mut apic = enabled();
        assert_eq!(apic.read(BASE, 0).unwrap() >> 10 & 3, 3);
        assert_eq!(apic.write(BASE, 0xfee0_0900, 0), Err(GeneralProtection));
        assert_eq!(apic.read(0x80e, 0), Err(GeneralProtection), "no DFR in x2APIC mode");
        assert_eq!(apic.write(END_OF_INTERRUPT, 1, 0), Err(GeneralProtection));
        assert_eq!(apic.write(0x802, 0, 0), Err(GeneralProtection));
        assert_eq!(apic.read(0x8ff, 0), Err(GeneralProtection));
    }

    #[test]
    fn vectors_come_by_priority_and_nest() {
        let mut apic = enabled();
        apic.deliver(0x31, false);
        apic.deliver(0xef, false);
        assert_eq!(apic.next_vector(), Some(0xef));
        apic.accepted(0xef);
        assert_eq!(apic.next_vector(), None, "a lower class waits");
        assert_eq!(apic.write(END_OF_INTERRUPT, 0, 0), Ok(None));
        assert_eq!(apic.next_vector(), Some(0x31));
        apic.write(0x808, 0x30, 0).unwrap();
        assert_eq!(apic.next_vector(), None, "task priority");
        apic.write(0x808, 0, 0).unwrap();
        apic.accepted(0x31);
        assert_eq!(apic.read(0x811, 0), Ok(1 << 17));
    }

    #[test]
    fn the_end_of_a_level_interrupt_is_told() {
        let mut apic = enabled();
        apic.deliver(0x29, true);
        apic.accepted(0x29);
        assert_eq!(apic.write(END_OF_INTERRUPT, 0, 0), Ok(Some(0x29)));
        assert_eq!(apic.write(END_OF_INTERRUPT, 0, 0), Ok(None));
    }

    #[test]
    fn the_deadline_timer_fires_once() {
        let mut apic = enabled();
        apic.write(0x832, 0x400ec, 0).unwrap();
        apic.write(TSC_DEADLINE, 1000, 10).unwrap();
        assert_eq!(apic.next_event(), Some(1000));
        assert_eq!(apic.read(TSC_DEADLINE, 10), Ok(1000));
        apic.advance(999);
        assert_eq!(apic.next_vector(), None);
        apic.advance(1000);
        assert_eq!(apic.next_vector(), Some(0xec));
        assert_eq!((apic.next_event(), apic.read(TSC_DEADLINE, 1000)), (None, Ok(0)));
    }

    #[test]
    fn the_counting_timer_divides_and_repeats() {
        let mut apic = enabled();
        apic.write(0x83e, 0xb, 0).unwrap();
        apic.write(0x832, 0x2_0040, 0).unwrap();
        apic.write(0x838, 50_000, 1000).unwrap();
        assert_eq!(apic.next_event(), Some(101_000));
        assert_eq!(apic.read(0x839, 51_000), Ok(25_000));
        apic.advance(350_000);
        assert_eq!(apic.next_event(), Some(401_000), "missed periods merge");
        apic.write(0x83e, 0, 351_000).unwrap();
        assert_eq!(apic.next_event(), Some(451_000), "half the rate");
        apic.write(0x838, 0, 0).unwrap();
        assert_eq!(apic.next_event(), None);
    }

    #[test]
    fn a_disabled_apic_takes_nothing() {
        let mut apic = enabled();
        apic.write(0x835, 0x700, 0).unwrap();
        assert!(apic.accepts_external());
        apic.write(0x80f, 0xff, 0).unwrap();
        apic.deliver(0x40, false);
        assert_eq!(apic.next_vector(), None);
        assert_eq!(apic.read(0x835, 0), Ok(0x1_0700));
        apic.write(0x80f, 0x1ff, 0).unwrap();
        apic.write(0x83f, 0x41, 0).unwrap();
        apic.write(0x830, 3, 0).unwrap();
        assert_eq!(apic.next_vector(), Some(0x41));
        apic.write(0x828, 0, 0).unwrap();
        assert_eq!(apic.read(0x828, 0), Ok(1 << 6), "illegal vector");
    }
}
