//! Copy-on-write Mappings: what is copied when, who pays, and what others see of it.

use alloc::vec::Vec;

use protocols::address::{LARGE_PAGE_SIZE, PAGE_SIZE};
use protocols::api::{Call, MappingState, OBJECT_SIZE, ObjectType, ReferenceRights, Rights, Side, SpaceKind, Status};
use protocols::exception::{MachineReply, Misuse};
use protocols::libc::system_call;
use protocols::libnest::server::{fail as no_memory, retry};
use protocols::libnest::{Event, Mapping, Memory, Reference, Region, Space};
use protocols::virtual_cpu::Groups;
use protocols::virtual_cpu::register::{RAX, RCX, RDI, RSI};
use zerocopy::IntoBytes;

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Exported, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, CODE, DATA, DATA_SIZE, HOLE, Native};
use crate::pair::{BULK, IN, OUT, Pair, What};

/// The tests.
pub const TESTS: &[Test] = &[
    ("copy_on_write::first_write_copies", first_write_copies),
    ("copy_on_write::forked_processes", forked_processes),
    ("copy_on_write::three_generations", three_generations),
    ("copy_on_write::keeper_supplies_pages", keeper_supplies_pages),
    ("copy_on_write::keeper_has_none", keeper_has_none),
    ("copy_on_write::stopped_while_a_page_is_missing", stopped_while_a_page_is_missing),
    ("copy_on_write::rights", rights),
    ("copy_on_write::revoked", revoked),
    ("copy_on_write::regions_destroyed", regions_destroyed),
    ("copy_on_write::seen_by_others", seen_by_others),
    ("copy_on_write::nested", nested),
    ("copy_on_write::shadow_in_a_copy", shadow_in_a_copy),
    ("copy_on_write::large_pages", large_pages),
    ("copy_on_write::calls_copy", calls_copy),
    ("copy_on_write::messages_copy", messages_copy),
    ("copy_on_write::objects_stay", objects_stay),
    ("copy_on_write::set_again", set_again),
    ("copy_on_write::ends", ends),
    ("copy_on_write::copied_pages", copied_pages),
    ("copy_on_write::arguments_are_checked", arguments_are_checked),
    ("copy_on_write::exported_and_recreated", exported_and_recreated),
    ("copy_on_write::exhaustion", exhaustion),
    ("copy_on_write::everything_returns", everything_returns),
    ("copy_on_write::circular", circular),
    ("copy_on_write::same_memory", same_memory),
    ("copy_on_write::tracked", tracked),
    ("copy_on_write::machine", machine),
    ("copy_on_write::machines_forked", machines_forked),
];

/// Pages of what the tests copy, but where they say.
const PAGES: u64 = 4;
const ALL: Rights = Rights::all();

/// Source and shadow: the first word of each page of the source is 100 and its number; the shadow is zero.
struct Two {
    source: Memory,
    shadow: Memory,
    regions: [Region; 2],
}

impl Two {
    fn new(pages: u64) -> Result<Self, Failure> {
        Self::with_rights(pages, [ALL, ALL])
    }

    fn with_rights(pages: u64, rights: [Rights; 2]) -> Result<Self, Failure> {
        let (source, shadow) = (memory(pages)?, memory(pages)?);
        for page in 0..pages {
            source.write(page * PAGE_SIZE, &(100 + page))?;
        }
        let size = pages * PAGE_SIZE;
        let regions = [Region::new(&source, 0, size, rights[0])?, Region::new(&shadow, 0, size, rights[1])?];
        Ok(Self { source, shadow, regions })
    }

    /// Both, for a Mapping.
    fn both(&self) -> [&Region; 2] {
        [&self.regions[0], &self.regions[1]]
    }

    /// Shows all of it copy-on-write.
    fn show(&self, space: &Space, address: u64) -> Result<Mapping, Failure> {
        Ok(Mapping::copy_on_write(self.both(), 0, space, address, self.source.size(), ALL)?)
    }

    /// The first words of a page in the source and in the shadow.
    fn words(&self, page: u64) -> Result<[u64; 2], Failure> {
        Ok([self.source.read(page * PAGE_SIZE)?, self.shadow.read(page * PAGE_SIZE)?])
    }
}

fn memory(pages: u64) -> Result<Memory, Failure> {
    Memory::allocate(pages * PAGE_SIZE).ok_or(Failure("no memory".into()))
}

/// Reads a word as the child.
fn read(child: &mut Native, bench: &mut Bench, address: u64) -> Result<u64, Failure> {
    match child.run(bench, code::read(), &[(RDI, address)])? {
        Answer::Done(state) => Ok(state.gpr[RAX]),
        answer => fail!("reading {address:#x}: {answer:x?}"),
    }
}

/// Whether the child can write a word; if not, it has a page fault there.
fn write(child: &mut Native, bench: &mut Bench, address: u64, value: u64) -> Result<bool, Failure> {
    match child.run(bench, code::write(), &[(RDI, address), (RSI, value)])? {
        Answer::Done(_) => Ok(true),
        Answer::Exception(14, at) if at == address => Ok(false),
        answer => fail!("writing {address:#x}: {answer:x?}"),
    }
}

/// Which pages of a Mapping were copied, up to 64 from the first on.
fn copied(mapping: &Mapping) -> Result<Option<(u64, u64)>, Failure> {
    let mut words = [0];
    Ok(mapping.copied(0, &mut words)?.map(|first| (first / PAGE_SIZE, words[0])))
}

fn first_write_copies(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(PAGES)?;
    two.source.write(PAGE_SIZE + 0xff8, &0x1122_3344u64)?;
    let mapping = two.show(&child.space, HOLE)?;
    require!(copied(&mapping)?, None);
    // Reading copies nothing, writing the one page, whatever was read before.
    for page in [0, 1] {
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE)?, 100 + page);
    }
    require!(two.words(1)?, [101, 0]);
    for page in [1, 2] {
        require!(write(&mut child, bench, HOLE + page * PAGE_SIZE + 8, 7)?, true);
        require!(two.words(page)?, [100 + page, 100 + page]);
        require!(two.source.read::<u64>(page * PAGE_SIZE + 8)?, 0);
        require!(two.shadow.read::<u64>(page * PAGE_SIZE + 8)?, 7);
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE + 8)?, 7);
    }
    require!(two.shadow.read::<u64>(PAGE_SIZE + 0xff8)?, 0x1122_3344);
    require!(copied(&mapping)?, Some((1, 0b11)));
    // The copy is written to from then on; other pages show what the source says now.
    require!(write(&mut child, bench, HOLE + PAGE_SIZE, 8)?, true);
    require!(two.words(1)?, [101, 8]);
    two.source.write(3 * PAGE_SIZE, &55u64)?;
    two.source.write(PAGE_SIZE, &56u64)?;
    two.shadow.write(2 * PAGE_SIZE, &57u64)?;
    for (page, value) in [(0, 100), (1, 8), (2, 57), (3, 55)] {
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE)?, value);
    }
    require!(two.words(3)?, [55, 0]);
    // Across the boundary of two pages.
    require!(write(&mut child, bench, HOLE + PAGE_SIZE - 4, u64::MAX)?, true);
    require!(copied(&mapping)?, Some((0, 0b111)));
    require!(two.shadow.read::<u32>(PAGE_SIZE - 4)?, u32::MAX);
    Ok(())
}

/// A child whose data are copy-on-write: frozen, with a shadow of its own.
fn freeze(child: &mut Native, frozen: &Region) -> Result<(Memory, Exported), Failure> {
    let shadow = memory(1 + DATA_SIZE / PAGE_SIZE)?;
    let region = Exported::new(&shadow)?;
    child.mappings[1].set_shadow([frozen, &region], &child.space)?;
    Ok((shadow, region))
}

fn forked_processes(bench: &mut Bench) -> Verdict {
    let (mut parent, mut child) = (Native::new(bench)?, Native::new(bench)?);
    for page in 0..DATA_SIZE / PAGE_SIZE {
        require!(write(&mut parent, bench, DATA + page * PAGE_SIZE, page)?, true);
    }
    // Both show what the parent has written; its code stays its own, which the tests change.
    let frozen = Region::new(&parent.memory, 0, parent.memory.size(), Rights::READ)?;
    let of_parent = freeze(&mut parent, &frozen)?;
    let of_child = freeze(&mut child, &frozen)?;
    for page in 0..DATA_SIZE / PAGE_SIZE {
        let address = DATA + page * PAGE_SIZE;
        require!(read(&mut child, bench, address)?, page);
        if page % 2 == 0 {
            require!(write(&mut child, bench, address, 50 + page)?, true);
        }
        if page % 3 == 0 {
            require!(write(&mut parent, bench, address, 70 + page)?, true);
        }
    }
    for page in 0..DATA_SIZE / PAGE_SIZE {
        let address = DATA + page * PAGE_SIZE;
        require!(parent.read(address)?, page);
        require!(read(&mut child, bench, address)?, if page % 2 == 0 { 50 + page } else { page });
        require!(read(&mut parent, bench, address)?, if page % 3 == 0 { 70 + page } else { page });
    }
    require!(copied(&child.mappings[1])?, Some((1, 0b101_0101)));
    require!(copied(&parent.mappings[1])?, Some((1, 0b100_1001)));
    parent.thread.stop()?;
    child.thread.stop()?;
    drop((of_parent, of_child));
    Ok(())
}

/// The grandchild is forked from a child that has written to some pages: what it shows then is moved, with its shadow, into a
/// Space in which nothing runs, and both go on from there.
fn three_generations(bench: &mut Bench) -> Verdict {
    let mut children = [Native::new(bench)?, Native::new(bench)?, Native::new(bench)?];
    let [parent, child, grandchild] = &mut children;
    let two = Two::new(PAGES)?;
    let size = PAGES * PAGE_SIZE;
    let of_parent = Region::new(&memory(PAGES)?, 0, size, ALL)?;
    let _parent = Mapping::copy_on_write([&two.regions[0], &of_parent], 0, &parent.space, HOLE, size, ALL)?;
    let mut first = two.show(&child.space, HOLE)?;
    require!(write(child, bench, HOLE + PAGE_SIZE, 1)?, true);
    let frozen = Space::new(SpaceKind::Native, 8)?;
    first.move_to(&two.regions[0], &frozen, HOLE)?;
    require!(copied(&first)?, Some((1, 1)));
    let middle = Region::of_space(&frozen, HOLE, size, Rights::READ)?;
    let shadows = [memory(PAGES)?, memory(PAGES)?];
    let mut mappings = Vec::new();
    for (process, shadow) in [&*child, &*grandchild].into_iter().zip(&shadows) {
        let region = Region::new(shadow, 0, size, ALL)?;
        let mapping = Mapping::copy_on_write([&middle, &region], 0, &process.space, HOLE, size, ALL)?;
        mappings.push((mapping, region));
    }
    for process in [&mut *child, &mut *grandchild] {
        require!(read(process, bench, HOLE)?, 100);
        require!(read(process, bench, HOLE + PAGE_SIZE)?, 1);
    }
    require!(write(parent, bench, HOLE, 10)?, true);
    require!(write(child, bench, HOLE + 2 * PAGE_SIZE, 12)?, true);
    require!(write(child, bench, HOLE + PAGE_SIZE, 11)?, true);
    require!(write(grandchild, bench, HOLE + PAGE_SIZE, 21)?, true);
    require!(write(grandchild, bench, HOLE, 20)?, true);
    for (process, values) in [(0, [10, 101, 102, 103]), (1, [100, 11, 12, 103]), (2, [20, 21, 102, 103])] {
        for (address, value) in (HOLE..).step_by(PAGE_SIZE as usize).zip(values) {
            require!(read(&mut children[process], bench, address)?, value);
        }
    }
    // What was frozen is as it was.
    require!((two.words(0)?, two.words(1)?), ([100, 0], [101, 1]));
    require!(copied(&first)?, Some((1, 1)));
    require!(copied(&mappings[0].0)?, Some((1, 0b11)));
    require!(copied(&mappings[1].0)?, Some((0, 0b11)));
    Ok(())
}

fn keeper_supplies_pages(bench: &mut Bench) -> Verdict {
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

fn keeper_has_none(bench: &mut Bench) -> Verdict {
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
fn stopped_while_a_page_is_missing(bench: &mut Bench) -> Verdict {
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

fn rights(bench: &mut Bench) -> Verdict {
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

/// What was granted for source or shadow can be taken back, at once; what does not need it goes on.
fn revoked(bench: &mut Bench) -> Verdict {
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

fn regions_destroyed(bench: &mut Bench) -> Verdict {
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

/// A page that is written to changes for all who see it through further Mappings, at once; whoever writes.
fn seen_by_others(bench: &mut Bench) -> Verdict {
    let (mut child, mut other) = (Native::new(bench)?, Native::new(bench)?);
    let size = PAGES * PAGE_SIZE;
    let two = Two::new(PAGES)?;
    let mapping = two.show(&child.space, HOLE)?;
    let shown = Region::of_space(&child.space, HOLE, size, ALL)?;
    let _other = Mapping::new(&shown, 0, &other.space, HOLE, size, ALL)?;
    let guest = Guest::new(bench, code::guest_read(), &[(RDI, guest::HOLE)])?;
    let _guest = Mapping::new(&shown, 0, &guest.space, guest::HOLE, size, ALL)?;
    for process in [&mut child, &mut other] {
        require!(read(process, bench, HOLE)?, 100);
        require!(read(process, bench, HOLE + PAGE_SIZE)?, 101);
    }
    require!(write(&mut child, bench, HOLE, 1)?, true);
    require!(write(&mut other, bench, HOLE + PAGE_SIZE, 2)?, true);
    require!(two.words(0)?, [100, 1]);
    require!(two.words(1)?, [101, 2]);
    for process in [&mut child, &mut other] {
        require!(read(process, bench, HOLE)?, 1);
        require!(read(process, bench, HOLE + PAGE_SIZE)?, 2);
    }
    require!(copied(&mapping)?, Some((0, 0b11)));
    guest.cpu.go()?;
    let event = bench.receive();
    require!(guest.exit(event)?.rax, 1);
    Ok(())
}

/// Copies of copies, to a depth: a write copies once, to its own shadow, and changes nothing below.
fn nested(bench: &mut Bench) -> Verdict {
    const DEPTH: usize = 20;
    let mut child = Native::new(bench)?;
    let size = PAGES * PAGE_SIZE;
    let two = Two::new(PAGES)?;
    let mut below = Vec::from([Region::new(&two.source, 0, size, Rights::READ)?]);
    let (mut mappings, mut shadows, mut spaces) = (Vec::new(), Vec::new(), Vec::new());
    for depth in 0..DEPTH {
        let shadow = memory(PAGES)?;
        let region = Region::new(&shadow, 0, size, ALL)?;
        let space = Space::new(SpaceKind::Native, 8)?;
        let mut mapping = Mapping::copy_on_write([&below[depth], &region], 0, &space, HOLE, size, ALL)?;
        if depth == DEPTH / 2 {
            // One of them has a copy already.
            shadow.write(2 * PAGE_SIZE, &77u64)?;
            mapping.set_copied(2 * PAGE_SIZE, &[1])?;
        }
        below.push(Region::of_space(&space, HOLE, size, ALL)?);
        mappings.push((mapping, region));
        shadows.push(shadow);
        spaces.push(space);
    }
    let _top = Mapping::new(&below[DEPTH], 0, &child.space, HOLE, size, ALL)?;
    for (page, value) in [(0, 100), (1, 101), (2, 77), (3, 103)] {
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE)?, value);
    }
    require!(write(&mut child, bench, HOLE, 1)?, true);
    require!(write(&mut child, bench, HOLE + 2 * PAGE_SIZE + 8, 2)?, true);
    require!(read(&mut child, bench, HOLE)?, 1);
    require!(read(&mut child, bench, HOLE + 2 * PAGE_SIZE)?, 77);
    for (depth, (mapping, _)) in mappings.iter().enumerate() {
        let expected = if depth == DEPTH - 1 {
            Some((0, 0b101))
        } else if depth == DEPTH / 2 {
            Some((2, 1))
        } else {
            None
        };
        require!((depth, copied(mapping)?), (depth, expected));
    }
    require!(two.words(0)?, [100, 0]);
    require!(shadows[DEPTH - 1].read::<u64>(2 * PAGE_SIZE + 8)?, 2);
    // From the top, so that no Space goes that others still show.
    while let Some(mapping) = mappings.pop() {
        drop((mapping, spaces.pop(), below.pop()));
    }
    Ok(())
}

/// The shadow is seen through a copy-on-write Mapping in its turn: the page is copied once, and counts for both.
fn shadow_in_a_copy(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let size = PAGES * PAGE_SIZE;
    let (two, last) = (Two::new(PAGES)?, Two::new(PAGES)?);
    last.source.write(8, &888u64)?;
    let space = Space::new(SpaceKind::Native, 8)?;
    let lower = last.show(&space, HOLE)?;
    let shadow = Region::of_space(&space, HOLE, size, ALL - Rights::EXECUTE)?;
    let upper = Mapping::copy_on_write([&two.regions[0], &shadow], 0, &child.space, HOLE, size, ALL)?;
    require!(write(&mut child, bench, HOLE + PAGE_SIZE + 16, 5)?, true);
    require!((copied(&upper)?, copied(&lower)?), (Some((1, 1)), Some((1, 1))));
    require!(last.words(1)?, [101, 101]);
    require!(last.shadow.read::<[u64; 3]>(PAGE_SIZE)?, [101, 0, 5]);
    require!(two.words(1)?, [101, 0]);
    // The rights of the whole chain count from the first moment on.
    two.source.write(2 * PAGE_SIZE, &0x0b0f_u64)?; // UD2
    let code = HOLE + 2 * PAGE_SIZE;
    require!(matches!(child.run(bench, code::jump(), &[(RDI, code)])?, Answer::Done(_)), true);
    require!(write(&mut child, bench, code + 16, 5)?, true);
    require!(child.run(bench, code::jump(), &[(RDI, code)])?, Answer::Exception(14, code));
    // What the lower one has copied by itself is overwritten.
    last.shadow.write(0, &[9u64, 9, 9])?;
    let mut lower = lower;
    lower.set_copied(0, &[0b111])?;
    require!(write(&mut child, bench, HOLE + 16, 6)?, true);
    require!(last.shadow.read::<[u64; 3]>(0)?, [100, 0, 6]);
    require!((copied(&upper)?, copied(&lower)?), (Some((0, 0b111)), Some((0, 0b111))));
    Ok(())
}

/// Reads go through large pages where nothing was copied; a copy in the middle of one is seen, and so are its neighbours.
fn large_pages(bench: &mut Bench) -> Verdict {
    const AT: u64 = 1 << 30;
    let mut child = Native::new(bench)?;
    require!(read(&mut child, bench, DATA)?, 0);
    let pages = 2 * LARGE_PAGE_SIZE / PAGE_SIZE;
    let two = Two::new(pages)?;
    let mapping = two.show(&child.space, AT)?;
    let before = child.space.state()?.used;
    for page in (0..pages).step_by(17) {
        require!(read(&mut child, bench, AT + page * PAGE_SIZE)?, 100 + page);
    }
    if child.space.state()?.used - before > 2 {
        fail!("reading in large pages took {} frames", child.space.state()?.used - before);
    }
    for (number, page) in [5, 511, 512, 700].into_iter().enumerate() {
        require!(write(&mut child, bench, AT + page * PAGE_SIZE + 8, 1)?, true);
        for other in [page - 1, page, page + 1, 300, 1000] {
            require!(read(&mut child, bench, AT + other * PAGE_SIZE)?, 100 + other);
        }
        require!(two.shadow.read::<[u64; 2]>(page * PAGE_SIZE)?, [100 + page, 1]);
        let mut words = [0; 16];
        require!(mapping.copied(0, &mut words)?, Some(5 * PAGE_SIZE));
        require!(words.iter().map(|word| word.count_ones()).sum::<u32>() as usize, number + 1);
    }
    // All of a large page copied is a large page again.
    let mut mapping = mapping;
    mapping.set_copied(0, &[u64::MAX; 8])?;
    require!(read(&mut child, bench, AT + 5 * PAGE_SIZE)?, 105);
    require!(read(&mut child, bench, AT + 6 * PAGE_SIZE)?, 0);
    require!(write(&mut child, bench, AT + 6 * PAGE_SIZE, 3)?, true);
    require!(two.words(6)?, [106, 3]);
    Ok(())
}

/// Calls that write for their caller copy pages as the caller itself would.
fn calls_copy(bench: &mut Bench) -> Verdict {
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
fn messages_copy(bench: &mut Bench) -> Verdict {
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
fn objects_stay(bench: &mut Bench) -> Verdict {
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
fn set_again(bench: &mut Bench) -> Verdict {
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
fn ends(bench: &mut Bench) -> Verdict {
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

fn copied_pages(bench: &mut Bench) -> Verdict {
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

fn arguments_are_checked(bench: &mut Bench) -> Verdict {
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
fn exported_and_recreated(bench: &mut Bench) -> Verdict {
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
fn exhaustion(bench: &mut Bench) -> Verdict {
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
fn everything_returns(bench: &mut Bench) -> Verdict {
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

/// A Space shows itself neither through a source nor through a shadow.
fn circular(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let other = Space::new(SpaceKind::Native, 8)?;
    let size = PAGES * PAGE_SIZE;
    let two = Two::new(PAGES)?;
    let own = Region::of_space(&child.space, DATA, size, ALL)?;
    let show =
        |regions: [&Region; 2], space| Mapping::copy_on_write(regions, 0, space, HOLE, size, ALL).map(drop).err();
    require!(show([&own, &two.regions[1]], &child.space), Some(Status::Circular));
    require!(show([&two.regions[0], &own], &child.space), Some(Status::Circular));
    // Through another Space.
    let first = Mapping::copy_on_write([&two.regions[0], &own], 0, &other, HOLE, size, ALL)?;
    let back = Region::of_space(&other, HOLE, size, ALL)?;
    for regions in [[&back, &two.regions[1]], [&two.regions[0], &back]] {
        require!(show(regions, &child.space), Some(Status::Circular));
    }
    drop(first);
    // Ranks stay as they are: what was refused may be refused for as long as the Spaces exist, or not.
    let _ = show([&two.regions[0], &back], &child.space);
    Ok(())
}

/// Source and shadow that are the same memory, or overlap: each page is what was copied there last.
fn same_memory(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(PAGES)?;
    let same = Region::new(&two.source, 0, 2 * PAGE_SIZE, ALL)?;
    let mapping = Mapping::copy_on_write([&two.regions[0], &same], 0, &child.space, HOLE, 2 * PAGE_SIZE, ALL)?;
    require!(write(&mut child, bench, HOLE + 8, 1)?, true);
    require!(two.source.read::<[u64; 2]>(0)?, [100, 1]);
    drop(mapping);
    let shifted = Region::new(&two.source, PAGE_SIZE, 2 * PAGE_SIZE, ALL)?;
    let _mapping = Mapping::copy_on_write([&two.regions[0], &shifted], 0, &child.space, HOLE, 2 * PAGE_SIZE, ALL)?;
    require!(write(&mut child, bench, HOLE + 8, 2)?, true);
    require!(two.source.read::<[u64; 2]>(PAGE_SIZE)?, [100, 2]);
    // The second page showed what is the copy of the first.
    require!(read(&mut child, bench, HOLE + PAGE_SIZE)?, 100);
    require!(write(&mut child, bench, HOLE + PAGE_SIZE + 8, 3)?, true);
    require!(two.source.read::<[u64; 2]>(2 * PAGE_SIZE)?, [100, 3]);
    Ok(())
}

/// A page that is copied was written in the shadow, all of it, and never in the source; whatever becomes of the Mapping then.
fn tracked(bench: &mut Bench) -> Verdict {
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

fn machine(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_write(), &[(RDI, guest::HOLE + PAGE_SIZE + 8), (RSI, 42)])?;
    let two = Two::new(PAGES)?;
    let mapping = two.show(&guest.space, guest::HOLE)?;
    let exit = guest.start(bench)?;
    require!(guest::port(&exit), Some(guest::END_PORT));
    require!(two.shadow.read::<[u64; 2]>(PAGE_SIZE)?, [101, 42]);
    require!(two.source.read::<u64>(PAGE_SIZE + 8)?, 0);
    require!(copied(&mapping)?, Some((1, 1)));
    // Read first: what the machine's tables hold is replaced.
    for page in [0, 1, 2] {
        for (code, rsi) in [(code::guest_read(), 0), (code::guest_write(), 7), (code::guest_read(), 0)] {
            guest.memory.write_bytes(guest::CODE, code)?;
            let mut state = guest.state()?;
            (state.rip, state.gpr[RDI], state.gpr[RSI]) = (guest::CODE, guest::HOLE + page * PAGE_SIZE, rsi);
            guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
            let exit = guest.reply(bench, MachineReply::default())?;
            require!(guest::port(&exit), Some(guest::END_PORT));
        }
        require!(guest.state()?.gpr[RAX], 7);
        require!(two.words(page)?, [100 + page, 7]);
    }
    // Without memory in the shadow it is an exit.
    two.regions[1].protect(Rights::empty())?;
    guest.memory.write_bytes(guest::CODE, code::guest_write())?;
    let mut state = guest.state()?;
    (state.rip, state.gpr[RDI]) = (guest::CODE, guest::HOLE + 3 * PAGE_SIZE);
    guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
    let exit = guest.reply(bench, MachineReply::default())?;
    require!((exit.reason as u32, exit.guest_physical), (48, guest::HOLE + 3 * PAGE_SIZE));
    Ok(())
}

/// A whole machine is forked: all of its memory, tables and code included, and its virtual CPU's state.
fn machines_forked(bench: &mut Bench) -> Verdict {
    let registers = [(RDI, guest::DATA), (RSI, 5), (RCX, 0)];
    let mut first = Guest::new(bench, code::guest_write(), &registers)?;
    let mut second = Guest::new(bench, code::guest_undefined(), &[])?;
    first.memory.write(guest::DATA, &1u64)?;
    let frozen = Region::new(&first.memory, 0, guest::SIZE, Rights::READ | Rights::EXECUTE)?;
    let shadows = [Memory::allocate(guest::SIZE), Memory::allocate(guest::SIZE)];
    let mut regions = Vec::new();
    for shadow in shadows.iter().flatten() {
        regions.push(Region::new(shadow, 0, guest::SIZE, ALL)?);
    }
    let [of_first, of_second] = &regions[..] else { fail!("no memory") };
    first.mapping.set_shadow([&frozen, of_first], &first.space)?;
    second.mapping.set_shadow([&frozen, of_second], &second.space)?;
    let mut state = first.state()?;
    second.set_state(&state, Groups::VMCS | Groups::GENERAL)?;
    let exit = first.start(bench)?;
    require!(guest::port(&exit), Some(guest::END_PORT));
    state.gpr[RSI] = 6;
    second.set_state(&state, Groups::GENERAL)?;
    let exit = second.start(bench)?;
    require!(guest::port(&exit), Some(guest::END_PORT));
    let values =
        [&first.memory, shadows[0].as_ref().unwrap_or(&first.memory), shadows[1].as_ref().unwrap_or(&first.memory)];
    for (memory, value) in values.into_iter().zip([1, 5, 6]) {
        require!(memory.read::<u64>(guest::DATA)?, value);
    }
    for guest in [&first, &second] {
        let mut words = [0; 8];
        let Some(_) = guest.mapping.copied(guest::DATA, &mut words)? else { fail!("nothing was copied") };
        require!(words[0] & 1, 1);
        guest.cpu.stop()?;
    }
    Ok(())
}
