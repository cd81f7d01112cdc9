//! A handle for each kernel object. A handle owns its object: dropping it destroys the object.
#![allow(unsafe_code)]

use super::place::Place;
use crate::libc::system_call::Result;

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $destroy:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            place: Place,
        }

        impl $name {
            /// The address that names the object in calls.
            #[inline]
            pub fn address(&self) -> u64 {
                self.place.address()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // The object exists for as long as its handle, so that destroying it cannot fail.
                let _ = call::$destroy(self.address());
            }
        }
    };
}

/// Makes an object with `create` at a new place.
pub(super) fn create(create: impl FnOnce(u64) -> Result<()>) -> Result<Place> {
    let place = Place::allocate()?;
    create(place.address())?;
    Ok(place)
}

macro_rules! handle_with_reference {
    ($(#[$doc:meta])* $visibility:vis $name:ident, $refer:ident, $destroy:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        $visibility struct $name {
            place: Place,
            reference: Reference,
        }

        impl $name {
            /// The handle of an object that `make` creates.
            fn create(make: impl FnOnce(u64) -> Result<()>) -> Result<Self> {
                // The Reference comes first, so that nothing is left behind when the object cannot be made.
                let reference = Reference::new()?;
                let object = Self { place: create(make)?, reference };
                call::$refer(object.address(), object.reference.address())?;
                Ok(object)
            }

            /// The address that names the object in calls.
            #[inline]
            pub fn address(&self) -> u64 {
                self.place.address()
            }

            /// A Reference to it, made once: handing it to calls costs nothing.
            #[inline]
            pub fn reference(&self) -> &Reference {
                &self.reference
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // The object exists for as long as its handle, so that destroying it cannot fail.
                let _ = call::$destroy(self.address());
            }
        }
    };
}

mod memory;
mod port;
mod reference;
mod shared;
mod space;
mod thread;

pub use memory::{Device, Mapping, Region};
pub use port::{Port, Portset, WatchedPort};
pub use reference::{Grant, Reference};
pub use shared::{
    create_mapping_in, create_mutex_in, create_region_in, destroy, native_thread, run_thread, set_native_thread,
};
pub use space::Space;
pub use thread::Thread;
