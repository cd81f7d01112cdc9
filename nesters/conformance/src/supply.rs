//! Replies to memory faults that supply the memory, and taking rights from Mappings.

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, MappingState, OBJECT_SIZE, ReferenceRights, Rights, SpaceKind, Status};
use protocols::exception::{MemoryFault, Misuse, memory_reply};
use protocols::libc::system_call;
use protocols::libnest::server::{fail as no_memory, map, protect, retry};
use protocols::libnest::{Event, Mapping, Memory, Port, Reference, Region, Run, Space};
use protocols::virtual_cpu::register::{R8, R9, R10, R12, R15, RAX, RBP, RBX, RDI, RDX, RSI};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, DATA, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("supply::map", map_one),
    ("supply::map_to_a_machine", map_to_a_machine),
    ("supply::map_many_pages", map_many_pages),
    ("supply::map_a_large_page", map_a_large_page),
    ("supply::grow_and_move", grow_and_move),
    ("supply::protect", protect_and_give_back),
    ("supply::protect_a_machine", protect_a_machine),
    ("supply::through_every_reply", through_every_reply),
    ("supply::in_a_call", in_a_call),
    ("supply::overlap", overlap),
    ("supply::rights_of_the_reference", rights_of_the_reference),
    ("supply::what_was_not_asked_for", what_was_not_asked_for),
    ("supply::nobody_waits", nobody_waits),
    ("supply::misuse", misuse),
    ("supply::deep", deep),
    ("supply::links_change_between_faults", links_change_between_faults),
    ("mapping::protect", protect_by_call),
    ("mapping::nowhere", nowhere),
    ("mapping::what_is_still_shown", what_is_still_shown),
];

const READ_WRITE: Rights = Rights::READ.union(Rights::WRITE);

/// A Region without memory, of a Space that its keeper fills with a Mapping of memory of its own.
struct Kept {
    mapping: Mapping,
    region: Region,
    own: Region,
    memory: Memory,
    backing: Space,
    port: Option<Port>,
}

impl Kept {
    fn new(bench: &mut Bench, size: u64) -> Result<Self, Failure> {
        let port = bench.port()?;
        let mut kept = Self::unkept(size)?;
        kept.region.set_keeper(&port)?;
        kept.memory.write(0, &1u64)?;
        for page in 1..size / PAGE_SIZE {
            kept.memory.write(page * PAGE_SIZE, &(page + 1))?;
        }
        kept.port = Some(port);
        Ok(kept)
    }

    fn unkept(size: u64) -> Result<Self, Failure> {
        let backing = Space::new(SpaceKind::Native, 8)?;
        let region = Region::of_space(&backing, 0, size, Rights::all())?;
        let memory = Memory::allocate(size).ok_or(Failure("no memory".into()))?;
        let own = Region::new(&memory, 0, size, Rights::all())?;
        let mapping = Mapping::nowhere(&own, &backing)?;
        Ok(Self { mapping, region, own, memory, backing, port: None })
    }

    fn show(&self, space: &Space, start: u64) -> Result<Mapping, Failure> {
        Ok(Mapping::new(&self.region, 0, space, start, self.region.size(), Rights::all())?)
    }
}

/// The fault that a message tells of.
fn fault(event: Event) -> Result<MemoryFault, Failure> {
    match event {
        Event::MemoryFault { fault, .. } => Ok(fault),
        event => fail!("got {event:x?} instead of a memory fault"),
    }
}

/// What the child has read into RAX.
fn value(child: &mut Native, event: Event) -> Result<u64, Failure> {
    match child.answer(event)? {
        Answer::Done(state) => Ok(state.gpr[RAX]),
        answer => fail!("{answer:x?} instead of the end"),
    }
}

/// Leaves the child without the memory that it waits for.
fn refuse(child: &mut Native, bench: &mut Bench) -> Verdict {
    let event = bench.reply(&no_memory());
    match child.answer(event)? {
        Answer::Exception(14, _) => Ok(()),
        answer => fail!("{answer:x?} instead of a page fault"),
    }
}

fn map_one(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, 4 * PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    child.begin(code::read(), &[(RDI, HOLE + PAGE_SIZE)])?;
    let found = fault(bench.receive())?;
    require!((found.offset, found.address, found.access), (PAGE_SIZE, HOLE + PAGE_SIZE, Rights::READ.bits()));
    // The third page of the memory where the second is missing.
    let reply = map(&mut kept.mapping, 2 * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, Rights::READ);
    let event = bench.reply(&reply);
    require!(value(&mut child, event)?, 3);
    let state = system_call::mapping_get_state(kept.mapping.address(), 0, 0)?;
    let rights = Rights::READ.bits();
    require!(state, MappingState { offset: 2 * PAGE_SIZE, start: PAGE_SIZE, size: PAGE_SIZE, rights });
    // Again, where the kernel knows already what is missing; then what is there.
    child.begin(code::read(), &[(RDI, HOLE)])?;
    require!(fault(bench.receive())?.offset, 0);
    let mut other = Mapping::nowhere(&kept.own, &kept.backing)?;
    let event = bench.reply(&map(&mut other, 0, 0, PAGE_SIZE, READ_WRITE));
    require!(value(&mut child, event)?, 1);
    for (address, expected) in [(HOLE, 1), (HOLE + PAGE_SIZE, 3)] {
        child.begin(code::read(), &[(RDI, address)])?;
        let event = bench.receive();
        require!(value(&mut child, event)?, expected);
    }
    Ok(())
}

fn map_to_a_machine(bench: &mut Bench) -> Verdict {
    let mut kept = Kept::new(bench, 4 * PAGE_SIZE)?;
    let mut guest = Guest::new(bench, code::guest_read(), &[(RDI, guest::HOLE + 2 * PAGE_SIZE)])?;
    let _shown = kept.show(&guest.space, guest::HOLE)?;
    guest.cpu.go()?;
    require!(fault(bench.receive())?.offset, 2 * PAGE_SIZE);
    let event = bench.reply(&map(&mut kept.mapping, 0, 2 * PAGE_SIZE, 2 * PAGE_SIZE, Rights::READ));
    let exit = guest.exit(event)?;
    require!((guest::port(&exit), exit.rax), (Some(guest::END_PORT), 1));
    // The other page came with it.
    guest.state().and_then(|mut state| {
        state.gpr[RDI] = guest::HOLE + 3 * PAGE_SIZE;
        state.rip = guest::CODE;
        guest.set_state(&state, protocols::virtual_cpu::Groups::VMCS | protocols::virtual_cpu::Groups::GENERAL)
    })?;
    let exit = guest.reply(bench, Default::default())?;
    require!((guest::port(&exit), exit.rax), (Some(guest::END_PORT), 2));
    Ok(())
}

fn map_many_pages(bench: &mut Bench) -> Verdict {
    const PAGES: u64 = 512;
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, (PAGES + 1) * PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    child.begin(code::read(), &[(RDI, HOLE + 7 * PAGE_SIZE)])?;
    require!(fault(bench.receive())?.offset, 7 * PAGE_SIZE);
    // A page further in the memory: in no large page.
    let event = bench.reply(&map(&mut kept.mapping, PAGE_SIZE, 0, PAGES * PAGE_SIZE, Rights::READ));
    require!(value(&mut child, event)?, 9);
    for page in (0..PAGES).step_by(73).chain([PAGES - 1]) {
        child.begin(code::read(), &[(RDI, HOLE + page * PAGE_SIZE)])?;
        let event = bench.receive();
        require!(value(&mut child, event)?, page + 2);
    }
    // What was not mapped is missing still.
    child.begin(code::read(), &[(RDI, HOLE + PAGES * PAGE_SIZE)])?;
    require!(fault(bench.receive())?.offset, PAGES * PAGE_SIZE);
    let event = bench.reply(&no_memory());
    require!(child.answer(event)?, Answer::Exception(14, HOLE + PAGES * PAGE_SIZE));
    Ok(())
}

fn map_a_large_page(bench: &mut Bench) -> Verdict {
    const LARGE: u64 = 2 << 20;
    const FAR: u64 = 1 << 30;
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, LARGE)?;
    let _shown = kept.show(&child.space, FAR)?;
    child.begin(code::read(), &[(RDI, FAR + 5 * PAGE_SIZE)])?;
    fault(bench.receive())?;
    let before = child.space.state()?.used;
    let event = bench.reply(&map(&mut kept.mapping, 0, 0, LARGE, Rights::READ));
    require!(value(&mut child, event)?, 6);
    for page in (0..512).step_by(37) {
        child.begin(code::read(), &[(RDI, FAR + page * PAGE_SIZE)])?;
        let event = bench.receive();
        require!(value(&mut child, event)?, page + 1);
    }
    // One table above the large page; with small ones there would be another.
    require!(child.space.state()?.used - before <= 1, true);
    Ok(())
}

fn grow_and_move(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, 8 * PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    for page in 0..4 {
        child.begin(code::read(), &[(RDI, HOLE + page * PAGE_SIZE)])?;
        require!(fault(bench.receive())?.offset, page * PAGE_SIZE);
        let event = bench.reply(&map(&mut kept.mapping, 0, 0, (page + 1) * PAGE_SIZE, READ_WRITE));
        require!(value(&mut child, event)?, page + 1);
    }
    // Moved, it shows nothing where it was.
    child.begin(code::read(), &[(RDI, HOLE + 6 * PAGE_SIZE)])?;
    require!(fault(bench.receive())?.offset, 6 * PAGE_SIZE);
    let event = bench.reply(&map(&mut kept.mapping, 0, 6 * PAGE_SIZE, PAGE_SIZE, READ_WRITE));
    require!(value(&mut child, event)?, 1);
    child.begin(code::read(), &[(RDI, HOLE + PAGE_SIZE)])?;
    require!(fault(bench.receive())?.offset, PAGE_SIZE);
    // Shrunk and with another offset.
    let event = bench.reply(&map(&mut kept.mapping, 4 * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, READ_WRITE));
    require!(value(&mut child, event)?, 5);
    child.begin(code::read(), &[(RDI, HOLE + 6 * PAGE_SIZE)])?;
    require!(fault(bench.receive())?.offset, 6 * PAGE_SIZE);
    let event = bench.reply(&no_memory());
    require!(child.answer(event)?, Answer::Exception(14, HOLE + 6 * PAGE_SIZE));
    Ok(())
}

fn protect_and_give_back(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, 2 * PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    child.begin(code::write(), &[(RDI, HOLE), (RSI, 77)])?;
    fault(bench.receive())?;
    let event = bench.reply(&map(&mut kept.mapping, 0, 0, 2 * PAGE_SIZE, READ_WRITE));
    value(&mut child, event)?;
    for round in 0..3 {
        kept.mapping.protect(Rights::READ)?;
        child.begin(code::read(), &[(RDI, HOLE)])?;
        let event = bench.receive();
        require!(value(&mut child, event)?, 77 + round);
        child.begin(code::write(), &[(RDI, HOLE), (RSI, 78 + round)])?;
        let found = fault(bench.receive())?;
        require!((found.offset, found.access), (0, Rights::WRITE.bits()));
        require!(kept.memory.read::<u64>(0)?, 77 + round);
        let event = bench.reply(&protect(&mut kept.mapping, READ_WRITE));
        value(&mut child, event)?;
        require!(kept.memory.read::<u64>(0)?, 78 + round);
    }
    Ok(())
}

fn protect_a_machine(bench: &mut Bench) -> Verdict {
    let mut kept = Kept::new(bench, PAGE_SIZE)?;
    let guest = Guest::new(bench, code::guest_count(), &[(RDI, guest::HOLE)])?;
    let _shown = kept.show(&guest.space, guest::HOLE)?;
    kept.memory.write(0, &0u64)?;
    guest.cpu.go()?;
    fault(bench.receive())?;
    let soon = bench.microseconds(2000);
    let mut event = bench.reply_until(&map(&mut kept.mapping, 0, 0, PAGE_SIZE, READ_WRITE), soon);
    for _ in 0..3 {
        while event == Event::TimedOut && kept.memory.read::<u64>(0)? == 0 {
            let soon = bench.microseconds(2000);
            event = bench.receive_until(soon);
        }
        require!(event, Event::TimedOut);
        kept.mapping.protect(Rights::READ)?;
        let count = kept.memory.read::<u64>(0)?;
        let found = fault(bench.receive())?;
        require!((found.address, kept.memory.read::<u64>(0)?), (guest::HOLE, count));
        kept.memory.write(0, &0u64)?;
        let soon = bench.microseconds(2000);
        event = bench.reply_until(&protect(&mut kept.mapping, READ_WRITE), soon);
    }
    require!(event, Event::TimedOut);
    Ok(guest.cpu.stop()?)
}

fn through_every_reply(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, 8 * PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    let taking = Reference::new()?;
    for page in 0..5 {
        child.begin(code::read(), &[(RDI, HOLE + page * PAGE_SIZE)])?;
        require!(fault(bench.receive())?.offset, page * PAGE_SIZE);
        let reply = map(&mut kept.mapping, 0, 0, (page + 1) * PAGE_SIZE, Rights::READ);
        let event = match page {
            0 => {
                system_call::ipc_reply(&reply)?;
                bench.receive()
            }
            1 => {
                system_call::ipc_reply_with_reference(&reply, 0)?;
                bench.receive()
            }
            2 => {
                let deadline = bench.deadline();
                bench.server().reply_and_receive_reference(&reply, None, deadline, &taking).0
            }
            3 => bench.server().reply_and_receive(&reply, None),
            _ => bench.reply(&reply),
        };
        require!(value(&mut child, event)?, page + 1);
    }
    Ok(())
}

/// The kernel itself needs the memory, for a call of the child's.
fn in_a_call(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, 2 * PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    child.begin(code::system_call(), &[(RAX, Call::PortCreate as u64), (RDI, HOLE + OBJECT_SIZE)])?;
    require!(fault(bench.receive())?.offset, OBJECT_SIZE);
    let event = bench.reply(&map(&mut kept.mapping, 0, 0, PAGE_SIZE, Rights::all()));
    require!(value(&mut child, event)?, Status::Ok as u64);
    require!(kept.own.search(0)?.map(|(offset, _)| offset), Some(OBJECT_SIZE));
    Ok(system_call::port_destroy(kept.memory.address() + OBJECT_SIZE)?)
}

/// Nothing is replied where nothing is mapped.
fn overlap(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, 4 * PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    let _other = Mapping::new(&kept.own, 0, &kept.backing, PAGE_SIZE, PAGE_SIZE, Rights::READ)?;
    child.begin(code::read(), &[(RDI, HOLE)])?;
    fault(bench.receive())?;
    for size in [2, 3] {
        let reply = map(&mut kept.mapping, 0, 0, size * PAGE_SIZE, Rights::READ);
        require!(bench.reply(&reply), Event::Overlap);
        require!(system_call::ipc_reply(&reply), Err(Status::Overlap));
        require!(system_call::ipc_reply_with_reference(&reply, 0), Err(Status::Overlap));
    }
    require!(system_call::mapping_get_state(kept.mapping.address(), 0, 0)?, MappingState::default());
    require!(child.thread.native_state()?.stopped, 0);
    let event = bench.reply(&map(&mut kept.mapping, 0, 0, PAGE_SIZE, Rights::READ));
    require!(value(&mut child, event)?, 1);
    // Neither when it grows.
    child.begin(code::read(), &[(RDI, HOLE + 2 * PAGE_SIZE)])?;
    fault(bench.receive())?;
    require!(bench.reply(&map(&mut kept.mapping, 0, 0, 3 * PAGE_SIZE, Rights::READ)), Event::Overlap);
    let event = bench.reply(&no_memory());
    require!(child.answer(event)?, Answer::Exception(14, HOLE + 2 * PAGE_SIZE));
    Ok(())
}

/// A reply gives no right that the Reference to the Region does not.
fn rights_of_the_reference(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let kept = Kept::new(bench, PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    let few = kept.own.reference().restricted(ReferenceRights::READ)?;
    let mut mapping = Mapping::through(&few, 0, &kept.backing, 0, 0, Rights::empty())?;
    child.begin(code::write(), &[(RDI, HOLE), (RSI, 5)])?;
    fault(bench.receive())?;
    for round in 0..2 {
        let reply = match round {
            0 => map(&mut mapping, 0, 0, PAGE_SIZE, READ_WRITE),
            _ => protect(&mut mapping, READ_WRITE),
        };
        let found = fault(bench.reply(&reply))?;
        require!((found.offset, found.access), (0, Rights::WRITE.bits()));
        require!(system_call::mapping_get_state(mapping.address(), 0, 0)?.rights, READ_WRITE.bits());
    }
    let event = bench.reply(&no_memory());
    require!(child.answer(event)?, Answer::Exception(14, HOLE));
    child.begin(code::read(), &[(RDI, HOLE)])?;
    let event = bench.receive();
    require!(value(&mut child, event)?, 1);
    Ok(())
}

/// A reply may set Mappings of other Regions and in other Spaces; the thread faults again then.
fn what_was_not_asked_for(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, 2 * PAGE_SIZE)?;
    let mut other = Kept::unkept(PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    child.begin(code::read(), &[(RDI, HOLE)])?;
    fault(bench.receive())?;
    for reply in [
        map(&mut other.mapping, 0, 0, PAGE_SIZE, Rights::READ),
        map(&mut kept.mapping, 0, PAGE_SIZE, PAGE_SIZE, Rights::READ),
        map(&mut kept.mapping, 0, 0, 0, Rights::READ),
        map(&mut kept.mapping, 0, 0, PAGE_SIZE, Rights::EXECUTE),
        protect(&mut kept.mapping, Rights::empty()),
        retry(),
    ] {
        require!(fault(bench.reply(&reply))?.offset, 0);
    }
    require!(system_call::mapping_get_state(other.mapping.address(), 0, 0)?.size, PAGE_SIZE);
    let event = bench.reply(&map(&mut kept.mapping, 0, 0, PAGE_SIZE, Rights::READ));
    require!(value(&mut child, event)?, 1);
    Ok(())
}

/// Where the thread does not wait any more, nothing is done.
fn nobody_waits(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut kept = Kept::new(bench, PAGE_SIZE)?;
    let _shown = kept.show(&child.space, HOLE)?;
    let mut gone = Native::new(bench)?;
    let _shown_to_it = kept.show(&gone.space, HOLE)?;
    gone.begin(code::read(), &[(RDI, HOLE)])?;
    fault(bench.receive())?;
    drop(gone);
    let reply = map(&mut kept.mapping, 0, 0, PAGE_SIZE, Rights::READ);
    require!(system_call::ipc_reply(&reply), Err(Status::Disconnected));
    require!(system_call::mapping_get_state(kept.mapping.address(), 0, 0)?, MappingState::default());
    child.begin(code::read(), &[(RDI, HOLE)])?;
    require!(fault(bench.receive())?.offset, 0);
    // One that is stopped waits for its keeper all the same, and has the memory when it goes on.
    child.thread.stop()?;
    system_call::ipc_reply(&reply)?;
    require!(system_call::mapping_get_state(kept.mapping.address(), 0, 0)?.size, PAGE_SIZE);
    let soon = bench.microseconds(1000);
    require!(bench.receive_until(soon), Event::TimedOut);
    child.thread.go()?;
    let event = bench.receive();
    require!(value(&mut child, event)?, 1);
    // A call is answered with the same words.
    let mut caller = Native::new(bench)?;
    let port = bench.port()?;
    system_call::reference_create(caller.own_address(DATA))?;
    system_call::port_reference(port.address(), caller.own_address(DATA))?;
    caller.begin(code::system_call(), &[(RAX, Call::IpcCall as u64), (RDI, DATA)])?;
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    let event = bench.reply(&map(&mut kept.mapping, 0, 0, 0, Rights::READ));
    let Answer::Done(state) = caller.answer(event)? else { fail!("the call did not end") };
    require!((state.gpr[RAX], state.gpr[RSI]), (Status::Ok as u64, memory_reply::MAP));
    require!(system_call::mapping_get_state(kept.mapping.address(), 0, 0)?.size, PAGE_SIZE);
    Ok(())
}

/// A keeper that misuses the API with its reply is told so, as with a call; the thread still waits.
fn misuse(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut keeper = Native::new(bench)?;
    let kept = Kept::unkept(2 * PAGE_SIZE)?;
    let port = keeper.serves()?;
    kept.region.set_keeper_through(&port)?;
    let _shown = kept.show(&child.space, HOLE)?;
    // The keeper's objects, and the same page where it may only read.
    let [mapping, region, wrong] = [2, 3, 4].map(|index| DATA + index * OBJECT_SIZE);
    let looked_at = Mapping::new(&keeper.region, PAGE_SIZE, &keeper.space, HOLE, PAGE_SIZE, Rights::READ)?;
    require!(keeper.status(bench, Call::MappingCreate, &[mapping])?, Status::Ok as u64);
    require!(keeper.status(bench, Call::ReferenceCreate, &[region])?, Status::Ok as u64);
    require!(keeper.status(bench, Call::ReferenceCreate, &[wrong])?, Status::Ok as u64);
    system_call::region_reference(kept.own.address(), keeper.own_address(region))?;
    system_call::space_reference(kept.backing.address(), keeper.own_address(wrong))?;
    require!(keeper.status(bench, Call::MappingSetState, &[mapping, 0, region, wrong])?, Status::Ok as u64);
    child.begin(code::read(), &[(RDI, HOLE)])?;
    let wait = [(RAX, Call::IpcWaitReceive as u64), (RDI, DATA), (R15, 0)];
    let Answer::Done(state) = keeper.run(bench, code::system_call(), &wait)? else {
        fail!("the keeper got no message")
    };
    require!((state.gpr[R15], state.gpr[RSI]), (2, 0));

    let mut reply = |bench: &mut Bench, call: Call, words: [u64; 6]| {
        let [action, mapping, offset, start, size, rights] = words;
        keeper.run(
            bench,
            code::system_call(),
            &[
                (RAX, call as u64),
                (RDI, DATA),
                (RSI, action),
                (RDX, mapping),
                (R10, offset),
                (R8, start),
                (R9, size),
                (R12, rights),
                (R15, 0),
                (RBX, 0),
                (RBP, 0),
            ],
        )
    };
    use memory_reply::{MAP, PROTECT};
    let page = PAGE_SIZE;
    for call in
        [Call::IpcReply, Call::IpcReplyWaitReceive, Call::IpcReplyWithReference, Call::IpcReplyWaitReceiveWithReference]
    {
        for (words, expected) in [
            ([MAP, mapping, 0, 1, page, 1], Misuse::NotAligned),
            ([MAP, mapping, 8, 0, page, 1], Misuse::NotAligned),
            ([MAP, mapping, 0, 0, page - 1, 1], Misuse::NotAligned),
            ([MAP, mapping, 0, !0xfff, 2 * page, 1], Misuse::BadArgument),
            ([MAP, mapping, !0xfff, 0, 2 * page, 1], Misuse::BadArgument),
            ([MAP, mapping, 0, 1 << 47, page, 1], Misuse::BadArgument),
            ([MAP, mapping, 0, 0, 1 << 50, 1], Misuse::BadArgument),
            ([MAP, mapping, 0, 0, page, 16], Misuse::BadArgument),
            ([MAP, mapping + 8, 0, 0, page, 1], Misuse::NotAligned),
            ([MAP, region, 0, 0, page, 1], Misuse::WrongType),
            ([MAP, DATA + 0x1000, 0, 0, page, 1], Misuse::NoObject),
            ([MAP, HOLE + (mapping - DATA), 0, 0, page, 1], Misuse::NoRight),
            ([MAP, 0x40_0000, 0, 0, page, 1], Misuse::NoRight),
            ([MAP, 0x7000_0000, 0, 0, page, 1], Misuse::NoRight),
            ([MAP, !63, 0, 0, page, 1], Misuse::NoRight),
            ([PROTECT, mapping, 0, 0, 0, 16], Misuse::BadArgument),
            ([PROTECT, region, 0, 0, 0, 1], Misuse::WrongType),
            ([PROTECT, HOLE + (mapping - DATA), 0, 0, 0, 1], Misuse::NoRight),
        ] {
            let answer = reply(bench, call, words)?;
            if answer != Answer::misuse(expected) {
                fail!("{call:?} {words:x?} is {answer:x?}, not {expected:?}");
            }
        }
    }
    require!(system_call::mapping_get_state(kept.mapping.address(), 0, 0)?.size, 0);
    drop(looked_at);
    let Answer::Done(state) = reply(bench, Call::IpcReply, [MAP, mapping, 0, 0, PAGE_SIZE, 1])? else {
        fail!("no reply")
    };
    require!(state.gpr[RAX], Status::Ok as u64);
    let event = bench.receive();
    require!(value(&mut child, event)?, 0);
    Ok(())
}

/// The memory is missing behind several Spaces, and what replies supply is missing memory again.
fn deep(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut lower = Kept::new(bench, 2 * PAGE_SIZE)?;
    let middle = Space::new(SpaceKind::Native, 8)?;
    let port = bench.port()?;
    let upper = Region::of_space(&middle, 0, 4 * PAGE_SIZE, Rights::all())?;
    upper.set_keeper(&port)?;
    let mut link = Mapping::nowhere(&lower.region, &middle)?;
    let _shown = Mapping::new(&upper, PAGE_SIZE, &child.space, HOLE, 3 * PAGE_SIZE, Rights::all())?;
    child.begin(code::read(), &[(RDI, HOLE)])?;
    require!(fault(bench.receive())?.offset, PAGE_SIZE);
    let found = fault(bench.reply(&map(&mut link, 0, PAGE_SIZE, 2 * PAGE_SIZE, Rights::all())))?;
    require!((found.offset, found.address), (0, HOLE));
    let event = bench.reply(&map(&mut lower.mapping, PAGE_SIZE, 0, PAGE_SIZE, Rights::READ));
    require!(value(&mut child, event)?, 2);
    // The next page is missing in the lower one only, the one after that in the upper one.
    child.begin(code::read(), &[(RDI, HOLE + PAGE_SIZE)])?;
    require!(fault(bench.receive())?.offset, PAGE_SIZE);
    let mut second = Mapping::nowhere(&lower.own, &lower.backing)?;
    let event = bench.reply(&map(&mut second, 0, PAGE_SIZE, PAGE_SIZE, Rights::READ));
    require!(value(&mut child, event)?, 1);
    child.begin(code::read(), &[(RDI, HOLE + 2 * PAGE_SIZE)])?;
    require!(fault(bench.receive())?.offset, 3 * PAGE_SIZE);
    // Taken away in the middle, it is missing in the upper one from the beginning.
    refuse(&mut child, bench)?;
    link.protect(Rights::empty())?;
    child.begin(code::read(), &[(RDI, HOLE)])?;
    require!(fault(bench.receive())?.offset, PAGE_SIZE);
    let event = bench.reply(&protect(&mut link, Rights::READ));
    require!(value(&mut child, event)?, 2);
    Ok(())
}

/// What the kernel knows of the way to missing memory ends with any link of it.
fn links_change_between_faults(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut first = Kept::new(bench, 4 * PAGE_SIZE)?;
    let mut second = Kept::new(bench, 4 * PAGE_SIZE)?;
    second.memory.write(0, &0xbeef_u64)?;
    let mut shown = first.show(&child.space, HOLE)?;
    let miss = |child: &mut Native, bench: &mut Bench, page: u64| {
        child.begin(code::read(), &[(RDI, HOLE + page * PAGE_SIZE)])?;
        fault(bench.receive()).map(|found| found.offset)
    };
    require!(miss(&mut child, bench, 3)?, 3 * PAGE_SIZE);
    refuse(&mut child, bench)?;
    // Another offset of the same Region.
    shown.set(&first.region, PAGE_SIZE, &child.space, HOLE, 3 * PAGE_SIZE, Rights::all())?;
    require!(miss(&mut child, bench, 1)?, 2 * PAGE_SIZE);
    refuse(&mut child, bench)?;
    // Another Region, whose memory is there at once.
    second.mapping.set(&second.own, 0, &second.backing, 0, PAGE_SIZE, Rights::READ)?;
    shown.set(&second.region, 0, &child.space, HOLE, 4 * PAGE_SIZE, Rights::all())?;
    child.begin(code::read(), &[(RDI, HOLE)])?;
    let event = bench.receive();
    require!(value(&mut child, event)?, 0xbeef);
    require!(miss(&mut child, bench, 2)?, 2 * PAGE_SIZE);
    // While the thread waits its memory comes to be elsewhere: the reply is about what was.
    shown.set(&first.region, 0, &child.space, HOLE, 4 * PAGE_SIZE, Rights::all())?;
    let found = fault(bench.reply(&map(&mut second.mapping, 0, 0, 4 * PAGE_SIZE, Rights::READ)))?;
    require!(found.offset, 2 * PAGE_SIZE);
    first.region.protect(Rights::empty())?;
    let found = fault(bench.reply(&map(&mut first.mapping, 0, 0, 4 * PAGE_SIZE, Rights::READ)))?;
    require!(found.offset, 2 * PAGE_SIZE);
    first.region.protect(Rights::all())?;
    let event = bench.reply(&retry());
    require!(value(&mut child, event)?, 3);
    Ok(())
}

fn protect_by_call(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let region = Region::new(&child.memory, PAGE_SIZE, PAGE_SIZE, READ_WRITE)?;
    let mut mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE_SIZE, READ_WRITE)?;
    child.begin(code::count(), &[(RDI, HOLE)])?;
    bench.run_until(|| Ok(child.read(DATA)? > 0))?;
    mapping.protect(Rights::READ)?;
    let count = child.read(DATA)?;
    let event = bench.receive();
    require!(child.answer(event)?, Answer::Exception(14, HOLE));
    require!(child.read(DATA)?, count);
    let state = system_call::mapping_get_state(mapping.address(), 0, 0)?;
    require!(state, MappingState { offset: 0, start: HOLE, size: PAGE_SIZE, rights: Rights::READ.bits() });
    mapping.protect(Rights::all())?;
    require!(matches!(child.run(bench, code::write(), &[(RDI, HOLE), (RSI, 1)])?, Answer::Done(_)), true);
    // No more than the Region exports.
    require!(child.run(bench, code::jump(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
    let own = DATA + PAGE_SIZE;
    require!(child.status(bench, Call::MappingCreate, &[own])?, Status::Ok as u64);
    require!(child.status(bench, Call::MappingProtect, &[own, Rights::all().bits()])?, Status::Ok as u64);
    for (arguments, expected) in [
        ([own, 16], Misuse::BadArgument),
        ([own + 8, 1], Misuse::NotAligned),
        ([own + OBJECT_SIZE, 1], Misuse::NoObject),
        ([0x7000_0000, 1], Misuse::NoRight),
    ] {
        require!(child.call(bench, Call::MappingProtect, &arguments)?, Answer::misuse(expected));
    }
    require!(child.status(bench, Call::PortCreate, &[own + OBJECT_SIZE])?, Status::Ok as u64);
    let answer = child.call(bench, Call::MappingProtect, &[own + OBJECT_SIZE, 1])?;
    require!(answer, Answer::misuse(Misuse::WrongType));
    Ok(child.thread.set_native_state(&Default::default(), Run::Stop)?)
}

/// With no size a Mapping is in nobody's way, wherever it says it is.
fn nowhere(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut mapping = Mapping::new(&child.region, PAGE_SIZE, &child.space, DATA, 0, Rights::all())?;
    let _other = Mapping::new(&child.region, PAGE_SIZE, &child.space, DATA, 0, Rights::all())?;
    let _there = Mapping::new(&child.region, PAGE_SIZE, &child.space, HOLE, PAGE_SIZE, Rights::all())?;
    require!(mapping.set(&child.region, 0, &child.space, HOLE, PAGE_SIZE, Rights::READ), Err(Status::Overlap));
    mapping.set(&child.region, PAGE_SIZE, &child.space, HOLE + PAGE_SIZE, PAGE_SIZE, Rights::READ)?;
    child.write(DATA, 21)?;
    for (address, expected) in [(HOLE, Some(21)), (HOLE + PAGE_SIZE, Some(21)), (HOLE + 2 * PAGE_SIZE, None)] {
        let answer = child.run(bench, code::read(), &[(RDI, address)])?;
        require!(matches!(answer, Answer::Done(_)), expected.is_some());
    }
    mapping.set(&child.region, PAGE_SIZE, &child.space, HOLE + PAGE_SIZE, 0, Rights::READ)?;
    let answer = child.run(bench, code::read(), &[(RDI, HOLE + PAGE_SIZE)])?;
    require!(answer, Answer::Exception(14, HOLE + PAGE_SIZE));
    Ok(())
}

/// Setting a Mapping anew takes away what it does not show any more, all of that, and nothing else.
fn what_is_still_shown(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let memory = Memory::allocate(8 * PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    for page in 0..8 {
        memory.write(page * PAGE_SIZE, &(page + 1))?;
    }
    let region = Region::new(&memory, 0, 8 * PAGE_SIZE, Rights::all())?;
    let mut mapping = Mapping::nowhere(&region, &child.space)?;
    // Where in the Region, where in the Space, how many pages.
    for (offset, start, pages) in [
        (2, 2, 1),
        (2, 2, 3),
        (1, 1, 4),
        (0, 0, 8),
        (1, 1, 2),
        (3, 1, 2),
        (3, 2, 2),
        (3, 2, 0),
        (0, 4, 4),
        (0, 3, 5),
        (0, 3, 1),
    ] {
        mapping.set(
            &region,
            offset * PAGE_SIZE,
            &child.space,
            HOLE + start * PAGE_SIZE,
            pages * PAGE_SIZE,
            READ_WRITE,
        )?;
        for page in 0..10 {
            let expected = (start..start + pages).contains(&page).then(|| page - start + offset + 1);
            let answer = child.run(bench, code::read(), &[(RDI, HOLE + page * PAGE_SIZE)])?;
            let found = if let Answer::Done(state) = answer { Some(state.gpr[RAX]) } else { None };
            require!((page, found), (page, expected));
        }
    }
    Ok(())
}
