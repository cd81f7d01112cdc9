//! Calls that meet copied pages, and calls about them.

use crate::code;
use crate::harness::{Bench, Failure, Verdict, fail, require};
use crate::native::{Answer, DATA, DATA_SIZE, HOLE, Native};
use crate::pair::{BULK, IN, OUT, Pair, What};
use alloc::vec::Vec;
use protocols::address::PAGE_SIZE;
use protocols::api::{Call, MappingState, OBJECT_SIZE, ObjectType, Rights, Side, SpaceKind, Status};
use protocols::exception::Misuse;
use protocols::libc::system_call;
use protocols::libnest::{Mapping, Reference, Region, Space};
use protocols::virtual_cpu::register::{RAX, RDI, RSI};
use zerocopy::IntoBytes;

use super::processes::freeze;
use super::{ALL, PAGES, Two, copied, read, write};

/// Calls that write for their caller copy pages as the caller itself would.
pub fn calls_copy(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let frozen = Region::new(&child.memory, 0, child.memory.size(), Rights::READ)?;
    let (shadow, _region) = freeze(&mut child, &frozen)?;
    let in_shadow = |address: u64| PAGE_SIZE + (address - DATA);
    // A state that crosses two pages; an object.
    let ok = Status::Ok as u64;
    require!(child.status(bench, Call::SpaceCreate, &[DATA, 0, 8])?, ok);
    require!(child.status(bench, Call::SpaceGetState, &[DATA, DATA + 3 * PAGE_SIZE - 8])?, ok);
    require!(shadow.read::<[u64; 2]>(in_shadow(DATA + 3 * PAGE_SIZE - 8))?, [SpaceKind::Native as u64, 8]);
    require!(child.read(DATA + 3 * PAGE_SIZE)?, 0);
    require!(copied(&child.mappings[1])?, Some((1, 0b1101)));
    // A Mutex keeps its word where it was made.
    require!(child.status(bench, Call::MutexCreate, &[DATA + 5 * PAGE_SIZE])?, ok);
    child.run(bench, code::write(), &[(RDI, DATA + 5 * PAGE_SIZE + 0x800), (RSI, 1)])?;
    require!(child.status(bench, Call::MutexGetState, &[DATA + 5 * PAGE_SIZE, DATA + 7 * PAGE_SIZE])?, ok);
    require!(child.status(bench, Call::MutexDestroy, &[DATA + 5 * PAGE_SIZE])?, ok);
    require!(child.status(bench, Call::SpaceDestroy, &[DATA])?, ok);
    // A failed call leaves the page copied, which nobody can tell.
    require!(child.call(bench, Call::PortDestroy, &[DATA + PAGE_SIZE])?, Answer::misuse(Misuse::NoObject));
    require!(read(&mut child, bench, DATA + PAGE_SIZE)?, 0);
    Ok(child.thread.stop()?)
}

/// Long messages go from and to pages that are copied meanwhile.
pub fn messages_copy(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    let size = 3 * PAGE_SIZE;
    let twos = [Two::new(3)?, Two::new(3)?];
    let mut mappings = Vec::new();
    let mut frozen = Vec::new();
    for (side, two) in [Side::Client, Side::Server].into_iter().zip(&twos) {
        let child = pair.child(side);
        mappings.push(two.show(&child.space, BULK)?);
        let region = Region::new(&child.memory, 0, child.memory.size(), Rights::READ)?;
        let shadow = freeze(child, &region)?;
        frozen.push((region, shadow));
    }
    let half = size / 2;
    let client = What { send: &[(BULK, half), (OUT, 64)], receive: &[(BULK + half, half)], ..What::default() };
    let server = What { send: &[(BULK, half)], receive: &[(BULK + 8, half), (IN, 64)], ..What::default() };
    // The parameters are in what was frozen, the copies of which the calls note in how far they came.
    pair.begin(Side::Server, Call::ServerWaitReceive, server)?;
    pair.both_wait(bench)?;
    pair.begin(Side::Client, Call::ClientConnectSendOverReceive, client)?;
    let ended = pair.end(bench)?;
    require!(ended.side, Side::Server);
    require!(ended.state()?.gpr[RAX], Status::Ok as u64);
    let [of_client, of_server] = &twos;
    let mut sent = [0; 64];
    let mut received = [0; 64];
    for offset in (0..half).step_by(64) {
        of_client.source.read_bytes(offset, &mut sent)?;
        of_server.shadow.read_bytes(8 + offset, &mut received)?;
        require!(received, sent);
    }
    require!(of_server.words(1)?, [101, 0]);
    require!(of_server.source.read::<u64>(8)?, 0);
    require!((copied(&mappings[0])?, copied(&mappings[1])?), (None, Some((0, 0b11))));
    pair.child(Side::Server).thread.stop()?;
    pair.child(Side::Client).thread.stop()?;
    Ok(())
}

/// Objects live in the source: they can be used through a page that was not copied, and are not in the copy, which has those that the
/// shadow's memory has.
pub fn objects_stay(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(1)?;
    let [in_source, in_shadow] = [two.source.address() + 0x40, two.shadow.address() + 0x80];
    system_call::reference_create(in_source)?;
    system_call::portset_create(in_shadow)?;
    let mapping = two.show(&child.space, HOLE)?;
    let shown = Region::of_space(&child.space, HOLE, PAGE_SIZE, Rights::READ)?;
    require!(child.status(bench, Call::ReferenceCheck, &[HOLE + 0x40])?, Status::Ok as u64);
    require!(shown.search(0)?, Some((0x40, ObjectType::Reference)));
    // To change it is to write: it is not in the copy.
    let answer = child.call(bench, Call::ReferenceDestroy, &[HOLE + 0x40])?;
    require!(answer, Answer::misuse(Misuse::NoObject));
    require!(copied(&mapping)?, Some((0, 1)));
    let answer = child.call(bench, Call::ReferenceCheck, &[HOLE + 0x40])?;
    require!(answer, Answer::misuse(Misuse::NoObject));
    require!(child.status(bench, Call::PortsetGetState, &[HOLE + 0x80])?, Status::Ok as u64);
    require!(shown.search(0)?, Some((0x80, ObjectType::Portset)));
    require!(child.status(bench, Call::PortsetDestroy, &[HOLE + 0x80])?, Status::Ok as u64);
    require!(two.regions[1].search(0)?, None);
    require!(two.regions[0].search(0)?, Some((0x40, ObjectType::Reference)));
    Ok(system_call::reference_destroy(in_source)?)
}

/// A Mapping that is set again keeps what was copied of what it still shows, until it has another shadow.
pub fn set_again(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(8)?;
    let mut mapping = two.show(&child.space, HOLE)?;
    for page in [1, 3, 6] {
        require!(write(&mut child, bench, HOLE + page * PAGE_SIZE, page)?, true);
    }
    require!(copied(&mapping)?, Some((1, 0b10_0101)));
    let pages = |start: u64, count: u64| (start * PAGE_SIZE, count * PAGE_SIZE);
    // Elsewhere, from another page on, without the last pages.
    let (offset, size) = pages(2, 4);
    mapping.set(&two.regions[0], offset, &child.space, HOLE + (1 << 22), size, ALL)?;
    require!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
    require!(read(&mut child, bench, HOLE + (1 << 22))?, 102);
    require!(read(&mut child, bench, HOLE + (1 << 22) + PAGE_SIZE)?, 3);
    require!(copied(&mapping)?, Some((3, 1)));
    let (offset, size) = pages(0, 8);
    mapping.set(&two.regions[0], offset, &child.space, HOLE, size, ALL)?;
    require!(copied(&mapping)?, Some((3, 1)));
    require!(read(&mut child, bench, HOLE + PAGE_SIZE)?, 101);
    require!(read(&mut child, bench, HOLE + 3 * PAGE_SIZE)?, 3);
    // Another source.
    let other = Two::new(8)?;
    other.source.write(0, &5u64)?;
    mapping.set(&other.regions[0], offset, &child.space, HOLE, size, ALL)?;
    require!(read(&mut child, bench, HOLE)?, 5);
    require!(read(&mut child, bench, HOLE + 3 * PAGE_SIZE)?, 3);
    // Another shadow.
    mapping.set_shadow([&two.regions[0], &other.regions[1]], &child.space)?;
    require!(copied(&mapping)?, None);
    require!(read(&mut child, bench, HOLE + 3 * PAGE_SIZE)?, 103);
    require!(write(&mut child, bench, HOLE + 3 * PAGE_SIZE, 9)?, true);
    require!((two.words(3)?, other.words(3)?), ([103, 3], [103, 9]));
    Ok(())
}

/// A plain Mapping becomes copy-on-write and plain again, without a moment in which it shows nothing.
pub fn ends(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(PAGES)?;
    let mut mapping = Mapping::new(&two.regions[0], 0, &child.space, HOLE, PAGES * PAGE_SIZE, ALL)?;
    require!(copied(&mapping).is_err(), true);
    require!(write(&mut child, bench, HOLE, 1)?, true);
    mapping.set_shadow(two.both(), &child.space)?;
    require!(write(&mut child, bench, HOLE, 2)?, true);
    require!(two.words(0)?, [1, 2]);
    // All of it is in the shadow some day.
    for page in 1..PAGES {
        require!(write(&mut child, bench, HOLE + page * PAGE_SIZE + 8, 3)?, true);
    }
    let [_, shadow] = two.both();
    mapping.set_shadow([shadow, shadow], &child.space)?;
    require!(mapping.copied(0, &mut []), Err(Status::Refused));
    require!(mapping.set_copied(0, &[1]), Err(Status::Refused));
    for (page, value) in [(0, 2), (1, 101), (2, 102), (3, 103)] {
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE)?, value);
    }
    require!(write(&mut child, bench, HOLE + PAGE_SIZE, 7)?, true);
    require!(two.words(1)?, [101, 7]);
    Ok(())
}

pub fn copied_pages(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    // Far apart, so that there are several levels of what is noted; only noted, there is no memory.
    let two = Two::new(1)?;
    let size = 1 << 40;
    let space = Space::new(SpaceKind::Native, 8)?;
    let regions = [Region::of_space(&space, 0, size, ALL)?, Region::of_space(&space, 0, size, ALL)?];
    let mut mapping = Mapping::copy_on_write([&regions[0], &regions[1]], 0, &child.space, 1 << 41, size, ALL)?;
    let far = size - 70 * PAGE_SIZE;
    require!(mapping.copied(0, &mut [0; 3])?, None);
    for (offset, words) in
        [(5 * PAGE_SIZE, &[1 << 63 | 1][..]), (1 << 30, &[0, u64::MAX, 0x5555]), (far, &[u64::MAX, 0b11_1111])]
    {
        mapping.set_copied(offset, words)?;
        let mut found = [0; 3];
        let first = words.iter().position(|&word| word != 0).unwrap_or(0);
        require!(
            mapping.copied(offset, &mut found[..words.len() - first])?,
            Some(offset + first as u64 * 64 * PAGE_SIZE)
        );
        require!(found[..words.len() - first], words[first..]);
    }
    // From anywhere on, to anywhere.
    let mut found = [0; 2];
    require!(mapping.copied(6 * PAGE_SIZE, &mut found)?, Some(68 * PAGE_SIZE));
    require!(found, [1, 0]);
    require!(mapping.copied((1 << 31) + PAGE_SIZE, &mut found)?, Some(far));
    require!(found, [u64::MAX, 0b11_1111]);
    require!(mapping.copied(far + 69 * PAGE_SIZE, &mut found)?, Some(far + 69 * PAGE_SIZE));
    require!(found, [1, 0]);
    require!(mapping.copied(size, &mut found)?, None);
    // Taken back, in part and altogether.
    mapping.set_copied(far, &[0, 0b10])?;
    require!(mapping.copied(1 << 31, &mut found)?, Some(far + 65 * PAGE_SIZE));
    mapping.set_copied(far, &[0, 0])?;
    mapping.set_copied(1 << 30, &[0; 64])?;
    mapping.set_copied(0, &[0; 64])?;
    require!(mapping.copied(0, &mut found)?, None);
    drop(mapping);
    // What is set takes effect at once.
    let mut mapping = two.show(&child.space, HOLE)?;
    two.shadow.write(0, &7u64)?;
    for (word, value) in [(0, 100), (1, 7), (0, 100), (1, 7)] {
        mapping.set_copied(0, &[word])?;
        require!(read(&mut child, bench, HOLE)?, value);
    }
    Ok(())
}

pub fn arguments_are_checked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let [mapping, source, shadow, space] = [DATA, DATA + 0x40, DATA + 0x80, DATA + 0xc0];
    let [state, words] = [DATA + 0x1000, DATA + 0x2000];
    let two = Two::new(PAGES)?;
    require!(child.status(bench, Call::MappingCreate, &[mapping])?, Status::Ok as u64);
    for reference in [source, shadow, space] {
        require!(child.status(bench, Call::ReferenceCreate, &[reference])?, Status::Ok as u64);
    }
    system_call::region_reference(two.regions[0].address(), child.own_address(source))?;
    system_call::space_reference(child.space.address(), child.own_address(space))?;
    let value = MappingState { offset: PAGE_SIZE, start: HOLE, size: 2 * PAGE_SIZE, rights: ALL.bits() };
    for (index, word) in value.as_bytes().chunks_exact(8).enumerate() {
        child.write(state + index as u64 * 8, word.try_into().map_or(0, u64::from_le_bytes))?;
    }
    let misuse = Answer::misuse;
    let set = |child: &mut Native, bench: &mut Bench, shadow| {
        child.call(bench, Call::MappingSetState, &[mapping, state, source, space, shadow])
    };
    require!(set(&mut child, bench, shadow)?, misuse(Misuse::NullReference));
    require!(set(&mut child, bench, space)?, misuse(Misuse::WrongType));
    require!(set(&mut child, bench, mapping)?, misuse(Misuse::WrongType));
    require!(set(&mut child, bench, shadow + 8)?, misuse(Misuse::NotAligned));
    require!(set(&mut child, bench, HOLE)?, misuse(Misuse::NoRight));
    // A Region that is gone.
    let gone = Region::new(&two.shadow, 0, PAGE_SIZE, ALL)?;
    system_call::region_reference(gone.address(), child.own_address(shadow))?;
    drop(gone);
    let answer = set(&mut child, bench, shadow)?;
    require!(matches!(answer, Answer::Done(state) if state.gpr[RAX] == Status::InvalidDestination as u64), true);
    // Nothing was changed by all this.
    require!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
    for call in [Call::MappingGetCopied, Call::MappingSetCopied] {
        require!(child.status(bench, call, &[mapping, 0, words, 1])?, Status::Refused as u64);
    }
    system_call::region_reference(two.regions[1].address(), child.own_address(shadow))?;
    require!(matches!(set(&mut child, bench, shadow)?, Answer::Done(state) if state.gpr[RAX] == 0), true);
    for call in [Call::MappingGetCopied, Call::MappingSetCopied] {
        for (arguments, expected) in [
            ([mapping, 8, words, 1], Misuse::NotAligned),
            ([mapping, u64::MAX - 4095, words, 1], Misuse::BadArgument),
            ([mapping, 1 << 48, words, 1], Misuse::BadArgument),
            ([mapping, 0, words, 65], Misuse::BadArgument),
            ([mapping, 0, words, u64::MAX], Misuse::BadArgument),
            ([source, 0, words, 1], Misuse::WrongType),
            ([words, 0, words, 1], Misuse::NoObject),
            ([mapping + 1, 0, words, 1], Misuse::NotAligned),
            ([HOLE + (1 << 22), 0, words, 1], Misuse::NoRight),
        ] {
            require!((arguments, child.call(bench, call, &arguments)?), (arguments, misuse(expected)));
        }
        // The words are read and written as the caller would.
        require!(child.call(bench, call, &[mapping, 0, 0x10, 1])?, Answer::Exception(14, 0x10));
        require!(child.call(bench, call, &[mapping, 0, u64::MAX - 3, 1])?, Answer::Exception(14, u64::MAX - 3));
        let words = DATA + DATA_SIZE - 8;
        require!(child.call(bench, call, &[mapping, 0, words, 2])?, Answer::Exception(14, DATA + DATA_SIZE));
    }
    // Pages that it does not show.
    for (bits, offset) in [(1, 0), (0b1000, 0), (0b100, PAGE_SIZE), (1 << 63, 0), (1, (1 << 48) - PAGE_SIZE)] {
        child.write(words, bits)?;
        let answer = child.call(bench, Call::MappingSetCopied, &[mapping, offset, words, 1])?;
        require!((bits, offset, answer), (bits, offset, misuse(Misuse::BadArgument)));
    }
    child.write(words, 0b110)?;
    require!(child.status(bench, Call::MappingSetCopied, &[mapping, 0, words, 1])?, Status::Ok as u64);
    let Answer::Done(found) = child.call(bench, Call::MappingGetCopied, &[mapping, 0, words, 2])? else {
        fail!("none")
    };
    require!((found.gpr[RAX], found.gpr[RSI], child.read(words)?), (0, PAGE_SIZE, 0b11));
    require!(
        child.status(bench, Call::MappingGetCopied, &[mapping, 3 * PAGE_SIZE, words, 1])?,
        Status::NotFound as u64
    );
    Ok(())
}

/// All that a Mapping is can be read, destroyed, and made anew, while who uses it stands still.
pub fn exported_and_recreated(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(8)?;
    let mut mapping = two.show(&child.space, HOLE)?;
    for page in [0, 2, 3, 7] {
        require!(write(&mut child, bench, HOLE + page * PAGE_SIZE, 40 + page)?, true);
    }
    for _ in 0..2 {
        let references = [Reference::new()?, Reference::new()?, Reference::new()?];
        let [source, space, shadow] = &references;
        let state = system_call::mapping_get_state(mapping.address(), source.address(), space.address())?;
        mapping.shadow(shadow)?;
        let mut words = [0];
        let first = mapping.copied(state.offset, &mut words)?;
        require!((first, words), (Some(0), [0b1000_1101]));
        for (reference, kind) in references.iter().zip([ObjectType::Region, ObjectType::Space, ObjectType::Region]) {
            require!(reference.check()?, Some(kind));
        }
        drop(mapping);
        require!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
        mapping = two.show(&child.space, HOLE)?;
        mapping.set_copied(0, &words)?;
        for page in 0..8 {
            let value = if words[0] >> page & 1 != 0 { 40 + page } else { 100 + page };
            require!(read(&mut child, bench, HOLE + page * PAGE_SIZE)?, value);
        }
    }
    require!(write(&mut child, bench, HOLE + PAGE_SIZE, 1)?, true);
    require!(two.words(1)?, [101, 1]);
    Ok(())
}

/// The Mapping's payer has nothing left: what needs kernel memory fails, changes nothing, and works again when there is some.
pub fn exhaustion(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let [mapping, source, shadow, space] = [DATA, DATA + 0x40, DATA + 0x80, DATA + 0xc0];
    let [state, words, places] = [DATA + 0x1000, DATA + 0x1100, DATA + 0x2000];
    let two = Two::new(PAGES)?;
    let ok = Status::Ok as u64;
    for index in 0..3 {
        require!(child.status(bench, Call::ReferenceCreate, &[source + index * OBJECT_SIZE])?, ok);
    }
    system_call::region_reference(two.regions[0].address(), child.own_address(source))?;
    system_call::region_reference(two.regions[1].address(), child.own_address(shadow))?;
    system_call::space_reference(child.space.address(), child.own_address(space))?;
    require!(child.status(bench, Call::MappingCreate, &[mapping])?, ok);
    for (index, word) in [0, HOLE, PAGES * PAGE_SIZE, ALL.bits()].into_iter().enumerate() {
        child.write(state + index as u64 * 8, word)?;
    }
    require!(child.status(bench, Call::MappingSetState, &[mapping, state, source, space])?, ok);
    // Tables that are needed later are there before all is spent.
    require!(read(&mut child, bench, HOLE)?, 100);
    // Fills the account, with large objects and then with small ones; returns how to empty it.
    let spend = |child: &mut Native, bench: &mut Bench| -> Result<Vec<(Call, u64)>, Failure> {
        let mut made = Vec::new();
        let mut place = places;
        for (create, destroy) in
            [(Call::ThreadCreate, Call::ThreadDestroy), (Call::ReferenceCreate, Call::ReferenceDestroy)]
        {
            loop {
                match child.status(bench, create, &[place])? {
                    0 => made.push((destroy, place)),
                    status if status == Status::NoMemory as u64 => break,
                    status => fail!("status {status}"),
                }
                place += OBJECT_SIZE;
            }
        }
        Ok(made)
    };
    let free = |child: &mut Native, bench: &mut Bench, made: Vec<(Call, u64)>| -> Verdict {
        for (destroy, place) in made {
            require!(child.status(bench, destroy, &[place])?, ok);
        }
        Ok(())
    };
    let no_memory = Status::NoMemory as u64;
    let made = spend(&mut child, bench)?;
    require!(child.status(bench, Call::MappingSetState, &[mapping, state, source, space, shadow])?, no_memory);
    // It is a plain Mapping still.
    require!(write(&mut child, bench, HOLE, 100)?, true);
    require!(two.words(0)?, [100, 0]);
    free(&mut child, bench, made)?;
    require!(child.status(bench, Call::MappingSetState, &[mapping, state, source, space, shadow])?, ok);
    require!(read(&mut child, bench, HOLE)?, 100);
    let used = |child: &Native| child.space.state().map(|state| (state.used, state.objects_used));
    let before = used(&child)?;
    let made = spend(&mut child, bench)?;
    require!(write(&mut child, bench, HOLE, 1)?, false);
    require!(two.words(0)?, [100, 0]);
    // A call has the same page fault.
    let answer = child.call(bench, Call::PortCreate, &[HOLE + PAGE_SIZE])?;
    require!(answer, Answer::Exception(14, HOLE + PAGE_SIZE));
    child.write(words, 0b11)?;
    require!(child.status(bench, Call::MappingSetCopied, &[mapping, 0, words, 1])?, no_memory);
    require!(child.status(bench, Call::MappingGetCopied, &[mapping, 0, words, 1])?, Status::NotFound as u64);
    free(&mut child, bench, made)?;
    require!(used(&child)?, before);
    require!(write(&mut child, bench, HOLE, 1)?, true);
    require!(two.words(0)?, [100, 1]);
    require!(child.status(bench, Call::MappingDestroy, &[mapping])?, ok);
    Ok(())
}

/// What Mappings, shadows and pages that were copied cost comes back, whichever way they end.
pub fn everything_returns(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let [mapping, source, shadow, space] = [DATA, DATA + 0x40, DATA + 0x80, DATA + 0xc0];
    let [state, words] = [DATA + 0x1000, DATA + 0x1100];
    let (two, ok) = (Two::new(PAGES)?, Status::Ok as u64);
    for index in 0..3 {
        require!(child.status(bench, Call::ReferenceCreate, &[source + index * OBJECT_SIZE])?, ok);
    }
    let wide = Region::of_space(&child.space, 1 << 40, 1 << 40, ALL)?;
    let other = Space::new(SpaceKind::Native, 8)?;
    system_call::region_reference(wide.address(), child.own_address(source))?;
    system_call::region_reference(two.regions[1].address(), child.own_address(shadow))?;
    system_call::space_reference(other.address(), child.own_address(space))?;
    child.write(words, u64::MAX)?;
    let write_state = |child: &Native, offset: u64, size: u64| -> Verdict {
        for (index, word) in [offset, 1 << 42, size, ALL.bits()].into_iter().enumerate() {
            child.write(state + index as u64 * 8, word)?;
        }
        Ok(())
    };
    let before = child.space.state()?.used;
    for round in 0..60 {
        write_state(&child, 0, 1 << 40)?;
        require!(child.status(bench, Call::MappingCreate, &[mapping])?, ok);
        require!(child.status(bench, Call::MappingSetState, &[mapping, state, source, space, shadow])?, ok);
        for offset in [0, 1 << 30, 1 << 35, (1 << 40) - 64 * PAGE_SIZE] {
            require!(child.status(bench, Call::MappingSetCopied, &[mapping, offset, words, 1])?, ok);
        }
        require!(child.space.state()?.used > before, true);
        match round % 3 {
            // Moved off all that was copied, its shadow set anew, its shadow ended.
            0 => write_state(&child, 1 << 32, PAGE_SIZE)?,
            1 => write_state(&child, 0, PAGE_SIZE)?,
            _ => {}
        }
        let last = [0, shadow, source][round % 3];
        require!(child.status(bench, Call::MappingSetState, &[mapping, state, source, space, last])?, ok);
        if round % 2 == 0 {
            require!(child.status(bench, Call::MappingGetCopied, &[mapping, 0, words, 0])? != ok, true);
        }
        require!(child.status(bench, Call::MappingDestroy, &[mapping])?, ok);
        require!(child.space.state()?.used, before);
    }
    // So much that others run while it is destroyed.
    write_state(&child, 0, 1 << 40)?;
    require!(child.status(bench, Call::MappingCreate, &[mapping])?, ok);
    require!(child.status(bench, Call::MappingSetState, &[mapping, state, source, space, shadow])?, ok);
    for index in 0..150 {
        require!(child.status(bench, Call::MappingSetCopied, &[mapping, index << 24, words, 1])?, ok);
    }
    require!(child.status(bench, Call::MappingDestroy, &[mapping])?, ok);
    require!(child.space.state()?.used, before);
    Ok(())
}
