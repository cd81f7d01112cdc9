//! The boot image: a hybrid ISO for BIOS and UEFI machines, made with
//! `grub-mkrescue`, whose GRUB starts either Nestor with its boot modules
//! (multiboot2) or, for comparison, a Linux kernel directly.

use crate::binaries::Binaries;
use crate::failure::{Failure, FailureKind, OrFailure};
use crate::progress;
use crate::size::Size;
use crate::system::System;
use crate::workspace;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// What a file in the image holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// A copy of this file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl From<&Path> for Content {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A boot module: what it holds, and the string that tells its purpose.
#[derive(Clone, Debug)]
struct Module {
    string: String,
    content: Content,
}

/// What GRUB is to start.
#[derive(Clone, Debug)]
enum Payload {
    Multiboot { monitor: Content, modules: Vec<Module> },
    Linux { kernel: Content, initrd: Option<Content>, append: String },
}

/// An image to be made.
#[derive(Clone, Debug)]
pub struct Image {
    payload: Payload,
}

impl Image {
    /// An image that boots the monitor `monitor`, with no modules yet.
    pub fn new(monitor: impl Into<Content>) -> Self {
        Self { payload: Payload::Multiboot { monitor: monitor.into(), modules: Vec::new() } }
    }

    /// An image with the monitor, the kernel and the root nester.
    pub fn nestor(binaries: &Binaries) -> Result<Self> {
        Ok(Self::new(binaries.get("hypervisor")?)
            .module("kernel", binaries.get("guest-kernel")?)
            .module("root", binaries.get("root")?))
    }

    /// An image that boots a Linux kernel directly, without Nestor.
    pub fn linux(kernel: impl Into<Content>, initrd: Option<impl Into<Content>>, append: &str) -> Self {
        Self {
            payload: Payload::Linux {
                kernel: kernel.into(),
                initrd: initrd.map(Into::into),
                append: append.to_owned(),
            },
        }
    }

    /// Adds a boot module with any string. A Linux image has no modules, so
    /// there this does nothing.
    pub fn module(mut self, string: &str, content: impl Into<Content>) -> Self {
        if let Payload::Multiboot { modules, .. } = &mut self.payload {
            modules.push(Module { string: string.to_owned(), content: content.into() });
        }
        self
    }

    /// Adds a native program.
    pub fn program(self, name: &str, elf: impl Into<Content>) -> Self {
        self.module(&format!("program {name}"), elf)
    }

    /// Adds a data file.
    pub fn file(self, name: &str, content: impl Into<Content>) -> Self {
        self.module(&format!("file {name}"), content)
    }

    /// Adds the list of what the root nester starts.
    pub fn system(self, system: &System) -> Self {
        self.module("system", system.to_string().into_bytes())
    }

    /// Gives this image's file in `folder`, made unless it is there already,
    /// made from the same inputs. The file's name is `name` and a hash of the
    /// inputs, so that runs at the same time do not take each other's image;
    /// images of that name not used for a while are removed.
    pub fn cached(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let mut hasher = DefaultHasher::new();
        self.stamp()?.hash(&mut hasher);
        let iso = folder.join(format!("{name}-{:016x}.iso", hasher.finish()));
        if iso.exists() {
            // Marks it as used.
            fs::File::open(&iso)?.set_modified(SystemTime::now())?;
        } else {
            let step = progress::step("assembling the boot image");
            workspace::complete(&iso, |partial| self.assemble(partial))?;
            step.done(Size(fs::metadata(&iso)?.len()));
        }
        remove_unused(folder, name);
        Ok(iso)
    }

    /// Makes the image at `iso`.
    pub fn assemble(&self, iso: &Path) -> Result<()> {
        let tree = tempfile::tempdir()?;
        let grub = tree.path().join("boot/grub");
        fs::create_dir_all(&grub)?;
        fs::write(grub.join("grub.cfg"), self.grub_configuration())?;
        for (name, content) in self.files() {
            let target = tree.path().join("boot").join(name);
            match content {
                Content::File(path) => {
                    fs::copy(path, &target).map(drop).with_context(|| format!("cannot copy {}", path.display()))?
                }
                Content::Bytes(bytes) => fs::write(&target, bytes)?,
            }
        }
        let output = Command::new("grub-mkrescue")
            .arg("-o")
            .arg(iso)
            .arg(tree.path())
            .stdin(Stdio::null())
            .output()
            .or_failure(FailureKind::Build, "grub-mkrescue")?;
        if output.status.success() && iso.exists() {
            Ok(())
        } else {
            Err(Failure::error(
                FailureKind::Build,
                format!("grub-mkrescue failed: {}", String::from_utf8_lossy(&output.stderr).trim()),
            ))
        }
    }

    /// Every file, with its name in `/boot`.
    fn files(&self) -> Vec<(String, &Content)> {
        match &self.payload {
            Payload::Multiboot { monitor, modules } => {
                let modules = modules.iter().enumerate();
                std::iter::once(("hypervisor".to_owned(), monitor))
                    .chain(modules.map(|(n, module)| (format!("module{n}"), &module.content)))
                    .collect()
            }
            Payload::Linux { kernel, initrd, .. } => std::iter::once(("vmlinuz".to_owned(), kernel))
                .chain(initrd.iter().map(|initrd| ("initrd".to_owned(), initrd)))
                .collect(),
        }
    }

    /// GRUB's script. On BIOS machines the screen stays in text mode: Bochs's
    /// `term` display stops the emulator when a graphics mode is set.
    fn grub_configuration(&self) -> String {
        let mut text = String::from(
            "set timeout=0\n\
             if serial --unit=0 --speed=115200; then\n\
             \x20 terminal_input serial console\n\
             \x20 terminal_output serial console\n\
             fi\n\
             if [ \"$grub_platform\" = efi ]; then insmod all_video; fi\n",
        );
        let mut line = |line: std::fmt::Arguments<'_>| {
            writeln!(text, "{line}").expect("writing to a string succeeds");
        };
        match &self.payload {
            Payload::Multiboot { modules, .. } => {
                line(format_args!("multiboot2 /boot/hypervisor"));
                for (n, module) in modules.iter().enumerate() {
                    let string = quote_words(&module.string);
                    line(format_args!("module2 /boot/module{n} {string}"));
                }
            }
            Payload::Linux { initrd, append, .. } => {
                line(format_args!("linux /boot/vmlinuz {}", quote_words(append)));
                if initrd.is_some() {
                    line(format_args!("initrd /boot/initrd"));
                }
            }
        }
        // Here, because `multiboot2` sets it to what the header asks for.
        line(format_args!("if [ \"$grub_platform\" = pc ]; then set gfxpayload=text; fi"));
        line(format_args!("boot"));
        text
    }

    /// Identifies the inputs: the configuration, and for every file its path,
    /// size and time, or its contents' hash.
    fn stamp(&self) -> Result<String> {
        let mut stamp = self.grub_configuration();
        for (name, content) in self.files() {
            let identity = match content {
                Content::File(path) => {
                    let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
                    let modified = metadata.modified()?;
                    format!("{} {} {modified:?}", path.display(), metadata.len())
                }
                Content::Bytes(bytes) => {
                    let mut hasher = DefaultHasher::new();
                    bytes.hash(&mut hasher);
                    format!("{} bytes {:016x}", bytes.len(), hasher.finish())
                }
            };
            writeln!(stamp, "# {name}: {identity}")?;
        }
        Ok(stamp)
    }
}

/// Removes images called `name` that were last used long enough ago for no
/// host machine to be just starting from them.
fn remove_unused(folder: &Path, name: &str) {
    const LONG_AGO: Duration = Duration::from_secs(3600);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let hash = file_name
            .to_str()
            .and_then(|text| text.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".iso"))
            .filter(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LONG_AGO));
        if hash.is_some() && is_old {
            // Another run may have removed it just now.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Quotes each word for GRUB's script language, where `$`, `;`, braces and
/// quotation marks have a meaning outside single quotation marks.
fn quote_words(text: &str) -> String {
    text.split_whitespace().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiboot_configuration() {
        let image = Image::new(b"monitor".to_vec())
            .module("kernel", b"k".to_vec())
            .program("machine", b"m".to_vec())
            .file("vmlinuz", b"v".to_vec());
        let text = image.grub_configuration();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            &lines[lines.len() - 6..lines.len() - 2],
            [
                "multiboot2 /boot/hypervisor",
                "module2 /boot/module0 'kernel'",
                "module2 /boot/module1 'program' 'machine'",
                "module2 /boot/module2 'file' 'vmlinuz'",
            ]
        );
    }

    #[test]
    fn linux_configuration_is_quoted() {
        let image = Image::linux(vec![1], None::<Vec<u8>>, "console=ttyS0 x=$(a);'b'");
        let text = image.grub_configuration();
        assert!(text.contains("linux /boot/vmlinuz 'console=ttyS0' 'x=$(a);'\\''b'\\'''\n"));
        assert!(!text.contains("initrd"));
    }

    #[test]
    fn only_old_images_of_the_name_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, age: u64| {
            let path = folder.path().join(name);
            let file = fs::File::create(&path).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age);
            file.set_modified(time).unwrap();
            path
        };
        let old = make("nestor-0123456789abcdef.iso", 7200);
        let recent = make("nestor-0123456789abcde0.iso", 60);
        let other = make("nestor-bench-0123456789abcdef.iso", 7200);
        remove_unused(folder.path(), "nestor");
        assert!(!old.exists() && recent.exists() && other.exists());
    }

    #[test]
    fn the_stamp_follows_the_inputs() {
        let one = Image::new(vec![1]).stamp().unwrap();
        assert_eq!(one, Image::new(vec![1]).stamp().unwrap());
        assert_ne!(one, Image::new(vec![2]).stamp().unwrap());
        let with_module = Image::new(vec![1]).module("kernel", vec![2]);
        assert_ne!(one, with_module.stamp().unwrap());
        assert!(Image::new(Path::new("/nonexistent")).stamp().is_err());
    }
}
