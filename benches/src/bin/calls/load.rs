//! Many other objects, of all types, linked to each other as those of a busy system are.

use crate::suite::Result;
use alloc::vec::Vec;
use protocols::address::PAGE_SIZE;
use protocols::api::{MutexState, OBJECT_SIZE, ObjectType, Rights, SpaceKind, Status};
use protocols::libc::system_call;
use protocols::libnest::{Mapping, Memory, Region, Server, Space, objects};

/// Of so many objects one is a Space.
const SPACES: u64 = 500;
/// Of so many objects one is a Thread.
const THREADS: u64 = 100;
/// Where the first of the Mappings is.
const SHOWN: u64 = 0x1000_0000;

/// The objects.
pub struct Load {
    places: Memory,
    /// What is at each place; Mappings are in `mappings` instead.
    kinds: Vec<Option<ObjectType>>,
    mappings: Vec<Mapping>,
    region: Region,
    space: Space,
    server: Server,
}

impl Load {
    /// None yet, with room for `capacity`.
    pub fn new(capacity: u64) -> Result<Self> {
        let places = Memory::allocate(capacity * OBJECT_SIZE).ok_or(Status::NoMemory)?;
        let region = Region::new(&Memory::allocate(PAGE_SIZE).ok_or(Status::NoMemory)?, 0, PAGE_SIZE, Rights::READ)?;
        let space = Space::new(SpaceKind::Native, 16)?;
        Ok(Self { places, kinds: Vec::new(), mappings: Vec::new(), region, space, server: Server::new()? })
    }

    /// Adds objects until there are `count`.
    pub fn grow_to(&mut self, count: u64) -> Result<()> {
        while (self.kinds.len() as u64) < count {
            let kind = self.add(self.kinds.len() as u64)?;
            self.kinds.push(kind);
        }
        Ok(())
    }

    fn add(&mut self, number: u64) -> Result<Option<ObjectType>> {
        let place = self.places.address() + number * OBJECT_SIZE;
        let kind = match number {
            number if number % SPACES == SPACES - 1 => ObjectType::Space,
            number if number % THREADS == THREADS - 1 => ObjectType::Thread,
            number => match number % 7 {
                0 => ObjectType::Mutex,
                1 => ObjectType::Cond,
                2 => ObjectType::Mapping,
                3 => ObjectType::Region,
                4 => ObjectType::Port,
                5 => ObjectType::Portset,
                _ => ObjectType::Reference,
            },
        };
        match kind {
            ObjectType::Mutex => {
                objects::create_mutex_in(&self.places, number * OBJECT_SIZE)?;
                system_call::mutex_set_state(place, &MutexState { owner: OBJECT_SIZE })?;
            }
            ObjectType::Cond => system_call::cond_create(place)?,
            ObjectType::Mapping => {
                let start = SHOWN + number * PAGE_SIZE;
                let mapping = Mapping::new(&self.region, 0, &self.space, start, PAGE_SIZE, Rights::READ)?;
                self.mappings.push(mapping);
                return Ok(None);
            }
            ObjectType::Region => system_call::region_create(place)?,
            ObjectType::Port => {
                system_call::port_create(place)?;
                system_call::port_set_state(place, number, self.server.portset().reference().address())?;
            }
            ObjectType::Portset => system_call::portset_create(place)?,
            ObjectType::Space => system_call::space_create(place, SpaceKind::Native, 2.into())?,
            ObjectType::Thread => system_call::thread_create(place)?,
            ObjectType::Reference => {
                system_call::reference_create(place)?;
                system_call::portset_reference(self.server.portset().address(), place)?;
            }
        }
        Ok(Some(kind))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for (number, kind) in self.kinds.iter().enumerate() {
            let Some(kind) = *kind else { continue };
            // It was created by `add`.
            let _ = objects::destroy(kind, self.places.address() + number as u64 * OBJECT_SIZE);
        }
    }
}
