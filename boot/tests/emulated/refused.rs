//! What Nestor refuses to start on, or from: each with a message that says what
//! is wrong, and nothing started.
//!
//! VT-x that firmware has locked off is tested in the monitor's own tests: Bochs
//! comes out of reset with VT-x locked on.

use crate::support::{Built, REPLY, built, options, trial};
use anyhow::{Context, Result, ensure};
use boot::guest::{self, Flavour};
use boot::host::HostOptions;
use boot::image::Image;
use boot::size::Size;
use boot::system::{Start, System};
use libtest_mimic::Trial;
use std::fs;

const MEMORY: Size = Size::mib(256);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("refused::processor_without_vtx", no_vtx),
        trial("refused::processor_without_ept", no_ept),
        trial("refused::processor_without_unrestricted_guest", no_unrestricted),
        trial("refused::too_little_memory", too_little),
        trial("refused::missing_kernel", missing_kernel),
        trial("refused::missing_root", missing_root),
        trial("refused::damaged_kernel", damaged_kernel),
        trial("refused::damaged_root", damaged_root),
        trial("refused::missing_system", missing_system),
        trial("refused::bad_system", bad_system),
        trial("refused::missing_program", missing_program),
        trial("refused::missing_file", missing_file),
        trial("refused::too_little_memory_for_a_child", too_little_for_a_child),
        trial("refused::damaged_program", damaged_program),
        trial("refused::damaged_linux", damaged_linux),
        trial("refused::truncated_linux", truncated_linux),
        trial("refused::initrd_larger_than_memory", large_initrd),
    ]
}

/// Boots the image and expects it to end with this message.
fn expect(built: &Built, image: &Image, name: &str, options: &HostOptions, message: &str) -> Result<()> {
    let mut host = built.start(image, name, options)?;
    let console = host.console();
    console.expect(message, REPLY)?;
    // Nothing was started: neither a child, nor, if the monitor stopped, the kernel.
    let printed = console.transcript().all();
    let started = if message.starts_with("[monitor]") { "[kernel ]" } else { "guest starts" };
    ensure!(!printed.contains(started), "it went on:\n{printed}");
    Ok(())
}

/// The system with a child that only ends.
fn plain(built: &Built) -> Result<Image> {
    let system = System::default().start(Start::new("conformance", "done", Size::mib(8))?.arguments("done")?);
    Ok(built.nestor()?.system(&system))
}

fn with_cpu(cpu: &str, message: &str) -> Result<()> {
    let built = built()?;
    let options = HostOptions { cpu: Some(cpu.to_owned()), ..options(MEMORY) };
    expect(built, &plain(built)?, "plain", &options, message)
}

fn no_vtx() -> Result<()> {
    with_cpu("p4_prescott_celeron_336", "[monitor] stop: the processor has no VT-x")
}

fn no_ept() -> Result<()> {
    with_cpu("core2_penryn_t9600", "[monitor] stop: VT-x of this processor has no EPT")
}

fn no_unrestricted() -> Result<()> {
    with_cpu("corei5_lynnfield_750", "[monitor] stop: VT-x of this processor has no unrestricted guest")
}

fn too_little() -> Result<()> {
    let built = built()?;
    expect(built, &plain(built)?, "plain", &options(Size::mib(48)), "[monitor] stop: too little memory: ")
}

fn missing_kernel() -> Result<()> {
    let built = built()?;
    let image = Image::new(built.binaries.get("hypervisor")?).module("root", built.binaries.get("root")?);
    expect(built, &image, "no-kernel", &options(MEMORY), "[monitor] stop: boot module `kernel` is missing")
}

fn missing_root() -> Result<()> {
    let built = built()?;
    let image = Image::new(built.binaries.get("hypervisor")?).module("kernel", built.binaries.get("guest-kernel")?);
    expect(built, &image, "no-root", &options(MEMORY), "[monitor] stop: boot module `root` is missing")
}

/// The first half of a program.
fn half(built: &Built, name: &str) -> Result<Vec<u8>> {
    let path = built.binaries.get(name)?;
    let mut bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    bytes.truncate(bytes.len() / 2);
    Ok(bytes)
}

fn damaged_kernel() -> Result<()> {
    let built = built()?;
    for (name, kernel) in [("half-kernel", half(built, "guest-kernel")?), ("text-kernel", vec![b'x'; 5000])] {
        let image = Image::new(built.binaries.get("hypervisor")?)
            .module("kernel", kernel)
            .module("root", built.binaries.get("root")?);
        expect(built, &image, name, &options(MEMORY), "[monitor] stop: boot module `kernel` is damaged")?;
    }
    Ok(())
}

fn damaged_root() -> Result<()> {
    let built = built()?;
    let with_root = |root: Vec<u8>| -> Result<Image> {
        let image = Image::new(built.binaries.get("hypervisor")?);
        Ok(image.module("kernel", built.binaries.get("guest-kernel")?).module("root", root))
    };
    let text = with_root(vec![b'x'; 5000])?;
    expect(built, &text, "text-root", &options(MEMORY), "[monitor] stop: boot module `root` is damaged")?;
    let half = with_root(half(built, "root")?)?;
    let mut host = built.start(&half, "half-root", &options(MEMORY))?;
    host.console().expect("stop: boot module `root` is ", REPLY)?;
    Ok(())
}

/// Boots an image whose children cannot be started: the system ends and says
/// why.
fn fails(image: &Image, name: &str, reason: &str) -> Result<()> {
    let built = built()?;
    let mut host = built.start(image, name, &options(Size::mib(512)))?;
    let end = host.wait(REPLY)?;
    let error = end.check().err().context("the system did not fail")?.to_string();
    ensure!(error.contains(reason), "{error}");
    Ok(())
}

fn missing_system() -> Result<()> {
    fails(&built()?.nestor()?, "no-system", "there is no boot module `system`")
}

fn bad_system() -> Result<()> {
    let image = built()?.nestor()?.module("system", b"start conformance name=x memory=much --\n".to_vec());
    fails(&image, "bad-system", "line 1: memory=<bytes> is missing or no number")
}

fn missing_program() -> Result<()> {
    let system = System::default().start(Start::new("nothing", "x", Size::mib(8))?);
    fails(&built()?.nestor()?.system(&system), "no-program", "there is no boot module `program nothing`")
}

fn damaged_program() -> Result<()> {
    let built = built()?;
    let system = System::default().start(Start::new("half", "x", Size::mib(8))?);
    let image = built.nestor()?.program("half", half(built, "conformance")?).system(&system);
    fails(&image, "half-program", "x: ")
}

fn missing_file() -> Result<()> {
    let system = System::default().start(Start::new("conformance", "x", Size::mib(8))?.file("nothing")?);
    fails(&built()?.nestor()?.system(&system), "no-file", "there is no boot module `file nothing`")
}

fn too_little_for_a_child() -> Result<()> {
    let system = System::default().start(Start::new("conformance", "x", Size::mib(4096))?);
    fails(&built()?.nestor()?.system(&system), "large-child", "there are no 4096 MiB of contiguous memory left")
}

// Kernels and an initrd that the tool would not have let pass: the machine nester looks, too.

/// Boots a machine with 32 MiB from `kernel` and `initrd`; its nester refuses
/// them for `reason`.
fn refuses(name: &str, kernel: Vec<u8>, initrd: Vec<u8>, reason: &str) -> Result<()> {
    let built = built()?;
    let linux = Start::linux("linux", Size::mib(32), "vmlinuz", Some("initrd"), "quiet")?;
    let image = built.nestor()?.file("vmlinuz", kernel).file("initrd", initrd);
    let mut host = built.start(&image.system(&System::default().start(linux)), name, &options(Size::mib(512)))?;
    host.console().expect(&format!("[linux  ] {reason}"), REPLY)?;
    let end = host.wait(REPLY)?;
    let error = end.check().err().context("the system did not fail")?.to_string();
    ensure!(error.contains("linux: failed"), "{error}");
    Ok(())
}

fn damaged_linux() -> Result<()> {
    refuses("text-linux", vec![b'x'; 70_000], vec![0; 512], "the kernel is not a Linux bzImage")
}

fn truncated_linux() -> Result<()> {
    let mut kernel = cloud_kernel()?;
    kernel.truncate(kernel.len() / 2);
    refuses("half-linux", kernel, vec![0; 512], "the kernel is truncated: ")
}

fn large_initrd() -> Result<()> {
    let mut kernel = cloud_kernel()?;
    // So that the kernel itself fits (field init_size): 16 MiB from 16 MiB on.
    kernel[0x260..0x264].copy_from_slice(&(16u32 << 20).to_le_bytes());
    refuses("large-initrd", kernel, vec![0; 33 << 20], "the initial RAM disk does not fit: ")
}

fn cloud_kernel() -> Result<Vec<u8>> {
    let path = guest::kernel(&built()?.workspace, Flavour::Cloud)?;
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
