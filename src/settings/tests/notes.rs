//! The notes on settings that are sound, but do not do what they seem to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::faults::{NOTHING, noted};
use super::{Directory, ENDPOINT, Loaded, Source, load, sound};

/// The notes of one endpoint, as the keys below its table.
#[track_caller]
fn noted_of_endpoint(lines: &str, more: &str) -> Vec<String> {
    let base_url = if lines.contains("base_url") { "" } else { "base_url = \"https://a.example\"\n" };
    let auth = if lines.contains("auth =") { "" } else { "api_key = \"k\"\n" };
    let notes = sound(&format!("{more}\n[endpoints.a]\n{base_url}{auth}{lines}"), &[]).notes;
    notes.into_iter().map(|note| note.key.trim_start_matches("endpoints.a.").to_owned()).collect()
}

#[test]
fn an_endpoint_that_no_request_can_come_to_is_noted() {
    let clients = "[clients.c]\nkey = \"c\"\n[endpoints.b]\nbase_url = \"https://b.example\"\napi_key = \"k\"";
    let passthrough = "profiles = [\"x\"]\nauth = \"passthrough\"\nverify_headers = { x-api-key = \"v\" }";
    for (lines, more, keys) in [
        ("", "", &NOTHING[..]),
        ("profiles = [\"x\"]", "", &["profiles"]),
        ("profiles = [\"default\", \"x\"]", "", &NOTHING),
        ("", clients, &NOTHING),
        ("profiles = [\"x\"]", clients, &["profiles"]),
        ("profiles = [\"x\", \"default\"]", clients, &NOTHING),
        ("profiles = [\"x\"]\nenabled = false", clients, &NOTHING),
        (passthrough, clients, &["profiles"]),
    ] {
        assert_eq!(noted_of_endpoint(lines, more), keys, "{lines} {more}");
    }
}

#[test]
fn a_passthrough_endpoint_that_is_verified_without_a_key_is_noted() {
    for (lines, keys) in [
        ("", &["verify_headers"][..]),
        ("verify_headers = { x-api-key = \"v\" }", &NOTHING),
        ("headers = { x-relay-token = \"v\" }", &NOTHING),
        ("headers = { x-team = \"v\" }", &["verify_headers"]),
        ("enabled = false", &NOTHING),
        ("base_url = \"http://127.0.0.1:11434\"", &NOTHING),
        ("base_url = \"http://localhost:11434\"", &NOTHING),
    ] {
        assert_eq!(noted_of_endpoint(&format!("auth = \"passthrough\"\n{lines}"), ""), keys, "{lines}");
    }
}

#[test]
fn an_endpoint_whose_models_hold_no_conversation_is_noted_unless_one_is_named_that_does() {
    for (lines, more, keys) in [
        ("models = [\"text-embedding-*\"]", "", &["models"][..]),
        ("models = [\"gemini-embedding-001\", \"nomic-embed-text\", \"Qwen3-Embedding-*\"]", "", &["models"]),
        ("models = [\"text-embedding-*\", \"gpt-*\"]", "", &NOTHING),
        ("models = [\"*\"]", "", &NOTHING),
        ("models = []", "", &NOTHING),
        ("models = [\"text-embedding-*\"]\nverify_model = \"gpt-4o-mini\"", "", &NOTHING),
        ("models = [\"text-embedding-*\"]", "[verifier]\nmodel = \"gpt-4o-mini\"", &NOTHING),
        ("models = [\"text-embedding-*\"]\nenabled = false", "", &NOTHING),
    ] {
        assert_eq!(noted_of_endpoint(&format!("protocol = \"openai\"\n{lines}"), more), keys, "{lines} {more}");
    }
}

#[test]
fn a_base_url_that_ends_in_a_requests_path_is_noted() {
    for (path, is_noted) in [
        ("/v1/messages", true),
        ("/v1/messages/", true),
        ("/api/v1/messages", true),
        ("/v1/messages/count_tokens", true),
        ("/v1/chat/completions", true),
        ("/api/v3/chat/completions", true),
        ("/chat/completions", true),
        ("/v1/completions", true),
        ("/v1/responses", true),
        ("/v1/embeddings", true),
        ("", false),
        ("/v1", false),
        ("/api/v3", false),
        ("/anthropic", false),
        ("/messages", false),
        ("/v1/messages/eu", false),
    ] {
        let keys: &[&str] = if is_noted { &["base_url"] } else { &NOTHING };
        assert_eq!(noted_of_endpoint(&format!("base_url = \"https://a.example{path}\""), ""), keys, "{path}");
    }
    let notes = sound("[endpoints.a]\nbase_url = \"https://a.example/v1/messages\"\napi_key = \"k\"", &[]).notes;
    assert!(notes[0].text.ends_with("/v1/messages is sent to /v1/messages/v1/messages"), "{notes:?}");
}

#[test]
fn a_known_provider_that_is_asked_in_clear_is_noted() {
    for (base_url, is_noted) in [
        ("http://api.anthropic.com", true),
        ("http://API.OpenAI.com/v1", true),
        ("http://team.openai.azure.com/openai/v1", true),
        ("https://api.anthropic.com", false),
        ("http://relay.internal:3000", false),
        ("http://api.anthropic.com.internal", false),
    ] {
        let keys: &[&str] = if is_noted { &["base_url"] } else { &NOTHING };
        assert_eq!(noted_of_endpoint(&format!("base_url = \"{base_url}\""), ""), keys, "{base_url}");
    }
}

#[test]
fn a_first_delay_beyond_the_longest_is_noted() {
    assert_eq!(noted("[verifier]\ninitial_delay = \"61s\"", &[]), ["verifier.initial_delay"]);
    assert_eq!(noted("[verifier]\ninitial_delay = \"60s\"", &[]), NOTHING);
}

#[test]
fn a_client_whose_time_is_over_is_noted_from_then_on() {
    let of = |text: &str| sound(&format!("[clients.a]\nkey = \"k\"\n{text}\n{ENDPOINT}"), &[]);
    let keys = |loaded: &Loaded, now: u64| -> Vec<String> {
        loaded.notes_at(Duration::from_secs(now)).into_iter().map(|note| note.key).collect()
    };
    let soon = of("expires = \"1970-01-02T00:00:00Z\"");
    assert_eq!(keys(&soon, 86_399), NOTHING);
    assert_eq!(keys(&soon, 86_400), ["clients.a.expires"]);
    assert_eq!(keys(&of("expires = \"1970-01-02T00:00:00Z\"\nenabled = false"), 86_400), NOTHING);
    assert_eq!(keys(&of(""), 1 << 40), NOTHING);
    assert_eq!(keys(&of("[admin]\nread_token = \"read-token\""), 0), ["admin.read_token"], "and the others");
}

#[test]
fn an_environment_beside_a_single_file_is_noted() {
    let directory = Directory::new(&[("one.toml", ENDPOINT), ("default.toml", ENDPOINT), ("production.toml", "")]);
    let one = directory.path().join("one.toml");
    for (place, environment, keys) in [
        (one.as_path(), Some("production"), &["--env"][..]),
        (one.as_path(), Some(""), &NOTHING),
        (one.as_path(), None, &NOTHING),
        (directory.path(), Some("production"), &NOTHING),
        // As in the container image, which sets the variable.
        (one.as_path(), Some("of-the-variable"), &NOTHING),
    ] {
        let environment = environment.map(str::to_owned);
        let variables = BTreeMap::from([("QCC_ENV".to_owned(), "of-the-variable".to_owned())]);
        let source = Source { place: Some(place.to_owned()), environment, variables };
        let notes = load(&source).unwrap().notes;
        assert_eq!(notes.into_iter().map(|note| note.key).collect::<Vec<_>>(), keys, "{source:?}");
    }
}

#[test]
fn a_variable_with_an_underscore_too_few_is_noted() {
    for (name, is_noted) in [
        ("QCC_SERVER__PORT", true),
        ("qcc_server__port", true),
        ("QCC_ENDPOINTS__MAIN__API_KEY", true),
        ("QCC_NOTHING__PORT", false),
        ("QCC_SERVER_PORT", false),
        ("QCC_KEY", false),
        ("QCC", false),
        ("QCÜ_SERVER__PORT", false),
    ] {
        let notes = sound(ENDPOINT, &[(name, "hunter2")]).notes;
        let keys: Vec<&str> = notes.iter().map(|note| note.key.as_str()).collect();
        let expected = is_noted.then(|| format!("variable {name}"));
        assert_eq!(keys, expected.iter().collect::<Vec<_>>(), "{name}");
        assert!(notes.iter().all(|note| !note.text.contains("hunter2")), "{notes:?}");
    }
    let named = "[clients.a]\nkey_env = \"QCC_CLIENTS__A\"";
    assert_eq!(noted(named, &[("QCC_CLIENTS__A", "k")]), NOTHING, "somebody reads it");
}

#[test]
fn a_filter_of_the_log_that_can_not_be_read_is_noted_and_a_sound_one_is_taken() {
    let of = |filter: &str| {
        let loaded = sound(ENDPOINT, &[("RUST_LOG", filter)]);
        (loaded.notes.into_iter().map(|note| note.key).collect::<Vec<_>>(), loaded.variables_taken)
    };
    let (noted, taken) = (vec!["variable RUST_LOG".to_owned()], vec!["RUST_LOG".to_owned()]);
    assert_eq!(of("inof"), (noted, Vec::new()));
    assert_eq!(of("info"), (Vec::new(), taken));
    assert_eq!(of(""), (Vec::new(), Vec::new()));
}

#[test]
fn without_an_endpoint_it_is_told_which_files_were_read_and_which_were_not() {
    let directory = Directory::new(&[("default.toml", "[log]\n"), ("gateway.toml", ENDPOINT), ("notes.txt", "")]);
    let path = |name: &str| directory.path().join(name).display().to_string();
    let told = load(&directory.source(&[])).unwrap_err().to_string();
    let expected = format!(
        "endpoints: found no endpoint at all (read: the built-in defaults, {}; not there: {}, {}; there, but of no name that is \
         read (see --env, or name one by --settings): {}); wanted: ",
        path("default.toml"),
        path("development.toml"),
        path("local.toml"),
        path("gateway.toml")
    );
    assert!(told.starts_with(&expected), "{told}\n{expected}");
    let one = Source { place: Some(path("default.toml").into()), ..Source::default() };
    let told = load(&one).unwrap_err().to_string();
    assert!(told.contains(&format!("(read: the built-in defaults, {}); wanted", path("default.toml"))), "{told}");
}
