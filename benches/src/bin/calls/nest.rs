//! The same program again, as a child in part of this one's memory: one level deeper.

use crate::suite::{Failure, Result};
use alloc::format;
use protocols::address::LARGE_PAGE_SIZE;
use protocols::libc::system_call;
use protocols::libc::{start, time};
use protocols::libnest::child::Description;
use protocols::libnest::{Event, Memory, NativeChild, Server, Status};
use protocols::parent::{Operation, Outcome, Reply};
use protocols::startup::Startup;
use zerocopy::try_transmute;

/// The file that holds the program itself.
const PROGRAM: &str = "calls";
/// What a level keeps for itself: bytes of memory, frames of kernel memory.
const KEPT: u64 = 1 << 20;
const KEPT_FRAMES: u64 = 48;

/// The largest stretch of at most `size` bytes: a multiple of large pages, as where it begins is.
fn largest(size: u64) -> Option<Memory> {
    let pages = size / LARGE_PAGE_SIZE;
    (1..=pages).rev().find_map(|pages| Memory::allocate(pages * LARGE_PAGE_SIZE))
}

/// Runs the program as a child with all memory and kernel memory that this one does not need, and passes on to the parent what the
/// child asks of its own.
pub fn run(startup: &'static Startup, depth: u64, frames: u64) -> Result<()> {
    let elf = start::file(startup, PROGRAM).ok_or_else(|| Failure(format!("no file `{PROGRAM}`")))?;
    let pool = startup.pool().first().map_or(0, |memory| memory.size);
    let memory =
        pool.checked_sub(KEPT).and_then(largest).ok_or_else(|| Failure(format!("level {depth}: no memory")))?;
    let frames = frames.checked_sub(KEPT_FRAMES).ok_or(Status::NoMemory)?;
    let mut server = Server::new()?;
    let port = server.port(1)?;
    let child = NativeChild::build(Description {
        elf,
        memory,
        quotas: frames.into(),
        parent: &port,
        files: &[(PROGRAM, elf)],
        devices: &[],
        arguments: &format!("depth={} frames={frames}", depth + 1),
        tsc_frequency: startup.tsc_frequency,
        unix_time: (startup.unix_time, time::now()),
    })
    .map_err(|error| Failure(format!("level {}: {error}", depth + 1)))?;
    child.start()?;
    let mut event = server.receive(None);
    loop {
        let Event::Call { mut words, .. } = event else {
            return Err(Failure(format!("level {}: {event:x?}", depth + 1)));
        };
        if try_transmute!(words[0]) == Ok(Operation::End) {
            let done = words[1] == Outcome::Done as u64;
            return if done { Ok(()) } else { Err(Failure(format!("level {} failed", depth + 1))) };
        }
        if system_call::ipc_call(startup.parent, &mut words).is_err() {
            words[0] = Reply::BadRequest as u64;
        }
        event = server.reply_and_receive(&words, None);
    }
}
