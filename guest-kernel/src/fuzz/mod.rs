//! The whole kernel under random calls, on a [simulated](crate::arch::simulated) machine: what the fuzzer does inside the running system,
//! faster, and with every [invariant](invariants) looked at on the way.
//!
//! The calls are the fuzzer's ([`fuzz::generator`]), made by threads of two native Spaces and by virtual CPUs of a machine, between
//! exceptions, page faults and the timer. A run of many steps: `NESTOR_FUZZ_STEPS=10000000 NESTOR_FUZZ_SEED=7 cargo test --release -p guest-kernel fuzz::`.

mod invariants;
mod world;

use world::World;

/// Steps of a round, after which everything is destroyed and must be as before.
const ROUND: u64 = 20_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn random_calls_keep_every_invariant() {
    let (steps, seed) = (number("NESTOR_FUZZ_STEPS", 600_000), number("NESTOR_FUZZ_SEED", 1));
    let every = number("NESTOR_FUZZ_CHECK", 64);
    let mut world = World::new();
    for round in number("NESTOR_FUZZ_ROUND", 0)..steps.div_ceil(ROUND) {
        let seed = seed ^ round << 40;
        std::println!("round {round}: again with NESTOR_FUZZ_SEED={seed} NESTOR_FUZZ_ROUND=0 NESTOR_FUZZ_CHECK=1");
        let before = world.totals();
        world.begin(seed);
        for step in 0..ROUND {
            world.step();
            if step % every == 0 {
                invariants::check(&world.kernel);
            }
        }
        world.end();
        invariants::check(&world.kernel);
        assert_eq!(world.totals(), before, "what is left after round {round}");
    }
    world.report();
}
