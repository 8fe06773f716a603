//! The file's format: what it holds, and how it is read.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use super::{StateFileError, failed};
use crate::domain::memory::Image;

/// The version of the format. An added field makes no new one: an earlier version ignores what it does not know. A
/// renamed or removed field does: otherwise it would be taken for one that says nothing.
pub(super) const FORMAT: u32 = 1;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    /// The digest of the text of `state`.
    sha256: String,
    state: Box<RawValue>,
}

/// What was found where a file should be.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    Image(Box<Image>),
    Damaged,
}

/// The text of the file.
pub(super) fn text_of(image: &Image) -> io::Result<Vec<u8>> {
    let state = to_raw_value(image)?;
    let sha256 = hex::encode(Sha256::digest(state.get()));
    Ok(serde_json::to_vec(&Envelope { format: FORMAT, sha256, state })?)
}

/// Reads a file, which need not exist.
pub(super) fn read(path: &Path) -> Result<Found, StateFileError> {
    // Opening a pipe, or reading a device, might never end.
    let is_regular = |found: fs::Metadata| {
        if found.is_file() { Ok(()) } else { Err(io::Error::other("it is no regular file")) }
    };
    let bytes = match fs::metadata(path).and_then(is_regular).and_then(|()| fs::read(path)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(failed(path, "can't be read", source)),
    };
    let Ok(Envelope { format, sha256, state }) = serde_json::from_slice(&bytes) else { return Ok(Found::Damaged) };
    if hex::encode(Sha256::digest(state.get())) != sha256 {
        return Ok(Found::Damaged);
    }
    match format.cmp(&FORMAT) {
        Ordering::Less => return Ok(Found::Damaged),
        Ordering::Equal => {}
        Ordering::Greater => return Err(StateFileError::Later { path: path.to_owned(), format }),
    }
    Ok(serde_json::from_str(state.get()).map_or(Found::Damaged, Found::Image))
}
