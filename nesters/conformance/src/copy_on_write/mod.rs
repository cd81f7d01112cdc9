//! Copy-on-write Mappings: what is copied when, who pays, and what others see of it.

mod access;
mod calls;
mod machines;
mod processes;

use crate::code;
use crate::harness::{Bench, Failure, Test, fail};
use crate::native::{Answer, Native};
use protocols::address::PAGE_SIZE;
use protocols::api::Rights;
use protocols::libnest::{Mapping, Memory, Region, Space};
use protocols::virtual_cpu::register::{RAX, RDI, RSI};

/// The tests.
pub const TESTS: &[Test] = &[
    ("copy_on_write::first_write_copies", processes::first_write_copies),
    ("copy_on_write::forked_processes", processes::forked_processes),
    ("copy_on_write::three_generations", processes::three_generations),
    ("copy_on_write::keeper_supplies_pages", access::keeper_supplies_pages),
    ("copy_on_write::keeper_has_none", access::keeper_has_none),
    ("copy_on_write::stopped_while_a_page_is_missing", access::stopped_while_a_page_is_missing),
    ("copy_on_write::rights", access::rights),
    ("copy_on_write::revoked", access::revoked),
    ("copy_on_write::regions_destroyed", access::regions_destroyed),
    ("copy_on_write::seen_by_others", processes::seen_by_others),
    ("copy_on_write::nested", processes::nested),
    ("copy_on_write::shadow_in_a_copy", processes::shadow_in_a_copy),
    ("copy_on_write::large_pages", processes::large_pages),
    ("copy_on_write::calls_copy", calls::calls_copy),
    ("copy_on_write::messages_copy", calls::messages_copy),
    ("copy_on_write::objects_stay", calls::objects_stay),
    ("copy_on_write::set_again", calls::set_again),
    ("copy_on_write::ends", calls::ends),
    ("copy_on_write::copied_pages", calls::copied_pages),
    ("copy_on_write::arguments_are_checked", calls::arguments_are_checked),
    ("copy_on_write::exported_and_recreated", calls::exported_and_recreated),
    ("copy_on_write::exhaustion", calls::exhaustion),
    ("copy_on_write::everything_returns", calls::everything_returns),
    ("copy_on_write::circular", processes::circular),
    ("copy_on_write::same_memory", processes::same_memory),
    ("copy_on_write::tracked", access::tracked),
    ("copy_on_write::protected", access::protected),
    ("copy_on_write::supplied_by_replies", access::supplied_by_replies),
    ("copy_on_write::machine", machines::machine),
    ("copy_on_write::machines_forked", machines::machines_forked),
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
