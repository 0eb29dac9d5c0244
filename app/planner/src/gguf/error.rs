//! What can be wrong with a file's header; shared by GGUF and safetensors.

/// Why a header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The bytes that were given end inside the header, and the file has more: read at least the first `bytes` bytes of
    /// the file and try again.
    #[error("the header goes on: read at least the first {bytes} bytes of the file")]
    NeedMore {
        /// Length of the prefix that the next attempt needs.
        bytes: u64,
    },
    /// The file ends inside the header.
    #[error("the file is cut short: {what} needs {needed} bytes, the file has {file_len}; download it again")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that the file would need to have.
        needed: u64,
        /// Bytes that it has.
        file_len: u64,
    },
    /// Another format.
    #[error("this is no {format} file: it begins with {found}, expected {expected}")]
    BadMagic {
        /// The format that was expected.
        format: &'static str,
        /// What it begins with.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A version of the format that is not known.
    #[error("version {given} of the format is unknown; accepted: {accepted}")]
    UnsupportedVersion {
        /// The version.
        given: String,
        /// What is accepted.
        accepted: &'static str,
    },
    /// A count, length, offset or dimension that cannot be true.
    #[error("the header is wrong: {what} {problem}")]
    Lies {
        /// Which part.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
}
