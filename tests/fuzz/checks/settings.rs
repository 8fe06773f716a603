//! Settings: whatever stands in a file and in variables, reading it ends with settings or with faults, and both can be told.

use std::collections::BTreeMap;
use std::io::Write;

use qcc_gateway::cli;
use qcc_gateway::settings::{self, Source};

/// Up to the first NUL the bytes are the file; behind it stand variables, set apart by further ones.
pub(crate) fn check(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(parts.next().unwrap_or_default()).unwrap();
    let text = |part| String::from_utf8_lossy(part).into_owned();
    let variables: BTreeMap<String, String> = parts
        .filter_map(|part| text(part).split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    let source = Source { place: Some(file.path().to_owned()), environment: None, variables };
    let loaded = settings::load(&source);
    let checked = cli::check(&loaded);
    match &loaded {
        Ok(loaded) => assert!(loaded.topology.iter().count() > 0 && checked.status == 0, "{}", checked.errors),
        Err(faults) => assert!(!faults.to_string().is_empty() && checked.status == 2),
    }
    let _printed = format!("{loaded:?}");
}
