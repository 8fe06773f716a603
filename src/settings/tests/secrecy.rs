//! No secret reaches a fault, the output of `check` or a debug print.

use super::{Directory, faults_of, load};
use crate::cli::{Checked, check};

/// What every planted secret holds.
const MARK: &str = "hunter2";

#[test]
fn no_fault_shows_a_secret_whatever_is_wrong_with_it() {
    let faulty = [
        "\"hunter2\\u0007\"",
        "\"hunter2é\"",
        "[\"hunter2\"]",
        "{ a = \"hunter2\" }",
        "{ hunter = \"hunter2\\n\" }",
        "\"hunter2-x\"",
        "\" hunter2\"",
        "\"hunter2",
        "hunter2",
        "\"hunter2\"\napi_key = \"hunter2\"\nkey = \"hunter2\"\ntoken = \"hunter2\"\nread_token = \"hunter2\"",
    ];
    let tables = [
        ("endpoints.a", vec!["api_key", "api_key_env", "api_key_file", "headers", "verify_headers", "api_kye"]),
        ("clients.a", vec!["key", "key_env", "key_file", "keys_sha256", "kye"]),
        ("admin", vec!["token", "token_env", "token_file", "token_sha256"]),
        ("admin", vec!["read_token", "read_token_env", "read_token_file", "read_token_sha256"]),
        ("webhook", vec!["url", "url_env", "secret_env", "secret"]),
        ("otel", vec!["endpoint"]),
        ("nothing", vec!["key"]),
    ];
    for (table, keys) in tables {
        for key in keys {
            for value in faulty {
                let text = format!("[{table}]\n{key} = {value}\n");
                let told = faults_of(&text, &[]);
                assert!(!told.is_empty(), "{text}");
                assert!(!told.contains(MARK), "{text}\n{told}");
            }
        }
    }
}

#[test]
fn no_fault_shows_a_secret_from_a_variable_or_a_url() {
    for (name, text) in [
        ("QCC__ENDPOINTS__A__API_KEY", "hunter2\n"),
        ("QCC__ENDPOINTS__A__API_KEY_ENV", "hunter2"),
        ("QCC__ENDPOINTS__A__API_KEY_ENV", "hunter2-x"),
        ("QCC__ENDPOINTS__A__API_KYE", "hunter2"),
        ("QCC__ENDPOINTS__A__HEADERS__X", "hunter2"),
        ("QCC__ENDPOINTS__A__BASE_URL", "https://u:hunter2@[a"),
        ("QCC__ENDPOINTS__A__BASE_URL", "ftp://u:hunter2@a"),
        ("QCC__ENDPOINTS__A__BASE_URL", "https://a?key=hunter2"),
        ("QCC__ENDPOINTS__A__AUTH", "https://u:hunter2@a"),
        ("QCC__CLIENTS__A__KEY", "hunter2é"),
        ("QCC__CLIENTS__A__KEYS_SHA256", "hunter2,hunter2"),
        ("QCC__ADMIN__TOKEN", "hunter2"),
        ("QCC__ADMIN__READ_TOKEN", "hunter2 "),
        ("QCC__WEBHOOK__URL", "hunter2"),
        ("QCC__OTEL__ENDPOINT", "hunter2"),
        ("QCC_ADMIN_TOKEN", "hunter2"),
        ("QCC_WEBHOOK_URL", "hunter2"),
        ("QCC_WEBHOOK_SECRET", "hunter2é"),
    ] {
        let told = faults_of("", &[(name, text)]);
        assert!(!told.contains(MARK), "{name}\n{told}");
    }
}

#[test]
fn check_describes_what_would_run_without_a_secret() {
    let text = r#"
        [retry]
        park = "1s"
        [webhook]
        url = "https://u:hunter2@hooks.example/hunter2?token=hunter2"
        [otel]
        endpoint = "https://u:hunter2@collector.example"
        [clients.alice]
        key = "hunter2-alice"
        [endpoints.main]
        base_url = "https://u:hunter2@relay.example/api"
        api_key_env = "RELAY_KEY"
        models = ["claude-*"]
        headers = { x-team = "hunter2" }
        verify_headers = { x-team = "hunter2" }
        [endpoints.spare]
        base_url = "https://spare.example"
        api_key = "hunter2-spare"
        queue = "secondary"
        enabled = false
    "#;
    let directory = Directory::new(&[("local.toml", text)]);
    let source = directory.source(&[("RELAY_KEY", "hunter2-relay"), ("QCC_WEBHOOK_SECRET", "hunter2")]);
    let Checked { status, output, errors } = check(&load(&source));
    assert_eq!((status, errors.as_str()), (0, ""), "{errors}");
    for part in [
        "local.toml",
        "RELAY_KEY",
        "QCC_WEBHOOK_SECRET",
        "http://127.0.0.1:7860",
        "https://relay.example/api",
        "claude-*",
        "disabled",
        "alice",
        "https://collector.example as qcc-gateway",
        "https://hooks.example, signed: isolated, recovered, nothing_usable, reload_failed",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    assert!(!output.contains(MARK), "{output}");
    assert!(!format!("{:?} {source:?}", load(&source)).contains(MARK));
}

#[test]
fn check_of_faulty_settings_is_status_2_with_every_fault_on_standard_error() {
    let checked = check(&load(&Directory::new(&[("local.toml", "[server]\nport = true")]).source(&[])));
    assert_eq!((checked.status, checked.output.as_str()), (2, ""));
    assert_eq!(checked.errors.lines().count(), 3, "{}", checked.errors);
}
