//! The files next to each other: where they are, how one is made, and what prevents that.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use rustix::io::Errno;

/// How many links are followed, as by the system.
const MAX_LINKS: usize = 40;

/// Makes the system refuse to open a link: where others may write, it could lead to any of this user's files.
pub(super) const NO_LINKS: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Why this process's user could not write a file at this path; `None` if it could, as far as that can be seen without
/// writing there.
pub fn obstacle(path: &Path) -> Option<String> {
    let path = resolved(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let shown = directory.display();
    match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(format!("{shown} is missing: create the directory, writable by this user"));
        }
        Err(error) => return Some(format!("the directory {shown}: {error}")),
        Ok(found) if !found.is_dir() => return Some(format!("{shown}: it is no directory")),
        Ok(_) => {}
    }
    if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        return Some(format!("{}: it is no regular file", path.display()));
    }
    match accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Err(error @ (Errno::ACCESS | Errno::ROFS)) => {
            let error = io::Error::from(error);
            Some(format!("the directory {shown}: {error}: make it writable by this user"))
        }
        // If the system does not say so, there is nothing to report.
        Ok(()) | Err(_) => None,
    }
}

/// The file that a link leads to, whether it exists or not: that is the one that is replaced and locked.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or_else(|| Path::new("")).join(target);
    }
    path
}

/// The path of a file next to another one, with an added ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Opens an empty file that nobody else may read: it tells which endpoints there are, and what failed. No link to another
/// file is followed, and an existing file becomes like a new one.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).custom_flags(NO_LINKS).open(path)?;
    close_to_others(&file)?;
    Ok(file)
}

/// Copies a file to a new one made as by [`create`].
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    io::copy(&mut File::open(from)?, &mut create(to)?).map(drop)
}

/// Denies everybody else access to a file that existed before. Not every file system can do that.
pub(super) fn close_to_others(file: &File) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).ok();
    }
    Ok(())
}

/// Writes the directory of this file to the disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
