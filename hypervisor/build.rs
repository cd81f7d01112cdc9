//! Gives the bare-metal binaries their fixed addresses; builds for the host (unit tests) need nothing.

fn main() {
    println!("cargo::rerun-if-changed=linker.ld");
    println!("cargo::rerun-if-changed=testkernel/linker.ld");
    println!("cargo::rerun-if-changed=src/entry.s");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    for (binary, script) in [("hypervisor", "linker.ld"), ("monitor-test-kernel", "testkernel/linker.ld")] {
        println!("cargo::rustc-link-arg-bin={binary}=-T{folder}/{script}");
        println!("cargo::rustc-link-arg-bin={binary}=--no-pie");
    }
}
