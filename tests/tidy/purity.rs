//! The domain is pure: no I/O, no clock, no randomness, no concurrency, and nothing of the rest of the crate.

use std::collections::BTreeSet;

use crate::code::{paths, sources, toml_keys};

/// The libraries that only compute.
const PURE_LIBRARIES: [&str; 19] = [
    "base64",
    "bytes",
    "globset",
    "hdrhistogram",
    "hex",
    "hmac",
    "httpdate",
    "humantime",
    "lru",
    "memchr",
    "percent_encoding",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "url",
    "wide",
    "proptest",
];

/// The parts of the standard library that only compute. Of `sync` and `net` some items are not: see below.
const PURE_STD: [&str; 17] = [
    "borrow",
    "cmp",
    "collections",
    "convert",
    "error",
    "fmt",
    "hash",
    "iter",
    "mem",
    "net",
    "num",
    "ops",
    "str",
    "string",
    "sync",
    "time",
    "vec",
];

/// What reads a clock, does I/O, waits or shares what changes.
const IMPURE_WORDS: [&str; 15] = [
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "Mutex",
    "RwLock",
    "Condvar",
    "mpsc",
    "async",
    "await",
    "println",
    "eprintln",
    "thread_local",
];

/// The names of all libraries that the manifest lists, as code spells them.
fn libraries() -> BTreeSet<String> {
    let mut tables = toml_keys("Cargo.toml");
    let lists = ["dependencies", "dev-dependencies"].map(|table| tables.remove(table).unwrap_or_default());
    let names: BTreeSet<String> = lists.into_iter().flatten().map(|name| name.replace('-', "_")).collect();
    assert!(names.contains("tokio") && names.contains("awc") && names.contains("log"), "{names:?}");
    names
}

#[test]
fn the_domain_uses_no_library_that_does_more_than_compute() {
    let banned: BTreeSet<String> = libraries().into_iter().filter(|name| !PURE_LIBRARIES.contains(&&**name)).collect();
    for source in sources("src/domain") {
        for path in paths(&source.code) {
            let is_library = path.len() > 1 && banned.contains(path[0]);
            assert!(!is_library, "{}: {} is not pure", source.path, path.join("::"));
        }
        for name in &banned {
            assert!(!source.code.contains(&format!("use {name};")), "{}: {name} is not pure", source.path);
        }
    }
}

#[test]
fn the_domain_has_no_clock_no_randomness_no_threads_and_no_io() {
    for source in sources("src/domain") {
        assert!(!source.code.contains("std::{"), "{}: a path in full for each use of std", source.path);
        for path in paths(&source.code) {
            let shown = path.join("::");
            if let ["std" | "core" | "alloc", module, ..] = path.as_slice() {
                assert!(PURE_STD.contains(module), "{}: {shown} is not pure", source.path);
            }
            let impure = path.iter().find(|word| IMPURE_WORDS.contains(word));
            assert_eq!(impure, None, "{}: {shown} is not pure", source.path);
        }
    }
}

#[test]
fn the_domain_knows_nothing_of_the_rest_of_the_crate() {
    for source in sources("src/domain") {
        assert!(!source.code.contains("crate::{"), "{}: a path in full for each use of the crate", source.path);
        for path in paths(&source.code) {
            if let ["crate" | "qcc_gateway", module, ..] = path.as_slice() {
                assert_eq!(*module, "domain", "{}: {}", source.path, path.join("::"));
            }
        }
    }
}
