//! The file in which standing outlives a restart. It is replaced whole, by a rename, so that a reader finds either the
//! old one or the new one. The previous file stays next to it, in case the present one is damaged nevertheless.

mod files;
mod format;
mod lock;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use files::obstacle;

use crate::domain::memory::{Image, Memory, Salt};
use files::{beside, copy, create, resolved, sync_directory};
use format::{FORMAT, Found, read, text_of};
use lock::Lock;

/// Why the gateway can't start with its state file.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// The file, or one that belongs to it, can't be read, written or locked.
    #[error("{path}: {doing}: {source}; see state.file", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is no place for it.
    #[error("{path}: can't be written: {obstacle}; see state.file", path = path.display())]
    NoPlace {
        /// The file.
        path: PathBuf,
        /// What is in the way, and what to do about it.
        obstacle: String,
    },
    /// Another process uses it.
    #[error("{path}: another gateway uses this state file; each needs one of its own, see state.file", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A later version has written it.
    #[error(
        "{path}: this state file was written by a later version (format {format}, this one reads {FORMAT}); go back to that \
         version, or remove the file and lose what it knows",
        path = path.display()
    )]
    Later {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

/// A state file that only this process writes.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Whether the present file may replace the previous one.
    is_sound: bool,
    lock: Lock,
}

impl StateFile {
    /// Opens the file, which need not exist yet, and reads what is known from before. `salt` is for a file that starts
    /// anew.
    ///
    /// A damaged file is copied, which the log reports. Then the previous one counts; if that is damaged too, it is
    /// unknown which endpoints were isolated.
    ///
    /// # Errors
    ///
    /// [`StateFileError`]: without a place to write to, or next to another gateway, the promise could not be kept.
    pub fn open(path: &Path, salt: Salt) -> Result<(Self, Memory), StateFileError> {
        let path = &resolved(path);
        let lock = Lock::take(path)?;
        let found = read(path)?;
        let is_sound = matches!(found, Found::Image(_));
        let memory = match found {
            Found::Image(image) => Memory::Kept(image),
            Found::Nothing => Memory::Fresh(salt),
            Found::Damaged => {
                let aside = beside(path, ".damaged");
                // It stays in place until there is a new one: a missing file would mean that nothing was known.
                copy(path, &aside).map_err(|source| failed(&aside, "can't be written", source))?;
                let previous = beside(path, ".previous");
                if let Found::Image(image) = read(&previous)? {
                    log::error!(
                        "the state file {} is damaged; there is a copy as {}; the one before it counts, and whoever is not \
                         isolated by that has to pass a verification before it is used",
                        path.display(),
                        aside.display()
                    );
                    Memory::Outdated(image)
                } else {
                    log::error!(
                        "the state file {} is damaged, and there is no sound one before it; there is a copy as {}, and every \
                         endpoint has to pass a verification before it is used",
                        path.display(),
                        aside.display()
                    );
                    Memory::Lost(salt)
                }
            }
        };
        let state_file = Self { path: path.to_owned(), is_sound, lock };
        state_file.try_to_write()?;
        Ok((state_file, memory))
    }

    /// Replaces the file. When this returns, the new one is on the disk.
    ///
    /// # Errors
    ///
    /// The system's error, or that another gateway uses the file by now; then the file is unchanged.
    pub fn write(&mut self, image: &Image) -> io::Result<()> {
        self.lock.keep(&self.path)?;
        let text = text_of(image)?;
        let new = beside(&self.path, ".new");
        let mut file = create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        if self.is_sound {
            self.keep_previous()?;
        }
        fs::rename(&new, &self.path)?;
        self.is_sound = true;
        // The rename itself lasts only once the directory is written.
        sync_directory(&self.path)
    }

    /// Makes the present file the previous one, while it also stays in its place.
    fn keep_previous(&self) -> io::Result<()> {
        let (previous, link) = (beside(&self.path, ".previous"), beside(&self.path, ".previous.new"));
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // If the file system has no links, a copy will do.
        match fs::hard_link(&self.path, &link).or_else(|_| copy(&self.path, &link)) {
            // Somebody has removed it: there is nothing to keep, and all the more to write.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            linked => linked.and_then(|()| fs::rename(&link, &previous)),
        }
    }

    /// Finds out at the start, not at the first isolation, whether anything can be written.
    fn try_to_write(&self) -> Result<(), StateFileError> {
        let new = beside(&self.path, ".new");
        let written = create(&new).and_then(|mut file| file.write_all(b"\n")).and_then(|()| fs::remove_file(&new));
        written.map_err(|source| unwritable(&self.path, &new, source))
    }
}

fn failed(path: &Path, doing: &'static str, source: io::Error) -> StateFileError {
    StateFileError::Io { path: path.to_owned(), doing, source }
}

/// The reason why nothing can be written to `beside`, which belongs to the state file at this path.
fn unwritable(path: &Path, beside: &Path, source: io::Error) -> StateFileError {
    match obstacle(path) {
        Some(obstacle) => StateFileError::NoPlace { path: path.to_owned(), obstacle },
        None => failed(beside, "can't be written", source),
    }
}

#[cfg(test)]
mod tests;
