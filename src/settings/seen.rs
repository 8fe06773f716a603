//! What was read from the disk, so that a later reading knows whether anything has changed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Every file that a reading looked at, with the digest of its content; `None` if it could not be read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FilesSeen(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl fmt::Debug for FilesSeen {
    /// Without the digests: some files hold a secret and nothing else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FilesSeen").field(&self.0.keys().collect::<Vec<_>>()).finish()
    }
}

impl FilesSeen {
    /// Reads a file of text, and remembers what it held.
    pub(super) fn read_text(&mut self, path: &Path) -> io::Result<String> {
        let bytes = self.read(path)?;
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
    }

    /// Reads a file, and remembers what it held.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let content = std::fs::read(path);
        let digest = content.as_ref().ok().map(|bytes| Sha256::digest(bytes).into());
        self.0.insert(path.to_owned(), digest);
        content
    }

    /// Takes over what another part of the same reading has seen.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}
