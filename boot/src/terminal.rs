//! The user's terminal, in raw mode for as long as a session lasts.

use anyhow::{Context, Result};
use nix::sys::termios::{self, SetArg, Termios};
use std::io::{IsTerminal, stdin};
use std::sync::Mutex;

/// The terminal's settings from before raw mode, while it is in raw mode.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode, until dropped. At most one exists at a time.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts the terminal on standard input into raw mode, if it is one.
    pub fn enter() -> Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        restore_on_panic();
        let saved = termios::tcgetattr(stdin()).context("cannot read the terminal's settings")?;
        let mut raw = saved.clone();
        termios::cfmakeraw(&mut raw);
        lock_saved().get_or_insert(saved);
        let mode = Self(());
        termios::tcsetattr(stdin(), SetArg::TCSADRAIN, &raw).context("cannot put the terminal into raw mode")?;
        Ok(Some(mode))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal its settings back, if they were changed.
fn restore() {
    if let Some(saved) = lock_saved().take() {
        // The terminal may be gone (hang-up); there is nothing to restore then.
        let _ = termios::tcsetattr(stdin(), SetArg::TCSANOW, &saved);
    }
}

/// A panic aborts without running destructors, so it restores here.
fn restore_on_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            previous(info);
        }));
    });
}

fn lock_saved() -> std::sync::MutexGuard<'static, Option<Termios>> {
    SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
