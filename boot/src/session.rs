//! An interactive session: the user's terminal joined to the console until the
//! machine stops, the user leaves, or a signal ends the tool.

use crate::chord::{Chords, Keys};
use crate::console::Console;
use crate::terminal::RawMode;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::io::{ErrorKind, Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The machine closed its console: it stopped.
    Stopped,
    /// The user left with the chord.
    Left,
    /// A signal asked the tool to end.
    Signalled,
}

/// Input waiting for the machine beyond this much stops reading more of it.
const MOST_PENDING: usize = 64 * 1024;

/// Runs a session. The terminal is restored before this returns.
pub fn run(console: &mut Console) -> Result<SessionEnd> {
    let (mut signalled, notify) = UnixStream::pair()?;
    let mut handlers = Vec::new();
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        handlers.push(signal_hook::low_level::pipe::register(signal, notify.try_clone()?)?);
    }
    let raw = RawMode::enter()?;
    console.stream().set_nonblocking(true)?;
    let end = join(console, &mut signalled, raw.is_some());
    drop(raw);
    let _ = console.stream().set_nonblocking(false);
    for handler in handlers {
        signal_hook::low_level::unregister(handler);
    }
    end
}

/// Moves bytes both ways until the session ends.
fn join(console: &mut Console, signalled: &mut UnixStream, is_terminal: bool) -> Result<SessionEnd> {
    let mut chords = Chords::default();
    let mut pending: Vec<u8> = Vec::new();
    let mut input_open = true;
    let mut buffer = [0; 16 * 1024];
    loop {
        let ready = wait(console, signalled, input_open && pending.len() < MOST_PENDING, !pending.is_empty())?;
        if ready.signal {
            return Ok(SessionEnd::Signalled);
        }
        if ready.output {
            match console.stream().read(&mut buffer) {
                Ok(0) => return Ok(SessionEnd::Stopped),
                Ok(count) => {
                    console.note_output(&buffer[..count]);
                    let mut terminal = stdout().lock();
                    terminal
                        .write_all(&buffer[..count])
                        .and_then(|()| terminal.flush())
                        .context("cannot write to the terminal")?;
                }
                Err(error) if is_transient(&error) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Ok(SessionEnd::Stopped);
                }
                Err(error) => return Err(error).context("the console failed"),
            }
        }
        if ready.input {
            match nix::unistd::read(stdin(), &mut buffer) {
                // A terminal at end-of-file is gone; a file or a pipe is just
                // used up, and the machine goes on without input.
                Ok(0) | Err(Errno::EIO) if is_terminal => return Ok(SessionEnd::Signalled),
                Ok(0) => input_open = false,
                Ok(count) => match chords.feed(&buffer[..count]) {
                    Keys::Forward(keys) => pending.extend(keys),
                    Keys::Leave(_) => return Ok(SessionEnd::Left),
                },
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(error) => return Err(error).context("cannot read from the terminal"),
            }
        }
        if !pending.is_empty() {
            match console.stream().write(&pending) {
                Ok(count) => drop(pending.drain(..count)),
                Err(error) if is_transient(&error) => {}
                // The machine is gone; its last output is still to be read.
                Err(_) => pending.clear(),
            }
        }
    }
}

/// What is ready to be handled.
struct Ready {
    signal: bool,
    output: bool,
    input: bool,
}

fn wait(console: &Console, signalled: &UnixStream, take_input: bool, has_pending: bool) -> Result<Ready> {
    let input = stdin();
    let console_events = if has_pending { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
    let mut watched =
        vec![PollFd::new(signalled.as_fd(), PollFlags::POLLIN), PollFd::new(console.stream().as_fd(), console_events)];
    if take_input {
        watched.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut watched, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("cannot wait for input"),
    }
    let readable = |n: usize| {
        let events = watched.get(n).and_then(PollFd::revents);
        events.is_some_and(|events| events.intersects(!PollFlags::POLLOUT))
    };
    Ok(Ready { signal: readable(0), output: readable(1), input: readable(2) })
}

fn is_transient(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
