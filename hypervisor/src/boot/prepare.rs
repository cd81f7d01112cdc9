//! Prepares the kernel's start as `protocols::boot_info` promises it: image, page tables, stack, boot information.

use protocols::address::{HUGE_PAGE_SIZE, HostPhysical, LARGE_PAGE_SIZE, PAGE_SIZE};
use protocols::boot_info::{BootInfo, DIRECT_MAP, MAGIC, MAX_MODULES, MAX_RANGES, Module, Range, RangeKind};
use protocols::machine::VERSION;
use zerocopy::{FromZeros, IntoBytes};

use super::image::Image;
use super::map::{Kind, Map};
use super::multiboot::Boot;
use super::tables::{NO_EXECUTE, PageTables, tables_needed};
use crate::physical::Claims;
use crate::vmx::support::Support;

/// The kernel's first stack.
const STACK: u64 = 16 << 10;
/// Where in the page of the boot information the copy of the RSDP lies, 16-byte aligned as ACPI wants it.
const RSDP_OFFSET: u64 = PAGE_SIZE - 64;
const _: () = assert!(size_of::<BootInfo>() as u64 <= RSDP_OFFSET);

/// What the kernel's first VM entry loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// RIP.
    pub entry: u64,
    /// RSP.
    pub stack: u64,
    /// RDI: the boot information.
    pub information: u64,
    /// CR3.
    pub tables: HostPhysical,
    /// Where the image was loaded.
    pub image: HostPhysical,
}

/// Takes memory for `image` and the kernel's boot tables, after everything else that is claimed, and fills it. The flag
/// says whether ranges of memory had to be left out of the boot information. `None`: too little memory.
pub fn kernel(
    claims: &mut Claims,
    image: &Image,
    support: &Support,
    boot: &Boot,
    started: u64,
) -> Option<(Start, bool)> {
    let memory = claims.claim(image.size, LARGE_PAGE_SIZE, Kind::Kernel(RangeKind::Kernel), false)?;
    let image_at = memory.start();
    super::image::load(image, memory.into_bytes());

    let direct_map_end = claims.map().top().max(4 << 30).next_multiple_of(HUGE_PAGE_SIZE);
    let page = if support.huge_pages { HUGE_PAGE_SIZE } else { LARGE_PAGE_SIZE };
    let tables = 1 + tables_needed(direct_map_end, page) + tables_needed(image.size, PAGE_SIZE);
    let length = PAGE_SIZE + STACK + tables * PAGE_SIZE;
    let mut region = claims.claim(length, PAGE_SIZE, Kind::Kernel(RangeKind::Boot), false)?;
    let information = region.take(PAGE_SIZE)?;
    let stack = region.take(STACK)?;
    let stack_top = stack.start().get() + STACK;
    stack.into_bytes();

    let mut tables = PageTables::new(region, support.huge_pages)?;
    let no_execute = if support.no_execute { NO_EXECUTE } else { 0 };
    tables.map(DIRECT_MAP, 0, direct_map_end, no_execute).ok()?;
    tables.map(image.base, image_at.get(), image.size, 0).ok()?;

    let information_at = information.start().get();
    let mut info = BootInfo {
        magic: MAGIC,
        version: VERSION,
        rsdp: if boot.rsdp.is_some() { information_at + RSDP_OFFSET } else { 0 },
        started,
        direct_map_end,
        range_count: 0,
        module_count: boot.modules.len() as u64,
        ranges: [Range::default(); MAX_RANGES],
        modules: [Module::new_zeroed(); MAX_MODULES],
    };
    info.modules[..boot.modules.len()].copy_from_slice(&boot.modules);
    let cut = ranges(claims.map(), &mut info);
    let (page, rsdp_place) = information.into_bytes().split_at_mut(RSDP_OFFSET as usize);
    page[..size_of::<BootInfo>()].copy_from_slice(info.as_bytes());
    if let Some(rsdp) = &boot.rsdp {
        rsdp_place[..rsdp.len()].copy_from_slice(rsdp);
    }
    let start = Start {
        entry: image.entry,
        stack: DIRECT_MAP + stack_top,
        information: DIRECT_MAP + information_at,
        tables: tables.root(),
        image: image_at,
    };
    Some((start, cut))
}

/// Fills in the ranges; where there are too many, the smallest free ones are left out.
fn ranges(map: &Map, info: &mut BootInfo) -> bool {
    let kept = |smallest: u64| {
        map.ranges().iter().filter_map(move |range| match range.kind {
            Kind::Monitor => None,
            Kind::Kernel(RangeKind::Free) if range.end - range.start < smallest => None,
            Kind::Kernel(kind) => {
                Some(Range { start: range.start, length: range.end - range.start, kind: kind as u64 })
            }
        })
    };
    let mut smallest = 0;
    while kept(smallest).count() > MAX_RANGES && smallest < 1 << 40 {
        smallest = (smallest * 2).max(PAGE_SIZE);
    }
    for (slot, range) in info.ranges.iter_mut().zip(kept(smallest)) {
        *slot = range;
        info.range_count += 1;
    }
    smallest > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_ranges_lose_the_smallest_free_ones() {
        let mut map = Map::default();
        for index in 0..80u64 {
            let length = if index < 20 { 4096 } else { 0x10_0000 };
            map.paint(index << 24, (index << 24) + length, Kind::FREE).unwrap();
        }
        map.paint(5 << 24, (5 << 24) + 4096, Kind::Kernel(RangeKind::Boot)).unwrap();
        map.paint(100 << 24, 101 << 24, Kind::Monitor).unwrap();
        let mut info = BootInfo::new_zeroed();
        assert!(ranges(&map, &mut info));
        assert_eq!(info.range_count, 61);
        assert!(info.ranges.iter().any(|range| range.kind == RangeKind::Boot as u64));
        assert!(info.ranges.iter().all(|range| range.start != 100 << 24));
    }
}
