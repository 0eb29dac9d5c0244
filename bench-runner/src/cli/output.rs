//! Standard output, whose reader may go away before the end (`bench-runner models | head`).

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use serde::Serialize;

use super::CliError;

/// Prints one line, or nothing where nobody reads any more: that is no failure of the work.
pub(super) fn line(text: impl Display) -> Result<(), CliError> {
    line_is_read(text).map(drop)
}

/// The same, saying whether somebody reads: where nobody does, whoever would go on for ever can end.
pub(super) fn line_is_read(text: impl Display) -> Result<bool, CliError> {
    write_line(&mut std::io::stdout().lock(), text)
}

/// Prints a document as indented JSON.
pub(super) fn json(document: &impl Serialize) -> Result<(), CliError> {
    line(serde_json::to_string_pretty(document).map_err(CliError::work)?)
}

fn write_line(out: &mut impl Write, text: impl Display) -> Result<bool, CliError> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::Work(format!("standard output: {error}"))),
        Ok(()) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that is gone, or a disk that is full.
    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_reader_that_went_away_is_no_failure() {
        assert!(!write_line(&mut Failing(ErrorKind::BrokenPipe), "text").unwrap());
        assert!(write_line(&mut Vec::new(), "text").unwrap());
        let error = write_line(&mut Failing(ErrorKind::StorageFull), "text").unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().starts_with("standard output: "), "{error}");
    }
}
