//! A toolchain without the bare machine's target, tried with a rustc and a
//! rustup that are scripts.
//!
//! All is one test: a second one that starts a program at the same time could
//! inherit a script that is just being written, which then cannot be run.

use boot::failure::exit_code;
use boot::toolchain::{Remedy, Toolchain};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Exit code of what is missing.
const MISSING: u8 = 3;

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}")).expect("a script is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script is made executable");
    path
}

#[test]
fn the_target_is_added_where_rustup_can() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    // Both know the folder they run in, as rustup's do.
    let rustc = script(
        folder,
        "rustc",
        "case \"$*\" in\n\
         '--print target-libdir --target x86_64-unknown-none') echo \"$PWD/toolchain/lib\" ;;\n\
         '--print sysroot') echo \"$PWD/toolchain\" ;;\n\
         *) exit 9 ;;\nesac\n",
    );
    let rustup = |add: &str| {
        let text = format!(
            "echo \"$*\" >> rustup-calls\n\
             case \"$*\" in\n\
             'which rustc') echo \"$PWD/toolchain/bin/rustc\" ;;\n\
             'target add x86_64-unknown-none') {add} ;;\n\
             *) exit 9 ;;\nesac\n"
        );
        script(folder, "rustup", &text)
    };
    let toolchain = |rustup| Toolchain::new(rustc.clone(), rustup, folder.to_owned());
    let refused = |toolchain: &Toolchain, message: &str| {
        let error = toolchain.ensure().expect_err("there is no target");
        assert_eq!(exit_code(&error), MISSING, "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.to_string().contains("rustup target add x86_64-unknown-none"), "{error}");
    };

    let alone = toolchain(None);
    assert_eq!(alone.remedy().expect("rustc answers"), Some(Remedy::OtherRust));
    refused(&alone, "install Rust from https://rustup.rs");
    let offline = toolchain(Some(rustup("exit 1")));
    assert_eq!(offline.remedy().expect("rustc answers"), Some(Remedy::Rustup));
    refused(&offline, "rustup failed");
    refused(&toolchain(Some(rustup(":"))), "still has no libraries");
    let of_another = script(folder, "other-rustup", "echo /elsewhere/bin/rustc\n");
    refused(&toolchain(Some(of_another)), "rustup does not manage it");

    let good = toolchain(Some(rustup("mkdir -p toolchain/lib && touch toolchain/lib/libcore-0.rlib")));
    good.ensure().expect("rustup adds the target");
    assert_eq!(good.remedy().expect("rustc answers"), None);
    let calls = || fs::read_to_string(folder.join("rustup-calls")).expect("rustup was called");
    let before = calls();
    assert!(before.ends_with("target add x86_64-unknown-none\n"), "{before}");
    // What is there already is not installed again.
    good.ensure().expect("the target is there");
    alone.ensure().expect("the target is there");
    assert_eq!(calls(), before);

    let no_compiler = Toolchain::new(folder.join("none"), None, folder.to_owned());
    let error = no_compiler.ensure().expect_err("there is no compiler");
    assert_eq!(exit_code(&error), MISSING, "{error}");
}
