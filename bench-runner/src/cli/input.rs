//! Files that a command reads; `-` is standard input.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::CliError;

/// A readable file, opened so that a wrong name is found at once.
pub(super) struct Input {
    path: PathBuf,
    option: &'static str,
    file: Option<File>,
}

impl Input {
    /// Opens `path` for `option`.
    pub(super) fn open(path: &Path, option: &'static str) -> Result<Self, CliError> {
        let standard = path.as_os_str() == "-";
        let file = (!standard).then(|| File::open(path)).transpose();
        let file = file.map_err(|e| CliError::Input(format!("{option} {}: {e}", path.display())))?;
        if file.as_ref().is_some_and(|f| f.metadata().is_ok_and(|m| m.is_dir())) {
            return Err(CliError::Input(format!("{option} {}: is a folder; give a file", path.display())));
        }
        Ok(Self { path: path.to_owned(), option, file })
    }

    /// Its lines.
    pub(super) fn reader(&self) -> Box<dyn BufRead + '_> {
        match &self.file {
            Some(file) => Box::new(BufReader::new(file)),
            None => Box::new(std::io::stdin().lock()),
        }
    }

    /// All of it.
    pub(super) fn text(&self) -> Result<String, CliError> {
        let mut text = String::new();
        self.reader().read_to_string(&mut text).map_err(|e| self.broken(&e))?;
        Ok(text)
    }

    /// It could not be read to its end.
    pub(super) fn broken(&self, error: &std::io::Error) -> CliError {
        CliError::Input(format!("{} {}: {error}", self.option, self.path.display()))
    }
}
