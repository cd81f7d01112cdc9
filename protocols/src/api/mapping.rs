//! Mappings.

#[cfg(doc)]
use super::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// State of a Mapping: which part of its Region it shows, and where.
///
/// [`mapping_get_state`](crate::libc::system_call::mapping_get_state) reads it, [`mapping_set_state`](crate::libc::system_call::mapping_set_state) sets it. Its links,
/// to a Region, a Space and a shadow Region, are References beside it.
///
/// # Copy-on-write
///
/// A Mapping with a [shadow](crate::libc::system_call::mapping_set_state) Region shows, page by page, one of two: its Region, the
/// *source*, to be read and executed; or, once the page was written to, the same offset of the shadow, with all the rights that the Mapping has
/// there. The source never changes through it.
///
/// Whoever writes to a page of the source, in whatever Space, directly or through further Mappings, makes the kernel copy the page to the
/// shadow, note that, and drop everything that was derived from the page; then the write goes on. Nobody hears of it. So does a call that
/// writes to the page for its caller, or creates or changes an object in it. One page is copied at a time, which costs little more than the
/// copying.
///
/// * The shadow must have memory there, with the right to write. Where it has none its keeper has a
///   [memory fault](crate::exception::MemoryFault), and can supply pages as they are needed. The same holds for the source, with the right to
///   read. After the reply the page is copied.
/// * The References to both Regions limit what the Mapping gives: the right to write comes from that to the shadow; nothing is copied without
///   the right to read the source.
/// * Memory is copied, objects are not: they live in the source. Through a page that was not copied they are named, and used where the right
///   to read suffices. In the copy are those that live in the shadow's memory, where copying changes no more than the lock words of Mutexes.
/// * Device memory is neither copied nor copied to: the write is a page fault.
/// * Source and shadow can be seen through copy-on-write Mappings themselves. Where the shadow is, the page counts as written there too.
/// * Which pages were copied is state, too: [`mapping_get_copied`](crate::libc::system_call::mapping_get_copied) and
///   [`mapping_set_copied`](crate::libc::system_call::mapping_set_copied). It takes kernel memory, half a KiB for 16 MiB and some more where
///   copied pages lie further from each other, charged to who has paid for the Mapping. Where that cannot be paid the write is a page fault.
///
/// So a process is forked: both processes show the memory as it was, each through a copy-on-write Mapping with a shadow of its own. If it was
/// shown copy-on-write already, that Mapping, with what was copied, moves into a Space in which nothing runs, and both show that.
///
#[doc = example!("mapping_state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MappingState {
    /// Where in the Region it begins, in bytes.
    ///
    /// *Checked*: a multiple of the page size; `offset + size` is at most 2^48. What lies behind the Region's end shows nothing.
    pub offset: u64,
    /// The address in the Space at which it appears.
    ///
    /// *Checked*: a multiple of the page size; `start + size` is at most 2^48, and in a native Space at most the
    /// [end of user addresses](crate::native_thread::USER_END).
    pub start: u64,
    /// Length in bytes.
    ///
    /// *Checked*: a multiple of the page size. With 0 it shows nothing, and is in no other Mapping's way; so it is at first.
    pub size: u64,
    /// [`Rights`] wanted. What counts is the AND of the whole chain.
    ///
    /// *Checked*: there are such rights.
    pub rights: u64,
}

/// The most words that one [`mapping_get_copied`](crate::libc::system_call::mapping_get_copied) or
/// [`mapping_set_copied`](crate::libc::system_call::mapping_set_copied) takes: those for 16 MiB.
pub const COPIED_WORDS: u64 = 64;

const _: () = assert!(size_of::<MappingState>() == 32);
