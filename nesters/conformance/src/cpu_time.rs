//! CPU time: whom it belongs to, and that nobody uses more than all above them may.

use protocols::api::{Call, Quotas, Status};
use protocols::libc::system_call as call;
use protocols::libnest::Event;
use protocols::virtual_cpu::register::{RBP, RBX, RDI, RSI};

use crate::code;
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{DATA, Native};
use crate::quota::{Grandchild, place};

/// The tests.
pub const TESTS: &[Test] = &[
    ("cpu_time::is_accounted_for", is_accounted_for),
    ("cpu_time::servers_use_that_of_clients", servers_use_that_of_clients),
    ("cpu_time::is_limited", is_limited),
    ("cpu_time::is_limited_for_a_subtree", is_limited_for_a_subtree),
    ("cpu_time::limits_of_descendants", limits_of_descendants),
    ("cpu_time::more_and_less", more_and_less),
    ("cpu_time::no_more_by_notifications", no_more_by_notifications),
    ("cpu_time::exhausted_servers_serve_others", exhausted_servers_serve_others),
    ("cpu_time::held_threads_can_end", held_threads_can_end),
];

/// A percentage of the CPU.
const fn percent(percent: u64) -> u64 {
    Quotas::WHOLE_CPU / 100 * percent
}

/// A child that counts for ever.
fn counter(bench: &mut Bench) -> Result<Native, Failure> {
    let mut child = Native::new(bench)?;
    child.begin(code::count(), &[(RDI, DATA)])?;
    bench.run_until(|| Ok(child.read(DATA)? > 0))?;
    Ok(child)
}

/// Lets others run for so many periods in which time is limited, from the begin of one on.
fn periods(bench: &mut Bench, count: u64) -> Verdict {
    let length = bench.frequency() / Quotas::PERIODS_PER_SECOND;
    let begin = protocols::libc::time::now() / length + 1;
    require!(bench.receive_until(Some(begin * length)), Event::TimedOut);
    require!(bench.receive_until(Some((begin + count) * length)), Event::TimedOut);
    Ok(())
}

/// Which part, in percent, children used of what they used all, in so many periods.
fn parts<const N: usize>(bench: &mut Bench, children: [&Native; N], count: u64) -> Result<[u64; N], Failure> {
    let length = bench.frequency() / Quotas::PERIODS_PER_SECOND;
    let begin = protocols::libc::time::now() / length + 1;
    require!(bench.receive_until(Some(begin * length)), Event::TimedOut);
    let mut before = [0; N];
    for (before, child) in before.iter_mut().zip(children) {
        *before = child.space.state()?.time_below;
    }
    require!(bench.receive_until(Some((begin + count) * length)), Event::TimedOut);
    let mut used = [0; N];
    for ((used, before), child) in used.iter_mut().zip(before).zip(children) {
        *used = child.space.state()?.time_below - before;
    }
    let all = used.iter().sum::<u64>().max(1);
    Ok(used.map(|used| (used * 100 + all / 2) / all))
}

/// Fails unless each of `found` is near what is expected.
fn near<const N: usize>(found: [u64; N], expected: [u64; N]) -> Verdict {
    if found.iter().zip(expected).any(|(&found, expected)| found.abs_diff(expected) > 2) {
        fail!("{found:?} percent were used, not {expected:?}");
    }
    Ok(())
}

const COUNT: u64 = DATA + 0x800;

/// A client that calls a server again and again, and counts; and the server, which has begun to wait.
fn calling(bench: &mut Bench) -> Result<(Native, Native), Failure> {
    let mut server = Native::new(bench)?;
    let reference = server.serves()?;
    server.begin(code::serve_for_ever(), &[(RDI, DATA)])?;
    let mut client = Native::new(bench)?;
    let own = client.own_address(DATA);
    call::reference_create(own)?;
    call::reference_copy(reference.address(), own)?;
    client.begin(code::call_and_count(), &[(RDI, DATA), (RBX, COUNT)])?;
    bench.run_until(|| Ok(client.read(COUNT)? > 0))?;
    Ok((client, server))
}

fn is_accounted_for(bench: &mut Bench) -> Verdict {
    let children = [counter(bench)?, counter(bench)?];
    let idle = Native::new(bench)?;
    near(parts(bench, [&children[0], &children[1], &idle], 2)?, [50, 50, 0])?;
    let state = idle.space.state()?;
    require!((state.cpu, state.time, state.time_below), (0, 0, 0));
    let state = children[0].space.state()?;
    require!(state.time, state.time_below);
    let ticks = bench.frequency();
    if state.time > ticks {
        fail!("{} ticks in less than a second of {ticks}", state.time);
    }
    Ok(())
}

fn servers_use_that_of_clients(bench: &mut Bench) -> Verdict {
    let (client, server) = calling(bench)?;
    let other = counter(bench)?;
    let [own, served, _] = parts(bench, [&client, &server, &other], 2)?;
    near([own], [50])?;
    require!(served, 0);
    // So it is the client's that is limited.
    client.space.set_cpu(percent(10))?;
    near(parts(bench, [&client, &server, &other], 3)?, [10, 0, 90])
}

fn is_limited(bench: &mut Bench) -> Verdict {
    let (greedy, other) = (counter(bench)?, counter(bench)?);
    greedy.space.set_cpu(percent(10))?;
    require!(greedy.space.state()?.cpu, percent(10));
    let counts = [greedy.read(DATA)?, other.read(DATA)?];
    near(parts(bench, [&greedy, &other], 4)?, [10, 90])?;
    if greedy.read(DATA)? - counts[0] > (other.read(DATA)? - counts[1]) / 5 {
        fail!("it counted further than its time allows");
    }
    // Alone it has no more.
    other.thread.stop()?;
    let before = greedy.space.state()?.time;
    periods(bench, 3)?;
    let used = greedy.space.state()?.time - before;
    let length = bench.frequency() / Quotas::PERIODS_PER_SECOND;
    // At most what four periods give: it may have had that of the one in which this began.
    if used > length / 10 * 4 + length / 50 || used < length / 10 * 2 {
        fail!("{used} ticks in three periods of {length}");
    }
    Ok(())
}

fn is_limited_for_a_subtree(bench: &mut Bench) -> Verdict {
    let other = counter(bench)?;
    let mut child = Native::new(bench)?;
    require!(child.status(bench, Call::SpaceCreate, &[place(0), 0, 16, 4])?, Status::Ok as u64);
    let grandchild = Grandchild::new(bench, &mut child)?;
    child.space.set_cpu(percent(20))?;
    // Both spin.
    child.begin(code::count(), &[(RDI, DATA + 0x3000)])?;
    grandchild.begin(&[(RDI, DATA + 0x3008)])?;
    near(parts(bench, [&child, &other], 4)?, [20, 80])?;
    let counts = [child.read(DATA + 0x3000)?, child.read(DATA + 0x3008)?];
    if counts.contains(&0) {
        fail!("they counted to {counts:?}");
    }
    let state = child.space.state()?;
    if state.time == 0 || state.time >= state.time_below {
        fail!("{} ticks of its own, {} with its child's", state.time, state.time_below);
    }
    Ok(())
}

fn limits_of_descendants(bench: &mut Bench) -> Verdict {
    let other = counter(bench)?;
    let mut child = Native::new(bench)?;
    require!(child.status(bench, Call::SpaceCreate, &[place(0), 0, 16, 4, percent(5)])?, Status::Ok as u64);
    let grandchild = Grandchild::new(bench, &mut child)?;
    child.begin(code::count(), &[(RDI, DATA + 0x3000)])?;
    grandchild.begin(&[(RDI, DATA + 0x3008)])?;
    let before = child.space.state()?;
    let [both, _] = parts(bench, [&child, &other], 4)?;
    let after = child.space.state()?;
    // What the grandchild has not, its parent has: they are two of three that take turns.
    let below = (after.time_below - before.time_below) - (after.time - before.time);
    let part = below * both / (after.time_below - before.time_below);
    if !(3..=7).contains(&part) || both < 45 {
        fail!("a grandchild with 5 percent had {part}, both had {both}");
    }
    // More than its parent may it cannot have.
    let space = child.own_address(place(0));
    child.space.set_cpu(percent(10))?;
    let unchanged = Quotas::UNCHANGED;
    let quotas = Quotas { frames: unchanged, objects: unchanged, cpu: percent(90) };
    call::space_set_quotas(space, quotas)?;
    near(parts(bench, [&child, &other], 4)?, [10, 90])
}

fn more_and_less(bench: &mut Bench) -> Verdict {
    let (child, other) = (counter(bench)?, counter(bench)?);
    for share in [30, 5, 40] {
        child.space.set_cpu(percent(share))?;
        near(parts(bench, [&child, &other], 3)?, [share, 100 - share])?;
    }
    // Without a limit it goes on at once.
    child.space.set_cpu(1)?;
    periods(bench, 1)?;
    let counted = child.read(DATA)?;
    child.space.set_cpu(0)?;
    bench.run_until(|| Ok(child.read(DATA)? > counted))?;
    near(parts(bench, [&child, &other], 2)?, [50, 50])
}

fn no_more_by_notifications(bench: &mut Bench) -> Verdict {
    // Somebody wakes a thread of the limited Space again and again.
    let other = counter(bench)?;
    let mut woken = Native::new(bench)?;
    let reference = woken.serves()?;
    woken.begin(code::count_when_notified(), &[(RBX, DATA), (RBP, DATA + 0x3000)])?;
    let mut waker = Native::new(bench)?;
    let own = waker.own_address(DATA);
    call::reference_create(own)?;
    call::reference_copy(reference.address(), own)?;
    woken.space.set_cpu(percent(10))?;
    waker.begin(code::send_for_ever(), &[(RDI, DATA), (RSI, 1)])?;
    let [used, ..] = parts(bench, [&woken, &waker, &other], 4)?;
    if !(5..=12).contains(&used) {
        fail!("it used {used} percent");
    }
    if woken.read(DATA + 0x3000)? == 0 {
        fail!("it was never woken");
    }
    Ok(())
}

fn exhausted_servers_serve_others(bench: &mut Bench) -> Verdict {
    // The server has nearly no time: its clients have, and are served.
    let (client, server) = calling(bench)?;
    server.space.set_cpu(1)?;
    periods(bench, 1)?;
    let (before, used) = (client.read(COUNT)?, server.space.state()?.time);
    periods(bench, 2)?;
    let calls = client.read(COUNT)? - before;
    if calls < 1000 {
        fail!("{calls} calls were served");
    }
    let most = bench.frequency() / 1000;
    if server.space.state()?.time - used > most {
        fail!("the server used more than {most} ticks");
    }
    Ok(())
}

fn held_threads_can_end(bench: &mut Bench) -> Verdict {
    let other = counter(bench)?;
    let mut child = Native::new(bench)?;
    child.space.set_cpu(1)?;
    child.begin(code::count(), &[(RDI, DATA)])?;
    periods(bench, 1)?;
    // It is held; its registers can be seen and set, its thread destroyed, its Space as well.
    child.thread.native_state()?;
    child.begin(code::count(), &[(RDI, DATA)])?;
    periods(bench, 1)?;
    drop(child);
    near(parts(bench, [&other], 1)?, [100])
}
