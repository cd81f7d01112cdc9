//! What the tool says while it works: aligned `[layer  ] text` lines, the form
//! the boot log has too, and a spinner for the current step when standard
//! error is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The layer the tool speaks for.
const LAYER: &str = "[host   ]";

/// Prints one line.
pub fn note(text: impl Display) {
    eprintln!("{LAYER} {text}");
}

/// Whether someone watches on a terminal.
pub fn has_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// A step under way.
#[must_use = "a step ends with `done`"]
pub struct Step {
    started: Instant,
    text: String,
    spinner: Option<ProgressBar>,
}

/// Starts a step; it shows as a spinner until it is done.
pub fn step(text: impl Display) -> Step {
    let text = text.to_string();
    let spinner = has_terminal().then(|| {
        let style =
            ProgressStyle::with_template("{prefix} {msg} {spinner} {elapsed}").expect("the template is well formed");
        let bar = ProgressBar::new_spinner().with_style(style);
        bar.set_prefix(LAYER);
        bar.set_message(text.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    Step { started: Instant::now(), text, spinner }
}

impl Step {
    /// Says what the step is at: beside the spinner, or on a line of its own.
    pub fn progress(&self, at: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(format!("{}: {at}", self.text)),
            None => eprintln!("{:width$}{at}", "", width = LAYER.len() + 1),
        }
    }

    /// Prints a line that is to stay.
    pub fn show(&self, line: &str) {
        match &self.spinner {
            Some(spinner) => spinner.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Ends the step with its result, printed with the time it took.
    pub fn done(self, result: impl Display) {
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        let line = format!("{}: {result}", self.text);
        note(format_args!("{line:<62} {seconds:>6.1} s"));
    }
}

impl Drop for Step {
    /// A step that failed leaves no spinner behind.
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
