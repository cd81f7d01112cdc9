//! The console of a running host machine: its first serial port.

use crate::transcript::{EndWatcher, SystemEnd, Transcript};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection to a serial port, with everything it printed.
#[derive(Debug)]
pub struct Console {
    stream: TcpStream,
    transcript: Transcript,
    watcher: EndWatcher,
    log: Option<File>,
    closed: bool,
}

/// Why something expected did not come.
#[derive(Debug, thiserror::Error)]
pub enum ExpectError {
    /// It did not come in time.
    #[error("timed out waiting for `{wanted}`; the console's last lines:\n{tail}")]
    Timeout {
        /// What was waited for.
        wanted: String,
        /// The end of the transcript.
        tail: String,
    },
    /// The machine stopped without having printed it.
    #[error("the machine stopped without printing `{wanted}`; the console's last lines:\n{tail}")]
    Ended {
        /// What was waited for.
        wanted: String,
        /// The end of the transcript.
        tail: String,
    },
    /// The connection to the console failed.
    #[error("the console failed: {0}")]
    Io(#[from] std::io::Error),
}

/// What became of waiting for output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    Some,
    TimedOut,
    Closed,
}

/// Lines of context in error messages.
const TAIL: usize = 15;

impl Console {
    /// A console over a connected stream.
    pub fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, transcript: Transcript::default(), watcher: EndWatcher::default(), log: None, closed: false })
    }

    /// Keeps everything printed from here on in a file, byte for byte.
    pub fn log_to(&mut self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot write the console's log {}", path.display()))?;
        self.log = Some(file);
        Ok(())
    }

    /// Waits until the console prints `text`, reads up to its end, and gives
    /// what stood before it. Matching is on lines ended by `\n` alone.
    pub fn expect(&mut self, text: &str, timeout: Duration) -> Result<String, ExpectError> {
        self.wait_for(text, timeout, |transcript| transcript.take_through(text.as_bytes()))
    }

    /// Waits for the next complete line.
    pub fn read_line(&mut self, timeout: Duration) -> Result<String, ExpectError> {
        self.wait_for("a line", timeout, Transcript::take_line)
    }

    /// Waits until the machine closes the console, that is, until it stops.
    pub fn read_to_end(&mut self, timeout: Duration) -> Result<(), ExpectError> {
        let never = |_: &mut Transcript| None::<()>;
        match self.wait_for("the end of the system", timeout, never) {
            Err(ExpectError::Ended { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    fn wait_for<T>(
        &mut self,
        wanted: &str,
        timeout: Duration,
        mut take: impl FnMut(&mut Transcript) -> Option<T>,
    ) -> Result<T, ExpectError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(found) = take(&mut self.transcript) {
                return Ok(found);
            }
            let wanted = wanted.to_owned();
            match self.receive(deadline)? {
                Received::Some => {}
                Received::TimedOut => {
                    let tail = self.transcript.tail(TAIL);
                    return Err(ExpectError::Timeout { wanted, tail });
                }
                Received::Closed => {
                    let tail = self.transcript.tail(TAIL);
                    return Err(ExpectError::Ended { wanted, tail });
                }
            }
        }
    }

    /// Sends bytes as if typed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ExpectError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends a line as if typed, Enter included.
    pub fn send_line(&mut self, line: &str) -> Result<(), ExpectError> {
        self.send(format!("{line}\r").as_bytes())
    }

    /// Everything printed so far.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// How the system said it ended, if it did; for when the machine stopped.
    pub fn system_end(&mut self) -> Option<&SystemEnd> {
        self.watcher.finish();
        self.watcher.end()
    }

    /// The stream itself, for an interactive session, which then reports what
    /// it received to [`Console::note_output`].
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Records output that was received past this console.
    pub(crate) fn note_output(&mut self, bytes: &[u8]) {
        self.watcher.push(bytes);
        if let Some(log) = &mut self.log
            && log.write_all(bytes).is_err()
        {
            // A full disk must not end the session; the log just ends here.
            self.log = None;
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Received, ExpectError> {
        if self.closed {
            return Ok(Received::Closed);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Received::TimedOut);
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => {
                self.closed = true;
                Ok(Received::Closed)
            }
            Ok(count) => {
                self.transcript.push(&buffer[..count]);
                self.note_output(&buffer[..count]);
                Ok(Received::Some)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(Received::TimedOut),
                ErrorKind::Interrupted => Ok(Received::Some),
                // An emulator that is killed or exits at once with unread input.
                ErrorKind::ConnectionReset => {
                    self.closed = true;
                    Ok(Received::Closed)
                }
                _ => Err(error.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    fn pair() -> (Console, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Console::new(listener.accept().unwrap().0).unwrap(), far)
    }

    #[test]
    fn expects_and_sends_in_order() {
        let (mut console, mut far) = pair();
        far.write_all(b"boot\r\nlogin: ").unwrap();
        assert_eq!(console.read_line(LONG).unwrap(), "boot");
        console.expect("login: ", LONG).unwrap();
        console.send_line("root").unwrap();
        let mut typed = [0; 5];
        far.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"root\r");
        let error = console.expect("login: ", SHORT).unwrap_err();
        assert!(matches!(error, ExpectError::Timeout { .. }));
        assert!(error.to_string().contains("boot"));
    }

    #[test]
    fn tells_an_end_from_a_timeout() {
        let (mut console, mut far) = pair();
        far.write_all(b"[root   ] system end: power-off\r\n").unwrap();
        drop(far);
        assert!(matches!(console.expect("never", LONG).unwrap_err(), ExpectError::Ended { .. }));
        console.read_to_end(LONG).unwrap();
        assert_eq!(console.system_end(), Some(&SystemEnd::PowerOff));
    }

    #[test]
    fn keeps_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut console, mut far) = pair();
        console.log_to(&path).unwrap();
        far.write_all(b"one\r\n").unwrap();
        console.read_line(LONG).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\r\n");
    }
}
