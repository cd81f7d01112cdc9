//! Who supplies pages, and who may write to them.

use crate::code;
use crate::harness::{Bench, Failure, Verdict, fail, require};
use crate::native::{Answer, CODE, HOLE, Native};
use alloc::vec::Vec;
use protocols::address::PAGE_SIZE;
use protocols::api::{Call, ObjectType, ReferenceRights, Rights, SpaceKind, Status};
use protocols::libc::system_call;
use protocols::libnest::server::{self, fail as no_memory, retry};
use protocols::libnest::{Event, Mapping, Reference, Region, Space};
use protocols::virtual_cpu::register::{RAX, RDI, RSI};

use super::{ALL, PAGES, Two, copied, read, write};

pub fn keeper_supplies_pages(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    // The shadow is of a Space that shows nothing yet; so is the source, but for one page.
    let two = Two::new(PAGES)?;
    let stores = [Space::new(SpaceKind::Native, 8)?, Space::new(SpaceKind::Native, 8)?];
    let size = PAGES * PAGE_SIZE;
    let regions = [Region::of_space(&stores[0], HOLE, size, ALL)?, Region::of_space(&stores[1], HOLE, size, ALL)?];
    let mut aliases = [0; 2];
    let mut ports = Vec::new();
    for (region, alias) in regions.iter().zip(&mut aliases) {
        let port = bench.port()?;
        *alias = bench.last_alias();
        region.set_keeper(&port)?;
        ports.push(port);
    }
    let [source, shadow] = &regions;
    let mapping = Mapping::copy_on_write([source, shadow], 0, &child.space, HOLE, size, ALL)?;
    let address = HOLE + PAGE_SIZE + 0x238;
    child.begin(code::write(), &[(RDI, address), (RSI, 42)])?;
    let Event::MemoryFault { alias, fault } = bench.receive() else { fail!("no fault of the shadow") };
    require!((alias, fault.offset, fault.address), (aliases[1], PAGE_SIZE + 0x238, address));
    require!((fault.access, fault.wanted), (Rights::WRITE.bits(), Rights::WRITE.bits()));
    let _page = Mapping::new(&two.regions[1], 0, &stores[1], HOLE + PAGE_SIZE, PAGE_SIZE, ALL)?;
    let Event::MemoryFault { alias, fault } = bench.reply(&retry()) else { fail!("no fault of the source") };
    require!((alias, fault.offset, fault.address), (aliases[0], PAGE_SIZE + 0x238, address));
    require!((fault.access, fault.wanted), (Rights::READ.bits(), Rights::WRITE.bits()));
    let _original = Mapping::new(&two.regions[0], 0, &stores[0], HOLE + PAGE_SIZE, PAGE_SIZE, Rights::READ)?;
    let event = bench.reply(&retry());
    require!(matches!(child.answer(event)?, Answer::Done(_)), true);
    require!(two.words(0)?, [100, 100]);
    require!(two.shadow.read::<u64>(0x238)?, 42);
    require!(copied(&mapping)?, Some((1, 1)));
    // A page that was only read needs no shadow.
    child.begin(code::read(), &[(RDI, HOLE)])?;
    let Event::MemoryFault { alias, fault } = bench.receive() else { fail!("no fault of the source") };
    require!((alias, fault.offset, fault.access), (aliases[0], 0, Rights::READ.bits()));
    let _original = Mapping::new(&two.regions[0], PAGE_SIZE, &stores[0], HOLE, PAGE_SIZE, Rights::READ)?;
    let event = bench.reply(&retry());
    require!(matches!(child.answer(event)?, Answer::Done(state) if state.gpr[RAX] == 101), true);
    // A call that needs the page is served as well.
    child.begin(code::system_call(), &[(RAX, Call::PortCreate as u64), (RDI, HOLE + 0x40)])?;
    let Event::MemoryFault { alias, fault } = bench.receive() else { fail!("no fault of the shadow") };
    require!((alias, fault.offset), (aliases[1], 0x40));
    let _page = Mapping::new(&two.regions[1], 3 * PAGE_SIZE, &stores[1], HOLE, PAGE_SIZE, ALL)?;
    let event = bench.reply(&retry());
    require!(matches!(child.answer(event)?, Answer::Done(state) if state.gpr[RAX] == 0), true);
    require!(two.regions[1].search(0)?, Some((3 * PAGE_SIZE + 0x40, ObjectType::Port)));
    Ok(system_call::port_destroy(two.shadow.address() + 3 * PAGE_SIZE + 0x40)?)
}

pub fn keeper_has_none(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    for missing in [0, 1] {
        let mut rights = [ALL; 2];
        rights[missing] = Rights::empty();
        let two = Two::with_rights(1, rights)?;
        two.regions[missing].set_keeper(&port)?;
        let mapping = two.show(&child.space, HOLE)?;
        child.begin(code::write(), &[(RDI, HOLE), (RSI, 1)])?;
        require!(matches!(bench.receive(), Event::MemoryFault { .. }), true);
        // The child has a page fault for what it has tried: to write.
        let event = bench.reply(&no_memory());
        let Event::Exception { exception, .. } = event else { fail!("got {event:x?}") };
        require!((exception.vector, exception.error, exception.address), (14, 6, HOLE));
        require!(child.answer(event)?, Answer::Exception(14, HOLE));
        require!((two.words(0)?, copied(&mapping)?), ([100, 0], None));
    }
    Ok(())
}

/// A thread that waits for a page of its shadow is stopped, exported, and goes on as another thread.
pub fn stopped_while_a_page_is_missing(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    let two = Two::with_rights(1, [ALL, Rights::empty()])?;
    two.regions[1].set_keeper(&port)?;
    let _mapping = two.show(&child.space, HOLE)?;
    child.begin(code::write(), &[(RDI, HOLE), (RSI, 9)])?;
    require!(matches!(bench.receive(), Event::MemoryFault { .. }), true);
    child.thread.stop()?;
    let state = child.thread.native_state()?;
    require!((state.rip, state.gpr[RDI]), (CODE, HOLE));
    two.regions[1].protect(ALL)?;
    child.thread = protocols::libnest::Thread::native(&child.space, &state)?;
    child.thread.go()?;
    let soon = bench.deadline();
    let event = bench.abandon_until(soon);
    require!(matches!(child.answer(event)?, Answer::Done(_)), true);
    require!(two.words(0)?, [100, 9]);
    Ok(())
}

/// The keeper's replies put the Mapping in place, then give it rights back.
pub fn supplied_by_replies(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(PAGES)?;
    let size = PAGES * PAGE_SIZE;
    let store = Space::new(SpaceKind::Native, 8)?;
    let region = Region::of_space(&store, 0, size, ALL)?;
    let port = bench.port()?;
    region.set_keeper(&port)?;
    let _shown = Mapping::new(&region, 0, &child.space, HOLE, size, ALL)?;
    let mut mapping = two.show(&store, 2 * size)?;
    for (reply, value) in [(true, 41), (false, 42)] {
        child.begin(code::write(), &[(RDI, HOLE + PAGE_SIZE), (RSI, value)])?;
        let Event::MemoryFault { fault, .. } = bench.receive() else { fail!("no fault") };
        require!((fault.offset, fault.access), (PAGE_SIZE, Rights::WRITE.bits()));
        let reply = if reply { server::map(&mut mapping, 0, 0, size, ALL) } else { server::protect(&mut mapping, ALL) };
        let event = bench.reply(&reply);
        require!(matches!(child.answer(event)?, Answer::Done(_)), true);
        require!(two.words(1)?, [101, value]);
        require!(copied(&mapping)?, Some((1, 1)));
        mapping.protect(Rights::READ)?;
        require!(read(&mut child, bench, HOLE + PAGE_SIZE)?, value);
    }
    require!(two.words(0)?, [100, 0]);
    Ok(())
}

pub fn rights(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (read_only, read_write) = (Rights::READ, Rights::READ | Rights::WRITE);
    let jump = |child: &mut Native, bench: &mut Bench| -> Result<bool, Failure> {
        Ok(matches!(child.run(bench, code::jump(), &[(RDI, HOLE)])?, Answer::Done(_)))
    };
    // Of source and shadow, then of the Mapping: can it be read, written, executed before and after?
    for (of_source, of_shadow, of_mapping, expected) in [
        (ALL, ALL, ALL, [true, true, true]),
        (Rights::READ | Rights::EXECUTE, ALL, ALL, [true, true, true]),
        (read_only, ALL, ALL, [true, false, true]),
        (ALL, read_write, ALL, [true, true, false]),
        (ALL, ALL, read_write, [true, false, false]),
        (ALL, ALL, read_only, [false, false, false]),
        (ALL, read_only, ALL, [false, true, false]),
        (ALL, Rights::empty(), ALL, [false, true, false]),
        (Rights::WRITE, ALL, ALL, [false, false, false]),
        (Rights::empty(), ALL, ALL, [false, false, false]),
    ] {
        let two = Two::with_rights(1, [ALL, ALL])?;
        two.source.write(0, &0x0b0f_u64)?; // UD2
        let case = (of_source, of_shadow, of_mapping);
        // Limits of the Regions, then of the References to them.
        for by_reference in [false, true] {
            let mut kept = Vec::new();
            for (number, limit) in [of_source, of_shadow].into_iter().enumerate() {
                if !by_reference {
                    two.regions[number].protect(limit)?;
                }
                let of_reference = ReferenceRights::COPY
                    | if by_reference {
                        ReferenceRights::from_bits_truncate(limit.bits() << 8)
                    } else {
                        ReferenceRights::all()
                    };
                kept.push(two.regions[number].reference().restricted(of_reference)?);
            }
            let links = [&kept[0], &kept[1]];
            let mapping = Mapping::copy_on_write_through(links, 0, &child.space, HOLE, PAGE_SIZE, of_mapping)?;
            // What it says of itself is what it was given.
            let shadow = Reference::new()?;
            mapping.shadow(&shadow)?;
            require!(shadow.rights()?, kept[1].rights()?);
            let before = of_source & of_mapping & (Rights::READ | Rights::EXECUTE);
            if before.contains(Rights::READ) {
                require!((case, read(&mut child, bench, HOLE)?), (case, 0x0b0f));
                require!((case, jump(&mut child, bench)?), (case, expected[1]));
            }
            let written = write(&mut child, bench, HOLE + 8, 1)?;
            require!((case, by_reference, written), (case, by_reference, expected[0]));
            if written {
                require!((case, jump(&mut child, bench)?), (case, expected[2]));
                require!(two.shadow.read::<u64>(0)?, 0x0b0f);
            } else {
                require!(two.shadow.read::<u64>(0)?, 0);
            }
            require!(two.source.read::<u64>(8)?, 0);
            two.regions.iter().try_for_each(|region| region.protect(ALL))?;
            two.shadow.clear(0, PAGE_SIZE)?;
        }
    }
    Ok(())
}

pub fn protected(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(PAGES)?;
    let mut mapping = two.show(&child.space, HOLE)?;
    require!(write(&mut child, bench, HOLE + PAGE_SIZE, 7)?, true);
    mapping.protect(Rights::READ)?;
    for (page, value) in [(0, 100), (1, 7)] {
        require!(write(&mut child, bench, HOLE + page * PAGE_SIZE, 8)?, false);
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE)?, value);
    }
    require!(copied(&mapping)?, Some((1, 1)));
    mapping.protect(ALL)?;
    for page in [0, 1] {
        require!(write(&mut child, bench, HOLE + page * PAGE_SIZE, 9)?, true);
    }
    require!((two.words(0)?, two.words(1)?), ([100, 9], [101, 9]));
    require!(copied(&mapping)?, Some((0, 0b11)));
    Ok(())
}

/// What was granted for source or shadow can be taken back, at once; what does not need it goes on.
pub fn revoked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for ended in [0, 1] {
        let two = Two::new(PAGES)?;
        let mut grants = [Some(two.regions[0].reference().grant()?), Some(two.regions[1].reference().grant()?)];
        let mut links = Vec::new();
        for grant in grants.iter().flatten() {
            links.push(grant.reference()?);
        }
        let both = [&links[0], &links[1]];
        let mut mapping = Mapping::copy_on_write_through(both, 0, &child.space, HOLE, PAGES * PAGE_SIZE, ALL)?;
        require!(write(&mut child, bench, HOLE, 1)?, true);
        require!(read(&mut child, bench, HOLE + PAGE_SIZE)?, 101);
        grants[ended] = None;
        let sees = |child: &mut Native, bench: &mut Bench, page: u64| -> Result<bool, Failure> {
            let address = HOLE + page * PAGE_SIZE;
            match child.run(bench, code::read(), &[(RDI, address)])? {
                Answer::Done(_) => Ok(true),
                Answer::Exception(14, at) if at == address => Ok(false),
                answer => fail!("{answer:x?}"),
            }
        };
        require!(sees(&mut child, bench, 0)?, ended == 0);
        require!(sees(&mut child, bench, 1)?, ended == 1);
        require!(write(&mut child, bench, HOLE + PAGE_SIZE, 1)?, false);
        require!(write(&mut child, bench, HOLE, 2)?, ended == 0);
        require!(two.words(1)?, [101, 0]);
        // It can be given another.
        let again = two.regions[ended].reference();
        let both: [&Reference; 2] = if ended == 0 { [again, &links[1]] } else { [&links[0], again] };
        mapping.set_shadow_through(both, &child.space)?;
        require!(write(&mut child, bench, HOLE + PAGE_SIZE, 3)?, true);
    }
    Ok(())
}

pub fn regions_destroyed(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for ended in [0, 1] {
        let two = Two::new(PAGES)?;
        let _mapping = two.show(&child.space, HOLE)?;
        require!(write(&mut child, bench, HOLE, 1)?, true);
        require!(read(&mut child, bench, HOLE + PAGE_SIZE)?, 101);
        let Two { source, shadow, regions: [first, second] } = two;
        let left = if ended == 0 {
            drop(first);
            second
        } else {
            drop(second);
            first
        };
        for (page, visible) in [(0, ended == 0), (1, ended == 1)] {
            let address = HOLE + page * PAGE_SIZE;
            let answer = child.run(bench, code::read(), &[(RDI, address)])?;
            match answer {
                Answer::Done(_) if visible => {}
                Answer::Exception(14, at) if !visible && at == address => {}
                answer => fail!("page {page} without Region {ended}: {answer:x?}"),
            }
        }
        require!(write(&mut child, bench, HOLE + PAGE_SIZE, 1)?, false);
        drop((source, shadow, left));
    }
    Ok(())
}

/// A page that is copied was written in the shadow, all of it, and never in the source; whatever becomes of the Mapping then.
pub fn tracked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(PAGES)?;
    let mut mapping = two.show(&child.space, HOLE)?;
    two.regions.iter().try_for_each(|region| region.track(true))?;
    let dirty = |region: &Region| -> Result<Vec<(u64, u64)>, Failure> {
        let mut found = Vec::new();
        region.take_dirty(0, region.size(), |range| {
            found.push((range.offset / PAGE_SIZE, (range.offset + range.size) / PAGE_SIZE))
        })?;
        Ok(found)
    };
    require!(read(&mut child, bench, HOLE)?, 100);
    require!(dirty(&two.regions[1])?, []);
    require!(write(&mut child, bench, HOLE + PAGE_SIZE + 8, 1)?, true);
    require!((dirty(&two.regions[0])?, dirty(&two.regions[1])?), (Vec::new(), Vec::from([(1, 2)])));
    require!(two.words(1)?, [101, 101]);
    // Written again, of which only the processor knows, and then no copy any more.
    require!(write(&mut child, bench, HOLE + PAGE_SIZE + 8, 2)?, true);
    mapping.set_copied(0, &[0])?;
    require!((dirty(&two.regions[0])?, dirty(&two.regions[1])?), (Vec::new(), Vec::from([(1, 2)])));
    // A call copies.
    require!(child.status(bench, Call::PortCreate, &[HOLE + 2 * PAGE_SIZE])?, Status::Ok as u64);
    require!((dirty(&two.regions[0])?, dirty(&two.regions[1])?), (Vec::new(), Vec::from([(2, 3)])));
    require!(child.status(bench, Call::PortDestroy, &[HOLE + 2 * PAGE_SIZE])?, Status::Ok as u64);
    require!(copied(&mapping)?, Some((2, 1)));
    Ok(())
}
