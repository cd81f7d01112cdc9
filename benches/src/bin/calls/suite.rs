//! Measuring: running scripts, with and without what they are about, and printing what the difference is.

use crate::partner::Partner;
use crate::script::{self, Entry, Run};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use protocols::address::PAGE_SIZE;
use protocols::api::Call;
use protocols::libc::console::Console;
use protocols::libc::time::transitions;
use protocols::libnest::memory::OutOfRange;
use protocols::libnest::{Memory, Status};
use zerocopy::IntoBytes;

/// How often a script is run through, first to warm up and then measured.
pub const ITERATIONS: u64 = 100;

/// Why there are no measurements.
pub struct Failure(pub String);

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self(format!("{status:?}"))
    }
}

impl From<OutOfRange> for Failure {
    fn from(_: OutOfRange) -> Self {
        Self("out of the memory set aside".into())
    }
}

/// What a measuring step gives.
pub type Result<T> = core::result::Result<T, Failure>;

/// What a script costs: hundredths of ticks and of VM transitions for each iteration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    ticks: u64,
    transitions: u64,
}

impl Cost {
    /// What is left of it without another.
    pub fn less(self, other: Self) -> Self {
        Self {
            ticks: self.ticks.saturating_sub(other.ticks),
            transitions: self.transitions.saturating_sub(other.transitions),
        }
    }

    /// What each of `count` equal calls in it costs.
    pub fn each(self, count: u64) -> Self {
        Self { ticks: self.ticks / count, transitions: self.transitions / count }
    }
}

const TABLE: u64 = 0x100;
const SCRATCH: u64 = 2 * PAGE_SIZE;

/// What measures.
pub struct Suite<'a> {
    console: &'a mut Console,
    /// What the names of these measurements end with.
    suffix: String,
    memory: Memory,
    measured: Vec<Call>,
}

impl<'a> Suite<'a> {
    /// One that prints to `console` names that end with `suffix`.
    pub fn new(console: &'a mut Console, suffix: String) -> Result<Self> {
        let memory = Memory::allocate(4 * PAGE_SIZE).ok_or(Status::NoMemory)?;
        Ok(Self { console, suffix, memory, measured: Vec::new() })
    }

    /// Calls that were measured so far.
    pub fn measured(&self) -> &[Call] {
        &self.measured
    }

    /// Prints what `call` costs.
    pub fn print(&mut self, call: Call, cost: Cost) {
        let name = snake_case(&format!("{call:?}"));
        let (mark, suffix) = (benches::MARK, &self.suffix);
        // The console keeps what cannot be sent now; there is nobody else to tell.
        let _ = writeln!(
            self.console,
            "{mark} {}{name}{suffix} {} {} {ITERATIONS}",
            benches::CALL,
            cost.ticks,
            cost.transitions
        );
        self.console.flush();
        self.measured.push(call);
    }

    /// What the calls in `entries` cost, one after the other.
    pub fn cost(&mut self, entries: &[Entry]) -> Result<Cost> {
        self.cost_of(entries, ITERATIONS)
    }

    /// [`cost`](Self::cost) over a number of iterations of its own.
    pub fn cost_of(&mut self, entries: &[Entry], iterations: u64) -> Result<Cost> {
        let around = self.run(entries, iterations, true)?;
        self.write(entries)?;
        self.again(entries, iterations, false)?;
        let whole = self.again(entries, iterations, false)?;
        Ok(whole.less(around))
    }

    /// What an iteration costs in which `partner` makes the calls `loops`; before that it makes those of `first`, and this side those
    /// of `before`.
    pub fn cost_with(
        &mut self,
        before: &[Entry],
        entries: &[Entry],
        partner: &Partner,
        first: &[Entry],
        loops: &[Entry],
    ) -> Result<Cost> {
        let scratch = self.memory.address() + SCRATCH;
        let around: Vec<_> = loops.iter().map(|entry| entry.copying_within(scratch)).collect();
        let around = self.run(&around, ITERATIONS, true)?;
        let script: Vec<_> = first.iter().chain(loops).copied().collect();
        partner.begin(&script, first.len() as u64)?;
        if !before.is_empty() {
            self.run(before, 1, false)?;
        }
        let cost = self.cost(entries)?;
        partner.end()?;
        Ok(cost.less(around))
    }

    /// Measures and prints one call.
    pub fn measure(&mut self, call: Call, entry: Entry) -> Result<Cost> {
        let cost = self.cost(&[entry])?;
        self.print(call, cost);
        Ok(cost)
    }

    fn write(&mut self, entries: &[Entry]) -> Result<()> {
        Ok(self.memory.write_bytes(TABLE, entries.as_bytes())?)
    }

    fn run(&mut self, entries: &[Entry], iterations: u64, around: bool) -> Result<Cost> {
        self.write(entries)?;
        self.again(entries, iterations, around)
    }

    /// Runs the script that is in memory, from where its addresses have got to.
    #[allow(unsafe_code)]
    fn again(&mut self, entries: &[Entry], iterations: u64, around: bool) -> Result<Cost> {
        let (address, count) = (self.memory.address(), entries.len() as u64);
        self.memory.write(0, &Run { table: address + TABLE, count, iterations, ..Run::default() })?;
        let before = transitions();
        // SAFETY: Run and table lie in memory that only copies reach, and so does all that the entries of this program name: objects,
        // buffers, states. The threads that they run are in other Spaces.
        unsafe { script::run(address, around) };
        let transitions = transitions() - before;
        let run: Run = self.memory.read(0)?;
        let [number, status] = run.wrong;
        if number != 0 {
            let call = entries.get(number as usize - 1).map_or(0, Entry::number);
            return Err(Failure(format!("call {call:#x} returned {status} ({})", self.suffix)));
        }
        let each = |value: u64| value * 100 / iterations;
        Ok(Cost { ticks: each(run.ticks[1].wrapping_sub(run.ticks[0])), transitions: each(transitions) })
    }
}

/// `MutexCreate` as `mutex_create`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
