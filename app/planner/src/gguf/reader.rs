//! Reads little-endian values from the prefix of a file.

use super::error::HeaderError;

/// A position in a prefix.
pub(crate) struct Reader<'a> {
    prefix: &'a [u8],
    file_len: u64,
    position: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(prefix: &'a [u8], file_len: u64) -> Self {
        // A prefix longer than the file is a caller's slip; the file's length is what counts.
        let prefix = usize::try_from(file_len).ok().and_then(|n| prefix.get(..n)).unwrap_or(prefix);
        Self { prefix, file_len, position: 0 }
    }

    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// The next `n` bytes.
    pub(crate) fn bytes(&mut self, n: u64, what: &'static str) -> Result<&'a [u8], HeaderError> {
        let end = self.position.checked_add(n).filter(|end| *end <= self.file_len).ok_or(
            HeaderError::Truncated { what, needed: self.position.saturating_add(n), file_len: self.file_len },
        )?;
        let range = usize::try_from(self.position).ok().zip(usize::try_from(end).ok());
        let found = range.and_then(|(from, to)| self.prefix.get(from..to));
        match found {
            Some(bytes) => {
                self.position = end;
                Ok(bytes)
            }
            None => Err(HeaderError::NeedMore { bytes: end }),
        }
    }

    pub(crate) fn skip(&mut self, n: u64, what: &'static str) -> Result<(), HeaderError> {
        self.bytes(n, what).map(|_| ())
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], HeaderError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64, what)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, HeaderError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, HeaderError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A text with its length before it.
    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, HeaderError> {
        let length = self.u64(what)?;
        let bytes = self.bytes(length, what)?;
        String::from_utf8(bytes.to_vec())
            .map_err(|_| HeaderError::Lies { what: what.to_owned(), problem: "is not UTF-8".into() })
    }

    /// Checks that `count` things of at least `least` bytes each can be in what is left of the file.
    pub(crate) fn claim(&self, what: &str, count: u64, least: u64) -> Result<(), HeaderError> {
        let left = self.file_len.saturating_sub(self.position);
        if count.checked_mul(least).is_some_and(|needed| needed <= left) {
            return Ok(());
        }
        Err(HeaderError::Lies {
            what: what.to_owned(),
            problem: format!("claims {count} entries, more than the {left} bytes that follow can hold"),
        })
    }
}
