//! Files of `/proc` and `/sys` that are read again and again without allocating.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Longest part of a file that is read, in bytes.
const MOST: usize = 4096;

/// A file that is opened once.
#[derive(Debug)]
pub(super) struct ProcFile(File);

impl ProcFile {
    /// Opens `path`.
    pub(super) fn open(path: impl AsRef<Path>) -> std::io::Result<Self> {
        File::open(path).map(Self)
    }

    /// Reads its beginning as it is now and hands it to `reader`. What is not UTF-8 is cut off.
    pub(super) fn read<T>(&self, reader: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let mut buffer = [0u8; MOST];
        let length = self.0.read_at(&mut buffer, 0).ok()?;
        let bytes = &buffer[..length];
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        };
        reader(text)
    }

    /// The number that it holds.
    pub(super) fn number(&self) -> Option<u64> {
        self.read(|text| text.trim().parse().ok())
    }
}
