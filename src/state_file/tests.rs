//! The file on a real disk: what it holds for the next process, whatever happened to it meanwhile.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;

use sha2::{Digest, Sha256};

use super::lock::lock_path;
use super::*;
use crate::domain::ids::EndpointId;

#[test]
fn what_would_keep_it_from_being_written_is_seen_without_writing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "").unwrap();
    assert_eq!(obstacle(&at("state.json")), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    for (name, told) in [
        ("nowhere/state.json", "nowhere is missing: create the directory, writable by this user"),
        ("file/state.json", "file: it is no directory"),
    ] {
        let found = obstacle(&at(name)).unwrap();
        assert!(found.ends_with(told), "{found}");
        let at_start = StateFile::open(&at(name), SALT).unwrap_err().to_string();
        assert!(at_start.contains(told) && at_start.ends_with("; see state.file"), "{at_start}");
    }
    let itself = obstacle(folder.path()).unwrap();
    assert!(itself.ends_with("it is no regular file"), "{itself}");
    std::os::unix::fs::symlink(at("nowhere/state.json"), at("link")).unwrap();
    assert!(obstacle(&at("link")).unwrap().contains("nowhere is missing"), "a link is followed");
    assert_eq!(obstacle(Path::new("state.json")), None, "here");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
    // If the tests run as root, nothing is in the way.
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

/// What a process that starts now finds.
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
        // A damaged file never replaces the previous one.
        file.write(&image("c")).unwrap();
        drop(file);
        fs::write(&path, "damaged again").unwrap();
        assert_eq!(found(&path), Memory::Outdated(Box::new(image("a"))));
    }
}

/// Found from outside: it counted as damaged, so an admin's switch was forgotten after an upgrade that had been rolled
/// back.
#[test]
fn what_a_later_version_has_added_is_passed_over() {
    let (_folder, path) = folder();
    let mut state = serde_json::to_value(image("a")).unwrap();
    state["later"] = true.into();
    let state = state.to_string();
    let sha256 = hex::encode(Sha256::digest(&state));
    fs::write(&path, format!("{{\"format\":{FORMAT},\"sha256\":\"{sha256}\",\"state\":{state}}}")).unwrap();
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
    fs::write(&path, "damaged").unwrap();
    for ending in [".lock", ".damaged", ".new"] {
        symlink(&elsewhere, beside(&path, ending)).unwrap();
        let refused = StateFile::open(&path, SALT).unwrap_err().to_string();
        assert!(refused.contains(&format!("{ending}: can't be written")), "{refused}");
        fs::remove_file(beside(&path, ending)).unwrap();
    }
    fs::remove_file(&path).unwrap();
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
    // Even before the link's target exists.
    std::os::unix::fs::symlink("state.json", &link).unwrap();
    let (mut file, _) = StateFile::open(&link, SALT).unwrap();
    assert!(matches!(StateFile::open(&path, SALT), Err(StateFileError::InUse { .. })));
    file.write(&image("a")).unwrap();
    drop(file);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(found(&path), Memory::Kept(Box::new(image("a"))));
}
