//! References: rights, badges, grants and their end, the notice that nobody has one any more.

use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, MAX_GRANT_DEPTH, OBJECT_SIZE, ObjectType, ReferenceRights, Rights, Status};
use protocols::exception::Misuse;
use protocols::libc::system_call;
use protocols::libnest::{Event, Mapping, Memory, Portset, Reference, Region, Run};
use protocols::policy::Controls;
use protocols::virtual_cpu::register::{R8, R10, RAX, RDI, RDX, RSI};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{ALLOWANCE, Answer, DATA, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("references::rights_only_shrink", rights_only_shrink),
    ("references::rights_are_needed", rights_are_needed),
    ("references::restrict_checks_its_arguments", restrict_checks_its_arguments),
    ("references::badge_in_place_of_the_alias", badge_in_place_of_the_alias),
    ("references::badge_of_a_keeper", badge_of_a_keeper),
    ("references::limits_of_mappings", limits_of_mappings),
    ("references::revoked_everywhere", revoked_everywhere),
    ("references::only_the_granter_revokes", only_the_granter_revokes),
    ("references::revoked_during_a_call", revoked_during_a_call),
    ("references::revoked_memory", revoked_memory),
    ("references::revoked_keeper", revoked_keeper),
    ("references::void_links_are_refused", void_links_are_refused),
    ("references::states_give_no_more", states_give_no_more),
    ("references::counted", counted),
    ("references::many_grants", many_grants),
    ("references::grants_are_charged", grants_are_charged),
    ("references::grants_end_with_their_payer", grants_end_with_their_payer),
    ("references::from_a_machine", from_a_machine),
    ("references::notice_of_the_last", notice_of_the_last),
    ("references::notice_through_a_grant", notice_through_a_grant),
    ("references::no_notice", no_notice),
];

const ALL: ReferenceRights = ReferenceRights::all().difference(ReferenceRights::REVOKE);
const FIRST: u64 = DATA;
const SECOND: u64 = DATA + OBJECT_SIZE;
const THIRD: u64 = DATA + 2 * OBJECT_SIZE;

/// Puts a copy of a Reference into a child's data.
pub fn give(child: &Native, reference: &Reference, address: u64) -> Result<(), Failure> {
    system_call::reference_create(child.own_address(address))?;
    Ok(system_call::reference_copy(reference.address(), child.own_address(address))?)
}

/// What a Reference in a child's data links to.
fn given(child: &Native, address: u64) -> Result<Option<ObjectType>, Failure> {
    Ok(system_call::reference_check(child.own_address(address))?)
}

/// Waits for the child's next exception, its thread's last call having ended with a status.
fn ended(child: &mut Native, event: Event) -> Result<u64, Failure> {
    match child.answer(event)? {
        Answer::Done(state) => Ok(state.gpr[RAX]),
        answer => fail!("{answer:?}"),
    }
}

fn begin_call(child: &mut Native, reference: u64, word: u64) -> Result<(), Failure> {
    child.begin(code::system_call(), &[(RAX, Call::IpcCall as u64), (RDI, reference), (RSI, word)])
}

/// Lets others run for a moment; there must be no message.
fn quiet(bench: &mut Bench) -> Verdict {
    let soon = bench.microseconds(300);
    require!(bench.receive_until(soon), Event::TimedOut);
    Ok(())
}

fn rights_only_shrink(bench: &mut Bench) -> Verdict {
    let port = bench.port()?;
    let whole = port.reference().duplicate()?;
    require!(whole.rights()?, ALL);
    let less = whole.restricted(ReferenceRights::CALL | ReferenceRights::COPY)?;
    require!(less.rights()?, ReferenceRights::CALL | ReferenceRights::COPY);
    require!(less.duplicate()?.rights()?, ReferenceRights::CALL | ReferenceRights::COPY);
    require!(less.restricted(ReferenceRights::all())?.rights()?, ReferenceRights::CALL | ReferenceRights::COPY);
    require!(less.restricted(ReferenceRights::SEND | ReferenceRights::COPY)?.rights()?, ReferenceRights::COPY);
    // In place as well.
    system_call::reference_restrict(less.address(), less.address(), ReferenceRights::COPY, 0)?;
    require!(less.rights()?, ReferenceRights::COPY);
    require!(less.check()?, Some(ObjectType::Port));
    // The granting Reference has a right that no copy has.
    let grant = whole.grant()?;
    require!(grant.granting().rights()?, ReferenceRights::all());
    require!(grant.reference()?.rights()?, ALL);
    require!(grant.granting().restricted(ReferenceRights::all())?.rights()?, ALL);
    require!(Reference::new()?.rights()?, ReferenceRights::empty());
    Ok(())
}

fn rights_are_needed(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    let uses = [
        (ReferenceRights::SEND, Call::IpcSend),
        (ReferenceRights::CALL, Call::IpcCall),
        (ReferenceRights::COPY, Call::ReferenceCopy),
        (ReferenceRights::COPY, Call::ReferenceRestrict),
        (ReferenceRights::COPY, Call::ReferenceGrant),
        (ReferenceRights::GRANT, Call::ReferenceGrant),
        (ReferenceRights::REVOKE, Call::ReferenceRevoke),
    ];
    system_call::reference_create(child.own_address(FIRST))?;
    system_call::reference_create(child.own_address(SECOND))?;
    for (right, call) in uses {
        let reference = port.reference().duplicate()?;
        let others = ReferenceRights::all() - right;
        system_call::reference_restrict(reference.address(), child.own_address(FIRST), others, 0)?;
        require!(child.call(bench, call, &[FIRST, SECOND])?, Answer::misuse(Misuse::NoRight));
    }
    // Those that link objects.
    let portset = Portset::new()?.reference().restricted(ALL - ReferenceRights::SERVE)?;
    give(&child, &portset, THIRD)?;
    let own = THIRD + OBJECT_SIZE;
    require!(child.status(bench, Call::PortCreate, &[own])?, 0);
    require!(child.call(bench, Call::PortSetState, &[own, 1, THIRD])?, Answer::misuse(Misuse::NoRight));
    require!(child.status(bench, Call::PortDestroy, &[own])?, 0);
    let keeper = port.reference().restricted(ALL - ReferenceRights::CALL)?;
    system_call::reference_copy(keeper.address(), child.own_address(FIRST))?;
    require!(child.status(bench, Call::SpaceCreate, &[own, 0, 8])?, 0);
    require!(child.call(bench, Call::SpaceSetState, &[own, FIRST])?, Answer::misuse(Misuse::NoRight));
    let links = [
        (ReferenceRights::MAP, ObjectType::Mapping),
        (ReferenceRights::EXPORT, ObjectType::Region),
        (ReferenceRights::RUN, ObjectType::Thread),
    ];
    let (object, state) = (own + OBJECT_SIZE, DATA + PAGE_SIZE);
    for (index, word) in [0, HOLE, PAGE_SIZE, 1].into_iter().enumerate() {
        child.write(state + index as u64 * 8, word)?;
    }
    for (right, kind) in links {
        require!(child.status(bench, Call::SpaceReference, &[own, FIRST])?, 0);
        system_call::reference_restrict(child.own_address(FIRST), child.own_address(FIRST), ALL - right, 0)?;
        let answer = match kind {
            ObjectType::Mapping => {
                require!(child.status(bench, Call::MappingCreate, &[object])?, 0);
                child.call(bench, Call::MappingSetState, &[object, state, 0, FIRST])?
            }
            ObjectType::Region => {
                require!(child.status(bench, Call::RegionCreate, &[object])?, 0);
                child.call(bench, Call::RegionSetState, &[object, state + 8, FIRST, 0])?
            }
            _ => {
                require!(child.status(bench, Call::ThreadCreate, &[object])?, 0);
                child.call(bench, Call::ThreadSetState, &[object, 0, 0, FIRST, 0])?
            }
        };
        require!(answer, Answer::misuse(Misuse::NoRight));
        protocols::libnest::objects::destroy(kind, child.own_address(object))?;
    }
    Ok(())
}

fn restrict_checks_its_arguments(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    give(&child, port.reference(), FIRST)?;
    system_call::reference_create(child.own_address(SECOND))?;
    let all = ReferenceRights::all().bits();
    let wrong = [
        ([FIRST, SECOND, all + (1 << 40), 0], Misuse::BadArgument),
        ([FIRST, SECOND, 1 << 7, 0], Misuse::BadArgument),
        ([SECOND, FIRST, all, 0], Misuse::NullReference),
        ([FIRST, SECOND + 1, all, 0], Misuse::NotAligned),
        ([FIRST, THIRD, all, 0], Misuse::NoObject),
        ([FIRST, HOLE, all, 0], Misuse::NoRight),
    ];
    for (arguments, misuse) in wrong {
        require!(child.call(bench, Call::ReferenceRestrict, &arguments)?, Answer::misuse(misuse));
    }
    // Only links to Ports have badges, and one badge only.
    require!(child.status(bench, Call::PortsetCreate, &[THIRD])?, 0);
    require!(child.status(bench, Call::PortsetReference, &[THIRD, SECOND])?, 0);
    let portset = [SECOND, SECOND, all, 7];
    require!(child.call(bench, Call::ReferenceRestrict, &portset)?, Answer::misuse(Misuse::WrongType));
    require!(child.status(bench, Call::ReferenceRestrict, &[FIRST, SECOND, all, 7])?, 0);
    let again = [SECOND, SECOND, all, 8];
    require!(child.call(bench, Call::ReferenceRestrict, &again)?, Answer::misuse(Misuse::NoRight));
    // The same for the other two.
    for call in [Call::ReferenceGrant, Call::ReferenceRevoke] {
        require!(child.call(bench, call, &[THIRD, SECOND])?, Answer::misuse(Misuse::WrongType));
        require!(child.call(bench, call, &[HOLE, SECOND])?, Answer::misuse(Misuse::NoRight));
        system_call::reference_destroy(child.own_address(FIRST))?;
        system_call::reference_create(child.own_address(FIRST))?;
        require!(child.call(bench, call, &[FIRST, SECOND])?, Answer::misuse(Misuse::NullReference));
    }
    Ok(())
}

fn badge_in_place_of_the_alias(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    let alias = bench.last_alias();
    let badged = port.reference().badged(u64::MAX, ALL)?;
    require!(port.reference().badged(0, ALL).err(), Some(Status::Refused));
    give(&child, &badged, FIRST)?;
    give(&child, &port.reference().badged(77, ReferenceRights::CALL | ReferenceRights::COPY)?, SECOND)?;
    give(&child, port.reference(), THIRD)?;
    // The first call finds no name that was found before; it is queued where the server does not wait yet.
    for _ in 0..3 {
        for (reference, sender) in [(FIRST, u64::MAX), (SECOND, 77), (THIRD, alias)] {
            begin_call(&mut child, reference, 5)?;
            let Event::Call { alias, words } = bench.receive() else { fail!("no call") };
            require!((alias, words[0]), (sender, 5));
            let event = bench.reply(&[6; 8]);
            require!(ended(&mut child, event)?, Status::Ok as u64);
        }
    }
    let other = Portset::new()?;
    begin_call(&mut child, SECOND, 1)?;
    let soon = bench.microseconds(300);
    require!(system_call::ipc_wait_receive(other.address(), soon.unwrap_or(1)).err(), Some(Status::TimedOut));
    require!(matches!(bench.receive(), Event::Call { alias: 77, .. }), true);
    let event = bench.reply(&[0; 8]);
    require!(ended(&mut child, event)?, Status::Ok as u64);
    // Connections carry it as well.
    let call = Call::ClientConnectSend as u64;
    child.begin(code::system_call(), &[(RAX, call), (RDI, SECOND), (RSI, DATA + 0x1000)])?;
    require!(matches!(bench.receive(), Event::Connection { alias: 77, .. }), true);
    let event = bench.receive();
    child.answer(event)?;
    // Notifications of all senders are one.
    badged.send(1)?;
    port.reference().send(2)?;
    require!(bench.receive(), Event::Notification { alias, bits: 3 });
    Ok(())
}

fn badge_of_a_keeper(bench: &mut Bench) -> Verdict {
    let port = bench.port()?;
    let mut child = Native::new(bench)?;
    let keeper = port.reference().badged(1234, ALL)?;
    child.space.set_keeper_through(&keeper)?;
    child.alias = 1234;
    require!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
    // The keeper is not linked through the Reference that it was set with.
    drop(keeper);
    require!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
    Ok(())
}

fn limits_of_mappings(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let memory = Memory::allocate(PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, PAGE_SIZE, Rights::all())?;
    // The child maps for itself what it was given to read only.
    let readable = region.reference().restricted(ReferenceRights::READ | ReferenceRights::COPY)?;
    give(&child, &readable, FIRST)?;
    give(&child, child.space.reference(), SECOND)?;
    require!(child.status(bench, Call::MappingCreate, &[THIRD])?, 0);
    let state = DATA + PAGE_SIZE;
    for (index, word) in [0, HOLE, PAGE_SIZE, Rights::all().bits()].into_iter().enumerate() {
        child.write(state + index as u64 * 8, word)?;
    }
    for region in [FIRST, 0] {
        require!(child.status(bench, Call::MappingSetState, &[THIRD, state, region, SECOND])?, 0);
        require!(matches!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Done(_)), true);
        require!(child.run(bench, code::write(), &[(RDI, HOLE), (RSI, 1)])?, Answer::Exception(14, HOLE));
    }
    // No objects either.
    match child.call(bench, Call::PortCreate, &[HOLE])? {
        Answer::Misused(_) | Answer::Exception(14, HOLE) => {}
        answer => fail!("{answer:?}"),
    }
    system_call::region_reference(region.address(), child.own_address(FIRST))?;
    require!(child.status(bench, Call::MappingSetState, &[THIRD, state, FIRST, 0])?, 0);
    require!(matches!(child.run(bench, code::write(), &[(RDI, HOLE), (RSI, 1)])?, Answer::Done(_)), true);
    Ok(())
}

fn revoked_everywhere(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    let original = port.reference().duplicate()?;
    let outer = original.grant()?;
    let inner = outer.reference()?.grant()?;
    let copies = [outer.reference()?, outer.reference()?.badged(5, ALL)?, inner.reference()?];
    give(&child, &inner.reference()?, FIRST)?;
    give(&child, &outer.reference()?, SECOND)?;
    begin_call(&mut child, FIRST, 1)?;
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    let event = bench.reply(&[0; 8]);
    require!(ended(&mut child, event)?, Status::Ok as u64);
    // The inner one takes nothing of the outer one's with it.
    drop(inner);
    require!((copies[0].check()?, copies[1].check()?), (Some(ObjectType::Port), Some(ObjectType::Port)));
    require!((copies[2].check()?, given(&child, FIRST)?), (None, None));
    require!(child.status(bench, Call::IpcCall, &[FIRST])?, Status::InvalidDestination as u64);
    let inner = outer.reference()?.grant()?;
    let below = inner.reference()?;
    drop(outer);
    for reference in copies.iter().chain([&below, inner.granting()]) {
        require!(reference.check()?, None);
        require!(reference.send(1), Err(Status::InvalidDestination));
        require!(reference.call(&mut [0; 8]), Err(Status::InvalidDestination));
        require!(reference.duplicate()?.send(1), Err(Status::InvalidDestination));
        require!(reference.grant().err(), Some(Status::InvalidDestination));
    }
    require!(given(&child, SECOND)?, None);
    for call in [Call::IpcCall, Call::IpcSend] {
        require!(child.status(bench, call, &[SECOND])?, Status::InvalidDestination as u64);
    }
    require!(original.check()?, Some(ObjectType::Port));
    Ok(())
}

fn only_the_granter_revokes(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    let grant = port.reference().grant()?;
    give(&child, grant.granting(), FIRST)?;
    require!(child.call(bench, Call::ReferenceRevoke, &[FIRST])?, Answer::misuse(Misuse::NoRight));
    require!(given(&child, FIRST)?, Some(ObjectType::Port));
    // It can grant in its turn, and revoke that.
    require!(child.status(bench, Call::ReferenceCreate, &[SECOND])?, 0);
    require!(child.status(bench, Call::ReferenceGrant, &[FIRST, SECOND])?, 0);
    require!(child.status(bench, Call::ReferenceCopy, &[SECOND, FIRST])?, 0);
    require!(child.status(bench, Call::ReferenceRevoke, &[SECOND])?, 0);
    require!((given(&child, FIRST)?, grant.granting().check()?), (None, Some(ObjectType::Port)));
    require!(child.call(bench, Call::ReferenceRevoke, &[SECOND])?, Answer::misuse(Misuse::NullReference));
    // What is void already is revoked without complaint.
    system_call::reference_copy(grant.granting().address(), child.own_address(FIRST))?;
    require!(child.status(bench, Call::ReferenceGrant, &[FIRST, SECOND])?, 0);
    drop(grant);
    require!(child.status(bench, Call::ReferenceRevoke, &[SECOND])?, 0);
    require!(child.call(bench, Call::ReferenceRevoke, &[SECOND])?, Answer::misuse(Misuse::NullReference));
    Ok(())
}

fn revoked_during_a_call(bench: &mut Bench) -> Verdict {
    // While the client waits for a server.
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    let grant = port.reference().grant()?;
    give(&child, &grant.reference()?.badged(9, ALL)?, FIRST)?;
    begin_call(&mut child, FIRST, 1)?;
    let other = Portset::new()?;
    let soon = bench.microseconds(300);
    require!(system_call::ipc_wait_receive(other.address(), soon.unwrap_or(1)).err(), Some(Status::TimedOut));
    drop(grant);
    require!(matches!(bench.receive(), Event::Call { alias: 9, .. }), true);
    let event = bench.reply(&[3; 8]);
    let Answer::Done(state) = child.answer(event)? else { fail!("the call did not end") };
    require!((state.gpr[RAX], state.gpr[RSI]), (Status::Ok as u64, 3));
    // While it waits for the reply.
    let grant = port.reference().grant()?;
    system_call::reference_copy(grant.granting().address(), child.own_address(FIRST))?;
    begin_call(&mut child, FIRST, 1)?;
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    drop(grant);
    let event = bench.reply(&[0; 8]);
    require!(ended(&mut child, event)?, Status::Ok as u64);
    require!(child.status(bench, Call::IpcCall, &[FIRST])?, Status::InvalidDestination as u64);
    Ok(())
}

fn revoked_memory(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let memory = Memory::allocate(2 * PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, 2 * PAGE_SIZE, Rights::all())?;
    let grant = region.reference().grant()?;
    give(&child, &grant.reference()?, FIRST)?;
    give(&child, child.space.reference(), SECOND)?;
    let state = DATA + PAGE_SIZE;
    // Two Mappings through the grant, of which one is gone before; one past it.
    let mappings = [THIRD, THIRD + OBJECT_SIZE, THIRD + 2 * OBJECT_SIZE];
    for (index, &mapping) in mappings.iter().enumerate() {
        require!(child.status(bench, Call::MappingCreate, &[mapping])?, 0);
        let address = HOLE + index as u64 * PAGE_SIZE;
        for (index, word) in [0, address, PAGE_SIZE, 3].into_iter().enumerate() {
            child.write(state + index as u64 * 8, word)?;
        }
        if index == 2 {
            system_call::region_reference(region.address(), child.own_address(FIRST))?;
        }
        require!(child.status(bench, Call::MappingSetState, &[mapping, state, FIRST, SECOND])?, 0);
        require!(matches!(child.run(bench, code::write(), &[(RDI, address), (RSI, 1)])?, Answer::Done(_)), true);
    }
    require!(child.status(bench, Call::MappingDestroy, &[mappings[0]])?, 0);
    drop(grant);
    let revoked = HOLE + PAGE_SIZE;
    require!(child.run(bench, code::read(), &[(RDI, revoked)])?, Answer::Exception(14, revoked));
    let kept = HOLE + 2 * PAGE_SIZE;
    require!(matches!(child.run(bench, code::write(), &[(RDI, kept), (RSI, 1)])?, Answer::Done(_)), true);
    // A machine's memory as well.
    let grant = region.reference().grant()?;
    let guest = Guest::new(bench, code::guest_count(), &[(RDI, guest::HOLE)])?;
    let rights = Rights::READ | Rights::WRITE;
    let _mapping = Mapping::through(grant.granting(), 0, &guest.space, guest::HOLE, PAGE_SIZE, rights)?;
    memory.write(0, &0u64)?;
    guest.cpu.go()?;
    bench.run_until(|| Ok(memory.read::<u64>(0)? > 0))?;
    drop(grant);
    let count = memory.read::<u64>(0)?;
    let event = bench.receive();
    let exit = guest.exit(event)?;
    require!((exit.reason as u32, exit.guest_physical), (48, guest::HOLE));
    require!(memory.read::<u64>(0)?, count);
    Ok(())
}

fn revoked_keeper(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let grant = child.port.reference().grant()?;
    child.space.set_keeper_through(&grant.reference()?)?;
    require!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
    // Without its keeper the thread stops.
    drop(grant);
    child.thread.set_native_state(&Default::default(), Run::Stop)?;
    let mut child = Native::new(bench)?;
    let grant = child.port.reference().grant()?;
    child.space.set_keeper_through(grant.granting())?;
    drop(grant);
    child.begin(code::read(), &[(RDI, HOLE)])?;
    quiet(bench)?;
    require!(child.thread.native_state()?.stopped, 1);
    // A Region's keeper: the thread gets the exception instead.
    let mut child = Native::new(bench)?;
    let keeper = bench.port()?;
    let grant = keeper.reference().grant()?;
    let region = Region::new(&child.memory, PAGE_SIZE, PAGE_SIZE, Rights::empty())?;
    region.set_keeper_through(grant.granting())?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE_SIZE, Rights::READ)?;
    child.begin(code::read(), &[(RDI, HOLE)])?;
    require!(matches!(bench.receive(), Event::MemoryFault { .. }), true);
    let event = bench.reply(&protocols::libnest::server::fail());
    require!(child.answer(event)?, Answer::Exception(14, HOLE));
    drop(grant);
    require!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
    Ok(())
}

fn void_links_are_refused(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let gone = Status::InvalidDestination as u64;
    // The objects exist no longer than it takes to link to them.
    let references = [
        Portset::new()?.reference().duplicate()?,
        bench.port()?.reference().duplicate()?,
        Native::new(bench)?.space.reference().duplicate()?,
        Native::new(bench)?.region.reference().duplicate()?,
    ];
    let [portset, port, space, region] = [0, 1, 2, 3].map(|index| DATA + 0x400 + index * OBJECT_SIZE);
    for (reference, address) in references.iter().zip([portset, port, space, region]) {
        require!(reference.check()?, None);
        give(&child, reference, address)?;
    }
    let state = DATA + PAGE_SIZE;
    for (index, word) in [0, HOLE, PAGE_SIZE, 1].into_iter().enumerate() {
        child.write(state + index as u64 * 8, word)?;
    }
    require!(child.status(bench, Call::PortCreate, &[FIRST])?, 0);
    require!(child.status(bench, Call::PortSetState, &[FIRST, 1, portset])?, gone);
    require!(child.status(bench, Call::MappingCreate, &[SECOND])?, 0);
    require!(child.status(bench, Call::MappingSetState, &[SECOND, state, region, 0])?, gone);
    require!(child.status(bench, Call::MappingSetState, &[SECOND, state, 0, space])?, gone);
    require!(child.status(bench, Call::RegionCreate, &[THIRD])?, 0);
    require!(child.status(bench, Call::RegionSetState, &[THIRD, state + 8, space, 0])?, gone);
    require!(child.status(bench, Call::RegionSetState, &[THIRD, state + 8, 0, port])?, gone);
    let own = THIRD + OBJECT_SIZE;
    require!(child.status(bench, Call::SpaceCreate, &[own, 0, 8])?, 0);
    require!(child.status(bench, Call::SpaceSetState, &[own, port])?, gone);
    require!(child.status(bench, Call::ThreadCreate, &[own + OBJECT_SIZE])?, 0);
    require!(child.status(bench, Call::ThreadSetState, &[own + OBJECT_SIZE, 0, 0, space, 0])?, gone);
    require!(child.status(bench, Call::ReferenceGrant, &[port, port])?, gone);
    require!(child.status(bench, Call::ReferenceCopy, &[port, portset])?, 0);
    require!(child.status(bench, Call::IpcSend, &[portset])?, gone);
    Ok(())
}

fn states_give_no_more(bench: &mut Bench) -> Verdict {
    // What an object links to is given as it was linked: with those rights, and until that grant ends.
    let mut child = Native::new(bench)?;
    let memory = Memory::allocate(PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, PAGE_SIZE, Rights::all())?;
    let (port, portset) = (bench.port()?, Portset::new()?);
    let grants = [
        region.reference().grant()?,
        child.space.reference().grant()?,
        portset.reference().grant()?,
        port.reference().grant()?,
    ];
    let few = [ReferenceRights::READ, ReferenceRights::MAP, ReferenceRights::SERVE, ReferenceRights::CALL];
    let links = [0, 1, 2, 3].map(|index| DATA + 0x400 + index * OBJECT_SIZE);
    for ((grant, right), address) in grants.iter().zip(few).zip(links) {
        system_call::reference_create(child.own_address(address))?;
        let (own, right) = (child.own_address(address), right | ReferenceRights::COPY);
        system_call::reference_restrict(grant.granting().address(), own, right, 0)?;
    }
    let state = DATA + PAGE_SIZE;
    for (index, word) in [0, HOLE, PAGE_SIZE, 1].into_iter().enumerate() {
        child.write(state + index as u64 * 8, word)?;
    }
    let [mapping, own, space, got, other] = [0, 1, 2, 3, 4].map(|index| DATA + 0x800 + index * OBJECT_SIZE);
    require!(child.status(bench, Call::MappingCreate, &[mapping])?, 0);
    require!(child.status(bench, Call::MappingSetState, &[mapping, state, links[0], links[1]])?, 0);
    require!(child.status(bench, Call::PortCreate, &[own])?, 0);
    require!(child.status(bench, Call::PortSetState, &[own, 1, links[2]])?, 0);
    require!(child.status(bench, Call::SpaceCreate, &[space, 0, 8])?, 0);
    require!(child.status(bench, Call::SpaceSetState, &[space, links[3]])?, 0);
    for reference in [got, other] {
        system_call::reference_create(child.own_address(reference))?;
    }
    let gets = [
        (Call::MappingGetState, [mapping, 0, got, other], few[0], few[1]),
        (Call::PortGetState, [own, 0, got, 0], few[2], few[1]),
        (Call::SpaceGetState, [space, 0, got, 0], few[3], few[1]),
    ];
    for (call, arguments, first, second) in gets {
        require!(child.status(bench, call, &arguments)?, 0);
        for (reference, right) in [(got, first), (other, second)] {
            let rights = system_call::reference_rights(child.own_address(reference))?;
            require!(rights, right | ReferenceRights::COPY);
        }
    }
    // The grants are held by what was linked through them, until they are revoked.
    for address in links {
        system_call::reference_destroy(child.own_address(address))?;
    }
    for grant in grants {
        require!(grant.granting().check()?.is_some(), true);
        drop(grant);
    }
    for (call, arguments, ..) in gets {
        require!(child.status(bench, call, &arguments)?, 0);
        require!((given(&child, got)?, given(&child, other)?), (None, None));
    }
    // A Region that was set without a Reference exports the Space in which that was done, and no more can be done with it.
    let exporting = DATA + 0x400;
    require!(child.status(bench, Call::RegionCreate, &[exporting])?, 0);
    require!(child.status(bench, Call::RegionSetState, &[exporting, state + 8, 0, 0])?, 0);
    require!(child.status(bench, Call::RegionGetState, &[exporting, 0, got, 0])?, 0);
    let rights = system_call::reference_rights(child.own_address(got))?;
    require!(rights, ReferenceRights::EXPORT | ReferenceRights::COPY);
    Ok(())
}

fn counted(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    require!(child.status(bench, Call::PortCreate, &[FIRST])?, 0);
    require!(child.status(bench, Call::RegionCreate, &[SECOND])?, 0);
    let counts = |child: &mut Native, bench: &mut Bench| -> Result<[u64; 3], Failure> {
        let Answer::Done(port) = child.call(bench, Call::PortGetState, &[FIRST])? else { fail!("no state of a Port") };
        let Answer::Done(region) = child.call(bench, Call::RegionGetState, &[SECOND])? else {
            fail!("no state of a Region")
        };
        Ok([port.gpr[R10], port.gpr[RDX], region.gpr[R8]])
    };
    require!(counts(&mut child, bench)?, [0, 0, 0]);
    require!(child.status(bench, Call::PortSetState, &[FIRST, 0, 0, 1])?, 0);
    let [port, region] = [Reference::new()?, Reference::new()?];
    system_call::port_reference(child.own_address(FIRST), port.address())?;
    system_call::region_reference(child.own_address(SECOND), region.address())?;
    let (copy, grant) = (port.duplicate()?, region.grant()?);
    require!(counts(&mut child, bench)?, [2, 1, 2]);
    require!(child.status(bench, Call::PortSetState, &[FIRST, 0, 0, 0])?, 0);
    drop((copy, grant));
    require!(counts(&mut child, bench)?, [1, 1, 1]);
    drop((port, region));
    require!(counts(&mut child, bench)?, [0, 1, 0]);
    Ok(())
}

fn many_grants(bench: &mut Bench) -> Verdict {
    let port = bench.port()?;
    // In a row, as deep as can be.
    let mut row = alloc::vec![port.reference().grant()?];
    while let Some(last) = row.last() {
        match last.granting().grant() {
            Ok(next) => row.push(next),
            Err(Status::Refused) => break,
            Err(status) => fail!("{status:?}"),
        }
    }
    require!(row.len(), MAX_GRANT_DEPTH as usize);
    let end = row.last().map(|last| last.reference()).transpose()?.ok_or(Failure("none".into()))?;
    require!(end.check()?, Some(ObjectType::Port));
    drop(row.swap_remove(0));
    require!(end.check()?, None);
    row.clear();
    // Side by side: more than a call ends before it lets others run.
    let grant = port.reference().grant()?;
    let beside = (0..600).map(|_| grant.granting().grant()).collect::<Result<Vec<_>, _>>()?;
    let copies = [beside[0].reference()?, beside[299].reference()?, beside[599].reference()?];
    drop(grant);
    for reference in &copies {
        require!(reference.check()?, None);
    }
    Ok(())
}

fn grants_are_charged(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    give(&child, port.reference(), FIRST)?;
    require!(child.status(bench, Call::ReferenceCreate, &[SECOND])?, 0);
    let before = child.space.state()?.used;
    // A copy keeps each alive: as many as there are places.
    let places = (crate::native::DATA_SIZE - 0x1000) / OBJECT_SIZE;
    let mut made = 0;
    while made < places {
        let reference = DATA + 0x1000 + made * OBJECT_SIZE;
        system_call::reference_create(child.own_address(reference))?;
        made += 1;
        match child.status(bench, Call::ReferenceGrant, &[FIRST, reference])? {
            0 => {}
            status if status == Status::NoMemory as u64 => break,
            status => fail!("status {status}"),
        }
    }
    let full = child.space.state()?.used;
    if full <= before || full > ALLOWANCE {
        fail!("{made} grants took {before} to {full} frames");
    }
    for index in 0..made {
        system_call::reference_destroy(child.own_address(DATA + 0x1000 + index * OBJECT_SIZE))?;
    }
    require!(child.space.state()?.used, before);
    // With little left there are none.
    let left = ALLOWANCE - before;
    require!(child.status(bench, Call::SpaceCreate, &[THIRD, 0, left - 1])?, 0);
    let mut status = 0;
    for index in 0..64 {
        let reference = DATA + 0x1000 + index * OBJECT_SIZE;
        system_call::reference_create(child.own_address(reference))?;
        status = child.status(bench, Call::ReferenceGrant, &[FIRST, reference])?;
        if status != 0 {
            break;
        }
    }
    require!(status, Status::NoMemory as u64);
    Ok(())
}

fn grants_end_with_their_payer(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    give(&child, port.reference(), FIRST)?;
    require!(child.status(bench, Call::ReferenceCreate, &[SECOND])?, 0);
    require!(child.status(bench, Call::ReferenceGrant, &[FIRST, SECOND])?, 0);
    let (copy, below) = (Reference::new()?, Reference::new()?);
    system_call::reference_copy(child.own_address(SECOND), copy.address())?;
    system_call::reference_grant(copy.address(), below.address())?;
    require!((copy.check()?, below.check()?), (Some(ObjectType::Port), Some(ObjectType::Port)));
    child.space = protocols::libnest::Space::new(protocols::api::SpaceKind::Native, 4)?;
    require!((copy.check()?, below.check()?), (None, None));
    require!(port.reference().check()?, Some(ObjectType::Port));
    Ok(())
}

fn from_a_machine(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_call(), &[])?;
    guest.allow(Controls::VMCALL, 0)?;
    let port = bench.port()?;
    let own = |address: u64| guest.memory.address() + address;
    let (first, second, third) = (guest::DATA, guest::DATA + OBJECT_SIZE, guest::DATA + 2 * OBJECT_SIZE);
    for reference in [first, second, third] {
        system_call::reference_create(own(reference))?;
    }
    system_call::port_reference(port.address(), own(first))?;
    let (second_own, third_own) = (own(second), own(third));
    let all = ReferenceRights::all().bits();
    let calls = [
        (Call::ReferenceRestrict, [first, second, all, 41]),
        (Call::ReferenceGrant, [second, third, 0, 0]),
        (Call::ReferenceCopy, [third, second, 0, 0]),
        (Call::ReferenceCheck, [second, 0, 0, 0]),
    ];
    for (index, (call, [a, b, c, d])) in calls.into_iter().enumerate() {
        let state =
            call_of(&mut guest, bench, index == 0, &[(RAX, call as u64), (RDI, a), (RSI, b), (RDX, c), (R10, d)])?;
        require!(state.gpr[RAX], Status::Ok as u64);
        if call == Call::ReferenceCheck {
            require!(state.gpr[RSI], ObjectType::Port as u64);
            require!(state.gpr[RDX], (ALL - ReferenceRights::BADGE).bits());
        }
    }
    require!(system_call::reference_check(second_own)?, Some(ObjectType::Port));
    let state = call_of(&mut guest, bench, false, &[(RAX, Call::ReferenceRevoke as u64), (RDI, third)])?;
    require!(state.gpr[RAX], Status::Ok as u64);
    require!((system_call::reference_check(second_own)?, system_call::reference_check(third_own)?), (None, None));
    Ok(())
}

/// Has a guest that runs [`code::guest_call`] make a call, and returns its state afterwards.
pub fn call_of(
    guest: &mut Guest,
    bench: &mut Bench,
    first: bool,
    registers: &[(usize, u64)],
) -> Result<protocols::virtual_cpu::VirtualCpuState, Failure> {
    begin_call_of(guest, registers)?;
    let exit = if first { guest.start(bench)? } else { guest.reply(bench, Default::default())? };
    require_end(&exit)?;
    guest.state()
}

/// Sets the registers of a guest for its next call.
pub fn begin_call_of(guest: &Guest, registers: &[(usize, u64)]) -> Result<(), Failure> {
    use protocols::virtual_cpu::Groups;
    let mut state = guest.state()?;
    state.rip = guest::CODE;
    for &(register, value) in registers {
        state.gpr[register] = value;
    }
    guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)
}

/// The guest has come to the end of its code.
pub fn require_end(exit: &protocols::exception::MachineExit) -> Verdict {
    require!(guest::port(exit), Some(guest::END_PORT));
    Ok(())
}

fn notice_of_the_last(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (port, alias) = bench.watched_port()?;
    let told = Event::NoReferences { alias };
    // Destroyed.
    let (first, second) = (port.reference()?, port.reference()?);
    drop(first);
    quiet(bench)?;
    drop(second);
    require!(bench.receive(), told);
    quiet(bench)?;
    // Made to link to something else, or to nothing.
    let (first, second) = (port.reference()?, Portset::new()?.reference().duplicate()?);
    system_call::reference_copy(second.address(), first.address())?;
    require!(bench.receive(), told);
    // Destroyed with all that its holder made of its memory.
    give(&child, &port.reference()?, FIRST)?;
    quiet(bench)?;
    require!(child.region.destroy_objects()?, 1);
    require!(bench.receive(), told);
    // By the holder itself, while the server waits.
    give(&child, &port.reference()?, FIRST)?;
    child.begin(code::system_call(), &[(RAX, Call::ReferenceDestroy as u64), (RDI, FIRST)])?;
    require!(bench.receive(), told);
    let event = bench.receive();
    require!(ended(&mut child, event)?, Status::Ok as u64);
    // More than once before the server asks.
    drop(port.reference()?);
    drop(port.reference()?);
    require!(bench.receive(), told);
    quiet(bench)?;
    // A client that waits is served first or after, but it is served.
    give(&child, &port.reference()?, FIRST)?;
    begin_call(&mut child, FIRST, 4)?;
    let other = Portset::new()?;
    let soon = bench.microseconds(300);
    require!(system_call::ipc_wait_receive(other.address(), soon.unwrap_or(1)).err(), Some(Status::TimedOut));
    system_call::reference_destroy(child.own_address(FIRST))?;
    require!(bench.receive(), told);
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    let event = bench.reply(&[0; 8]);
    require!(ended(&mut child, event)?, Status::Ok as u64);
    Ok(())
}

fn notice_through_a_grant(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let (port, alias) = bench.watched_port()?;
    let told = Event::NoReferences { alias };
    let grant = port.reference()?.grant()?;
    give(&child, &grant.reference()?, FIRST)?;
    give(&child, &grant.reference()?, SECOND)?;
    quiet(bench)?;
    drop(grant);
    require!(bench.receive(), told);
    // Those that are void already do not count a second time.
    let reference = port.reference()?;
    require!(child.region.destroy_objects()?, 2);
    quiet(bench)?;
    drop(reference);
    require!(bench.receive(), told);
    Ok(())
}

fn no_notice(bench: &mut Bench) -> Verdict {
    // Not asked for.
    let (port, alias) = bench.watched_port()?;
    system_call::port_set_state_telling(port.address(), alias, 0, false)?;
    drop(port.reference()?);
    quiet(bench)?;
    // Asked for with nonsense.
    let mut child = Native::new(bench)?;
    require!(child.status(bench, Call::PortCreate, &[FIRST])?, 0);
    require!(child.call(bench, Call::PortSetState, &[FIRST, 1, 0, 3])?, Answer::misuse(Misuse::BadArgument));
    // Out of date: there is a new one.
    let (port, alias) = bench.watched_port()?;
    drop(port.reference()?);
    let reference = port.reference()?;
    quiet(bench)?;
    // Keepers do not count.
    child.space.set_keeper_through(&reference)?;
    drop(reference);
    require!(bench.receive(), Event::NoReferences { alias });
    // No longer asked for.
    drop(port.reference()?);
    system_call::port_set_state_telling(port.address(), alias, 0, false)?;
    quiet(bench)?;
    // A Port that is destroyed tells nothing.
    let (port, _) = bench.watched_port()?;
    let reference = port.reference()?;
    drop(port);
    drop(reference);
    quiet(bench)
}
