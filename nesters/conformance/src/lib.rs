//! Tests of the low-level API and of machines, inside the running system.
//!
//! A nester that the root nester starts as a child (`start conformance name=test memory=… -- [filter]`). Each test builds what it
//! needs of its own memory: native children that run a few instructions, and micro-guests in machine Spaces. It prints
//! `test <name> ... ok` or `test <name> ... FAILED: <why>` for each, `conformance: N passed, M failed` at the end, and ends
//! `Done` or `Failed`.
//!
//! Its arguments are words that a test's name must contain one of, words behind a minus that it must not contain, `seed=<number>` to repeat a random
//! test, and `sweep=every` or `sweep=<ticks>` for [how finely](harness::Sweep) to test atomicity; or one of the [roles]: ways in which a nester
//! can misbehave, for tests of what holds it.
//!
//! **Refuses** to test what host tests can: the mapping hierarchy, decoding, policy tables. What is tested here is that kernel
//! and monitor do on the (emulated) hardware what the API says.
//!
//! **Invariants.** Every test leaves nothing behind; the harness checks that. A test that hangs fails after its
//! deadline; it does not hang the others.
//!
//! To add a test, write one function in the module of the object it is about and name it in that module's `TESTS`.
//!
//! | module | about | unsafe |
//! |---|---|---|
//! | [`harness`] | running tests and judging them | no |
//! | [`native`], [`pair`] | native children that run a few instructions | no |
//! | [`guest`] | micro-guests | no |
//! | [`code`] | the instructions that both run | yes: symbols of assembly |
//! | [`team`] | native children of several threads | no |
//! | [`objects`], [`mutex`], [`cond`], [`mapping`], [`copy_on_write`], [`region`], [`supply`], [`port`], [`connection`], [`connection_faults`], [`references`], [`reference_messages`], [`space`], [`thread`], [`native_state`], [`thread_events`], [`machine`], [`tracking`] | tests, by object | no |
//! | [`quota`], [`cpu_time`] | tests of who may use how much | no |
//! | [`scheduling`], [`inheritance`] | tests of who has CPU time | no |
//! | [`served`] | tests of servers that are replaced before they reply | no |
//! | [`atomicity`] | threads that are stopped, exported, destroyed, recreated and resumed everywhere in every call | no |
//! | [`destruction`] | tests of destroying objects on which much hangs | no |
//! | [`arguments`] | tests of arguments that the pages of the calls do not allow | no |
//! | [`hostile`] | tests with nonsense | no |
//! | [`examples`] | the examples of the reference pages in `protocols` | no |
//! | [`roles`] | misbehaving as a whole | yes: crashing |
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod arguments;
pub mod atomicity;
pub mod code;
pub mod cond;
pub mod connection;
pub mod connection_faults;
pub mod copy_on_write;
pub mod cpu_time;
pub mod destruction;
pub mod examples;
pub mod guest;
pub mod harness;
pub mod hostile;
pub mod inheritance;
pub mod machine;
pub mod mapping;
pub mod mutex;
pub mod native;
pub mod native_state;
pub mod objects;
pub mod pair;
pub mod port;
pub mod quota;
pub mod reference_messages;
pub mod references;
pub mod region;
pub mod roles;
pub mod scheduling;
pub mod served;
pub mod space;
pub mod supply;
pub mod team;
pub mod thread;
pub mod thread_events;
pub mod tracking;

use protocols::parent::Outcome;
use protocols::startup::Startup;

/// Runs the tests, or the role that the arguments name.
pub fn run(startup: &'static Startup) -> Outcome {
    if let Some(outcome) = roles::play(startup) {
        return outcome;
    }
    let groups = [
        objects::TESTS,
        mutex::TESTS,
        cond::TESTS,
        mapping::TESTS,
        copy_on_write::TESTS,
        region::TESTS,
        supply::TESTS,
        port::TESTS,
        connection::TESTS,
        connection_faults::TESTS,
        served::TESTS,
        references::TESTS,
        reference_messages::TESTS,
        space::TESTS,
        quota::TESTS,
        thread::TESTS,
        scheduling::TESTS,
        cpu_time::TESTS,
        inheritance::TESTS,
        native_state::TESTS,
        thread_events::TESTS,
        machine::TESTS,
        destruction::TESTS,
        arguments::TESTS,
        tracking::TESTS,
        hostile::TESTS,
        examples::TESTS,
        atomicity::TESTS,
    ];
    harness::run(startup, &groups)
}
