//! Gives the bare-metal binary a program's addresses; builds for the host (unit tests) need nothing.

fn main() {
    println!("cargo::rerun-if-changed=../../protocols/program.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg-bins=-T{folder}/../../protocols/program.ld");
        println!("cargo::rustc-link-arg-bins=--no-pie");
    }
}
