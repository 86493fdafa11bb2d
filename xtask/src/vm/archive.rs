//! The file system of a machine that has only just started: an archive in the
//! "newc" form of cpio (Documentation/driver-api/early-userspace/buffer-format).

/// An archive that is being written.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    n_entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;

impl Archive {
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, [0, 0], &[]);
    }

    pub(crate) fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, [0, 0], content);
    }

    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, [0, 0], content);
    }

    /// A device by its two numbers.
    pub(crate) fn device(&mut self, path: &str, numbers: [u32; 2]) {
        self.entry(path, CHARACTER_DEVICE, numbers, &[]);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, [0, 0], &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, [major, minor]: [u32; 2], content: &[u8]) {
        self.n_entries += 1;
        let n_links = if mode == FOLDER { 2 } else { 1 };
        let length = u32::try_from(content.len()).expect("files below 4 GiB");
        let path_length = u32::try_from(path.len() + 1).expect("short paths");
        self.bytes.extend(b"070701");
        let (inode, user, group, time, device, checksum) = (self.n_entries, 0, 0, 0, 0, 0);
        let numbers = [
            inode,
            mode,
            user,
            group,
            n_links,
            time,
            length,
            device,
            device,
            major,
            minor,
            path_length,
            checksum,
        ];
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(path.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Headers and contents begin at a multiple of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_header_its_path_and_its_content_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.program("init", b"abcde");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes).expect("all of it is text");
        let (first, trailer) = text.split_at(110 + 6 + 8);
        assert_eq!(
            first,
            "07070100000001000081ed00000000000000000000000100000000\
             0000000500000000000000000000000000000000\
             0000000500000000init\0\0abcde\0\0\0"
        );
        assert!(trailer.starts_with("07070100000002") && trailer.contains("TRAILER!!!\0"));
        assert_eq!(trailer.len() % 4, 0);
    }
}
