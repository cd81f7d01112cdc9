//! Building and ending native children.
//!
//! A child's memory is one stretch of its parent's: first the child's pool, then the pages of its segments, its stack, its
//! object page and its start-up page. All of it goes through one [`Region`], so that the parent can find every object
//! the child makes, and take everything away at once.

use alloc::vec::Vec;
use core::fmt;

use zerocopy::FromZeros;

use super::image::{Image, ImageError};
use super::memory::Memory;
use super::objects::{Device, Mapping, Port, Reference, Region, Space, Thread};
use crate::address::{LARGE_PAGE_SIZE, PAGE_SIZE};
use crate::api::{self, NativeState, Quotas, Rights, SpaceKind, Status};
use crate::libc::system_call;
use crate::parent::CONSOLE_PORT;
use crate::startup::{
    self, MAGIC, MAX_FILES, OBJECTS_ADDRESS, POOL_ADDRESS, STACK_SIZE, STACK_TOP, STARTUP_ADDRESS, Startup,
    THREAD_ADDRESS,
};
use crate::virtual_cpu::register;

/// From here on the files of a child are mapped.
pub const FILES_ADDRESS: u64 = 0x8_0000_0000;

/// What a child is to be.
#[derive(Debug)]
pub struct Description<'a> {
    /// Its program.
    pub elf: &'a [u8],
    /// All of its memory.
    pub memory: Memory,
    /// Its quotas, of kernel memory, objects and CPU time.
    pub quotas: Quotas,
    /// Its parent's Port: its calls (protocol [`parent`](crate::parent)) and its exceptions arrive there.
    pub parent: &'a Port,
    /// Its files: name and bytes, which begin at a page boundary.
    pub files: &'a [(&'a str, &'static [u8])],
    /// Device memory that it may use.
    pub devices: &'a [Device],
    /// Its arguments, at most 1024 bytes.
    pub arguments: &'a str,
    /// Ticks of the time stamp counter in a second.
    pub tsc_frequency: u64,
    /// Unix time in seconds, and the time stamp counter then.
    pub unix_time: (u64, u64),
}

/// Why a child could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// Its program cannot be loaded.
    Image(ImageError),
    /// Its memory does not even hold its program.
    TooLittleMemory,
    /// It has too many files, a file's name is too long, or a file does not begin at a page boundary.
    Files,
    /// It is to have more stretches of device memory than it can be told.
    Devices,
    /// Its arguments are too long.
    Arguments,
    /// The kernel refused.
    Kernel(Status),
}

impl From<Status> for BuildError {
    fn from(status: Status) -> Self {
        Self::Kernel(status)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => write!(f, "its program: {error}"),
            Self::TooLittleMemory => f.write_str("its memory does not hold its program"),
            Self::Files => f.write_str("too many files, or a file with a bad name or address"),
            Self::Devices => f.write_str("too many stretches of device memory"),
            Self::Arguments => f.write_str("its arguments are too long"),
            Self::Kernel(Status::NoMemory) => f.write_str("not enough kernel memory"),
            Self::Kernel(status) => write!(f, "the kernel answered {status:?}"),
        }
    }
}

/// A native child. Dropping it ends it, with everything that it has made of its memory.
#[derive(Debug)]
pub struct NativeChild {
    thread: Thread,
    memory: Memory,
    // Dropped in this order, after everything in the child's memory has been destroyed.
    _mappings: Vec<Mapping>,
    _shown: Region,
    _files: Vec<Region>,
    region: Region,
    space: Space,
    console: Reference,
}

/// Where in the child's memory the parts lie that are not its pool.
struct Layout {
    image: u64,
    stack: u64,
    objects: u64,
    startup: u64,
}

impl Layout {
    fn new(memory: u64, image: u64) -> Result<Self, BuildError> {
        let startup = memory.checked_sub(PAGE_SIZE);
        let objects = startup.and_then(|at| at.checked_sub(PAGE_SIZE));
        let stack = objects.and_then(|at| at.checked_sub(STACK_SIZE));
        let image = stack.and_then(|at| at.checked_sub(image)).filter(|&pool| pool > 0);
        match (image, stack, objects, startup) {
            (Some(image), Some(stack), Some(objects), Some(startup)) => Ok(Self { image, stack, objects, startup }),
            _ => Err(BuildError::TooLittleMemory),
        }
    }
}

impl NativeChild {
    /// Builds a child; it does not run yet.
    pub fn build(description: Description<'_>) -> Result<Self, BuildError> {
        let image = Image::parse(description.elf).map_err(BuildError::Image)?;
        let memory = description.memory.clone();
        let layout = Layout::new(memory.size(), image.size())?;
        let all = Rights::all();
        let region = Region::new(&memory, 0, memory.size(), all)?;
        let space = Space::new(SpaceKind::Native, description.quotas)?;
        space.set_keeper(description.parent)?;

        let mut mappings = Vec::new();
        let mut map = |offset, start, size, rights| {
            Mapping::new(&region, offset, &space, start, size, rights).map(|mapping| mappings.push(mapping))
        };
        map(0, POOL_ADDRESS, layout.image, all)?;
        map(layout.stack, STACK_TOP - STACK_SIZE, STACK_SIZE, Rights::READ | Rights::WRITE)?;
        map(layout.objects, OBJECTS_ADDRESS, PAGE_SIZE, Rights::READ | Rights::WRITE | Rights::CREATE_OBJECT)?;
        map(layout.startup, STARTUP_ADDRESS, PAGE_SIZE, Rights::READ)?;
        memory.clear(layout.image, memory.size() - layout.image).map_err(|_| BuildError::TooLittleMemory)?;
        let mut offset = layout.image;
        for segment in &image.segments {
            let place = offset + segment.lead;
            memory.write_bytes(place, segment.bytes).map_err(|_| BuildError::TooLittleMemory)?;
            map(offset, segment.start, segment.size, segment.rights)?;
            offset += segment.size;
        }

        let mut page = start_page(&description, layout.image)?;
        let files = map_files(description.files, &space, &mut mappings, &mut page)?;
        map_devices(description.devices, &space, &mut mappings, &mut page)?;
        memory.write(layout.startup, &page).map_err(|_| BuildError::TooLittleMemory)?;

        // From here on there are objects in the child's memory, which only `drop` takes away: the handle comes first.
        let mut state = NativeState { rip: image.entry, rflags: 2, ..NativeState::default() };
        state.gpr[register::RSP] = STACK_TOP;
        state.gpr[register::RDI] = STARTUP_ADDRESS;
        // The thread's object lies in no memory that the child can change, but the child sees it.
        let page = Memory::allocate(PAGE_SIZE).ok_or(BuildError::Kernel(Status::NoMemory))?;
        let thread = Thread::native_in(&page, &space, &state)?;
        let shown = Region::new(&page, 0, PAGE_SIZE, Rights::READ)?;
        mappings.push(Mapping::new(&shown, 0, &space, THREAD_ADDRESS, PAGE_SIZE, Rights::READ)?);
        system_call::thread_set_self(thread.address(), THREAD_ADDRESS)?;
        let console = Reference::new()?;
        let child = Self { thread, memory, _mappings: mappings, _shown: shown, _files: files, region, space, console };
        child.make_objects(layout.objects, description.parent)?;
        Ok(child)
    }

    /// Makes the objects that a child finds in its object page: a Reference to its parent's Port and the console Port.
    fn make_objects(&self, objects: u64, parent: &Port) -> Result<(), Status> {
        let reference = self.memory.address() + objects;
        system_call::reference_create(reference)?;
        system_call::port_reference(parent.address(), reference)?;
        let port = reference + (CONSOLE_PORT - OBJECTS_ADDRESS);
        system_call::port_create(port)?;
        system_call::port_reference(port, self.console.address())
    }

    /// Lets the child run.
    pub fn start(&self) -> Result<(), Status> {
        self.thread.go()
    }

    /// Its first thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Its Space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The Region of all of its memory.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// All of its memory; the pool comes first.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// A Reference to the Port by which the child wants to learn about console input.
    pub fn console(&self) -> &Reference {
        &self.console
    }

    /// Ends the child: takes all memory away from it and all its descendants at once, so that nothing of it can run on, then
    /// destroys every object in its memory. Returns how many there were.
    fn end(&mut self) -> Result<usize, Status> {
        self.region.protect(Rights::empty())?;
        self.region.destroy_objects()
    }
}

impl Drop for NativeChild {
    fn drop(&mut self) {
        // Neither protecting nor destroying needs memory, so this cannot fail.
        let _ = self.end();
    }
}

/// The start-up page but for its files.
fn start_page(description: &Description<'_>, pool: u64) -> Result<Startup, BuildError> {
    let mut page = Startup::new_zeroed();
    page.magic = MAGIC;
    page.version = api::VERSION;
    page.tsc_frequency = description.tsc_frequency;
    (page.unix_time, page.unix_time_tsc) = description.unix_time;
    page.parent = OBJECTS_ADDRESS;
    page.pool_count = 1;
    page.pool[0] = startup::Memory { start: POOL_ADDRESS, size: pool };
    let arguments = description.arguments.as_bytes();
    page.arguments.get_mut(..arguments.len()).ok_or(BuildError::Arguments)?.copy_from_slice(arguments);
    page.argument_length = arguments.len() as u64;
    Ok(page)
}

/// Maps files read-only from [`FILES_ADDRESS`] on, each at an address that large pages can map, and lists them in `page`.
fn map_files(
    files: &[(&str, &'static [u8])],
    space: &Space,
    mappings: &mut Vec<Mapping>,
    page: &mut Startup,
) -> Result<Vec<Region>, BuildError> {
    if files.len() > MAX_FILES {
        return Err(BuildError::Files);
    }
    let mut regions = Vec::new();
    let mut next = FILES_ADDRESS;
    for (entry, &(name, bytes)) in page.files.iter_mut().zip(files) {
        entry.name.get_mut(..name.len()).ok_or(BuildError::Files)?.copy_from_slice(name.as_bytes());
        entry.start = next + bytes.as_ptr().addr() as u64 % LARGE_PAGE_SIZE;
        entry.size = bytes.len() as u64;
        if entry.size > 0 {
            let region = Region::read_only(bytes).map_err(|_| BuildError::Files)?;
            mappings.push(Mapping::new(&region, 0, space, entry.start, region.size(), Rights::READ)?);
            next = (entry.start + region.size()).next_multiple_of(LARGE_PAGE_SIZE) + LARGE_PAGE_SIZE;
            regions.push(region);
        }
    }
    page.file_count = files.len() as u64;
    Ok(regions)
}

/// Maps device memory and lists it in `page`.
fn map_devices(
    devices: &[Device],
    space: &Space,
    mappings: &mut Vec<Mapping>,
    page: &mut Startup,
) -> Result<(), BuildError> {
    let entries = page.devices.get_mut(..devices.len()).ok_or(BuildError::Devices)?;
    for (entry, device) in entries.iter_mut().zip(devices) {
        mappings.push(Mapping::of_device(device, space)?);
        *entry = device.shown();
    }
    page.device_count = devices.len() as u64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_comes_first_and_the_rest_is_disjoint() {
        let layout = Layout::new(0x100_0000, 0x8000).unwrap();
        assert_eq!(layout.startup, 0xff_f000);
        assert_eq!(layout.objects, 0xff_e000);
        assert_eq!(layout.stack + STACK_SIZE, layout.objects);
        assert_eq!(layout.image + 0x8000, layout.stack);
    }

    #[test]
    fn memory_that_does_not_hold_the_program_is_refused() {
        for memory in [0, PAGE_SIZE, STACK_SIZE, STACK_SIZE + 2 * PAGE_SIZE + 0x8000] {
            assert!(matches!(Layout::new(memory, 0x8000), Err(BuildError::TooLittleMemory)), "{memory:#x}");
        }
    }
}
