//! The tool's binary refuses bad input before it starts anything, each with its
//! exit code and a message that names what is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code of bad usage.
const USAGE: i32 = 2;

/// Files to give to the tool.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn add(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, contents).expect("a file is written");
        path
    }
}

/// The header of a 64-bit bzImage of protocol 2.15 with `code` bytes of kernel
/// that need 16 MiB from 16 MiB on (`Documentation/arch/x86/boot.rst`).
fn kernel(code: u32) -> Vec<u8> {
    let mut file = vec![0u8; 1024 + code as usize];
    file[0x1f1] = 1;
    file[0x1f4..0x1f8].copy_from_slice(&(code / 16).to_le_bytes());
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
    file[0x211] = 1;
    file[0x236] = 1;
    file[0x258..0x260].copy_from_slice(&0x100_0000u64.to_le_bytes());
    file[0x260..0x264].copy_from_slice(&0x100_0000u32.to_le_bytes());
    file
}

/// Runs the tool, which must exit with `code` and say `message`.
fn refuses(arguments: &[&str], code: i32, message: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_nestor"))
        .args(arguments)
        .env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the tool runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.contains(message), "{arguments:?}: no `{message}` in:\n{text}");
}

/// Runs a scripted boot with this kernel, initrd and memory.
fn refuses_guest(kernel: &Path, initrd: &Path, memory: &str, message: &str) {
    let (kernel, initrd) = (kernel.display().to_string(), initrd.display().to_string());
    let arguments =
        ["boot", "--host", "bochs", "--kernel", &kernel, "--initrd", &initrd, "--memory", memory, "--expect", "x"];
    refuses(&arguments, USAGE, message);
}

#[test]
fn bad_memory() {
    for (memory, message) in [
        ("0", "is too little"),
        ("16M", "is too little"),
        ("65M", "is not a multiple of 2 MiB"),
        ("512Q", "--memory"),
        ("-1", "--memory"),
        ("", "--memory"),
        ("1000000G", "is more than this computer's"),
        ("99999999999999999999", "--memory"),
    ] {
        refuses(&["boot", "--expect", "x", &format!("--memory={memory}")], USAGE, message);
    }
}

#[test]
fn bad_kernels() {
    let files = Files::new();
    let initrd = files.add("initrd", b"x");
    let whole = kernel(8192);
    let check = |kernel: &Path, message: &str| refuses_guest(kernel, &initrd, "64M", message);
    check(&files.folder.path().join("none"), "No such file");
    check(files.folder.path(), "directory");
    check(&files.add("empty", b""), "the file is empty");
    check(&files.add("text", &[b' '; 4000]), "not a bzImage");
    check(&files.add("elf", b"\x7fELF\x02\x01\x01"), "it is an ELF file");
    check(&files.add("truncated", &whole[..5000]), "truncated: the header announces 9216 bytes, the file has 5000");
    check(&files.add("header", &whole[..0x220]), "truncated");
}

#[test]
fn guests_that_do_not_fit() {
    let files = Files::new();
    let kernel = files.add("kernel", &kernel(8192));
    let initrd = files.add("initrd", b"x");
    let large = files.add("large", b"");
    // Sparse: it takes no room.
    fs::File::options().write(true).open(&large).and_then(|file| file.set_len(65 << 20)).expect("a large file");
    refuses_guest(&kernel, &large, "64M", "is larger than memory");
    refuses_guest(&kernel, &large, "96M", "do not fit");
    refuses_guest(&kernel, &files.folder.path().join("none"), "64M", "No such file");
    refuses_guest(&kernel, &files.add("empty", b""), "64M", "the file is empty");
    let mut huge = fs::read(&kernel).expect("the kernel");
    huge[0x260..0x264].copy_from_slice(&0x1000_0000u32.to_le_bytes());
    refuses_guest(&files.add("huge", &huge), &initrd, "64M", "of memory to start");
}

#[test]
fn bad_lines() {
    refuses(&["frobnicate"], USAGE, "frobnicate");
    refuses(&["boot"], USAGE, "--expect");
    refuses(&["--machines", "10"], USAGE, "--machines");
    refuses(&["--bare", "--machines", "2"], USAGE, "cannot be used with");
}

#[test]
fn bad_outputs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let none = folder.path().join("none/file").display().to_string();
    let folder = folder.path().display().to_string();
    for command in [&["image", "--output"][..], &["bench", "--json"], &["boot", "--expect", "x", "--log"]] {
        refuses(&[command, &[&none]].concat(), USAGE, "No such file");
        refuses(&[command, &[&folder]].concat(), USAGE, "this is a folder");
    }
}
