//! The fuzzer's binary: the library does it all.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]

protocols::program!(fuzz::run);
