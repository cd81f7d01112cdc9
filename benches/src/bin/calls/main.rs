//! Measures every call of the low-level API: alone, beside many other objects, and many levels deep.
//!
//! Each call is made by a script (`script`); those that wait have a partner (`partner`) who makes the calls that they wait for, and
//! what is measured is both. The program measures with more and more objects (`load`) beside, then
//! starts itself (`nest`) as its own child, which measures, and so on down.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod connections;
#[cfg(target_os = "none")]
mod load;
#[cfg(target_os = "none")]
mod nest;
#[cfg(target_os = "none")]
mod partner;
#[cfg(target_os = "none")]
mod rows;
#[cfg(target_os = "none")]
mod script;
#[cfg(target_os = "none")]
mod suite;

#[cfg(target_os = "none")]
mod program {
    use crate::load::Load;
    use crate::suite::{Failure, Result, Suite};
    use crate::{nest, rows};
    use alloc::format;
    use alloc::string::String;
    use core::fmt::Write;
    use protocols::libc::console::Console;
    use protocols::parent::Outcome;
    use protocols::startup::Startup;

    /// Measures at the depths that are asked for, on the way down; then, at the top again, beside many objects.
    fn run(startup: &'static Startup, console: &mut Console) -> Result<()> {
        let argument = |name| {
            let mut words = startup.arguments().split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
        };
        let depth = argument("depth").unwrap_or(1);
        let frames = argument("frames").ok_or_else(|| Failure("frames=<kernel memory> is missing".into()))?;
        let mut measure = |suffix: String| rows::measure(&mut Suite::new(console, suffix)?);
        if depth == 1 {
            measure(String::new())?;
        } else if benches::DEPTHS.contains(&depth) {
            measure(format!(".depth.{depth}"))?;
        }
        if benches::DEPTHS.iter().any(|&other| other > depth) {
            nest::run(startup, depth, frames)?;
        }
        if depth > 1 {
            return Ok(());
        }
        let mut load = Load::new(benches::OBJECTS.iter().copied().max().unwrap_or(0))?;
        for objects in benches::OBJECTS {
            load.grow_to(objects)?;
            measure(format!(".objects.{objects}"))?;
        }
        Ok(())
    }

    pub fn main(startup: &'static Startup) -> Outcome {
        let mut console = Console::new(startup.parent);
        let result = run(startup, &mut console);
        let top = !startup.arguments().contains("depth=");
        let outcome = match result {
            Ok(()) if !top => Outcome::Done,
            Ok(()) => {
                let _ = writeln!(console, "{}", benches::END);
                Outcome::Done
            }
            Err(Failure(reason)) => {
                let _ = writeln!(console, "{}{reason}", benches::FAILED);
                Outcome::Failed
            }
        };
        console.flush();
        outcome
    }
}

#[cfg(target_os = "none")]
protocols::program!(program::main);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program runs inside Nestor");
}
