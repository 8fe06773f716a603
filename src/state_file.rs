//! The file in which standing outlives a restart. It is replaced whole, by a rename, so that whoever reads it finds either the
//! old one or the new one; beside it stays the one before, for the case that it is damaged all the same.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use crate::domain::memory::{Image, Memory, Salt};

/// How many links are followed, as by the system.
const MOST_LINKS: usize = 40;
/// The form of the file. A field that is added makes no new one: an earlier version passes over what it does not know. One that gets another
/// name, or goes, does: it would be taken for one that says nothing.
const FORMAT: u32 = 1;

/// Why the gateway can't start with its state file.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// It, or what belongs to it, can't be read, written or locked.
    #[error("{path}: {doing}: {source}; see state.file", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
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
        /// Its form.
        format: u32,
    },
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    /// Of the text of `state`.
    sha256: String,
    state: Box<RawValue>,
}

/// What was found where a file should be.
#[derive(Debug)]
enum Found {
    Nothing,
    Image(Box<Image>),
    Damaged,
}

/// A state file that this process alone writes.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Whether the file as it is now may take the place of the one before.
    is_sound: bool,
    /// Held for as long as this lives, but while nothing can be written.
    lock: Option<File>,
}

impl StateFile {
    /// Opens the file, which need not be there yet, and reads what is known of the time before. `salt` is for a file that
    /// begins anew.
    ///
    /// Of a damaged file a copy is kept, and the log tells of it. Then the one before it counts, and if that is damaged, too, nobody
    /// can say who was isolated.
    ///
    /// # Errors
    ///
    /// [`StateFileError`]: without a place to write to, or beside another gateway, the promise could not be kept.
    pub fn open(path: &Path, salt: Salt) -> Result<(Self, Memory), StateFileError> {
        let path = &resolved(path);
        let lock = lock(path)?;
        let found = read(path)?;
        let is_sound = matches!(found, Found::Image(_));
        let memory = match found {
            Found::Image(image) => Memory::Kept(image),
            Found::Nothing => Memory::Fresh(salt),
            Found::Damaged => {
                let aside = beside(path, ".damaged");
                // It stays where it is until there is a new one: a missing file would mean that nothing was known.
                fs::copy(path, &aside).map_err(|source| failed(&aside, "can't be written", source))?;
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
        let state_file = Self { path: path.to_owned(), is_sound, lock: Some(lock) };
        state_file.try_to_write()?;
        Ok((state_file, memory))
    }

    /// Replaces the file. When this returns the new one is on the disk.
    ///
    /// # Errors
    ///
    /// What the system said, or that another gateway uses the file by now; then it is as it was.
    pub fn write(&mut self, image: &Image) -> io::Result<()> {
        self.keep_lock()?;
        let state = to_raw_value(image)?;
        let sha256 = hex::encode(Sha256::digest(state.get()));
        let text = serde_json::to_vec(&Envelope { format: FORMAT, sha256, state })?;
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

    /// Takes the lock again where somebody has removed it, alone or with its directory: a next gateway would write here as well.
    fn keep_lock(&mut self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let same_file = |one: Metadata, other: Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        let is_in_place =
            |lock: &File| Ok::<_, io::Error>(same_file(lock.metadata()?, fs::metadata(lock_path(&self.path))?));
        if !self.lock.as_ref().is_some_and(|lock| is_in_place(lock).unwrap_or(false)) {
            self.lock = None;
            self.lock = Some(lock(&self.path).map_err(io::Error::other)?);
        }
        Ok(())
    }

    /// Makes the present file the one before, while it stays in its place as well.
    fn keep_previous(&self) -> io::Result<()> {
        let (previous, link) = (beside(&self.path, ".previous"), beside(&self.path, ".previous.new"));
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Where the file system knows no links a copy does.
        match fs::hard_link(&self.path, &link).or_else(|_| fs::copy(&self.path, &link).map(drop)) {
            // Somebody has removed it: there is nothing to keep, and all the more to write.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            linked => linked.and_then(|()| fs::rename(&link, &previous)),
        }
    }

    /// Finds out at the start, not at the first isolation, that nothing can be written.
    fn try_to_write(&self) -> Result<(), StateFileError> {
        let new = beside(&self.path, ".new");
        let written = create(&new).and_then(|mut file| file.write_all(b"\n")).and_then(|()| fs::remove_file(&new));
        written.map_err(|source| failed(&new, "can't be written", source))
    }
}

/// Why no file could be written at this path by the user that this process runs as; none where it could be, as far as that can be
/// seen without writing there.
pub fn obstacle(path: &Path) -> Option<String> {
    let path = resolved(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let told = |why: &dyn Display| Some(format!("the directory {}: {why}", directory.display()));
    match fs::metadata(directory) {
        Err(error) => return told(&error),
        Ok(found) if !found.is_dir() => return told(&"it is none"),
        Ok(_) => {}
    }
    match accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Err(error @ (Errno::ACCESS | Errno::ROFS)) => told(&io::Error::from(error)),
        // Where the system does not say it there is nothing to tell.
        Ok(()) | Err(_) => None,
    }
}

/// The file that a link leads to, be it there or not: that is the one that is replaced and locked.
fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or_else(|| Path::new("")).join(target);
    }
    path
}

fn lock_path(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

fn lock(path: &Path) -> Result<File, StateFileError> {
    let lock_path = lock_path(path);
    // Whoever may read it could hold the lock.
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
    let lock = lock.and_then(|lock| close_to_others(&lock).map(|()| lock));
    let lock = lock.map_err(|source| failed(&lock_path, "can't be written", source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StateFileError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(&lock_path, "can't be locked", source)),
    }
}

fn read(path: &Path) -> Result<Found, StateFileError> {
    // To open a pipe, or to read a device, might never end.
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

/// Opens a file anew that nobody else may read: it tells which endpoints there are, and what failed. No link to another file is
/// followed, and what stands there already becomes as a new one would be.
fn create(path: &Path) -> io::Result<File> {
    let no_links = OFlags::NOFOLLOW.bits().cast_signed();
    let file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).custom_flags(no_links).open(path)?;
    close_to_others(&file)?;
    Ok(file)
}

/// Lets nobody else read a file that was there before. Not every file system can do that.
fn close_to_others(file: &File) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).ok();
    }
    Ok(())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// A file beside another one, by a further ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn failed(path: &Path, doing: &'static str, source: io::Error) -> StateFileError {
    StateFileError::Io { path: path.to_owned(), doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EndpointId;

    #[test]
    fn what_would_keep_it_from_being_written_is_seen_without_writing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        assert_eq!(obstacle(&at("state.json")), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
        for (name, told) in [("nowhere/state.json", "nowhere: No such file"), ("file/state.json", "file: ")] {
            let found = obstacle(&at(name)).unwrap();
            assert!(found.contains(told), "{found}");
        }
        std::os::unix::fs::symlink(at("nowhere/state.json"), at("link")).unwrap();
        assert!(obstacle(&at("link")).unwrap().contains("nowhere: "), "a link is followed");
        assert_eq!(obstacle(Path::new("state.json")), None, "here");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
        // Where the tests run as one who may do all, nothing is in the way.
        let is_denied = File::create(at("probe")).is_err();
        assert_eq!(obstacle(&at("state.json")).is_some(), is_denied);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    }

    const SALT: Salt = Salt::new([7; 16]);

    fn image(id: &str) -> Image {
        Image { salt: SALT, switched_off: vec![EndpointId::new(id).unwrap()], ..Image::default() }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        (folder, path)
    }

    /// What a process finds that starts now.
    fn found(path: &Path) -> Memory {
        StateFile::open(path, SALT).unwrap().1
    }

    #[test]
    fn what_was_written_last_is_found_by_the_next_process() {
        let (_folder, path) = folder();
        let (mut file, memory) = StateFile::open(&path, SALT).unwrap();
        assert_eq!(memory, Memory::Fresh(SALT));
        file.write(&image("a")).unwrap();
        file.write(&image("b")).unwrap();
        drop(file);
        assert_eq!(found(&path), Memory::Kept(Box::new(image("b"))));
    }

    #[test]
    fn of_a_damaged_file_the_one_before_counts() {
        for damage in [&b""[..], b"{", b"not JSON", br#"{"format":1,"sha256":"00","state":{}}"#, &[0xff; 64]] {
            let (_folder, path) = folder();
            let (mut file, _) = StateFile::open(&path, SALT).unwrap();
            file.write(&image("a")).unwrap();
            file.write(&image("b")).unwrap();
            drop(file);
            fs::write(&path, damage).unwrap();
            let (mut file, memory) = StateFile::open(&path, SALT).unwrap();
            assert_eq!(memory, Memory::Outdated(Box::new(image("a"))));
            assert_eq!(fs::read(beside(&path, ".damaged")).unwrap(), damage, "nothing is lost");
            // A damaged one never takes the place of the one before.
            file.write(&image("c")).unwrap();
            drop(file);
            fs::write(&path, "damaged again").unwrap();
            assert_eq!(found(&path), Memory::Outdated(Box::new(image("a"))));
        }
    }

    /// Found from outside: it counted as damaged, so that behind a version that had been taken back an admin's switch was forgotten.
    #[test]
    fn what_a_later_version_has_added_is_passed_over() {
        let (_folder, path) = folder();
        let mut state = serde_json::to_value(image("a")).unwrap();
        state["later"] = true.into();
        let state = to_raw_value(&state).unwrap();
        let sha256 = hex::encode(Sha256::digest(state.get()));
        fs::write(&path, serde_json::to_vec(&Envelope { format: FORMAT, sha256, state }).unwrap()).unwrap();
        assert_eq!(found(&path), Memory::Kept(Box::new(image("a"))));
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let (folder, path) = folder();
        fs::create_dir(&path).unwrap();
        for path in [path, "/dev/null".into()] {
            let refused = read(&path).err().unwrap().to_string();
            assert!(refused.contains("it is no regular file"), "{refused}");
        }
        drop(folder);
    }

    #[test]
    fn a_link_that_somebody_else_has_made_is_not_followed_and_nobody_else_may_read() {
        use std::os::unix::fs::symlink;
        let (folder, path) = folder();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "theirs").unwrap();
        symlink(&elsewhere, beside(&path, ".new")).unwrap();
        let refused = StateFile::open(&path, SALT).unwrap_err().to_string();
        assert!(refused.contains(".new: can't be written"), "{refused}");
        fs::remove_file(beside(&path, ".new")).unwrap();
        fs::set_permissions(lock_path(&path), Permissions::from_mode(0o644)).unwrap();
        let (mut file, _) = StateFile::open(&path, SALT).unwrap();
        fs::write(beside(&path, ".new"), "left over, and open to all").unwrap();
        fs::set_permissions(beside(&path, ".new"), Permissions::from_mode(0o666)).unwrap();
        file.write(&image("a")).unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), b"theirs");
        for own in [path.clone(), lock_path(&path)] {
            assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o600, "{}", own.display());
        }
    }

    #[test]
    fn a_single_flipped_bit_is_seen() {
        let (_folder, path) = folder();
        StateFile::open(&path, SALT).unwrap().0.write(&image("a")).unwrap();
        let sound = fs::read(&path).unwrap();
        for position in (0..sound.len()).step_by(7) {
            let mut damaged = sound.clone();
            damaged[position] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let memory = StateFile::open(&path, SALT);
            let told = matches!(memory, Ok((_, Memory::Lost(_))) | Err(StateFileError::Later { .. }));
            assert!(told, "bit flipped in byte {position}: {memory:?}");
        }
    }

    #[test]
    fn with_no_sound_copy_left_nobody_knows_who_was_isolated() {
        let (_folder, path) = folder();
        fs::write(&path, "damaged").unwrap();
        fs::write(beside(&path, ".previous"), "damaged as well").unwrap();
        assert_eq!(found(&path), Memory::Lost(SALT));
    }

    #[test]
    fn a_write_that_was_cut_short_leaves_the_file_as_it_was() {
        let (_folder, path) = folder();
        StateFile::open(&path, SALT).unwrap().0.write(&image("a")).unwrap();
        fs::write(beside(&path, ".new"), b"{\"format\":1,\"sha2").unwrap();
        fs::write(beside(&path, ".previous.new"), b"").unwrap();
        assert_eq!(found(&path), Memory::Kept(Box::new(image("a"))));
    }

    #[test]
    fn a_file_that_somebody_removes_meanwhile_is_there_again_with_the_next_move() {
        let (_folder, path) = folder();
        let (mut file, _) = StateFile::open(&path, SALT).unwrap();
        file.write(&image("a")).unwrap();
        file.write(&image("b")).unwrap();
        for removed in [path.clone(), beside(&path, ".previous")] {
            fs::remove_file(removed).unwrap();
        }
        file.write(&image("c")).unwrap();
        file.write(&image("d")).unwrap();
        drop(file);
        assert_eq!(found(&path), Memory::Kept(Box::new(image("d"))));
    }

    #[test]
    fn two_gateways_never_write_one_file() {
        let (_folder, path) = folder();
        let first = StateFile::open(&path, SALT).unwrap();
        assert!(matches!(StateFile::open(&path, SALT), Err(StateFileError::InUse { .. })));
        drop(first);
        StateFile::open(&path, SALT).unwrap();
    }

    #[test]
    fn a_directory_that_was_away_is_written_to_again_and_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("state");
        let path = directory.join("state.json");
        fs::create_dir(&directory).unwrap();
        let (mut file, _) = StateFile::open(&path, SALT).unwrap();
        file.write(&image("a")).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        let fault = file.write(&image("b")).unwrap_err().to_string();
        assert!(fault.contains(directory.to_str().unwrap()), "{fault}");
        fs::create_dir(&directory).unwrap();
        file.write(&image("c")).unwrap();
        assert!(matches!(StateFile::open(&path, SALT), Err(StateFileError::InUse { .. })));
        drop(file);
        assert_eq!(found(&path), Memory::Kept(Box::new(image("c"))));
    }

    #[test]
    fn who_has_lost_the_file_to_another_gateway_leaves_it_alone() {
        let (_folder, path) = folder();
        let (mut first, _) = StateFile::open(&path, SALT).unwrap();
        fs::remove_file(lock_path(&path)).unwrap();
        let (mut second, _) = StateFile::open(&path, SALT).unwrap();
        second.write(&image("b")).unwrap();
        let fault = first.write(&image("a")).unwrap_err().to_string();
        assert!(fault.contains("another gateway uses this state file"), "{fault}");
        second.write(&image("c")).unwrap();
        drop(second);
        first.write(&image("d")).unwrap();
        drop(first);
        assert_eq!(found(&path), Memory::Kept(Box::new(image("d"))));
    }

    #[test]
    fn a_place_that_can_not_be_written_to_and_a_later_form_are_told_at_the_start() {
        let (folder, path) = folder();
        let missing = folder.path().join("no/such/folder/state.json");
        let error = StateFile::open(&missing, SALT).unwrap_err().to_string();
        assert!(error.contains("no/such/folder") && error.contains("state.file"), "{error}");
        let state = "{}";
        let sha256 = hex::encode(Sha256::digest(state));
        fs::write(&path, format!("{{\"format\":2,\"sha256\":\"{sha256}\",\"state\":{state}}}")).unwrap();
        assert!(matches!(StateFile::open(&path, SALT), Err(StateFileError::Later { format: 2, .. })));
        assert!(path.exists(), "it is left alone");
    }

    #[test]
    fn a_link_stays_one_and_what_it_leads_to_is_replaced_and_locked() {
        let (folder, path) = folder();
        let link = folder.path().join("link.json");
        // Also before there is anything at its end.
        std::os::unix::fs::symlink("state.json", &link).unwrap();
        let (mut file, _) = StateFile::open(&link, SALT).unwrap();
        assert!(matches!(StateFile::open(&path, SALT), Err(StateFileError::InUse { .. })));
        file.write(&image("a")).unwrap();
        drop(file);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(found(&path), Memory::Kept(Box::new(image("a"))));
    }
}
