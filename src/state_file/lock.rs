//! The lock next to the file, which keeps two gateways from writing the same one.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::files::{NO_LINKS, beside, close_to_others};
use super::{StateFileError, failed, unwritable};

/// Held for as long as this lives; `None` while the lock could not be taken again.
#[derive(Debug)]
pub(super) struct Lock(Option<File>);

impl Lock {
    /// Takes the lock of the file at this path.
    pub(super) fn take(path: &Path) -> Result<Self, StateFileError> {
        locked(path).map(|lock| Self(Some(lock)))
    }

    /// Takes the lock again if somebody has removed its file, alone or with its directory: otherwise another gateway
    /// could write here as well.
    pub(super) fn keep(&mut self, path: &Path) -> io::Result<()> {
        let same_file = |one: Metadata, other: Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        let is_in_place =
            |lock: &File| Ok::<_, io::Error>(same_file(lock.metadata()?, fs::symlink_metadata(lock_path(path))?));
        if !self.0.as_ref().is_some_and(|lock| is_in_place(lock).unwrap_or(false)) {
            self.0 = None;
            self.0 = Some(locked(path).map_err(io::Error::other)?);
        }
        Ok(())
    }
}

/// Where the lock of the file at this path is.
pub(super) fn lock_path(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

fn locked(path: &Path) -> Result<File, StateFileError> {
    let lock_path = lock_path(path);
    // Anyone who may read it could hold the lock.
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).custom_flags(NO_LINKS).open(&lock_path);
    let lock = lock.and_then(|lock| close_to_others(&lock).map(|()| lock));
    let lock = lock.map_err(|source| unwritable(path, &lock_path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StateFileError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(&lock_path, "can't be locked", source)),
    }
}
