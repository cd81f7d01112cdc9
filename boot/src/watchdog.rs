//! Ends a child process when this process ends, however that happens.
//!
//! A destructor does not run when the tool is killed or aborts. So a tiny
//! shell waits for end-of-file on a pipe that only this process holds open,
//! and then kills the child. The watchdog is dismissed as soon as the child is
//! seen to have ended, so it never meets a later process of the same number.

use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A child process that never outlives this one.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    watchdog: Child,
}

impl Guarded {
    /// Starts `command`, in a process group of its own so that a terminal's
    /// Ctrl-C does not reach it.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.process_group(0).spawn().with_context(|| format!("cannot start {program}"))?;
        let watchdog = Command::new("/bin/sh")
            .args(["-c", "read -r _; kill -9 \"$0\" 2>/dev/null"])
            .arg(child.id().to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self { child, watchdog }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error).context("cannot start /bin/sh")
            }
        }
    }

    /// Waits at most `timeout` for the child to end by itself.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.dismiss();
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the watchdog without letting it act.
    fn dismiss(&mut self) {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.dismiss();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_the_end_of_a_child() {
        let mut child = Guarded::spawn(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap();
        let status = child.wait(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn dropping_kills_the_child() {
        let child = Guarded::spawn(Command::new("/bin/sleep").arg("600")).unwrap();
        let process = format!("/proc/{}", child.child.id());
        assert!(std::path::Path::new(&process).exists());
        drop(child);
        assert!(!std::path::Path::new(&process).exists());
    }
}
