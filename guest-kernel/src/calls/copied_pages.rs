//! Calls on what is noted about the pages of a copy-on-write Mapping.

use super::{Done, Stop};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::{MEMORY_END, Mapping, Space};
use crate::memory::page_set::PageSet;
use crate::objects::Object;
use crate::thread::Thread;
use core::ops::Range;
use protocols::address::PAGE_SIZE;
use protocols::api::{COPIED_WORDS, Rights, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::RSI;
use zerocopy::{FromZeros, IntoBytes};

type Words = [u64; COPIED_WORDS as usize];

impl Kernel {
    /// The Mapping at an address, and which pages of its Regions it shows.
    fn copying_mapping(
        &mut self,
        caller: Id<Space>,
        address: u64,
        want: Rights,
    ) -> Result<(Id<Mapping>, Range<u64>), Stop> {
        let Object::Mapping(id) = self.object_at(caller, address, want)? else {
            return Err(Misuse::WrongType.into());
        };
        let mapping = self.objects.mappings.get(id).ok_or(Misuse::NoObject)?;
        if mapping.shadow.is_none() {
            return Err(Stop::Status(Status::Refused));
        }
        Ok((id, mapping.offset / PAGE_SIZE..(mapping.offset + mapping.size) / PAGE_SIZE))
    }

    pub(super) fn get_copied(
        &mut self,
        thread: Id<Thread>,
        caller: Id<Space>,
        [address, offset, buffer, count]: [u64; 4],
    ) -> Done {
        let count = check_copied(offset, count)?;
        let (id, _) = self.copying_mapping(caller, address, Rights::READ)?;
        // Should the buffer be in a page that this copies, it is copied before it is looked at.
        self.copy(caller, buffer, count * size_of::<u64>(), Rights::WRITE, |_, _| true)?;
        let Some(copied) = self.objects.copied(id) else { return Ok(Status::Refused) };
        let Some(first) = copied.first_from(offset / PAGE_SIZE) else { return Ok(Status::NotFound) };
        let mut words = Words::new_zeroed();
        for (word, page) in words[..count].iter_mut().zip((first..).step_by(64)) {
            *word = copied.bits(page);
        }
        self.write(caller, buffer, words[..count].as_bytes())?;
        self.set_result(thread, RSI, first * PAGE_SIZE)
    }

    pub(super) fn set_copied(&mut self, caller: Id<Space>, [address, offset, buffer, count]: [u64; 4]) -> Done {
        let count = check_copied(offset, count)?;
        let (id, shown) = self.copying_mapping(caller, address, Rights::WRITE)?;
        let mut words = Words::new_zeroed();
        let bytes = words[..count].as_mut_bytes();
        self.copy(caller, buffer, bytes.len(), Rights::READ, |physical, range| {
            crate::arch::physical::read(physical, &mut bytes[range])
        })?;
        let first = offset / PAGE_SIZE;
        let pages = (first..).step_by(64);
        // The first and the last page of each word that are to be noted: there are at most two leaves to a word.
        let noted = words[..count].iter().zip(pages.clone()).filter(|(word, _)| **word != 0);
        let mut noted = noted.flat_map(|(word, page)| {
            [page + u64::from(word.trailing_zeros()), page + 63 - u64::from(word.leading_zeros())]
        });
        if !noted.clone().all(|page| shown.contains(&page)) {
            return Err(Misuse::BadArgument.into());
        }
        if !self.prepare_heap() {
            return Ok(Status::NoMemory);
        }
        let grown = noted.all(|page| self.objects.grow_copied((id, page * PAGE_SIZE)));
        if grown {
            // Before it changes what these pages are: so they are marked as written where they were.
            self.withdraw_pages(id, offset, count as u64 * 64 * PAGE_SIZE);
        }
        if grown && let Some(shadow) = self.objects.mappings.get_mut(id).and_then(|mapping| mapping.shadow.as_mut()) {
            for (&word, page) in words[..count].iter().zip(pages) {
                shadow.copied.set(page, u64::MAX, word);
            }
        }
        // Where nothing is copied any more, or has come to be.
        let end = first + count as u64 * 64;
        for page in (first..end).step_by(PageSet::LEAF as usize).chain(end.checked_sub(1)) {
            self.objects.free_copied(id, |copied| copied.prune(page));
        }
        Ok(if grown { Status::Ok } else { Status::NoMemory })
    }
}

/// Checks where a call begins and how many words it is about.
fn check_copied(offset: u64, count: u64) -> Result<usize, Misuse> {
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Misuse::NotAligned);
    }
    if count > COPIED_WORDS || offset >= MEMORY_END {
        return Err(Misuse::BadArgument);
    }
    Ok(count as usize)
}
