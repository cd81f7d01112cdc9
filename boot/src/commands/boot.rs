//! Runs the system without a terminal, following a script of texts to expect
//! and to send.

use super::run::{prepare, start};
use crate::cli::BootArgs;
use crate::console::ExpectError;
use crate::failure::{Failure, FailureKind, OrFailure};
use crate::host::{Host, Pace};
use crate::progress;
use crate::workspace::Output;
use anyhow::Result;
use clap::ArgMatches;
use std::time::{Duration, Instant};

/// One thing to do on the console.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Expect(String),
    Send(Vec<u8>),
}

/// Runs the command; `matches` are its own.
pub fn boot(arguments: &BootArgs, matches: &ArgMatches) -> Result<()> {
    let script = script(arguments, matches)?;
    if let Some(log) = &arguments.log {
        Output::new("--log", log)?;
    }
    let (iso, options) = prepare(&arguments.run, Pace::Fast)?;
    let mut host = start(&iso, &options)?;
    if let Some(log) = &arguments.log {
        host.console().log_to(log).or_failure(FailureKind::Usage, "--log")?;
    }
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    for action in &script {
        let result = match action {
            Action::Expect(text) => {
                let step = progress::step(format_args!("waiting for `{}`", text.escape_debug()));
                let left = deadline.saturating_duration_since(Instant::now());
                host.console().expect(text, left).map(|_| step.done("printed"))
            }
            Action::Send(bytes) => host.console().send(bytes),
        };
        if let Err(error) = result {
            return Err(explain(&mut host, &error));
        }
    }
    Ok(())
}

/// Turns a script's failure into one that says why the machine stopped, if it
/// did.
pub(super) fn explain(host: &mut Host, error: &ExpectError) -> anyhow::Error {
    let kind = match error {
        ExpectError::Timeout { .. } => FailureKind::Timeout,
        ExpectError::Ended { .. } => FailureKind::Failed,
        ExpectError::Io(_) => FailureKind::Host,
    };
    let mut message = error.to_string();
    if let ExpectError::Ended { .. } = error
        && let Ok(end) = host.end()
        && let Some(complaint) = end.complaint
    {
        message += &format!("\nthe host machine stopped: {complaint}");
        return Failure::error(FailureKind::Host, message);
    }
    Failure::error(kind, message)
}

/// Puts `--expect` and `--send` into the order in which they stood.
fn script(arguments: &BootArgs, matches: &ArgMatches) -> Result<Vec<Action>> {
    let indices = |name: &str| matches.indices_of(name).into_iter().flatten();
    let expects = indices("expect").zip(&arguments.expect);
    let sends = indices("send").zip(&arguments.send);
    let mut script: Vec<(usize, Action)> = Vec::new();
    script.extend(expects.map(|(index, text)| (index, Action::Expect(text.clone()))));
    for (index, text) in sends {
        let bytes = unescape(text).or_failure(FailureKind::Usage, format!("--send {text}"))?;
        script.push((index, Action::Send(bytes)));
    }
    script.sort_by_key(|&(index, _)| index);
    Ok(script.into_iter().map(|(_, action)| action).collect())
}

/// The bytes to type for `text`: its escapes resolved and Enter added.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match rest.next() {
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('t') => bytes.push(b'\t'),
            Some('e') => bytes.push(0x1b),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => {
                let mut digit = || rest.next().and_then(|digit| digit.to_digit(16));
                let byte = digit()
                    .zip(digit())
                    .and_then(|(high, low)| u8::try_from(high << 4 | low).ok())
                    .ok_or("`\\x` needs two hexadecimal digits")?;
                bytes.push(byte);
            }
            Some('c') if rest.as_str().is_empty() => return Ok(bytes),
            Some(other) => return Err(format!("unknown escape `\\{other}`")),
            None => return Err("a single `\\` at the end".to_owned()),
        }
    }
    bytes.push(b'\r');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::{CommandFactory, FromArgMatches};

    #[test]
    fn escapes() {
        assert_eq!(unescape("ls").unwrap(), b"ls\r");
        assert_eq!(unescape("\\x03\\c").unwrap(), b"\x03");
        assert_eq!(unescape("a\\n\\t\\e\\\\").unwrap(), b"a\n\t\x1b\\\r");
        assert_eq!(unescape("\u{e9}\\c").unwrap(), "\u{e9}".as_bytes());
        for bad in ["\\", "\\q", "\\x0", "\\xzz", "\\cx", "\\x+1"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_script_keeps_its_order() {
        let line = ["nestor", "boot", "--send", "a", "--expect", "b", "--expect", "c", "--send", "d"];
        let matches = Cli::command().get_matches_from(line);
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let Some(Command::Boot(arguments)) = &cli.command else {
            panic!("not a boot command");
        };
        let script = script(arguments, matches.subcommand_matches("boot").unwrap()).unwrap();
        assert_eq!(
            script,
            [
                Action::Send(b"a\r".to_vec()),
                Action::Expect("b".into()),
                Action::Expect("c".into()),
                Action::Send(b"d\r".to_vec()),
            ]
        );
    }
}
