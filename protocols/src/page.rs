//! What the pages of the reference have in common.
//!
//! The page of a call is the documentation of the function that makes it, with the sections that `tests/reference.rs` asks for.
//! Calls that all types have in common get their pages from the macros below. An example is a file of its own in `examples`, so
//! that the page shows what the conformance tests run.
//!
//! A new call needs its number and a line in `api/call.rs`, a row on the front page in `api.rs`, a function with its page in
//! `libc/system_call`, an example, and the example's name among those of the conformance tests. The tests say what is missing.

/// The section with the example of that name. It is compiled here, and run inside the system.
macro_rules! example {
    ($name:literal) => {
        concat!(
            "# Example\n\n```no_run\n",
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/", $name, ".rs")),
            "```\n"
        )
    };
}

/// The section about restart of a call that never waits; and what may come in between.
#[cfg(feature = "user")]
macro_rules! never_waits {
    ($between:literal) => {
        concat!("# Restart\n\nNever waits. ", $between, "\n\n")
    };
    () => {
        "# Restart\n\nNever waits. Where the caller's own memory has to be asked for first, the call is made again from the start.\n\n"
    };
}

/// The section about misuse of a call that names objects by addresses, and what else is misuse.
#[cfg(feature = "user")]
macro_rules! misuse {
    ($more:literal) => {
        concat!(
            "# Misuse\n\n[`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), [`NoObject`](Misuse::NoObject), \
             [`WrongType`](Misuse::WrongType)", $more, ".\n\n"
        )
    };
}

/// A call that creates an object.
#[cfg(feature = "user")]
macro_rules! create {
    (@page $call:ident, $object:literal, $effects:literal) => {
        concat!(
            "Creates a ", $object, ".\n\n\
             # Arguments\n\n\
             | register | argument | rights |\n|---|---|---|\n\
             | `rax` | [`", stringify!($call), "`](Call::", stringify!($call), ") | |\n\
             | `rdi` | where: a multiple of [`OBJECT_SIZE`](crate::api::OBJECT_SIZE) | write, create objects |\n\n\
             # Results\n\n\
             * [`Ok`](Status::Ok)\n\
             * [`NoMemory`](Status::NoMemory): the kernel memory of the caller's Space does not suffice, or the kernel has no memory left; \
             nothing was created\n\
             * [`NoObjects`](Status::NoObjects): the caller's Space has as many objects as it may; nothing was created\n\n\
             # Misuse\n\n\
             [`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), \
             [`ObjectExists`](Misuse::ObjectExists): there is an object of any type already.\n\n\
             # Effects\n\n",
            $effects,
            " It is charged to the [quotas](crate::api::Quotas) of the caller's Space, for as long as it exists and wherever it is moved.\n\n",
            never_waits!(),
            "# Cost\n\nConstant.\n\n"
        )
    };
    ($call:ident, $name:ident($object:ident), $example:literal, $kind:literal, $effects:literal) => {
        #[doc = create!(@page $call, $kind, $effects)]
        #[doc = example!($example)]
        #[inline]
        pub fn $name($object: u64) -> Result<()> {
            done(Call::$call, [$object, 0, 0, 0, 0])
        }
    };
}

/// A call that destroys an object.
#[cfg(feature = "user")]
macro_rules! destroy {
    (@page $call:ident, $kind:literal, $effects:literal, $cost:literal $(, $between:literal)?) => {
        concat!(
            "Destroys a ", $kind, ".\n\n\
             # Arguments\n\n\
             | register | argument | rights |\n|---|---|---|\n\
             | `rax` | [`", stringify!($call), "`](Call::", stringify!($call), ") | |\n\
             | `rdi` | the ", $kind, " | write, create objects |\n\n\
             # Results\n\n\
             * [`Ok`](Status::Ok)\n\n\
             # Misuse\n\n\
             [`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), [`NoObject`](Misuse::NoObject), \
             [`WrongType`](Misuse::WrongType).\n\n\
             # Effects\n\n",
            $effects,
            " References to it are void. Whoever paid for it gets the charge back.\n\n",
            never_waits!($($between)?),
            "# Cost\n\n", $cost, "\n\n"
        )
    };
    ($call:ident, $name:ident($object:ident), $example:literal, $($about:literal),+) => {
        #[doc = destroy!(@page $call, $($about),+)]
        #[doc = example!($example)]
        #[inline]
        pub fn $name($object: u64) -> Result<()> {
            done(Call::$call, [$object, 0, 0, 0, 0])
        }
    };
}

/// A call that moves an object.
#[cfg(feature = "user")]
macro_rules! relocate {
    (@page $call:ident, $kind:literal, $effects:literal) => {
        concat!(
            "Moves a ", $kind, " to another place in memory.\n\n\
             # Arguments\n\n\
             | register | argument | rights |\n|---|---|---|\n\
             | `rax` | [`", stringify!($call), "`](Call::", stringify!($call), ") | |\n\
             | `rdi` | the ", $kind, " | write, create objects |\n\
             | `rsi` | its new place: a multiple of [`OBJECT_SIZE`](crate::api::OBJECT_SIZE) | write, create objects |\n\n\
             # Results\n\n\
             * [`Ok`](Status::Ok)\n\
             * [`NoMemory`](Status::NoMemory): the kernel has no memory left; nothing was moved\n\n\
             # Misuse\n\n\
             [`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), [`NoObject`](Misuse::NoObject), \
             [`WrongType`](Misuse::WrongType), [`ObjectExists`](Misuse::ObjectExists): at the new place.\n\n\
             # Effects\n\n\
             It lives at the new place and nowhere else. Links to it, its own links and who pays for it stay as they are. ",
            $effects,
            "\n\n",
            never_waits!(),
            "# Cost\n\nConstant. Every Space looks objects up anew afterwards that it had found before.\n\n"
        )
    };
    ($call:ident, $name:ident($object:ident), $example:literal, $kind:literal, $effects:literal) => {
        #[doc = relocate!(@page $call, $kind, $effects)]
        #[doc = example!($example)]
        #[inline]
        pub fn $name($object: u64, new: u64) -> Result<()> {
            done(Call::$call, [$object, new, 0, 0, 0])
        }
    };
}

/// A call that points a Reference at an object.
#[cfg(feature = "user")]
macro_rules! refer {
    (@page $call:ident, $kind:literal, $effects:literal) => {
        concat!(
            "Points a Reference at a ",
            $kind,
            ".\n\n\
             # Arguments\n\n\
             | register | argument | rights |\n|---|---|---|\n\
             | `rax` | [`",
            stringify!($call),
            "`](Call::",
            stringify!($call),
            ") | |\n\
             | `rdi` | the ",
            $kind,
            " | read |\n\
             | `rsi` | the Reference | write |\n\n\
             # Results\n\n\
             * [`Ok`](Status::Ok)\n\n\
             # Misuse\n\n\
             [`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), [`NoObject`](Misuse::NoObject), \
             [`WrongType`](Misuse::WrongType).\n\n\
             # Effects\n\n\
             The Reference links to the ",
            $kind,
            ", with all [rights](crate::api::ReferenceRights) but `REVOKE`, without badge and \
             grant. What it linked to before, it links to no more. ",
            $effects,
            "\n\n",
            never_waits!(),
            "# Cost\n\nConstant.\n\n"
        )
    };
    ($call:ident, $name:ident($object:ident), $example:literal, $kind:literal, $effects:literal) => {
        #[doc = refer!(@page $call, $kind, $effects)]
        #[doc = example!($example)]
        #[inline]
        pub fn $name($object: u64, reference: u64) -> Result<()> {
            done(Call::$call, [$object, reference, 0, 0, 0])
        }
    };
}
