//! What a scenario consists of: the calls of each thread that takes part, what is there before, and what may differ.
//!
//! A thread's calls stand in a page of memory as a *script*: for each call [`STRIDE`] bytes, first the sixteen general registers that it is
//! made with, then those that it returns (in the place of RSP the flags). The first call whose RAX would be 0 ends it.

use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, OBJECT_SIZE};
use protocols::libc::time;
use protocols::libnest::micro_guest;
use protocols::virtual_cpu::register::{R8, R9, R10, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI};

use super::scene::Scene;
use crate::harness::Verdict;

/// Where the scripts of native threads are; those of machines are a page further on.
pub const CODE: u64 = micro_guest::CODE;
/// Where the threads of both doors have their data: objects, one page.
pub const DATA: u64 = micro_guest::DATA;
/// Scripts, a page for each thread.
const SCRIPTS: u64 = DATA + PAGE_SIZE;
/// Most threads, the victim included.
pub const MOST_THREADS: u64 = 3;
/// Structures that calls read and write: one page.
pub const STRUCTURES: u64 = SCRIPTS + MOST_THREADS * PAGE_SIZE;
/// Bytes to be sent, and room for them: each two pages.
pub const OUT: u64 = STRUCTURES + PAGE_SIZE;
/// See [`OUT`].
pub const IN: u64 = OUT + 2 * PAGE_SIZE;
/// The end of the data.
pub const END: u64 = IN + 2 * PAGE_SIZE;
/// Where the pages of [`OUT`] and [`IN`] appear once more, if a keeper supplies them.
pub const KEPT: u64 = 0x40_0000;

/// Bytes of a call in a script.
pub const STRIDE: u64 = 272;
/// Where the registers that it returns begin.
pub const RETURNED: u64 = 128;
/// The registers in the order of a script.
pub const REGISTERS: [&str; 16] = [
    "RAX",
    "RCX",
    "RDX",
    "RBX",
    "the flags",
    "RBP",
    "RSI",
    "RDI",
    "R8",
    "R9",
    "R10",
    "R11",
    "R12",
    "R13",
    "R14",
    "R15",
];
/// Ticks from the beginning of a run to its deadline.
const PATIENCE: u64 = 200_000;
/// R11, which `SYSCALL` changes, as it does RCX.
pub const R11: usize = 11;
/// In the place of RAX: goes back as far as RCX says.
const BACK: u64 = u64::MAX;
/// Reads the word at RDI, without a call.
const READ: u64 = u64::MAX - 1;
/// A native thread raises an exception, a virtual CPU writes RDI to a port.
const EXCEPTION: u64 = u64::MAX - 2;
/// Where the scripts of native threads have an exception handler, which notes what it was told and goes on behind the instruction.
pub const HANDLER: u64 = CODE + 16;

/// An object of the scene's.
pub const fn object(number: u64) -> u64 {
    DATA + number * OBJECT_SIZE
}

/// Where a thread's object lies, or is said to lie.
pub const fn thread(number: u64) -> u64 {
    object(48 + number)
}

/// Where a thread's script begins.
pub const fn script(number: u64) -> u64 {
    SCRIPTS + number * PAGE_SIZE + 16
}

/// One call.
#[derive(Clone, Debug)]
pub struct Step {
    registers: [u64; 16],
    /// Returned registers that need not be the same, a bit for each.
    pub ignored: u16,
    /// The register that holds a deadline.
    pub deadline: Option<usize>,
}

impl Step {
    /// A call with arguments; the registers that it does not name are told apart by what they hold.
    pub fn new(call: Call, arguments: &[u64]) -> Self {
        let mut registers = [0; 16];
        for (number, register) in registers.iter_mut().enumerate() {
            *register = 0x1_0001_0001 * (0xa00 + number as u64);
        }
        registers[RAX] = call as u64;
        for register in [RDI, RSI, RDX, R10, R8, R9, R15] {
            registers[register] = 0;
        }
        for (register, &argument) in [RDI, RSI, RDX, R10, R8, R9].into_iter().zip(arguments) {
            registers[register] = argument;
        }
        Self { registers, ignored: 0, deadline: None }
    }

    /// The same with a register set.
    pub fn with(mut self, register: usize, value: u64) -> Self {
        self.registers[register] = value;
        self
    }

    /// The same, with the eight words of a message that begins with `first`.
    pub fn message(self, first: u64) -> Self {
        let words = [RSI, RDX, R10, R8, R9, R12, R13, R14].into_iter().zip(first..);
        words.fold(self, |step, (register, word)| step.with(register, word))
    }

    /// The same with the References that it sends and takes.
    pub fn references(self, sent: u64, taken: u64) -> Self {
        self.with(RBX, sent).with(RBP, taken)
    }

    /// The same, where what a register returns need not be the same.
    pub fn ignoring(mut self, register: usize) -> Self {
        self.ignored |= 1 << register;
        self
    }

    /// The same with a deadline in a register, which comes when all else is done.
    pub fn until(mut self, register: usize) -> Self {
        self.deadline = Some(register);
        self.ignoring(register)
    }

    /// Gives the rest of its time back: the others run.
    pub fn pause() -> Self {
        Self::new(Call::ThreadSchedule, &[])
    }

    /// Reads a word, which is RAX then.
    pub fn read(address: u64) -> Self {
        Self { registers: [0; 16], ignored: 0, deadline: None }.with(RAX, READ).with(RDI, address)
    }

    /// Raises an exception, which [`HANDLER`] handles; or, in a machine, writes `value` to a port.
    pub fn exception(value: u64) -> Self {
        Self { registers: [0; 16], ignored: 0, deadline: None }.with(RAX, EXCEPTION).with(RDI, value)
    }

    /// Goes back so many calls, for ever.
    pub fn back(calls: u64) -> Self {
        Self { registers: [0; 16], ignored: 0, deadline: None }
            .with(RAX, BACK)
            .with(RCX, (calls * STRIDE).wrapping_neg())
    }

    /// Its registers, in a run that begins now.
    pub fn registers(&self) -> [u64; 16] {
        let mut registers = self.registers;
        if let Some(register) = self.deadline {
            registers[register] = time::now() + PATIENCE;
        }
        registers
    }
}

/// Makes what there is before a run of a scenario for a call.
pub type Setup = fn(&Scene<'_>, Call) -> Verdict;

/// What the threads of a scenario do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The calls of the thread that is stopped, exported, destroyed, recreated and resumed.
    pub victim: Vec<Step>,
    /// The calls of the others.
    pub partners: Vec<Vec<Step>>,
    /// The call that the scenario is for.
    pub call: Call,
    /// Makes what there is before.
    pub setup: Setup,
    /// The partners make their calls before the victim.
    pub partners_first: bool,
    /// The calls move bytes.
    pub moves: bool,
    /// No page is in the tables of the hardware at first.
    pub cold: bool,
    /// What comes out depends on who comes first, so that a thread whose turn is cut short goes on with it before others have theirs.
    pub ordered: bool,
}

impl Plan {
    /// A victim alone, that makes one call.
    pub fn one(call: Call, arguments: &[u64], setup: Setup) -> Self {
        Self::new(call, alloc::vec![Step::new(call, arguments)], setup)
    }

    /// A victim alone.
    pub fn new(call: Call, victim: Vec<Step>, setup: Setup) -> Self {
        Self {
            call,
            victim,
            partners: Vec::new(),
            setup,
            partners_first: false,
            moves: false,
            cold: false,
            ordered: false,
        }
    }

    /// With another thread.
    pub fn beside(mut self, partner: Vec<Step>) -> Self {
        self.partners.push(partner);
        self
    }

    /// With another thread that makes its calls first.
    pub fn after(mut self, partner: Vec<Step>) -> Self {
        self.partners_first = true;
        self.beside(partner)
    }

    /// Moving bytes.
    pub fn moving(mut self) -> Self {
        self.moves = true;
        self
    }

    /// With no page in the tables of the hardware.
    pub fn cold(mut self) -> Self {
        self.cold = true;
        self
    }

    /// With a result that depends on who comes first.
    pub fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// The calls of a thread: the victim's are those of number 0.
    pub fn steps(&self, number: u64) -> &[Step] {
        match number.checked_sub(1) {
            None => &self.victim,
            Some(number) => self.partners.get(number as usize).map_or(&[], Vec::as_slice),
        }
    }

    /// How many threads there are.
    pub fn threads(&self) -> u64 {
        1 + self.partners.len() as u64
    }
}

const _: () = assert!(STRIDE * 14 <= PAGE_SIZE && R15 == 15);
