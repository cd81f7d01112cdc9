//! Measurements: what an operation costs when it traps and when it calls.
//!
//! **Responsible for** the measured programs (`measure`, which runs as a child of the root nester and measures operation
//! by operation; `calls`, which measures every call of the low-level API; `first-instruction`, the first program of a measured Linux), for the format of the lines that they print, and for the
//! report made of them.
//!
//! **Refuses** to mix units: a report holds instructions (on Bochs, where the time stamp counter advances by one for each)
//! or cycles (on hardware), never both. Nothing here judges: tests do not assert time.
//!
//! Each line of a measured program is `measure NAME VALUE TRANSITIONS SAMPLES`: the mean cost of one operation in
//! hundredths of a tick, the VM exits and entries during one operation in hundredths, and how many operations were measured.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

#[cfg(not(target_os = "none"))]
pub mod report;

/// The word that begins a line with a measurement.
pub const MARK: &str = "measure";
/// The line that ends the measurements.
pub const END: &str = "measurements end";
/// What begins the line that ends measurements which failed.
pub const FAILED: &str = "measurements failed: ";
/// What `first-instruction` prints before the time stamp counter, in hexadecimal.
pub const FIRST_INSTRUCTION: &str = "first user instruction at tick ";
/// What the name of a measured call of the low-level API begins with.
pub const CALL: &str = "call.";
/// Beside how many objects every call is measured (`call.NAME.objects.N`).
pub const OBJECTS: [u64; 3] = [10, 1_000, 100_000];
/// At which depths of nesting every call is measured (`call.NAME.depth.N`); at the first it is measured alone (`call.NAME`).
pub const DEPTHS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
