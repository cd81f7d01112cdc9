//! The generator: which call a fuzzing thread makes next. It runs in the child, on nothing but the child's memory.
//!
//! Calls know what their arguments should be, mostly: objects stand in banks by type, so that a call finds one of the right type
//! more often than not without anybody keeping a list. A call that succeeded is made again with one or two registers changed.
//! It takes about as many instructions as a short call.

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, OBJECT_SIZE, ObjectType};
use protocols::virtual_cpu::register::{R8, R10, R15, RAX, RBP, RBX, RDI, RDX, RSI};

use crate::layout::{
    ALIAS, AREA, BANK, BUFFERS, FREE, KEPT, OBJECTS, READ_ONLY, SCRATCH, STATES, THREAD_STATE, given, given_reference,
    place,
};
use crate::random::Random;

/// General registers in the order of their encoding.
pub type Registers = [u64; 16];

/// Entries of the table of calls: a power of 2.
pub const TABLE: usize = 1024;

/// What all threads of a child share.
#[derive(Debug)]
#[repr(C)]
pub struct Control {
    /// 0: `SYSCALL`; 1: `VMCALL`.
    pub door: u64,
    /// Counts the stacks handed out to threads that have none.
    pub next_stack: u64,
    /// The time, as of when the parent last looked.
    pub now: u64,
    /// An odd instruction comes once in so many calls.
    pub odd: u64,
    /// The numbers of the calls that are made, as often as they should be.
    pub calls: [u16; TABLE],
    /// How often each call has succeeded.
    pub succeeded: [u32; NUMBERS],
}

/// One more than the highest number of a call: a power of 2.
pub const NUMBERS: usize = 256;

/// Calls that succeeded and are remembered.
const RECENT: usize = 8;

/// What a fuzzing thread knows.
#[derive(Debug)]
#[repr(C)]
pub struct Loop {
    /// Where its choices come from.
    pub random: Random,
    /// Calls made on this stack.
    pub calls: u64,
    /// The registers of the call that is made.
    pub registers: Registers,
    /// The same as they were before it.
    made: Registers,
    /// Registers of calls that succeeded.
    recent: [Registers; RECENT],
}

/// What an argument should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An object of the type with this number.
    Object(u64),
    /// A Reference that is to link as the given one with this number does; or none.
    Link(u64),
    /// Memory for data.
    Buffer,
    /// A number of bits that mean something, of a kind, of a Thread's groups.
    Small,
    /// Anything.
    Any,
}

use Kind::{Any, Buffer, Link, Object, Small};

const REFERENCE: Kind = Object(ObjectType::Reference as u64);
const THREAD: Kind = Object(ObjectType::Thread as u64);
const PORTSET: Kind = Object(ObjectType::Portset as u64);
const MUTEX: Kind = Object(ObjectType::Mutex as u64);

/// What a call wants in RDI, RSI, RDX, R10 and R8. What this does not know is tried with anything.
const fn wanted(number: u64) -> [Kind; 5] {
    const FIRST_IPC: u64 = 0xa0;
    let object = Object(number >> 4);
    if number >= FIRST_IPC {
        return match number {
            0xa0 | 0xa8 => [Link(given::PARENT), Any, Any, Any, Any],
            0xa1 => [Link(given::PORT), Small, Any, Any, Any],
            0xa2 | 0xab => [Any; 5],
            0xa3 | 0xa4 | 0xa9 | 0xaa => [PORTSET, Any, Any, Any, Any],
            0xb0 | 0xb1 => [Link(given::PORT), Buffer, Any, Any, Any],
            0xbd => [THREAD, Small, Buffer, REFERENCE, Any],
            0xbe | 0xbf => [THREAD, THREAD, Small, Small, Any],
            0xca..=0xcc => [PORTSET, Buffer, Any, Any, Any],
            0xb2..=0xcf => [Any, Buffer, Any, Any, Any],
            0xd0 => [THREAD, Any, Small, PORTSET, Any],
            0xd1 => [THREAD, Link(given::PORT), Small, Any, Any],
            0xd2 => [THREAD, REFERENCE, Any, Any, Any],
            _ => [THREAD, Any, Any, Any, Any],
        };
    }
    match (number >> 4, number & 15) {
        (_, 0) => [object, Small, Small, Any, Any],
        (_, 2) => [object, object, Any, Any, Any],
        (1, 6) => [object, Small, Small, Any, Any],
        (2, 6) => [object, MUTEX, Small, Any, Any],
        (3, 5) => [object, Buffer, Link(given::MEMORY), Link(given::SPACE), Any],
        (4, 5) => [object, Buffer, Link(given::SPACE), Link(given::PARENT), Any],
        (5, 4) => [object, Small, REFERENCE, Small, Any],
        (5, 5) => [object, Small, Link(given::PORTSET), Small, Any],
        (7, 5) => [object, Link(given::PARENT), Small, Any, Any],
        (7, 6) => [object, Small, Buffer, Small, Any],
        (8, 4) => [object, Buffer, Small, REFERENCE, REFERENCE],
        (8, 5) => [object, Buffer, Small, Link(given::SPACE), Small],
        (9, _) => [object, object, Small, Small, Any],
        (_, 3) => [object, REFERENCE, Any, Any, Any],
        (_, 4 | 5) => [object, Buffer, REFERENCE, REFERENCE, Small],
        (_, 6 | 7) => [object, Small, Small, Any, Any],
        _ => [object, Any, Any, Any, Any],
    }
}

/// Values at which something changes.
const INTERESTING: [u64; 16] = [
    0,
    u64::MAX,
    PAGE_SIZE,
    1 << 47,
    0x7fff_ffff_f000,
    0xffff_8000_0000_0000,
    0xffff_ffff_ffff_f000,
    1 << 48,
    1 << 63,
    OBJECTS + AREA - OBJECT_SIZE,
    OBJECTS + AREA - 8,
    BUFFERS - 1,
    READ_ONLY + PAGE_SIZE - 4,
    0x20_0000,
    0xfee0_0000,
    0x1000_0000_0000,
];

impl Loop {
    /// A thread's beginning.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), calls: 0, registers: [0; 16], made: [0; 16], recent: [[0; 16]; RECENT] }
    }

    /// Chooses the next call. `states` is the page at [`STATES`].
    pub fn choose(&mut self, control: &Control, states: &mut [u64; 512]) {
        let choice = self.random.word();
        if choice & 3 == 0 {
            self.registers = self.recent[(choice >> 8) as usize % RECENT];
            for _ in 0..=choice >> 16 & 1 {
                let register = [RDI, RSI, RDX, R10, R8, RBX, RBP, R15][self.random.below(8) as usize];
                self.registers[register] = self.any();
            }
        } else {
            self.compose(choice, control);
        }
        if choice >> 20 & 7 == 0 {
            self.write_state(states);
        }
        self.made = self.registers;
    }

    /// Notes that the call has succeeded.
    pub fn succeeded(&mut self, control: &mut Control) {
        let count = &mut control.succeeded[self.made[RAX] as usize % NUMBERS];
        *count = count.wrapping_add(1);
        let position = self.random.below(RECENT as u64) as usize;
        self.recent[position] = self.made;
    }

    fn compose(&mut self, choice: u64, control: &Control) {
        // What has begun in messages goes on, often: replies, connections.
        let group = self.made[RAX] & 0xf0;
        let goes_on = (0xa0..0xd0).contains(&group) && choice & 8 == 0;
        let number = match choice >> 24 & 127 {
            0 => self.random.word(),
            _ if goes_on => group | choice >> 32 & 15,
            _ => u64::from(control.calls[(choice >> 32) as usize % TABLE]),
        };
        let wanted = wanted(number);
        self.registers[RAX] = number;
        for (register, kind) in [RDI, RSI, RDX, R10, R8].into_iter().zip(wanted) {
            self.registers[register] = self.argument(kind);
        }
        let words = self.random.word();
        self.registers[9] = if words & 7 == 0 { place(ObjectType::Thread as u64, words >> 50) } else { 0 };
        self.registers[12] = words;
        self.registers[RBX] = if words & 8 == 0 { 0 } else { reference(words >> 8) };
        self.registers[RBP] = if words & 16 == 0 { 0 } else { reference(words >> 16) };
        // Deadlines: most have passed, some have not, few never come.
        self.registers[R15] = match words >> 24 & 31 {
            0 => 0,
            1..8 => control.now + (words >> 32 & 0x3_ffff),
            8 => words,
            _ => 1,
        };
    }

    #[inline(always)]
    fn argument(&mut self, kind: Kind) -> u64 {
        let word = self.random.word();
        match kind {
            _ if word & 15 == 0 => self.any(),
            // The first ones most often, so that they meet.
            Object(kind) => place(kind, word >> 8 & (word >> 16 | word >> 24)),
            Link(_) if word & 32 == 0 => 0,
            Link(number) if word & 64 == 0 => given_reference(number),
            Link(_) => reference(word >> 8),
            Buffer => buffer(word >> 8),
            Small if word & 16 == 0 => word >> 8 & 3,
            Small => word >> 8 & word >> 32 & 0x7ff,
            Any => self.any(),
        }
    }

    #[inline(never)]
    fn any(&mut self) -> u64 {
        let word = self.random.word();
        let value = word >> 8;
        match word & 15 {
            0 => self.random.word(),
            1 => INTERESTING[value as usize % INTERESTING.len()],
            2 | 3 => value & 31,
            4 => value & 0xfff,
            5 => buffer(value),
            6 => [KEPT, READ_ONLY, ALIAS, FREE][value as usize & 3] + (value >> 2) % AREA / 8 * 8,
            7 => OBJECTS + value % AREA,
            8 => ALIAS + value % (16 * BANK) * OBJECT_SIZE,
            9 => crate::entry::address(),
            10 => 0,
            _ => place(value & 15, value >> 4),
        }
    }

    /// Writes one of the states that calls read, as it could be, or one word of it as it could not.
    fn write_state(&mut self, states: &mut [u64; 512]) {
        let word = self.random.word();
        if word & 3 == 0 {
            states[(word >> 8) as usize % 512] = self.any();
            return;
        }
        let pages = |value: u64, most: u64| value % most * PAGE_SIZE;
        let at = (word >> 8) as usize % 8 * 32;
        let rights = if word & 64 == 0 { 15 } else { word >> 16 & 15 };
        let size = pages(word >> 20, 20) + PAGE_SIZE;
        match word >> 2 & 3 {
            // A Mapping: offset, start, size, rights.
            0 => {
                states[at..at + 4].copy_from_slice(&[pages(word >> 30, 32), FREE + pages(word >> 40, 64), size, rights])
            }
            // A Region: start, size, rights.
            1 => states[at..at + 3].copy_from_slice(&[OBJECTS + pages(word >> 30, 16), size, rights]),
            // A Transfer: four tables, which follow it; each of two entries.
            2 => {
                let tables = STATES + at as u64 * 8 + 64;
                let count = word >> 30 & 3;
                states[at..at + 8].copy_from_slice(&[
                    tables,
                    count,
                    tables + 64,
                    word >> 32 & 3,
                    tables + 32,
                    word >> 34 & 3,
                    tables + 80,
                    word >> 36 & 3,
                ]);
                let buffers = [buffer(word >> 38), word >> 40 & 0x1ff, buffer(word >> 42), word >> 50 & 0x1fff];
                states[at + 8..at + 12].copy_from_slice(&buffers);
                let buffers = [buffer(word >> 44), word >> 46 & 0x1fff, buffer(word >> 48), word >> 52 & 0x1ff];
                states[at + 12..at + 16].copy_from_slice(&buffers);
                for (position, state) in states[at + 16..at + 20].iter_mut().enumerate() {
                    *state = place(ObjectType::Reference as u64, word >> (8 * position + 8));
                }
            }
            _ => states[at..at + 2].copy_from_slice(&[word >> 16 & 15, word >> 24 & 3]),
        }
    }
}

/// A place for a Reference, or a Reference that is given.
#[inline(always)]
fn reference(value: u64) -> u64 {
    match value & 3 {
        0 => given_reference(value >> 8 & 7),
        _ => place(ObjectType::Reference as u64, value >> 8),
    }
}

/// A place for data, of all kinds.
#[inline(always)]
fn buffer(value: u64) -> u64 {
    let offset = value >> 8;
    match value & 15 {
        0 => SCRATCH + (offset & 0x7fff),
        1 => READ_ONLY + (offset & 0xf) * PAGE_SIZE,
        2 => KEPT + (offset & 0xfff8),
        3..=5 => THREAD_STATE,
        6 => SCRATCH + (offset & 7) * PAGE_SIZE + PAGE_SIZE - 16,
        7..=10 => SCRATCH + (offset & 0x7ff) * 8,
        _ => STATES + (offset & 7) * 256,
    }
}

/// The table of all calls that there are: those which leave a thread waiting, or without what it needs, seldom; those which make
/// objects and links often.
pub fn table(mut exists: impl FnMut(u64) -> bool) -> [u16; TABLE] {
    let weight = |number: u64| match number {
        _ if !exists(number) => 0,
        _ if [Call::ThreadRedirect as u64, Call::ThreadSetScheduler as u64].contains(&number) => 1,
        _ if number < 0xa0 && number & 15 == 1 => 2,
        _ if number < 0xa0 && [0, 3, 5].contains(&(number & 15)) => 8,
        0xa0.. => 3,
        _ => 4,
    };
    let mut table = [0; TABLE];
    let weights = (0..NUMBERS as u64).map(weight);
    let mut numbers = weights.enumerate().flat_map(|(number, weight)| core::iter::repeat_n(number as u16, weight));
    let mut count = 0;
    for (slot, number) in table.iter_mut().zip(&mut numbers) {
        *slot = number;
        count += 1;
    }
    // The rest of the table begins with them again.
    for position in count..TABLE {
        table[position] = table[position - count.max(1)];
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{IntoBytes, TryFromBytes};

    fn exists(number: u64) -> bool {
        Call::try_read_from_bytes(number.as_bytes()).is_ok()
    }

    #[test]
    fn the_table_holds_every_call_and_no_other() {
        let table = table(exists);
        for number in 0..0x400 {
            assert_eq!(table.contains(&(number as u16)), exists(number), "{number:#x}");
        }
    }

    #[test]
    fn every_call_is_made_with_objects_of_its_type() {
        let mut control =
            Control { door: 0, next_stack: 0, now: 0, odd: 16, calls: table(exists), succeeded: [0; NUMBERS] };
        let (mut own, mut states) = (Loop::new(1), [0; 512]);
        let mut made = std::collections::BTreeSet::new();
        let mut right = 0;
        for _ in 0..100_000 {
            own.choose(&control, &mut states);
            made.insert(own.registers[RAX]);
            let bank = (own.registers[RDI].wrapping_sub(OBJECTS)) / OBJECT_SIZE / BANK;
            right += u32::from(bank == own.registers[RAX] >> 4);
            own.succeeded(&mut control);
        }
        assert!((0..NUMBERS as u64).filter(|&number| exists(number)).all(|number| made.contains(&number)));
        assert!(right > 40_000, "{right}");
    }
}
