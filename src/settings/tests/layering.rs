//! Which layer wins, and how variables are read.

use std::path::PathBuf;

use super::{Directory, ENDPOINT, Source, faults_of, load, none, one_fault, sound};

#[test]
fn later_layers_win_key_by_key() {
    let port = |port: u16, more: &str| format!("[server]\nport = {port}\n{more}");
    let (default, development) = (port(1, &format!("workers = 3\n{ENDPOINT}")), port(2, ""));
    let (staging, local) = (port(3, ""), port(4, ""));
    let all = [
        ("default.toml", &*default),
        ("development.toml", &*development),
        ("staging.toml", &*staging),
        ("local.toml", &*local),
    ];
    for (files, environment, variables, expected) in [
        (&all[..1], None, vec![], 1),
        (&all[..2], None, vec![], 2),
        (&all[..3], None, vec![], 2),
        (&all[..3], Some("staging"), vec![], 3),
        (&all[..4], Some("staging"), vec![], 4),
        (&all[..4], None, vec![("QCC__SERVER__PORT", "5")], 5),
        (&all[..4], None, vec![("qcc__server__port", "6")], 6),
        (&all[..1], Some(""), vec![], 1),
        (&all[..1], Some("default"), vec![], 1),
        (&all[..4], Some("local"), vec![], 4),
    ] {
        let directory = Directory::new(files);
        let source = Source { environment: environment.map(ToOwned::to_owned), ..directory.source(&variables) };
        let server = load(&source).unwrap().settings.server;
        assert_eq!((server.port, server.workers), (expected, 3));
    }
}

#[test]
fn the_sources_are_named_in_their_order() {
    let directory = Directory::new(&[("default.toml", ENDPOINT), ("local.toml", "")]);
    let loaded = load(&directory.source(&[("QCC__SERVER__PORT", "0"), ("PATH", "/bin")])).unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    assert_eq!(loaded.sources, ["the built-in defaults", &file("default.toml"), &file("local.toml"), "variables"]);
    assert_eq!(loaded.variables_taken, ["QCC__SERVER__PORT"]);
}

#[test]
fn a_place_may_be_a_single_file_and_must_exist_where_it_is_named() {
    let directory = Directory::new(&[("mine.toml", ENDPOINT)]);
    let source = |name: &str, environment: Option<&str>| Source {
        place: Some(directory.path().join(name)),
        environment: environment.map(ToOwned::to_owned),
        variables: none(),
    };
    assert_eq!(load(&source("mine.toml", None)).unwrap().topology.iter().len(), 1);
    let told = |source: Source| load(&source).unwrap_err().to_string();
    assert!(told(source("absent", None)).contains("no such directory or file"));
    for name in ["staging", "default", "local"] {
        assert!(told(source("", Some(name))).contains(&format!("the file of the environment {name:?}")), "{name}");
    }
    assert!(told(source("", Some("../x"))).contains("--env or QCC_ENV"));
}

/// Root may search every directory, so an overlong name stands in for a missing permission: neither tells whether there
/// is such a file.
#[test]
fn a_file_that_can_not_be_looked_for_is_not_taken_for_absent() {
    let directory = Directory::new(&[("default.toml", ENDPOINT)]);
    let impossible = "x".repeat(300);
    let environment = Source { environment: Some(impossible.clone()), ..directory.source(&[]) };
    let place = Source { place: Some(directory.path().join(&impossible)), ..directory.source(&[]) };
    for source in [environment, place] {
        let told = load(&source).unwrap_err().to_string();
        assert!(told.contains("File name too long") && !told.contains("no such"), "{told}");
    }
}

#[test]
fn a_variables_text_is_read_by_its_keys_type() {
    let loaded = sound(
        ENDPOINT,
        &[
            ("QCC__SERVER__PORT", "0"),
            ("QCC__SERVER__TRAIL_HEADERS", "false"),
            ("QCC__SERVER__OTHER_PATHS", "/a, /b/*"),
            ("QCC__SERVER__HELP", "0123"),
            ("QCC__SERVER__MAX_BODY", "1MiB"),
            ("QCC__BREAKER__FAILURE_RATE", "1"),
            ("QCC__TIMEOUTS__CONNECT", "250ms"),
            ("QCC__ENDPOINTS__MAIN__MODELS", ""),
            ("QCC__ENDPOINTS__MAIN__WEIGHT", "7"),
            ("QCC__CLIENTS__BOB__KEYS_SHA256", &format!("{0},{1}", "a".repeat(64), "b".repeat(64))),
        ],
    );
    let settings = &loaded.settings;
    assert_eq!((settings.server.port, settings.server.trail_headers), (0, false));
    assert_eq!(settings.server.other_paths.globs(), ["/a", "/b/*"]);
    assert_eq!((settings.server.help.as_str(), settings.server.max_body), ("0123", 1 << 20));
    assert_eq!((settings.breaker.failure_rate, settings.timeouts.connect.as_millis()), (1.0, 250));
    assert_eq!(loaded.topology.iter().next().unwrap().weight, 7);
    assert_eq!(loaded.clients[0].keys.len(), 2);
}

#[test]
fn a_variable_that_can_not_be_read_is_a_fault_with_its_name() {
    for (name, text, wanted) in [
        ("QCC__SERVER__PORT", "0123", "\"0123\"; wanted: an integer"),
        ("QCC__SERVER__PORT", "", "wanted: an integer"),
        ("QCC__SERVER__PORT", "+80", "wanted: an integer"),
        ("QCC__SERVER__TRAIL_HEADERS", "yes", "wanted: true or false"),
        ("QCC__BREAKER__FAILURE_RATE", "nan", "above 0"),
        ("QCC__SERVER__PROT", "1", "server.prot"),
        ("QCC__SEVER__PORT", "1", "a section that does not exist"),
        ("QCC__SERVER", "1", "QCC__SECTION__KEY"),
        ("QCC__SERVER__", "1", "QCC__SECTION__KEY"),
        ("QCC__SERVER__A__B", "1", "QCC__SECTION__KEY"),
        ("QCC__ENDPOINTS__MAIN", "1", "QCC__SECTION__ID__KEY"),
        ("QCC__ENDPOINTS__MAIN__HEADERS", "a", "this key in a file"),
        ("QCC__ENDPOINTS__MAIN__HEADERS__A", "a", "this key in a file"),
        ("QCC__ENDPOINTS__MAIN__VERIFY_HEADERS", "a", "this key in a file"),
        ("QCC__ENDPOINTS__MAIN__MODEL_MAP", "a", "this key in a file"),
        ("QCC__RULES", "a", "this key in a file"),
        ("QCC__RULES__0__STATUS", "a", "this key in a file"),
    ] {
        one_fault(ENDPOINT, &[(name, text)], &[&format!("variable {name})"), wanted]);
    }
    let twice = [("QCC__SERVER__PORT", "1"), ("QCC__Server__Port", "1")];
    one_fault(ENDPOINT, &twice, &["server.port", "another variable sets too"]);
}

#[test]
fn a_list_in_a_variable_as_files_have_it_is_a_fault_and_a_glob_with_brackets_is_none() {
    for (name, text) in [
        ("QCC__SERVER__OTHER_PATHS", "[\"/v1/models\"]"),
        ("QCC__SERVER__OTHER_PATHS", " [ '/v1/[ab]*', '/v1/files' ] "),
        ("QCC__SERVER__OTHER_PATHS", "[/v1/models,/v1/files]"),
        ("QCC__SERVER__OTHER_PATHS", "[]"),
        ("QCC__ENDPOINTS__MAIN__MODELS", "[\"claude-*\"]"),
        ("QCC__ENDPOINTS__MAIN__PROFILES", "[\"default\"]"),
        ("QCC__WEBHOOK__EVENTS", "[\"isolated\"]"),
        ("QCC__CLIENTS__BOB__KEYS_SHA256", "[\"hunter2\"]"),
    ] {
        let told = ["in a variable separated by commas, without brackets and quotes"];
        one_fault(ENDPOINT, &[(name, text)], &told);
        assert!(!faults_of(ENDPOINT, &[(name, text)]).contains("hunter2"));
    }
    for (name, text) in [
        ("QCC__SERVER__OTHER_PATHS", "[/]v1/*, /a[bc]"),
        ("QCC__SERVER__OTHER_PATHS", ""),
        ("QCC__ENDPOINTS__MAIN__MODELS", "[ab]*"),
        ("QCC__ENDPOINTS__MAIN__MODELS", "[ab]-*-[cd]"),
    ] {
        sound(ENDPOINT, &[(name, text)]);
    }
}

#[test]
fn an_underscore_in_a_variable_may_stand_for_a_dash() {
    let text = "[endpoints.my-relay_2]\nbase_url = \"http://a\"\napi_key = \"k\"";
    for name in ["QCC__ENDPOINTS__MY_RELAY_2__WEIGHT", "QCC__ENDPOINTS__MY-RELAY-2__WEIGHT"] {
        let loaded = sound(text, &[(name, "5")]);
        let rows: Vec<_> = loaded.topology.iter().map(|endpoint| (endpoint.id.as_str(), endpoint.weight)).collect();
        assert_eq!(rows, [("my-relay_2", 5)]);
    }
    let alone = [("QCC__ENDPOINTS__NEW_ONE__BASE_URL", "http://a"), ("QCC__ENDPOINTS__NEW_ONE__API_KEY", "k")];
    assert_eq!(sound("", &alone).topology.iter().next().unwrap().id.as_str(), "new_one");
}

#[test]
fn of_a_secrets_forms_the_latest_layers_wins() {
    let key = |files: &[(&str, &str)], variables: &[(&str, &str)]| {
        let loaded = load(&Directory::new(files).source(variables)).unwrap();
        match &loaded.topology.iter().next().unwrap().auth {
            crate::domain::endpoint::Auth::Own { key, .. } => key.expose().to_owned(),
            other => panic!("{other:?}"),
        }
    };
    let base = ("default.toml", "[endpoints.a]\nbase_url = \"http://a\"\napi_key = \"one\"");
    let local = ("local.toml", "[endpoints.a]\napi_key_env = \"TWO\"");
    let two = ("TWO", "two");
    assert_eq!(key(&[base], &[]), "one");
    assert_eq!(key(&[base, local], &[two]), "two");
    assert_eq!(key(&[base, local], &[two, ("QCC__ENDPOINTS__A__API_KEY", "three")]), "three");
    let both = [("QCC__ENDPOINTS__A__API_KEY", "x"), ("QCC__ENDPOINTS__A__API_KEY_ENV", "TWO"), two];
    one_fault(base.1, &both, &["endpoints.a.api_key", "in the same layer"]);
}

#[test]
fn a_clients_file_adds_clients_and_nothing_else() {
    let load_with = |main: &str, further: &str, variables: &[(&str, &str)]| {
        let directory = Directory::new(&[("more.toml", further)]);
        let text = format!("[server]\nclients_file = {:?}\n{ENDPOINT}{main}", directory.path().join("more.toml"));
        std::fs::write(directory.path().join("local.toml"), text).unwrap();
        load(&directory.source(variables)).map_err(|faults| faults.to_string())
    };
    let bob = "[clients.bob]\nkey = \"b\"";
    let loaded = load_with("[clients.alice]\nkey = \"a\"", bob, &[("QCC__CLIENTS__BOB__ENABLED", "false")]).unwrap();
    let ids: Vec<_> = loaded.clients.iter().map(|client| (client.id.as_str(), client.enabled)).collect();
    assert_eq!(ids, [("alice", true), ("bob", false)]);
    for (main, further, wanted) in [
        (bob, "[clients.bob]\nteam = \"t\"", "a client that another file has too"),
        ("", "[server]\nport = 1", "a table or key that does not exist"),
        ("", "[clients.bob]\n", "clients.bob.key_env"),
        ("", "[clients", "more.toml line 1"),
    ] {
        let told = load_with(main, further, &[]).unwrap_err();
        assert!(told.contains(wanted) && told.ends_with("\n1 fault in the settings"), "{told}");
    }
    let absent = PathBuf::from("/nowhere/clients.toml");
    one_fault(
        &format!("[server]\nclients_file = {absent:?}\n{ENDPOINT}"),
        &[],
        &["server.clients_file", "/nowhere/clients.toml"],
    );
}
