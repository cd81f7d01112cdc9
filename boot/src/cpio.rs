//! Writes cpio archives in the "newc" format, the one Linux unpacks as its
//! initial file system (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//! Every entry belongs to root and has a fixed time, so equal contents give
//! equal archives.

/// File type bits of `st_mode` (inode(7)).
const DIRECTORY: u32 = 0o040000;
const REGULAR: u32 = 0o100000;
const SYMLINK: u32 = 0o120000;
const CHARACTER: u32 = 0o020000;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory.
    pub fn directory(&mut self, name: &str, permissions: u32) {
        self.entry(name, DIRECTORY | permissions, (0, 0), &[]);
    }

    /// Adds a regular file.
    pub fn file(&mut self, name: &str, permissions: u32, contents: &[u8]) {
        self.entry(name, REGULAR | permissions, (0, 0), contents);
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, name: &str, target: &str) {
        self.entry(name, SYMLINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a character device with its major and minor number.
    pub fn character_device(&mut self, name: &str, permissions: u32, device: (u32, u32)) {
        self.entry(name, CHARACTER | permissions, device, &[]);
    }

    /// Ends the archive and returns it.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(contents.len()).expect("an initrd member is below 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a file name is short");
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor,
        // rdevmajor, rdevminor, namesize, check
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(contents);
        self.align();
    }

    /// Headers and contents start at multiples of four bytes.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the archive back: (name, mode, contents) of every entry.
    fn entries(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |n: usize| {
                let at = 6 + 8 * n;
                let text = std::str::from_utf8(&bytes[at..at + 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let start = (110 + name_size).next_multiple_of(4);
            found.push((name, mode, bytes[start..start + size].to_vec()));
            bytes = &bytes[(start + size).next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn archive_reads_back() {
        let mut archive = Archive::default();
        archive.directory("bin", 0o755);
        archive.file("bin/odd", 0o755, b"12345");
        archive.symlink("bin/sh", "odd");
        archive.character_device("dev/console", 0o600, (5, 1));
        let found = entries(&archive.finish());
        assert_eq!(
            found,
            [
                ("bin".to_owned(), 0o040755, vec![]),
                ("bin/odd".to_owned(), 0o100755, b"12345".to_vec()),
                ("bin/sh".to_owned(), 0o120777, b"odd".to_vec()),
                ("dev/console".to_owned(), 0o020600, vec![]),
                ("TRAILER!!!".to_owned(), 0, vec![]),
            ]
        );
    }
}
