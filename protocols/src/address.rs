//! One type for each level of address, so that they cannot be mixed up.

use core::fmt;

/// Bytes in the smallest page and in a frame.
pub const PAGE_SIZE: u64 = 4096;
/// Bytes in a 2 MiB page.
pub const LARGE_PAGE_SIZE: u64 = 2 << 20;
/// Bytes in a 1 GiB page.
pub const HUGE_PAGE_SIZE: u64 = 1 << 30;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The address with this number.
            #[inline]
            pub const fn new(address: u64) -> Self {
                Self(address)
            }
            /// The number of this address.
            #[inline]
            pub const fn get(self) -> u64 {
                self.0
            }
            /// The address `bytes` further on, wrapping at the end of the 64-bit range.
            #[inline]
            pub const fn offset(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }
            /// The address rounded down to a multiple of `size`, a power of two.
            #[inline]
            pub const fn align_down(self, size: u64) -> Self {
                Self(self.0 & !(size - 1))
            }
            /// Whether the address is a multiple of `size`, a power of two.
            #[inline]
            pub const fn is_aligned(self, size: u64) -> bool {
                self.0 & (size - 1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    };
}

address! {
    /// A host-physical address: what the memory bus sees.
    HostPhysical
}
address! {
    /// A guest-physical address: physical to a machine's guest, translated by its EPT.
    GuestPhysical
}
address! {
    /// A guest-virtual address: what an instruction of a machine's guest names.
    GuestVirtual
}
address! {
    /// An address in a Space: virtual in a native Space, guest-physical in a machine Space.
    SpaceAddress
}
