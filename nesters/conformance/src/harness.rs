//! Running tests and judging them.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};
use core::ops::Deref;

use protocols::exception::MachineReply;
use protocols::libc::console::Console;
use protocols::libc::time;
use protocols::libnest::memory::OutOfRange;
use protocols::libnest::server::{machine, stop};
use protocols::libnest::{Event, Memory, Message, Port, Region, Result, Rights, Server, Status, WatchedPort};
use protocols::parent::Outcome;
use protocols::startup::Startup;

/// Why a test fails.
#[derive(Debug)]
pub struct Failure(pub String);

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self(format!("unexpected status {status:?}"))
    }
}

impl From<OutOfRange> for Failure {
    fn from(_: OutOfRange) -> Self {
        Self("the test reaches outside its memory".into())
    }
}

/// How a test ends.
pub type Verdict = core::result::Result<(), Failure>;

/// A test.
pub type Test = (&'static str, fn(&mut Bench) -> Verdict);

/// Fails the test with a formatted reason.
macro_rules! fail {
    ($($text:tt)*) => {
        return Err($crate::harness::Failure(alloc::format!($($text)*)))
    };
}

/// Fails the test unless both are equal.
macro_rules! require {
    ($left:expr, $right:expr $(,)?) => {{
        let (left, right) = (&$left, &$right);
        if *left != *right {
            $crate::harness::fail!("{} is {left:x?}, not {right:x?} (line {})", stringify!($left), line!());
        }
    }};
}
pub(crate) use {fail, require};

/// What tests share: the server at which all children's messages arrive.
#[derive(Debug)]
pub struct Bench {
    server: Server,
    frequency: u64,
    seed: u64,
    aliases: u64,
    /// How to tell the client received last to stop.
    refusal: Message,
    sweep: Sweep,
    points: u64,
}

/// Where the tests of atomicity disturb a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Wherever a stop lands, but not at each of the ticks at which it lands in the same place because the kernel is at work.
    Distinct,
    /// At every tick.
    Every,
    /// At every so manieth tick.
    Coarse(u64),
}

impl Sweep {
    /// What the arguments ask for: `sweep=every` or `sweep=<ticks>`.
    fn of(arguments: &str) -> Self {
        match arguments.split_whitespace().find_map(|word| word.strip_prefix("sweep=")) {
            Some("every") => Self::Every,
            Some(ticks) => ticks.parse().map_or(Self::Distinct, |ticks: u64| Self::Coarse(ticks.max(1))),
            None => Self::Distinct,
        }
    }
}

impl Bench {
    /// A bench with no clients.
    pub fn new(startup: &Startup, seed: u64) -> Result<Self> {
        let frequency = startup.tsc_frequency.max(1);
        let sweep = Sweep::of(startup.arguments());
        Ok(Self { server: Server::new()?, frequency, seed, aliases: 0, refusal: [0; 8], sweep, points: 0 })
    }

    /// Where threads are to be disturbed.
    pub fn sweep(&self) -> Sweep {
        self.sweep
    }

    /// Counts a point at which a thread was disturbed.
    pub fn count_point(&mut self) {
        self.points += 1;
    }

    /// A Port that the bench serves, with an alias that no other has.
    pub fn port(&mut self) -> Result<Port> {
        self.aliases += 1;
        self.server.port(self.aliases)
    }

    /// The like, of which the bench is told when the last Reference goes; and its alias.
    pub fn watched_port(&mut self) -> Result<(WatchedPort, u64)> {
        self.aliases += 1;
        Ok((WatchedPort::new(self.server.portset(), self.aliases)?, self.aliases))
    }

    /// The alias of the Port that was made last.
    pub fn last_alias(&self) -> u64 {
        self.aliases
    }

    /// The seed of everything random.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Ticks of the time stamp counter in a second.
    pub fn frequency(&self) -> u64 {
        self.frequency
    }

    /// The server.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// A deadline after which a test has failed: two seconds from now.
    pub fn deadline(&self) -> Option<u64> {
        Some(time::now() + 2 * self.frequency)
    }

    /// A deadline in so many microseconds.
    pub fn microseconds(&self, count: u64) -> Option<u64> {
        Some(time::now() + self.ticks(count))
    }

    /// So many microseconds in ticks.
    pub fn ticks(&self, microseconds: u64) -> u64 {
        time::ticks(microseconds, 1_000_000, self.frequency)
    }

    /// Waits for a message. Who was received last is told to stop, where that is possible.
    pub fn receive(&mut self) -> Event {
        let deadline = self.deadline();
        self.receive_until(deadline)
    }

    /// [`receive`](Self::receive) with a deadline of one's own.
    pub fn receive_until(&mut self, deadline: Option<u64>) -> Event {
        let refusal = self.refusal;
        self.reply_until(&refusal, deadline)
    }

    /// Lets others run until `done`; no message must arrive meanwhile.
    pub fn run_until(&mut self, mut done: impl FnMut() -> core::result::Result<bool, Failure>) -> Verdict {
        let deadline = self.deadline();
        while !done()? {
            let soon = self.microseconds(1000);
            match self.receive_until(soon) {
                Event::TimedOut if deadline.is_some_and(|deadline| time::now() < deadline) => {}
                event => fail!("got {event:x?} instead of what was to happen"),
            }
        }
        Ok(())
    }

    /// Replies, then waits for a message.
    pub fn reply(&mut self, reply: &Message) -> Event {
        let deadline = self.deadline();
        self.reply_until(reply, deadline)
    }

    /// [`reply`](Self::reply) with a deadline of one's own.
    pub fn reply_until(&mut self, reply: &Message, deadline: Option<u64>) -> Event {
        let event = self.server.reply_and_receive(reply, deadline);
        self.refusal = match event {
            Event::Exception { .. } => stop(),
            Event::MachineExit { .. } => machine(MachineReply { actions: MachineReply::STOP, ..Default::default() }),
            _ => [0; 8],
        };
        event
    }

    /// Waits for a message; who was received last gets no reply ever.
    pub fn abandon_until(&mut self, deadline: Option<u64>) -> Event {
        self.refusal = [0; 8];
        self.server.receive(deadline)
    }
}

/// All memory of a child, exported. When dropped, nothing that the child has made of it remains.
#[derive(Debug)]
pub struct Exported(Region);

impl Exported {
    /// Exports all of `memory`.
    pub fn new(memory: &Memory) -> Result<Self> {
        Self::part(memory, 0, memory.size())
    }

    /// Exports part of `memory`: all in which there are to be objects.
    pub fn part(memory: &Memory, offset: u64, size: u64) -> Result<Self> {
        Region::new(memory, offset, size, Rights::all()).map(Self)
    }
}

impl Deref for Exported {
    type Target = Region;

    fn deref(&self) -> &Region {
        &self.0
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        // The next test finds what this fails to destroy.
        let _ = self.0.protect(Rights::empty());
        let _ = self.0.destroy_objects();
    }
}

/// Runs the tests whose names the arguments select, and prints how they end.
pub fn run(startup: &'static Startup, groups: &[&[Test]]) -> Outcome {
    let mut console = Console::new(startup.parent);
    let (mut passed, mut failed) = (0, 0);
    let seed = seed(startup.arguments()).unwrap_or_else(time::now).max(1);
    for &(name, test) in groups.iter().copied().flatten() {
        if !selects(startup.arguments(), name) {
            continue;
        }
        print(&mut console, format_args!("test {name} ... "));
        match one(startup, seed, test) {
            Ok(0) => {
                passed += 1;
                print(&mut console, format_args!("ok\r\n"));
            }
            Ok(points) => {
                passed += 1;
                print(&mut console, format_args!("ok, disturbed {points} times\r\n"));
            }
            Err(Failure(why)) => {
                failed += 1;
                print(&mut console, format_args!("FAILED: {why}\r\n"));
            }
        }
    }
    print(&mut console, format_args!("conformance: {passed} passed, {failed} failed\r\n"));
    if failed == 0 { Outcome::Done } else { Outcome::Failed }
}

/// Runs one test with a bench of its own, which takes all waiting clients with it. Returns how often it disturbed a thread.
fn one(startup: &'static Startup, seed: u64, test: fn(&mut Bench) -> Verdict) -> core::result::Result<u64, Failure> {
    let mut bench = Bench::new(startup, seed)?;
    test(&mut bench)?;
    Ok(bench.points)
}

fn print(console: &mut Console, text: fmt::Arguments<'_>) {
    // Writing to the console cannot fail; a Display that fails leaves its line cut short.
    let _ = console.write_fmt(text);
    console.flush();
}

/// The seed that the arguments ask for: `seed=<decimal>`.
fn seed(arguments: &str) -> Option<u64> {
    arguments.split_whitespace().find_map(|word| word.strip_prefix("seed="))?.parse().ok()
}

/// Whether the arguments select a test: they name none, or one of their words is part of its name; and none of those after a minus is.
fn selects(arguments: &str, name: &str) -> bool {
    let words = || arguments.split_whitespace().filter(|word| !word.contains('='));
    if words().filter_map(|word| word.strip_prefix('-')).any(|word| name.contains(word)) {
        return false;
    }
    let mut words = words().filter(|word| !word.starts_with('-')).peekable();
    words.peek().is_none() || words.any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::{Sweep, seed, selects};

    #[test]
    fn arguments_say_how_finely_to_sweep() {
        assert_eq!(Sweep::of("space"), Sweep::Distinct);
        assert_eq!(Sweep::of("sweep=every space"), Sweep::Every);
        assert_eq!((Sweep::of("sweep=16"), Sweep::of("sweep=0")), (Sweep::Coarse(16), Sweep::Coarse(1)));
    }

    #[test]
    fn arguments_select_tests_by_part_of_their_name() {
        assert!(selects("", "port::alias"));
        assert!(selects("  ", "port::alias"));
        assert!(selects("space port", "port::alias"));
        assert!(!selects("space thread", "port::alias"));
        assert!(selects("seed=5", "port::alias"));
        assert!(!selects("seed=5 space", "port::alias"));
        assert!(selects("-space", "port::alias"));
        assert!(!selects("port -alias", "port::alias"));
        assert_eq!((seed("space seed=5"), seed("space"), seed("seed=x")), (Some(5), None, None));
    }
}
