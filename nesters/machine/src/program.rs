//! The program: builds a machine from its arguments, runs it, and ends with its guest.

use crate::arguments::Arguments;
use crate::cpuid::Processor;
use crate::exits::{Action, Exits};
use crate::linux;
use crate::pc::{Configuration, Pc};
use crate::policy;
use crate::ram::{Mapped, Ram};
use crate::time::{Clock, earlier};
use alloc::format;
use alloc::string::String;
use protocols::address::PAGE_SIZE;
use protocols::exception::MachineReply;
use protocols::libc::console::Console;
use protocols::libc::{log, pool, start, time};
use protocols::libnest::server::machine as to_message;
use protocols::libnest::{Event, Port, Server, Space, SpaceKind, Status, Thread};
use protocols::parent::{MAX_BYTES, Outcome};
use protocols::startup::Startup;
use protocols::virtual_cpu::{Groups, VirtualCpuState};

const EXITS: u64 = 1;
const INPUT: u64 = 2;

/// Frames of kernel memory for a machine, and one more for each so many frames of its RAM: the tables that map it, even
/// where it is scattered.
const ALLOWANCE: u64 = 256;
const FRAMES_PER_ALLOWANCE: u64 = 256;
/// Output waits at most this part of a second for more.
const FLUSHES_PER_SECOND: u64 = 200;

/// Runs a machine until its guest ends.
pub fn run(startup: &'static Startup) -> Outcome {
    match Machine::build(startup).and_then(Machine::run) {
        Ok(()) => Outcome::Done,
        Err(reason) => {
            log::line(format_args!("{reason}"));
            Outcome::Failed
        }
    }
}

/// The files and the command line that the guest is started from.
#[derive(Debug)]
struct Boot {
    kernel: &'static [u8],
    initrd: &'static [u8],
    append: &'static str,
}

/// A machine.
#[derive(Debug)]
struct Machine {
    exits: Exits<Thread, Ram>,
    server: Server,
    console: Console,
    boot: Boot,
    configuration: Configuration,
    /// When output is sent that waits for more.
    flush_at: Option<u64>,
    /// Whether the parent has input that the serial port had no room for.
    input_waits: bool,
    _mapped: Mapped,
    _port: Port,
    _space: Space,
}

/// An answer of the kernel's that only too little memory or a defect explains.
fn kernel(what: &'static str) -> impl Fn(Status) -> String {
    move |status| format!("{what}: the kernel answered {status:?}")
}

impl Machine {
    fn build(startup: &'static Startup) -> Result<Self, String> {
        let arguments = Arguments::parse(startup.arguments()).map_err(|error| format!("{error}"))?;
        let file = |name: &str| start::file(startup, name).ok_or_else(|| format!("there is no file `{name}`"));
        let boot = Boot {
            kernel: file(arguments.kernel)?,
            initrd: if arguments.initrd.is_empty() { &[] } else { file(arguments.initrd)? },
            append: arguments.append,
        };
        let mut ram = Ram::allocate(arguments.memory).ok_or_else(|| {
            let free = pool::pool().largest(2 << 20);
            format!("memory={}: only {free} bytes are free", arguments.memory)
        })?;
        let state = boot.load(&mut ram)?;

        let clock = Clock::new(startup.tsc_frequency);
        let processor = Processor::new(host_cpuid, clock.frequency());
        let configuration = Configuration {
            clock,
            ticks_per_count: processor.ticks_per_count,
            unix_time: startup.unix_time,
            unix_time_tsc: startup.unix_time_tsc,
            physical_bits: processor.physical_bits,
        };

        let server = Server::new().map_err(kernel("the port set"))?;
        let allowance = ALLOWANCE + arguments.memory / PAGE_SIZE / FRAMES_PER_ALLOWANCE;
        let space = Space::new(SpaceKind::Machine, allowance).map_err(kernel("the machine"))?;
        let port = server.port(EXITS).map_err(kernel("the port"))?;
        space.set_keeper(&port).map_err(kernel("the keeper"))?;
        space.set_cpuid(processor.entries()).map_err(kernel("the CPUID table"))?;
        space.set_msrs(&policy::msrs()).map_err(kernel("the MSR table"))?;
        space.set_controls(&policy::controls(&processor)).map_err(kernel("the control bits"))?;
        let mapped = ram.map(&space).map_err(kernel("the memory"))?;
        let thread = Thread::virtual_cpu(&space, &state, Groups::all()).map_err(kernel("the virtual CPU"))?;
        let mut console = Console::new(startup.parent);
        console.attach(server.portset(), INPUT).map_err(kernel("the console"))?;

        log::line(format_args!(
            "memory {} MiB, kernel {} KiB, initrd {} KiB, processor {} MHz",
            arguments.memory >> 20,
            boot.kernel.len() >> 10,
            boot.initrd.len() >> 10,
            clock.frequency() / 1_000_000
        ));
        Ok(Self {
            exits: Exits::new(Pc::new(&configuration), thread, ram, processor),
            server,
            console,
            boot,
            configuration,
            flush_at: None,
            input_waits: false,
            _mapped: mapped,
            _port: port,
            _space: space,
        })
    }

    fn run(mut self) -> Result<(), String> {
        // The benchmark measures a guest's boot from this line on.
        log_moment("starts");
        self.exits.cpu.go().map_err(kernel("the start"))?;
        let ended = self.serve();
        log_moment("ends");
        self.send_output();
        self.console.flush();
        let unknown = self.exits.pc.unknown();
        log::line(format_args!(
            "accesses to what is not there: {} to ports, {} to MSRs, {} to memory",
            unknown.ports, unknown.msrs, unknown.memory
        ));
        ended
    }

    fn serve(&mut self) -> Result<(), String> {
        let nothing = to_message(MachineReply::default());
        let mut reply = nothing;
        loop {
            let deadline = earlier(self.exits.pc.next_event(), self.flush_at);
            let event = self.server.reply_and_receive(&reply, deadline);
            let now = time::now();
            let is_late = deadline.is_some_and(|deadline| deadline <= now);
            if let Event::MachineExit { exit, .. } = event {
                self.exits.exited(&exit);
                if is_late {
                    self.deadline(now);
                }
                if self.input_waits {
                    self.take_input();
                }
                match self.exits.serve(&exit, now) {
                    Action::Reply(answer) => reply = to_message(answer),
                    Action::Reset => reply = self.reset()?,
                    Action::PowerOff => return Ok(()),
                    Action::Fail(reason) => return Err(reason),
                }
                if !self.exits.pc.output().is_empty() {
                    self.collect_output(now);
                }
            } else {
                self.exits.withdraw().map_err(kernel("an interrupt"))?;
                if is_late {
                    self.deadline(now);
                }
                if let Event::Notification { .. } = event {
                    self.take_input();
                }
                self.exits.interrupt().map_err(kernel("an interrupt"))?;
                reply = nothing;
            }
        }
    }

    #[cold]
    fn deadline(&mut self, now: u64) {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.send_output();
            self.console.flush();
            self.flush_at = None;
        }
        self.exits.pc.advance(now);
    }

    /// Output has come: sends it once a message is full, or after a while.
    #[inline]
    fn collect_output(&mut self, now: u64) {
        if self.exits.pc.output().len() >= MAX_BYTES {
            self.send_output();
        }
        if self.flush_at.is_none() {
            self.flush_at = Some(now.saturating_add(self.configuration.clock.frequency() / FLUSHES_PER_SECOND));
        }
    }

    fn send_output(&mut self) {
        self.console.write(self.exits.pc.output());
        self.exits.pc.clear_output();
    }

    /// Fetches input from the parent, as much as the serial port has room for.
    #[cold]
    fn take_input(&mut self) {
        let mut bytes = [0; MAX_BYTES];
        self.input_waits = true;
        while self.exits.pc.input_room() >= MAX_BYTES {
            let count = self.console.read(&mut bytes);
            if count == 0 {
                self.input_waits = false;
                return;
            }
            self.exits.pc.receive(&bytes[..count]);
        }
    }

    /// Starts the guest again. Returns the reply that lets the virtual CPU go on.
    #[cold]
    fn reset(&mut self) -> Result<protocols::libnest::Message, String> {
        self.send_output();
        self.console.flush();
        log::line(format_args!("the guest restarts"));
        let state = self.boot.load(&mut self.exits.memory)?;
        let pc = Pc::new(&self.configuration);
        self.exits.restart(pc, &state).map_err(kernel("the restart"))?;
        Ok(to_message(MachineReply::default()))
    }
}

impl Boot {
    fn load(&self, ram: &mut Ram) -> Result<VirtualCpuState, String> {
        linux::load(ram, self.kernel, self.initrd, self.append).map_err(|error| format!("{error}"))
    }
}

/// Logs that the guest starts or ends now, with the VM transitions of the system so far.
fn log_moment(what: &str) {
    let (tick, transitions) = (time::now(), time::transitions());
    log::line(format_args!("guest {what} at tick {tick:#018x}, transitions {transitions:#x}"));
}

fn host_cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}
