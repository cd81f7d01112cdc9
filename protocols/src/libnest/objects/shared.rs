//! Objects that others name as well: in memory that is shared with them.

use super::{Reference, Space};
use crate::address::PAGE_SIZE;
use crate::api::{MappingState, NativeState, OBJECT_SIZE, ObjectType, RegionState, Rights, Run, Status};
use crate::libc::system_call::{self as call, Result};
use crate::libnest::memory::Memory;
use crate::virtual_cpu::{Groups, VirtualCpuState};
use zerocopy::{FromBytes, IntoBytes};

/// Sets the registers and the Space of the thread at `address`: for threads that others see as well, in memory of theirs.
pub fn set_native_thread(address: u64, state: &NativeState, space: &Reference, run: Run) -> Result<()> {
    // SAFETY: References to Spaces are of those that the program has created, never of its own.
    unsafe { call::thread_set_native_state(address, Some(state), NativeState::REGISTERS, space.address(), run) }
}

/// Creates a Mutex in `memory`, for those who share it. `Refused` if there is no place for one at `offset`.
pub fn create_mutex_in(memory: &Memory, offset: u64) -> Result<()> {
    let place = place_in(memory, offset)?;
    // SAFETY: of the memory there are no Rust references.
    unsafe { call::mutex_create(place) }
}

/// Creates a Region in `memory` that exports `size` bytes of the same memory from `start` on, for those who share it; faults arrive at the Port
/// that `keeper` links to. `Refused` if there is no place for one at `offset`, or what it is to export is not inside or not page-aligned.
pub fn create_region_in(
    memory: &Memory,
    offset: u64,
    [start, size]: [u64; 2],
    rights: Rights,
    keeper: Option<&Reference>,
) -> Result<()> {
    let place = place_in(memory, offset)?;
    let inside = start.checked_add(size).is_some_and(|end| end <= memory.size());
    if !inside || !(start | size).is_multiple_of(PAGE_SIZE) {
        return Err(Status::Refused);
    }
    call::region_create(place)?;
    let state = RegionState { start: memory.address() + start, size, rights: rights.bits() };
    // SAFETY: of the memory there are no Rust references.
    unsafe { call::region_set_state(place, &state, 0, keeper.map_or(0, Reference::address)) }
}

/// Creates a Mapping in `memory`, for those who share it: of the Region that `region` links to, into `space`. `Refused` if there is no place for one
/// at `offset`.
pub fn create_mapping_in(
    memory: &Memory,
    offset: u64,
    state: &MappingState,
    region: &Reference,
    space: &Space,
) -> Result<()> {
    let place = place_in(memory, offset)?;
    call::mapping_create(place)?;
    // SAFETY: Space handles are of Spaces that the program has created, so this changes no memory of its own.
    unsafe { call::mapping_set_state(place, state, region.address(), space.reference().address()) }
}

/// The address of the place for an object at `offset` of `memory`.
fn place_in(memory: &Memory, offset: u64) -> Result<u64> {
    let inside = offset.checked_add(OBJECT_SIZE).is_some_and(|end| end <= memory.size());
    if inside && offset.is_multiple_of(OBJECT_SIZE) { Ok(memory.address() + offset) } else { Err(Status::Refused) }
}

/// Stops the native thread at `address` and returns its state. `Refused` if it is a virtual CPU.
pub fn native_thread(address: u64) -> Result<NativeState> {
    // Room for the state of a virtual CPU, should it be one: nothing is asked of that.
    let mut state = VirtualCpuState::zeroed();
    call::thread_get_virtual_cpu(address, &mut state, Groups::empty())?;
    let (native, _) = NativeState::read_from_prefix(state.as_bytes()).map_err(|_| Status::Refused)?;
    // The flags of a native thread are never 0; of a virtual CPU, nothing was written there.
    if native.rflags == 0 { Err(Status::Refused) } else { Ok(native) }
}

/// Lets the thread at `address` go on, or stops it.
pub fn run_thread(address: u64, run: Run) -> Result<()> {
    // SAFETY: neither state nor Space change.
    unsafe { call::thread_set_native_state(address, None, Groups::empty(), 0, run) }
}

/// Destroys the object of type `kind` at `address`: for objects that others have created in the program's memory.
pub fn destroy(kind: ObjectType, address: u64) -> Result<()> {
    match kind {
        ObjectType::Mutex => call::mutex_destroy(address),
        ObjectType::Cond => call::cond_destroy(address),
        ObjectType::Mapping => call::mapping_destroy(address),
        ObjectType::Region => call::region_destroy(address),
        ObjectType::Port => call::port_destroy(address),
        ObjectType::Portset => call::portset_destroy(address),
        ObjectType::Space => call::space_destroy(address),
        ObjectType::Thread => call::thread_destroy(address),
        ObjectType::Reference => call::reference_destroy(address),
    }
}
