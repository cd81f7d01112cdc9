//! Names of objects: a small cache, in each Space, from address to object.
//!
//! An entry counts for as long as the object exists, nothing that the Space shows has been taken away since, and no object was
//! moved: the [naming epoch](Objects::naming_epoch). The object is held by its identifier, which no later object at the same memory has, so destroying an object needs to
//! tell nobody; and memory that a Space has come to show since can only add names, not change them.

use crate::objects::{Object, Objects};
use protocols::api::Rights;

const ENTRIES: usize = 32;

/// As large as an object's memory, so that the slot of an address is a masked offset.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entry {
    address: u64,
    epoch: u64,
    rights: Rights,
    /// `None` in an entry that was never used.
    object: Option<Object>,
}

/// The cache.
pub struct NameCache {
    entries: [Entry; ENTRIES],
}

impl Default for NameCache {
    fn default() -> Self {
        Self { entries: [Entry { address: 0, epoch: 0, rights: Rights::empty(), object: None }; ENTRIES] }
    }
}

impl NameCache {
    #[inline]
    fn slot(address: u64) -> usize {
        (address / protocols::api::OBJECT_SIZE) as usize % ENTRIES
    }

    /// The object at `address`, if it was found with rights that contain `want` in this epoch. It may have been destroyed
    /// since.
    #[inline(always)]
    pub fn get(&self, address: u64, want: Rights, epoch: u64) -> Option<Object> {
        let entry = &self.entries[Self::slot(address)];
        let counts = entry.address == address && entry.epoch == epoch && entry.rights.contains(want);
        if counts { entry.object } else { None }
    }

    /// The same, if the object still exists.
    pub fn get_existing(&self, address: u64, want: Rights, epoch: u64, objects: &Objects) -> Option<Object> {
        self.get(address, want, epoch).filter(|&object| objects.exists(object))
    }

    /// Remembers the object at `address`, found with `rights`.
    pub fn put(&mut self, address: u64, rights: Rights, epoch: u64, object: Object) {
        self.entries[Self::slot(address)] = Entry { address, epoch, rights, object: Some(object) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Place, Port};
    use crate::references::Reference;
    use proptest::prelude::*;
    use protocols::address::HostPhysical;

    const PLACES: u64 = 6;
    /// Names that share slots of the cache, and some that do not.
    const NAMES: [u64; 5] = [0x40, 0x80, 0x40 + 64 * 32, 0x80 + 64 * 32, 0xc0];

    #[derive(Clone, Debug)]
    enum Step {
        Create {
            place: u64,
            port: bool,
        },
        Destroy {
            place: u64,
        },
        /// What a name showed is taken away; it shows another place with other rights from now on.
        Replace {
            name: usize,
            place: u64,
            rights: Rights,
        },
        /// A name that shows nothing shows a place.
        Show {
            name: usize,
            place: u64,
            rights: Rights,
        },
        Look {
            name: usize,
            want: Rights,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let rights = || prop_oneof![Just(Rights::READ), Just(Rights::READ | Rights::WRITE)];
        prop_oneof![
            (0..PLACES, any::<bool>()).prop_map(|(place, port)| Step::Create { place, port }),
            (0..PLACES).prop_map(|place| Step::Destroy { place }),
            (0..NAMES.len(), 0..PLACES, rights()).prop_map(|(name, place, rights)| Step::Replace {
                name,
                place,
                rights
            }),
            (0..NAMES.len(), 0..PLACES, rights()).prop_map(|(name, place, rights)| Step::Show { name, place, rights }),
            (0..NAMES.len(), rights()).prop_map(|(name, want)| Step::Look { name, want }),
            (0..NAMES.len(), rights()).prop_map(|(name, want)| Step::Look { name, want }),
        ]
    }

    proptest! {
        /// Whatever happens to objects and to what names show, the cache never tells anything but what is there.
        #[test]
        fn a_name_found_before_is_the_object_there_now(steps in prop::collection::vec(step(), 1..120)) {
            let mut objects = Objects::new(crate::memory::places::Places::on_host(1));
            let payer = objects.open_first_account(0, 0).payer().unwrap();
            let mut cache = NameCache::default();
            let mut shown: [Option<(u64, Rights)>; NAMES.len()] = [None; NAMES.len()];
            let mut epoch = 0;
            for step in steps {
                match step {
                    Step::Create { place, port } if objects.at(HostPhysical::new(place)).is_none() => {
                        let object = if port {
                            Object::Port(objects.ports.insert(Port::default()))
                        } else {
                            Object::Reference(objects.references.insert(Reference::default()))
                        };
                        objects.places.insert(place, Place { object, payer, charge: 0 });
                    }
                    Step::Create { .. } => {}
                    Step::Destroy { place } => match objects.places.remove(place).map(|place| place.object) {
                        Some(Object::Port(id)) => prop_assert!(objects.ports.remove(id).is_some()),
                        Some(Object::Reference(id)) => prop_assert!(objects.references.remove(id).is_some()),
                        _ => {}
                    },
                    Step::Replace { name, place, rights } => {
                        shown[name] = Some((place, rights));
                        epoch += 1;
                    }
                    Step::Show { name, place, rights } => {
                        shown[name].get_or_insert((place, rights));
                    }
                    Step::Look { name, want } => {
                        let there = shown[name].filter(|(_, rights)| rights.contains(want));
                        let object = there.and_then(|(place, _)| objects.at(HostPhysical::new(place)));
                        if let Some(cached) = cache.get_existing(NAMES[name], want, epoch, &objects) {
                            prop_assert_eq!(Some(cached), object);
                        } else if let (Some(object), Some((_, rights))) = (object, shown[name]) {
                            cache.put(NAMES[name], rights, epoch, object);
                            prop_assert_eq!(cache.get_existing(NAMES[name], want, epoch, &objects), Some(object));
                        }
                    }
                }
            }
        }
    }
}
