use super::{Directory, ENDPOINT, sound};
use crate::settings::{Reread, look};

/// A certificate that vouches for nobody.
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIUSVx4x04NdW+RWworyIiJNsXdxiIwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAgFw0yNjExMjkwOTQxNDlaGA8yMTI2MTEwNTA5NDE0OVow
DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJmxIIGDe9Wt
W2zWZDb0AthdklRKZfGZSRIVm7CbwhZ0KsZcYpwooVYGpx6G9pP0GeFY8IDVEG/X
5XIsihSYQiejUzBRMB0GA1UdDgQWBBQn4iF2AkQCF76lQ0MpOx9Wf5YsvDAfBgNV
HSMEGDAWgBQn4iF2AkQCF76lQ0MpOx9Wf5YsvDAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCID3yvTi+cn6ZTlMWY7E0dT4IdQQPhbtS27TJAWZ1pwGG
AiBaZ5Z7sNygczV12rXohvN1a0oAnI+e0Vm1dECJxcxL5Q==
-----END CERTIFICATE-----
";
/// The port that the gateway listens on.
const PORT: u16 = 7860;
const ALICE: &str = "[clients.alice]\nkey = \"a\"\n";

#[test]
fn an_address_that_stays_open_to_others_still_wants_client_keys() {
    let running = sound(&format!("[server]\nhost = \"0.0.0.0\"\n{ALICE}{ENDPOINT}"), &[]);
    // Sound by itself, as it would listen on loopback only; but that takes a restart.
    let closed = sound(&format!("[server]\nhost = \"127.0.0.1\"\n{ENDPOINT}"), &[]);
    let faults = Reread::against(&running, closed, PORT).unwrap_err().to_string();
    assert!(faults.contains("server.host") && faults.contains("until a restart"), "{faults}");
    let with_keys = sound(&format!("[server]\nhost = \"127.0.0.1\"\n{ALICE}{ENDPOINT}"), &[]);
    let reread = Reread::against(&running, with_keys, PORT).unwrap();
    assert_eq!(reread.needs_restart, ["server.host"]);
    assert!(!reread.loaded.settings.server.host.is_loopback(), "what is in force is still known");
}

/// A regression: the endpoint was compared with the port of the new settings, and with 0 if the system had picked one.
#[test]
fn the_address_that_is_listened_on_is_no_upstream_whatever_the_settings_say_of_it() {
    let endpoint = "[endpoints.a]\nbase_url = \"http://127.0.0.1:7860\"\napi_key = \"k\"\nqueue = \"primary\"\n";
    for port in [0, 9999] {
        let running = sound(&format!("[server]\nport = 7860\n{ENDPOINT}"), &[]);
        let loops = sound(&format!("[server]\nport = {port}\n{endpoint}"), &[]);
        let faults = Reread::against(&running, loops.clone(), PORT).unwrap_err().to_string();
        assert!(faults.contains("endpoints.a.base_url") && faults.contains("own address"), "{faults}");
        assert!(Reread::against(&running, loops, 7861).is_ok(), "it listens elsewhere");
    }
}

#[test]
fn another_secret_of_the_same_form_is_a_change() {
    let with = |secrets: [&str; 3]| {
        let [token, read_token, url] = secrets;
        let admin = format!("[admin]\ntoken = \"{token}\"\nread_token = \"{read_token}\"\n");
        sound(&format!("{admin}[webhook]\nurl = \"http://127.0.0.1/{url}\"\n{ENDPOINT}"), &[])
    };
    let running = with(["a", "b", "c"]);
    for (secrets, changed) in [
        (["a", "b", "c"], vec![]),
        (["x", "b", "c"], vec!["admin.token"]),
        (["a", "x", "c"], vec!["admin.read_token"]),
        (["a", "b", "x"], vec!["webhook.url"]),
    ] {
        assert_eq!(Reread::against(&running, with(secrets), PORT).unwrap().settings, changed, "{secrets:?}");
    }
}

#[test]
fn other_authorities_in_the_same_file_are_a_change() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let with = |pem: &str| {
        std::fs::write(file.path(), pem).unwrap();
        sound(&format!("[upstream]\nca_file = {:?}\n{ENDPOINT}", file.path()), &[])
    };
    let running = with(AUTHORITY);
    for (pem, changed) in
        [(format!("# the same\n{AUTHORITY}"), vec![]), (format!("{AUTHORITY}{AUTHORITY}"), vec!["upstream.ca_file"])]
    {
        assert_eq!(Reread::against(&running, with(&pem), PORT).unwrap().settings, changed, "{pem}");
    }
}

#[test]
fn a_value_that_is_written_otherwise_is_no_change() {
    let running = sound(&format!("[breaker]\nwindow = \"60s\"\n{ENDPOINT}"), &[]);
    let same = sound(&format!("[breaker]\nwindow = \"1m\"\nfailure_rate = 0.50\n{ENDPOINT}"), &[]);
    assert_eq!(Reread::against(&running, same, PORT).unwrap().settings, [""; 0]);
}

#[test]
fn a_look_knows_whether_any_file_has_changed() {
    let directory = Directory::new(&[("clients.toml", ALICE), ("key", "k"), ("local.toml", "")]);
    let text = format!(
        "[server]\nclients_file = {:?}\n[endpoints.main]\nbase_url = \"http://127.0.0.1\"\napi_key_file = {:?}\n",
        directory.path().join("clients.toml"),
        directory.path().join("key")
    );
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("local.toml", &text);
    let seen = || look(&directory.source(&[])).files;
    let mut before = seen();
    assert_eq!(before, seen());
    for (name, content) in [
        ("clients.toml", "[clients.bob]\nkey = \"b\"\n"),
        ("key", "other"),
        ("development.toml", "[retry]\npark = \"1s\"\n"),
        ("local.toml", "not TOML"),
    ] {
        write(name, content);
        let after = seen();
        assert_ne!(before, after, "{name}");
        before = after;
    }
    assert!(!format!("{before:?}").contains("other"));
}
