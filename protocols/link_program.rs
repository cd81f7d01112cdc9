//! The build script of every crate with programs: gives the bare-metal binaries the addresses of programs (`program.ld`); builds for
//! the host (unit tests) need nothing.

use std::path::Path;

fn main() {
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let scripts = Path::new(&package).ancestors().map(|folder| folder.join("protocols/program.ld"));
    let script = { scripts }.find(|script| script.exists()).expect("the package lies in the workspace");
    println!("cargo::rerun-if-changed={}", script.display());
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
        println!("cargo::rustc-link-arg-bins=--no-pie");
    }
}
