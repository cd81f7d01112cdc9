//! Copy-on-write Mappings: which of two Regions they show a page of, and where a page is copied to.
//!
//! A Mapping with a shadow shows, page by page, its Region, the *source*, to be read and executed, or, once the page was written
//! to, the same offset of a second Region, the *shadow*. The shadow is shown through a Mapping of its own, which is like the first in
//! all but its Region, and is in no Space's map: so whatever finds the Mappings of a Region, or those that were made through a grant,
//! finds it too.
//!
//! A shadow may itself be seen through a copy-on-write Mapping, and so on. A page is copied at once to where the last shadow is, and
//! counts as copied for all Mappings on the way there: a whole page was written.

use super::hierarchy::{Fault, Hierarchy, Mapping, Translation, translate_in};
use super::page_set::PageSet;
use crate::account::Payer;
use crate::arena::Id;
use protocols::address::PAGE_SIZE;
use protocols::api::Rights;

/// What a Mapping has beside its Region, the source, if it is copy-on-write.
#[derive(Debug)]
pub struct Shadow {
    /// The Mapping of the shadow Region, which the pages that were copied are shown through.
    pub mapping: Id<Mapping>,
    /// The pages that were copied, by their place in either Region.
    pub copied: PageSet,
    /// Who pays for all this.
    pub payer: Id<Payer>,
}

/// A page of a copy-on-write Mapping: the Mapping, and an offset in its Regions.
pub type Page = (Id<Mapping>, u64);

/// What a copy-on-write Mapping shows an offset through.
pub struct Chosen<'a> {
    /// The Mapping itself, or that of its shadow.
    pub mapping: &'a Mapping,
    /// Most rights.
    pub rights: Rights,
    /// How many bytes before the offset are shown through the same.
    pub before: u64,
    /// How many from it on are.
    pub after: u64,
}

impl Shadow {
    /// Which of its two Mappings a copy-on-write Mapping shows an offset through. `None`: none, for
    /// no better reason than the walk has.
    #[inline(never)]
    pub fn choose<'a>(
        &self,
        hierarchy: &Hierarchy<'a>,
        (id, source): (Id<Mapping>, &'a Mapping),
        offset: u64,
        want: Rights,
    ) -> Result<Chosen<'a>, Option<Fault>> {
        let copy = hierarchy.mappings.get(self.mapping).ok_or(None)?;
        source.used.set(true);
        let page = offset / PAGE_SIZE;
        if want.intersects(Rights::WRITE | Rights::CREATE_OBJECT) && !self.copied.contains(page) {
            let possible = copy.rights.contains(want) && source.rights.contains(Rights::READ);
            return Err(possible.then_some(Fault::Copy(id, offset)));
        }
        let run = self.copied.run(page);
        let before = offset - run.pages.start * PAGE_SIZE;
        let after = run.pages.end.saturating_mul(PAGE_SIZE) - offset;
        Ok(if run.contained {
            Chosen { mapping: copy, rights: Rights::all(), before, after }
        } else {
            Chosen { mapping: source, rights: Rights::READ | Rights::EXECUTE, before, after }
        })
    }
}

/// What the shadow of a Mapping has for a write to a page. [`Fault::Copy`] names the Mapping that it is seen through, if that
/// is copy-on-write too.
pub fn translate_shadow(hierarchy: &Hierarchy<'_>, (id, offset): Page) -> Result<Translation, Fault> {
    let shadow = hierarchy.mappings.get(id).and_then(|mapping| mapping.shadow.as_ref());
    let shadow = shadow.and_then(|shadow| hierarchy.mappings.get(shadow.mapping));
    let region = shadow.and_then(|shadow| shadow.region).ok_or(Fault::Unmapped)?;
    translate_in(hierarchy, region, offset, Rights::WRITE)
}

/// Where a page is to be copied to, and the last Mapping for which it counts as copied then.
pub fn copy_target(hierarchy: &Hierarchy<'_>, first: Page) -> Result<(Translation, Page), Fault> {
    let mut last = first;
    loop {
        match translate_shadow(hierarchy, last) {
            Err(Fault::Copy(mapping, offset)) => last = (mapping, offset),
            found => return found.map(|found| (found, last)),
        }
    }
}

/// The page after `here` on the way to `last` that is to count as copied too, if there is one. None does yet.
pub fn next_on_the_way(hierarchy: &Hierarchy<'_>, here: Page, last: Page) -> Option<Page> {
    if here == last {
        return None;
    }
    match translate_shadow(hierarchy, here) {
        Err(Fault::Copy(mapping, offset)) => Some((mapping, offset)),
        _ => None,
    }
}
