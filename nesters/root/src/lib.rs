//! The root nester: the first process, which owns all memory and devices and starts the system's children.
//!
//! **Responsible for** reading the boot module `system`, giving each child what its line says (memory, files, an allowance of kernel
//! memory, devices), multiplexing the serial console among the children, ending children that crash or misuse the API, and
//! powering the host off when all have ended.
//!
//! **Refuses** to interpret what its children do: it serves the protocol [`parent`](protocols::parent) and nothing
//! else. It never waits for a child, names no object in memory that a child can change, and keeps bounded buffers, so
//! that no child can stop or exhaust it, or keep it from serving another.
//!
//! **Invariants.** A child is ended as a whole: its memory returns to the pool only after everything made of it is
//! gone. Every line that root prints begins at the start of a line with `[root   ]`.
//!
//! | module | about |
//! |---|---|
//! | [`system`] | the text file that says what to start |
//! | [`multiplexer`] | whose output is seen, whose input is typed |
//! | [`serial`] | the 16550 at COM1 |
//! | [`mod@terminal`] | both of these, as the one place where text goes |
//! | [`clock`] | the time of day from the CMOS clock |
//! | [`children`] | the children, from start to end |
//! | [`power`] | switching the host off |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod children;
pub mod clock;
pub mod multiplexer;
pub mod power;
pub mod serial;
pub mod system;
pub mod terminal;

use protocols::api::OBJECT_SIZE;
use protocols::libc::{log, start, system_call};
use protocols::libnest::server::stop;
use protocols::libnest::{Event, Message, Result, Server};
use protocols::parent::Outcome;
use protocols::startup::Startup;

use children::Children;
use terminal::{say, terminal};

/// Interrupt line of COM1.
const SERIAL_LINE: u64 = 4;
/// Alias of the serial line's Port: no child has it.
const SERIAL_ALIAS: u64 = u64::MAX;

/// Runs the system. Never returns: when the children have ended, the host is off.
pub fn run(startup: &'static Startup) -> Outcome {
    log::set_sink(terminal::log_line);
    terminal().start();
    let reason = match serve(startup) {
        Ok(reason) => reason,
        Err(status) => Some(alloc::format!("the kernel answered {status:?}")),
    };
    match reason {
        None => say!("system end: power-off"),
        Some(reason) => say!("system end: failed {reason}"),
    }
    terminal().drain();
    power::off();
    // Only a host without a power switch gets here: it stays as it is.
    loop {
        core::hint::spin_loop();
    }
}

/// Starts the children and serves them until all have ended. Returns why the system failed, if it did.
fn serve(startup: &'static Startup) -> Result<Option<alloc::string::String>> {
    let mut server = Server::new()?;
    let line_port = startup.interrupts + SERIAL_LINE * OBJECT_SIZE;
    system_call::port_set_state(line_port, SERIAL_ALIAS, server.portset().reference().address())?;

    let Some(file) = start::file(startup, "system") else {
        return Ok(Some("there is no boot module `system`".into()));
    };
    let Ok(text) = core::str::from_utf8(file) else {
        return Ok(Some("the boot module `system` is not UTF-8".into()));
    };
    let starts = match system::parse(text) {
        Ok(starts) => starts,
        Err(error) => return Ok(Some(alloc::format!("the boot module `system`, {error}"))),
    };
    let mut children = Children::new(startup, clock::read());
    for start in &starts {
        children.start(&server, start);
    }

    let mut reply: Message = [0; 8];
    while children.any_running() {
        reply = match server.reply_and_receive(&reply, None) {
            Event::Call { alias, words } => children.call(alias, &words),
            Event::Exception { alias, exception } => {
                children.crashed(alias, &exception);
                stop()
            }
            Event::Interrupt { .. } => {
                terminal().interrupt(|child| children.input_arrived(child));
                [0; 8]
            }
            // A connection ends when the root nester waits again.
            Event::Notification { .. }
            | Event::NoReferences { .. }
            | Event::MemoryFault { .. }
            | Event::MachineExit { .. }
            | Event::Connection { .. }
            | Event::Wakeup { .. }
            | Event::Overlap
            | Event::TimedOut => [0; 8],
        };
    }
    Ok(children.failure())
}
