//! Nonsense: random calls, from a native child and from a machine. The kernel must go on as if nothing had been.

use protocols::api::{Call, NativeState, OBJECT_SIZE, Run, SpaceKind};
use protocols::exception::MachineReply;
use protocols::libc::system_call;
use protocols::libnest::server::resume;
use protocols::libnest::{Event, Space};
use protocols::policy::Controls;
use protocols::virtual_cpu::Groups;
use protocols::virtual_cpu::exit_reason as reason;
use protocols::virtual_cpu::register::{R8, R10, R15, RAX, RBP, RBX, RDI, RDX, RSI};

use crate::code;
use crate::guest::{self, CODE, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, DATA, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("hostile::random_calls", random_calls),
    ("hostile::random_calls_from_a_machine", random_calls_from_a_machine),
    ("hostile::random_states", random_states),
    ("hostile::allowance_lent_and_lost", allowance_lent_and_lost),
];

/// Marsaglia's xorshift64.
pub struct Random(u64);

impl Random {
    /// A generator; the seed must not be 0.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.word() as usize % choices.len()]
    }
}

/// A verdict that says the seed of what failed.
pub fn named(result: Verdict, seed: u64) -> Verdict {
    result.map_err(|Failure(why)| Failure(alloc::format!("{why} (seed={seed})")))
}

fn random_calls(bench: &mut Bench) -> Verdict {
    let seed = bench.seed();
    named(random_calls_with(bench, seed), seed)
}

fn random_calls_with(bench: &mut Bench, seed: u64) -> Verdict {
    let mut random = Random(seed);
    let mut child = Native::new(bench)?;
    // A way to itself: a Reference to its own Space, so that its calls go further.
    let own = child.own_address(DATA);
    system_call::reference_create(own)?;
    system_call::space_reference(child.space.address(), own)?;
    // And an address of its own, so that it can own Mutexes.
    system_call::thread_set_self(child.thread.address(), DATA + 0x5c0)?;
    let calls = [
        0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
        0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x50, 0x51, 0x52, 0x53,
        0x54, 0x55, 0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x80, 0x81, 0x82,
        0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x90, 0x91, 0x92, 0x96, 0x97, 0x98, 0x99,
        0x9a, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa8, 0xa9, 0xaa, 0xab, 0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7,
        0xb8, 0xb9, 0xbd, 0xbe, 0xbf, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xd0, 0xd1,
        0xd2, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90,
    ];
    for round in 0..3000u32 {
        let argument = |random: &mut Random| match random.word() % 8 {
            0 => random.word(),
            1 => random.word() % 16,
            2 => random.pick(&[0, 0x1000, u64::MAX, 1 << 47, DATA + 1, DATA + 0x7fc1, 0xffff_8000_0000_0000]),
            _ => DATA + random.word() % 24 * OBJECT_SIZE,
        };
        let number = if random.word().is_multiple_of(64) { random.word() } else { random.pick(&calls) };
        let mut registers =
            [(RAX, number), (RDI, 0), (RSI, 0), (RDX, 0), (R10, 0), (R8, 0), (RBX, 0), (RBP, 0), (R15, 1)];
        for (_, value) in &mut registers[1..8] {
            *value = argument(&mut random);
        }
        // States and policies that calls read: the child's data hold random words.
        if round.is_multiple_of(8) {
            for _ in 0..16 {
                let word = random.pick(&[0, 1, 0x1000, 0x2000, 7, 15, DATA, random.0, DATA + 0x1000]);
                child.write(DATA + 0x600 + random.word() % 64 * 8, word)?;
            }
        }
        child.thread.stop()?;
        child.begin(code::system_call(), &registers)?;
        let soon = bench.microseconds(400);
        match bench.receive_until(soon) {
            // It may wait for good, or have destroyed its own Mappings.
            Event::TimedOut => {}
            Event::Exception { .. } => {}
            event => fail!("round {round}: {event:x?}"),
        }
        let state = child.space.state()?;
        if state.used > state.allowance {
            fail!("round {round}: {} of {} frames used", state.used, state.allowance);
        }
    }
    child.thread.stop()?;
    child.region.destroy_objects()?;
    // All is as it was: the child runs, and its use is what it was.
    let mut fresh = Native::new(bench)?;
    require!(matches!(fresh.call(bench, Call::ThreadSelf, &[])?, Answer::Done(_)), true);
    Ok(())
}

fn random_calls_from_a_machine(bench: &mut Bench) -> Verdict {
    let seed = bench.seed();
    named(random_calls_from_a_machine_with(bench, seed), seed)
}

fn random_calls_from_a_machine_with(bench: &mut Bench, seed: u64) -> Verdict {
    let guest = Guest::new(bench, code::guest_random_calls(), &[(RBX, seed), (RBP, 4000)])?;
    guest.allow(Controls::VMCALL, 0)?;
    system_call::thread_set_self(guest.cpu.address(), guest::DATA)?;
    guest.cpu.go()?;
    let soon = bench.microseconds(20_000);
    let mut event = bench.receive_until(soon);
    for _ in 0..6000 {
        let reply = match event {
            Event::MachineExit { exit, .. } if guest::port(&exit) == Some(guest::END_PORT) => break,
            // Misuse: the guest goes on behind its call.
            Event::MachineExit { exit, .. } if exit.reason as u32 == reason::VMCALL => {
                MachineReply { actions: MachineReply::ADVANCE, ..Default::default() }
            }
            Event::TimedOut => {
                // It waits for good in a call: on to the next.
                let mut state = guest.state()?;
                state.rip = CODE;
                let groups = protocols::virtual_cpu::Groups::INSTRUCTION;
                guest.cpu.set_state(&state, groups, Run::Go)?;
                MachineReply::default()
            }
            _ => break,
        };
        let soon = bench.microseconds(2000);
        event = bench.reply_until(&protocols::libnest::server::machine(reply), soon);
    }
    guest.cpu.stop()?;
    guest.region.destroy_objects()?;
    let mut fresh = Guest::new(bench, code::guest_undefined(), &[])?;
    require!(guest::vector(&fresh.start(bench)?), Some(6));
    Ok(())
}

fn random_states(bench: &mut Bench) -> Verdict {
    let seed = bench.seed();
    named(random_states_with(bench, seed), seed)
}

fn random_states_with(bench: &mut Bench, seed: u64) -> Verdict {
    let mut random = Random(seed);
    let child = Native::new(bench)?;
    let mut reply = [0; 8];
    for _ in 0..1000 {
        let mut state = child.thread.native_state()?;
        for register in &mut state.gpr {
            *register = random.word();
        }
        state.rip = random.pick(&[crate::native::CODE, random.0, DATA, 0]);
        state.rflags = random.pick(&[2, random.0, 0x102, 0x202]);
        state.fs_base = random.pick(&[0, random.0, DATA]);
        state.gs_base = random.pick(&[0, random.0, DATA]);
        for byte in &mut state.extended {
            *byte = random.word() as u8;
        }
        state.debug.dr = [(); 4].map(|()| random.pick(&[random.0, crate::native::CODE, DATA, u64::MAX]));
        state.debug.dr7 = random.pick(&[0x400, 0x4ff, random.0, 0xffff_27ff, random.0 & 0xffff_07ff]);
        state.exceptions.enabled = random.word() % 3;
        state.exceptions.handler = random.pick(&[0, crate::native::CODE, DATA, random.0]);
        state.exceptions.saved.rip = random.pick(&[0, random.0]);
        state.exceptions.pending.vector = random.pick(&[0, 0x1001, 0x1003, 0x1100, random.0]);
        state.redirection.handler = random.pick(&[0, 0, crate::native::CODE, random.0]);
        state.redirection.length = random.pick(&[0, 0x1000, u64::MAX, random.0]);
        let groups = Groups::from_bits_truncate(random.word());
        // Whatever is accepted runs, to its first exception.
        let _ = child.thread.set_native_groups(&state, groups | NativeState::REGISTERS, Run::Go);
        let soon = bench.microseconds(100);
        bench.reply_until(&reply, soon);
        reply = if random.word().is_multiple_of(2) { resume() } else { [random.word(); 8] };
    }
    child.thread.stop()?;
    Ok(())
}

fn allowance_lent_and_lost(bench: &mut Bench) -> Verdict {
    // A child lends its allowance down a chain of Spaces and is destroyed in the middle of it.
    for _ in 0..10 {
        let mut child = Native::new(bench)?;
        require!(child.status(bench, Call::SpaceCreate, &[DATA, 0, 20])?, 0);
        require!(child.status(bench, Call::SpaceCreate, &[DATA + 64, 1, 20])?, 0);
        child.space = Space::new(SpaceKind::Native, 4)?;
        require!(child.region.destroy_objects()?, 2);
    }
    Ok(())
}
