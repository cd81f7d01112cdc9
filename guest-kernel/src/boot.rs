//! Bringing the kernel up, and the root nester's Space: all memory that the kernel does not keep.

use crate::account::Account;
use crate::arch::Loaded;
use crate::arch::physical::{self, Frame};
use crate::arch::{apic, cpu, descriptor, entry, extended, heap, monitor};
use crate::arena::Id;
use crate::devices::{self, INTERRUPT_WINDOW};
use crate::dispatch::{Grant, Source};
use crate::fault::ChargedTables;
use crate::kernel::Kernel;
use crate::memory::frames::FramePool;
use crate::memory::hierarchy::{Mapping, Region, Space, link_mapping, link_region};
use crate::memory::page_table::PageTable;
use crate::memory::places::{Entry, Places};
use crate::native::Context;
use crate::objects::{Object, Objects, Port, Queue};
use crate::schedule::Timer;
use crate::space::Contents;
use crate::thread::Thread;
use crate::{lifecycle, logger, stop};
use alloc::vec::Vec;
use core::ops::Range;
use elf::ElfBytes;
use elf::abi::{PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use protocols::address::{HostPhysical, LARGE_PAGE_SIZE, PAGE_SIZE};
use protocols::api::{self, OBJECT_SIZE, Quotas, Rights};
use protocols::boot_info::{self, BootInfo, DIRECT_MAP, RangeKind};
use protocols::startup::{
    self, Device, File, MAX_DEVICES, MAX_FILES, MAX_RANGES, Memory, OBJECTS_ADDRESS, POOL_ADDRESS, STACK_SIZE,
    STACK_TOP, STARTUP_ADDRESS, Startup,
};
use protocols::virtual_cpu::register::RDI;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// I/O ports that the kernel keeps: interrupt controllers and interval timer.
const KERNEL_PORTS: [core::ops::RangeInclusive<u16>; 3] = [0x20..=0x21, 0x40..=0x43, 0xa0..=0xa1];
/// The kernel keeps one part in this many of RAM for itself.
const KERNEL_SHARE: u64 = 24;
const LEAST_KERNEL_MEMORY: u64 = 16 << 20;
const MOST_KERNEL_MEMORY: u64 = 1 << 30;
/// Least RAM that the root nester is given.
const LEAST_ROOT_MEMORY: u64 = 16 << 20;
const _: () = assert!((apic::LINES as u64 + MAX_DEVICES as u64) * OBJECT_SIZE <= PAGE_SIZE);

/// A stretch of free RAM, handed out from its end.
#[derive(Clone, Copy)]
struct Free {
    start: u64,
    end: u64,
}

/// Brings everything up; the root nester's thread is ready afterwards.
pub fn start(boot_info: u64) -> Kernel {
    physical::set_end(boot_info.wrapping_sub(DIRECT_MAP) + PAGE_SIZE);
    let bytes = physical::permanent(HostPhysical::new(boot_info.wrapping_sub(DIRECT_MAP)), size_of::<BootInfo>());
    let info = bytes.and_then(|bytes| BootInfo::ref_from_bytes(bytes).ok());
    let Some(info) = info.filter(|info| info.magic == boot_info::MAGIC) else {
        monitor::end(protocols::machine::End::PowerOff)
    };
    physical::set_end(info.direct_map_end);

    let ranges = || info.ranges.iter().take(info.range_count as usize);
    let largest = ranges().filter(|range| range.kind == RangeKind::Free as u64).max_by_key(|range| range.length);
    let total: u64 = ranges().filter(|range| range.kind == RangeKind::Free as u64).map(|range| range.length).sum();
    let own = (total / KERNEL_SHARE).clamp(LEAST_KERNEL_MEMORY, MOST_KERNEL_MEMORY) & !(LARGE_PAGE_SIZE - 1);
    let Some(largest) = largest.filter(|range| range.length >= own + LEAST_ROOT_MEMORY) else {
        monitor::end(protocols::machine::End::PowerOff)
    };
    // From the end of the largest stretch: the frame pool, aligned so that donations split few large pages; before it, the
    // first piece of heap and the log's line.
    let pool_start = (largest.start + largest.length - own) & !(LARGE_PAGE_SIZE - 1);
    let heap_start = pool_start - heap::STEP as u64;
    let line = heap_start - PAGE_SIZE;
    logger::start(HostPhysical::new(line));
    heap::add(HostPhysical::new(heap_start), heap::STEP);
    let frames = FramePool::new(HostPhysical::new(pool_start), (own / PAGE_SIZE) as usize);

    if monitor::version() != Ok(protocols::machine::VERSION) || info.version != protocols::machine::VERSION {
        stop(format_args!(
            "the monitor speaks another version of the machine interface than {}",
            protocols::machine::VERSION
        ));
    }
    cpu::set_control_registers();
    descriptor::load(entry::fault_stack(), entry::debug_stack());
    descriptor::open_ports(&KERNEL_PORTS);
    if !extended::initialize() {
        stop(format_args!("this CPU has no XSAVE; the kernel needs it to switch guests' registers"));
    }
    let io_apics = match apic::initialize(info.rsdp) {
        Ok(io_apics) => io_apics,
        Err(missing) => stop(format_args!(
            "cannot use the interrupt controllers: {missing:?} is missing; the kernel needs x2APIC, its deadline timer and an ACPI MADT"
        )),
    };
    let frequency = apic::time_stamp_frequency();

    let free: Vec<Free> = ranges()
        .filter(|range| range.kind == RangeKind::Free as u64)
        .map(|range| {
            let end = if range.start == largest.start { line } else { range.start + range.length };
            Free { start: range.start.next_multiple_of(PAGE_SIZE), end: end & !(PAGE_SIZE - 1) }
        })
        .collect();
    let mut taken: Vec<_> = ranges().map(|range| range.start..range.start + range.length).collect();
    taken.extend(io_apics.iter().map(|&address| address..address + PAGE_SIZE));
    taken.push(INTERRUPT_WINDOW);
    let devices = devices::stretches(taken, info.direct_map_end, MAX_DEVICES);
    let ram = joined(ranges().map(|range| (range.start, range.start + range.length)).collect());
    log::info!("cpu ............. x2APIC, {} MHz time stamp counter", frequency / 1_000_000);
    log::info!("memory .......... {} MiB, {} MiB of it for the kernel", total >> 20, own >> 20);

    let table = HostPhysical::new(cpu::page_table());
    let Some(mut kernel) = Kernel::new(frames, ram, table, frequency) else {
        stop(format_args!("{} MiB are too few for the kernel itself", own >> 20))
    };
    let kernel_memory = kernel.frames.free_count() as u64 * PAGE_SIZE;
    kernel.start_root(info, free, &devices, kernel_memory);
    log::info!(
        "root nester ..... started, {} us after the monitor",
        (cpu::time() - info.started) / (frequency / 1_000_000).max(1)
    );
    kernel
}

impl Kernel {
    /// One without Spaces and threads, over memory that is its own: `frames`, of which it takes some now, with RAM at `ram` and the kernel's half
    /// of all address spaces in `kernel_table`; the clock has `frequency` ticks in a second. `None` if there are too few frames.
    pub fn new(
        mut frames: FramePool,
        ram: Vec<(u64, u64)>,
        kernel_table: HostPhysical,
        frequency: u64,
    ) -> Option<Self> {
        let list = frames.allocate().and_then(Frame::new)?;
        let end = ram.iter().map(|&(_, end)| end).max().unwrap_or(0);
        let objects = Objects::new(table_of_places(&mut frames, end)?);
        Some(Self {
            objects,
            physical: None,
            frames,
            current: None,
            ready: Queue::default(),
            grant: Grant::new(cpu::time, frequency / Quotas::PERIODS_PER_SECOND),
            timer: Timer::new(frequency),
            loaded: Loaded::default(),
            context: Context::new(),
            resident: None,
            system_call_registers: [entry::system_call_address(), descriptor::STAR, descriptor::FMASK],
            native_system_calls: true,
            lines: [None; apic::LINES as usize],
            ram,
            kernel_table,
            tracked_regions: 0,
            can_log: true,
            noting_spaces: 0,
            list,
        })
    }
}

/// The table of the places in memory up to `end`.
fn table_of_places(frames: &mut FramePool, end: u64) -> Option<Places> {
    let count = end.div_ceil(PAGE_SIZE) as usize;
    let words = Places::bitmap_words(count);
    let mut run = |bytes: usize| frames.allocate_run(bytes.div_ceil(PAGE_SIZE as usize));
    let [entries, bitmaps] = [run(count * size_of::<Entry>())?, run(words * size_of::<u64>())?];
    Some(Places::new(physical::zeroes(entries, count)?, physical::zeroes(bitmaps, words)?))
}

impl Kernel {
    /// Creates the root nester from the boot module `root`.
    fn start_root(&mut self, info: &BootInfo, mut free: Vec<Free>, devices: &[Range<u64>], allowance: u64) {
        let modules = || info.modules.iter().take(info.module_count as usize);
        let Some(module) = modules().find(|module| module.name() == "root") else {
            stop(format_args!("there is no boot module `root`: the image is incomplete"))
        };
        let image = physical::permanent(HostPhysical::new(module.start), module.length as usize).unwrap_or(&[]);

        let physical_space = self.objects.spaces.insert(Space::new(Contents::Physical, Account::new(0, None)));
        self.physical = Some(physical_space);
        let mut account = self.objects.open_first_account(allowance, allowance / lifecycle::LEAST_COST);
        let table =
            PageTable::new(&mut ChargedTables { frames: &mut self.frames, account: &mut account }, self.kernel_table);
        let Ok(table) = table else { stop(format_args!("no memory for the root nester")) };
        let mut space = Space::new(Contents::Native(table), account);
        space.ports = true;
        let root = self.objects.spaces.insert(space);
        self.objects.settle_in(root);
        let all = Rights::READ | Rights::WRITE | Rights::EXECUTE | Rights::CREATE_OBJECT;

        let entry = self.load_program(physical_space, root, image, &mut free);
        let stack = self.take(&mut free, STACK_SIZE);
        self.show(physical_space, root, stack, STACK_TOP - STACK_SIZE, STACK_SIZE, Rights::READ | Rights::WRITE);
        let page = self.take(&mut free, PAGE_SIZE);
        self.show(physical_space, root, page, STARTUP_ADDRESS, PAGE_SIZE, Rights::READ | Rights::WRITE);
        let objects = self.take(&mut free, PAGE_SIZE);
        self.show(physical_space, root, objects, OBJECTS_ADDRESS, PAGE_SIZE, all);

        let mut startup = Startup::new_zeroed();
        startup.magic = startup::MAGIC;
        startup.version = api::VERSION;
        startup.tsc_frequency = self.timer.frequency;
        startup.rsdp = info.rsdp;
        startup.interrupts = OBJECTS_ADDRESS;
        for line in 0..apic::LINES {
            let port = self.objects.ports.insert(Port { line: Some(line), ..Port::default() });
            self.place_first(HostPhysical::new(objects + line as u64 * OBJECT_SIZE), Object::Port(port), root);
            self.lines[line as usize] = Some(port);
        }
        self.place_devices(physical_space, root, objects, devices, &mut startup);
        free.retain(|range| range.start < range.end);
        for (slot, range) in startup.pool.iter_mut().zip(&free).take(MAX_RANGES) {
            self.show(physical_space, root, range.start, POOL_ADDRESS + range.start, range.end - range.start, all);
            *slot = Memory { start: POOL_ADDRESS + range.start, size: range.end - range.start };
            startup.pool_count += 1;
        }
        for (slot, module) in startup.files.iter_mut().zip(modules()).take(MAX_FILES) {
            let size = module.length.next_multiple_of(PAGE_SIZE);
            self.show(
                physical_space,
                root,
                module.start,
                POOL_ADDRESS + module.start,
                size,
                Rights::READ | Rights::EXECUTE,
            );
            *slot = File { start: POOL_ADDRESS + module.start, size: module.length, name: module.name };
            startup.file_count += 1;
        }
        if !physical::write(HostPhysical::new(page), startup.as_bytes()) {
            stop(format_args!("the root nester's start-up page is not in memory"));
        }

        let mut thread = Thread::new((root, 0), Source::Root);
        thread.stopped = false;
        thread.registers.rip = entry;
        thread.registers.rsp = STACK_TOP;
        thread.registers.gpr[RDI] = STARTUP_ADDRESS;
        let thread = self.objects.threads.insert(thread);
        self.enter_space(thread, root);
        self.make_ready(thread);
    }

    /// Makes a Region for each stretch of device memory, behind the Ports of the interrupt lines. They are Regions of a Space
    /// that shows nothing else, so that whoever sets them anew reaches no other physical memory.
    fn place_devices(
        &mut self,
        physical_space: Id<Space>,
        root: Id<Space>,
        objects: u64,
        devices: &[Range<u64>],
        startup: &mut Startup,
    ) {
        let rights = Rights::READ | Rights::WRITE;
        let space = self.objects.spaces.insert(Space::new(Contents::Unbuilt, Account::new(0, None)));
        for ((slot, stretch), number) in startup.devices.iter_mut().zip(devices).zip(apic::LINES as u64..) {
            let (start, size) = (stretch.start, stretch.end - stretch.start);
            self.show(physical_space, space, start, start, size, rights);
            let region = Region { space: Some(space), start, size, rights, ..Region::default() };
            let region = self.objects.regions.insert(region);
            link_region(&mut self.objects.spaces, &mut self.objects.regions, region);
            let place = number * OBJECT_SIZE;
            self.place_first(HostPhysical::new(objects + place), Object::Region(region), root);
            *slot = Device { region: OBJECTS_ADDRESS + place, start, size };
            startup.device_count += 1;
        }
    }

    /// Takes zeroed memory, 4 KiB aligned, from the end of a free stretch.
    fn take(&mut self, free: &mut [Free], size: u64) -> u64 {
        let size = size.next_multiple_of(PAGE_SIZE);
        let Some(range) =
            free.iter_mut().filter(|range| range.end - range.start >= size).max_by_key(|range| range.end - range.start)
        else {
            stop(format_args!("no memory for the root nester"))
        };
        range.end -= size;
        if !physical::zero(HostPhysical::new(range.end), size as usize) {
            stop(format_args!("memory at {:#x} is out of reach", range.end));
        }
        range.end
    }

    /// Shows a stretch of physical memory in a Space.
    pub(crate) fn show(
        &mut self,
        physical_space: Id<Space>,
        space: Id<Space>,
        start: u64,
        address: u64,
        size: u64,
        rights: Rights,
    ) {
        let region = self.objects.regions.insert(Region {
            space: Some(physical_space),
            start,
            size,
            rights,
            ..Region::default()
        });
        link_region(&mut self.objects.spaces, &mut self.objects.regions, region);
        let mapping =
            Mapping { region: Some(region), space: Some(space), start: address, size, rights, ..Mapping::default() };
        let mapping = self.objects.mappings.insert(mapping);
        link_mapping(&mut self.objects.regions, &mut self.objects.mappings, mapping);
        if let Some(space) = self.objects.spaces.get_mut(space) {
            space.mappings.insert(address, mapping);
        }
    }

    /// Copies the segments of an ELF into fresh memory and shows them. Returns the entry point.
    fn load_program(&mut self, physical_space: Id<Space>, root: Id<Space>, image: &[u8], free: &mut [Free]) -> u64 {
        let damaged = || -> ! { stop(format_args!("boot module `root` is no 64-bit ELF program: it is damaged")) };
        let Ok(file) = ElfBytes::<LittleEndian>::minimal_parse(image) else { damaged() };
        let Some(segments) = file.segments() else { damaged() };
        for segment in segments.iter().filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0) {
            let Ok(data) = file.segment_data(&segment) else { damaged() };
            let start = segment.p_vaddr & !(PAGE_SIZE - 1);
            let inside = segment.p_vaddr - start;
            if !(startup::PROGRAM_ADDRESS..POOL_ADDRESS).contains(&start)
                || segment.p_memsz > POOL_ADDRESS - start
                || data.len() as u64 > segment.p_memsz
            {
                damaged();
            }
            let size = (inside + segment.p_memsz).next_multiple_of(PAGE_SIZE);
            let memory = self.take(free, size);
            if !physical::write(HostPhysical::new(memory + inside), data) {
                damaged();
            }
            let mut rights = Rights::READ;
            rights.set(Rights::WRITE, segment.p_flags & PF_W != 0);
            rights.set(Rights::EXECUTE, segment.p_flags & PF_X != 0);
            self.show(physical_space, root, memory, start, size, rights);
        }
        file.ehdr.e_entry
    }
}

/// Ranges, those that touch joined, the longest first: most accesses are to it.
fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined.sort_unstable_by_key(|&(start, end)| core::cmp::Reverse(end - start));
    joined
}

#[cfg(test)]
mod tests {
    use super::{Vec, joined};

    #[test]
    fn ranges_that_touch_are_joined() {
        assert_eq!(joined(Vec::from([(9, 12), (0, 3), (3, 5), (4, 6), (7, 8)])), [(0, 6), (9, 12), (7, 8)]);
        assert_eq!(joined(Vec::new()), []);
    }
}
