//! Scenarios of the operations that objects of all types have, and what scenarios find there before.

use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, ObjectType, Rights, SpaceKind, Status};
use protocols::libc::system_call;
use protocols::libnest::objects;
use zerocopy::{IntoBytes, TryFromBytes};

use super::plan::{OUT, Plan, STRUCTURES, Step, object};
use super::scene::Scene;
use crate::harness::{Failure, Verdict};

/// The object that calls are about.
pub const A: u64 = object(0);
/// Where another is to be.
pub const B: u64 = object(1);
/// References that calls take and make link.
pub const R: u64 = object(2);
/// See [`R`].
pub const R2: u64 = object(3);
/// See [`R`].
pub const R3: u64 = object(4);
/// See [`R`].
pub const R4: u64 = object(5);
/// A Portset.
pub const PORTSET: u64 = object(8);
/// A Port in it.
pub const PORT: u64 = object(9);
/// A Reference to the Port.
pub const CLIENT: u64 = object(10);
/// A Region.
pub const REGION: u64 = object(11);
/// A Mapping.
pub const MAPPING: u64 = object(12);
/// A Mutex.
pub const MUTEX: u64 = object(13);
/// The Portset of the keeper of [`REGION`].
pub const KEEPERS: u64 = object(14);
/// A Reference to the keeper's Port.
pub const KEEPER: u64 = object(16);
/// The alias of the Port.
pub const ALIAS: u64 = 0x515;

impl Scene<'_> {
    /// Creates a Reference to nothing.
    pub fn reference(&self, place: u64) -> Verdict {
        Ok(system_call::reference_create(self.own(place))?)
    }

    /// Creates [`PORTSET`], [`PORT`] in it, and [`CLIENT`].
    pub fn port(&self) -> Verdict {
        let [portset, port, client] = [PORTSET, PORT, CLIENT].map(|place| self.own(place));
        system_call::portset_create(portset)?;
        system_call::port_create(port)?;
        system_call::reference_create(client)?;
        system_call::portset_reference(portset, client)?;
        system_call::port_set_state(port, ALIAS, client)?;
        Ok(system_call::port_reference(port, client)?)
    }

    /// Creates a Port for keepers, which serve [`KEEPERS`], and [`KEEPER`].
    pub fn keepers(&self) -> Verdict {
        let [portset, port, reference] = [KEEPERS, object(15), KEEPER].map(|place| self.own(place));
        system_call::portset_create(portset)?;
        system_call::port_create(port)?;
        system_call::reference_create(reference)?;
        system_call::portset_reference(portset, reference)?;
        system_call::port_set_state(port, ALIAS, reference)?;
        Ok(system_call::port_reference(port, reference)?)
    }

    /// Creates [`REGION`] with a keeper and no rights, and [`MAPPING`] of it into the victim's Space.
    pub fn kept(&self) -> Verdict {
        self.keepers()?;
        self.keep(REGION, Rights::empty(), KEEPER, MAPPING, self.home())
    }

    /// Creates an object, with something to say where its type has that.
    pub fn make(&self, kind: ObjectType, place: u64) -> Verdict {
        let own = self.own(place);
        match kind {
            ObjectType::Mutex => objects::create_mutex_in(self.memory(), place)?,
            ObjectType::Cond => system_call::cond_create(own)?,
            ObjectType::Mapping => self.keep(REGION, Rights::all(), 0, place, self.home())?,
            ObjectType::Region => {
                objects::create_region_in(self.memory(), place, [OUT, PAGE_SIZE], Rights::READ, None)?
            }
            ObjectType::Port => {
                self.port()?;
                system_call::port_create(own)?;
                system_call::port_set_state(own, 0x77, 0)?;
            }
            ObjectType::Portset => system_call::portset_create(own)?,
            ObjectType::Space => system_call::space_create(own, SpaceKind::Native, 8.into())?,
            ObjectType::Thread => system_call::thread_create(own)?,
            ObjectType::Reference => {
                self.port()?;
                system_call::reference_create(own)?;
                system_call::port_reference(self.own(PORT), own)?;
            }
        }
        Ok(())
    }
}

/// The type of object that a call is about.
fn kind(call: Call) -> Result<ObjectType, Failure> {
    let number = call as u64 >> 4;
    ObjectType::try_read_from_bytes(number.as_bytes()).map_err(|_| Status::Unsupported.into())
}

fn there_is_one(scene: &Scene<'_>, call: Call) -> Verdict {
    scene.make(kind(call)?, A)?;
    scene.reference(R)?;
    scene.reference(R2)
}

/// `create`.
pub fn create(call: Call) -> Vec<Plan> {
    let arguments = if call == Call::SpaceCreate { [A, SpaceKind::Native as u64, 4] } else { [A, 0, 0] };
    alloc::vec![Plan::one(call, &arguments, |_, _| Ok(()))]
}

/// `destroy`.
pub fn destroy(call: Call) -> Vec<Plan> {
    alloc::vec![Plan::one(call, &[A], there_is_one)]
}

/// `move`.
pub fn move_object(call: Call) -> Vec<Plan> {
    alloc::vec![Plan::one(call, &[A, B], there_is_one)]
}

/// `reference`.
pub fn reference(call: Call) -> Vec<Plan> {
    alloc::vec![Plan::one(call, &[A, R], there_is_one)]
}

/// `get_state`, and `set_state` of objects that have none.
pub fn get_state(call: Call) -> Vec<Plan> {
    let arguments: &[u64] = match call {
        Call::MappingGetState | Call::RegionGetState => &[A, STRUCTURES, R, R2],
        Call::PortGetState => &[A, 0, R],
        Call::SpaceGetState => &[A, STRUCTURES, R],
        _ => &[A, if call == Call::MutexGetState { STRUCTURES } else { 0 }],
    };
    alloc::vec![Plan::new(call, alloc::vec![Step::new(call, arguments)], there_is_one)]
}
