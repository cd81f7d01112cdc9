//! Tests of the whole system on an emulated host machine: each trial boots an
//! image on Bochs and judges what its console prints.
//!
//! | module | what it boots |
//! |---|---|
//! | [`micro`] | the monitor's test kernel; the nester that tests the API |
//! | [`linux`] | Debian's kernels in machines, one and two at a time |
//! | [`failing`] | nesters that fail, beside a machine that must go on |
//! | [`fuzz`] | the fuzzer, for as long as a test may take |
//! | [`devices`] | nesters that use device memory, and some that must not |
//! | [`refused`] | processors, memory and images that Nestor refuses |
//! | [`tool`] | scripted runs of the tool, to their exit codes |

mod devices;
mod failing;
mod fuzz;
mod linux;
mod micro;
mod refused;
mod support;
mod tool;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    // The longest come first, so that no processor is idle at the end.
    let trials = [
        linux::trials(),
        fuzz::trials(),
        failing::trials(),
        micro::trials(),
        tool::trials(),
        devices::trials(),
        refused::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}
