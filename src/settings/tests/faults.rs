//! Every rule, by a case that breaks it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Directory, ENDPOINT, Source, faults_of, load, load_text, one_fault, sound};
use crate::authorities::USELESS;
use crate::domain::client::KeyDigest;

/// A fault of an otherwise sound file: the text, and what the fault's line says.
#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    one_fault(&format!("{text}\n{ENDPOINT}"), &[], parts);
}

/// A fault of the endpoint, by lines that are added to its table.
#[track_caller]
fn endpoint_refused(lines: &str, parts: &[&str]) {
    one_fault(&format!("{ENDPOINT}{lines}"), &[], parts);
}

#[test]
fn a_value_of_the_wrong_type_is_a_fault_with_its_line() {
    for (text, key, wanted) in [
        ("[server]\nport = \"7860\"", "server.port (", "found the text \"7860\"; wanted: an integer from 0 to 65535"),
        ("[server]\nport = 78.0", "server.port", "found 78.0"),
        ("[server]\nport = -1", "server.port", "found -1"),
        ("[server]\nport = 65536", "server.port", "found 65536"),
        ("[server]\nport = 99999999999999999999999", "server.port", "wanted: an integer"),
        ("[server]\nport = 9999999999999999999999999999999999999999999", "server.port", "wanted: an integer"),
        ("[server]\nworkers = [1]", "server.workers", "found a list"),
        ("[server]\ntrail_headers = \"yes\"", "server.trail_headers", "wanted: true or false"),
        ("[server]\ntrail_headers = 1", "server.trail_headers", "wanted: true or false"),
        ("[server]\nhost = 1", "server.host", "wanted: an IP address"),
        ("[server]\nhost = \"1.2.3.4:80\"", "server.host", "wanted: an IP address"),
        ("[server]\nmax_body = 33554432", "server.max_body", "wanted: a size"),
        ("[server]\nmax_body = \"-1MiB\"", "server.max_body", "wanted: a size"),
        ("[server]\nmax_body = \"0\"", "server.max_body", "wanted: a size"),
        ("[server]\nmax_body = \"many\"", "server.max_body", "wanted: a size"),
        ("[server]\nother_paths = \"/v1/models\"", "server.other_paths", "wanted: a list of texts"),
        ("[server]\nother_paths = [1]", "server.other_paths", "wanted: a list of texts"),
        (
            "[server]\nother_paths = [\"/a\", \"v1/files\"]",
            "server.other_paths",
            "\"v1/files\"; wanted: globs over paths",
        ),
        ("[server]\nother_paths = [\"\"]", "server.other_paths", "\"\"; wanted: globs over paths"),
        ("[server]\nother_paths = [\"/[\"]", "server.other_paths", "\"/[\"; wanted: globs over paths"),
        ("[server]\nmax_connections = 0", "server.max_connections", "from 1"),
        ("[timeouts]\nconnect = 5", "timeouts.connect", "wanted: a duration"),
        ("[timeouts]\nconnect = \"5 parsecs\"", "timeouts.connect", "wanted: a duration"),
        ("[timeouts]\nconnect = \"-5s\"", "timeouts.connect", "wanted: a duration"),
        ("[timeouts]\nconnect = \"0s\"", "timeouts.connect", "above zero"),
        ("[timeouts]\nresponse = \"900years\"", "timeouts.response", "at most a year"),
        ("[log]\nlevel = \"loud\"", "log.level", "off, error, warn"),
        ("[log]\nformat = \"xml\"", "log.format", "one of \"text\", \"json\""),
        ("[stream]\non_break = \"never\"", "stream.on_break", "one of \"auto\", \"event\", \"abort\""),
        ("[retry]\nmax_attempts = 0", "retry.max_attempts", "from 1"),
        ("[retry]\nbudget_ratio = -0.1", "retry.budget_ratio", "at least 0"),
        ("[retry]\nbudget_ratio = nan", "retry.budget_ratio", "at least 0"),
        ("[retry]\nbudget_ratio = inf", "retry.budget_ratio", "at least 0"),
        ("[breaker]\nfailure_rate = 0.0", "breaker.failure_rate", "above 0"),
        ("[breaker]\nfailure_rate = 1.1", "breaker.failure_rate", "at most 1"),
        ("[breaker]\nfailure_threshold = 0", "breaker.failure_threshold", "from 1"),
        ("[breaker]\nwindow = \"0s\"", "breaker.window", "above zero"),
        ("[verifier]\nmultiplier = 0.9", "verifier.multiplier", "at least 1"),
        ("[verifier]\njitter = 1.5", "verifier.jitter", "from 0 to 1"),
        ("[verifier]\nconcurrency = 0", "verifier.concurrency", "from 1"),
        ("[verifier]\nmax_tokens = 0", "verifier.max_tokens", "from 1"),
        ("[verifier]\nopenai_model = \"\"", "verifier.openai_model", "the name of a model"),
        ("[admin]\nlisten = \"7861\"", "admin.listen", "an address and port"),
        ("[admin]\ntoken_sha256 = \"abc\"", "admin.token_sha256", "64 hexadecimal digits"),
        ("[upstream]\nca_file = \"/nowhere/at/all\"", "upstream.ca_file", "a readable file"),
        ("[webhook]\nevents = [\"isolatd\"]", "webhook.events", "\"isolatd\"; wanted: some of isolated"),
        ("[webhook]\nurl = \"ftp://a\"", "webhook.url", "that is no URL; wanted: an http or https URL"),
        ("[otel]\nendpoint = \"collector:4317\"", "otel.endpoint", "http or https"),
        ("[otel]\nendpoint = \"http://collector:4318?key=x\"", "otel.endpoint", "without a query"),
        ("[prices.\"a[\"]\ninput = 1\noutput = 1", "prices.\"a[\"", "a glob"),
        (&too_large_a_glob("[prices.\"", "\"]\ninput = 1\noutput = 1"), "prices", "a glob"),
        ("[prices.a]\ninput = -1\noutput = 1", "prices.a.input", "at least 0"),
        ("[prices.a]\ninput = 1", "prices.a.output", "found nothing"),
        ("[[rules]]\nstatus = 403", "rules.1", "no key 'as'"),
        ("[[rules]]\nas = \"client\"", "rules.1", "fits every answer"),
        ("[[rules]]\nstatus = 99\nas = \"client\"", "rules.1.status", "from 100 to 599"),
        ("[[rules]]\nstatus = 403\nas = \"nothing\"", "rules.1.as", "one of \"account\""),
        ("[[rules]]\ncontains = \"\"\nas = \"client\"", "rules.1.contains", "not empty"),
        ("[[rules]]\ntype = \"\"\nas = \"client\"", "rules.1.type", "not empty"),
        (
            "[[rules]]\nstatus = 403\ncontain = \"x\"\nas = \"client\"",
            "rules.1.contain",
            "one of the keys status, type",
        ),
        (
            "[[rules]]\nstatus = 403\nas = \"client\"\n[[rules]]\nstatus = 1\nas = \"client\"",
            "rules.2.status",
            "from 100",
        ),
        ("[rules]\nstatus = 403", "rules", "a list of tables"),
        ("rules = [\"client\"]", "rules.1", "a table: [[rules]]"),
    ] {
        refused(text, &[key, wanted, "local.toml line "]);
    }
}

#[test]
fn an_empty_table_where_none_belongs_has_its_line_too() {
    for (text, key) in [
        ("[server.x]", "server.x"),
        ("[server.port]", "server.port"),
        ("[server]\nx = {}", "server.x"),
        ("server = { x = {} }", "server.x"),
        ("[endpoints.other.frob]", "endpoints.other.frob"),
        ("[[rules]]\nstatus = 403\nas = \"client\"\n[rules.x]", "rules.1.x"),
        ("[prices.a.b]", "prices.a.b"),
        ("[nothing]", "nothing"),
    ] {
        let line = text.lines().count();
        let told = faults_of(&format!("{text}\n{ENDPOINT}"), &[]);
        let told = told.lines().find(|told| told.starts_with(&format!("{key} ("))).unwrap_or_else(|| panic!("{told}"));
        assert!(told.contains(&format!("local.toml line {line}): found a ")), "{told}");
    }
}

#[test]
fn the_line_is_the_values_own() {
    refused("\n\n[server]\n# words\nport = true", &["local.toml line 5)"]);
}

#[test]
fn an_unknown_key_is_a_fault_that_lists_the_known_ones() {
    refused("[server]\nprot = 1", &["server.prot", "does not exist", "host, port"]);
    refused("[sever]\nport = 1", &["sever (", "does not exist", "server, log"]);
    refused("server = 5", &["server (", "found an integer, not shown; wanted: a table"]);
    refused("\"server.port\" = 1", &["\"server.port\"", "does not exist"]);
    refused("\"server[99999999999999]\" = 1", &["does not exist"]);
    refused("clients = 1", &["clients (", "wanted: tables"]);
    refused("clients.alice = 1", &["clients.alice", "wanted: a table"]);
    one_fault(
        "endpoints.other = 1\nendpoints.main = { base_url = \"http://a\", api_key = \"k\" }",
        &[],
        &["endpoints.other", "wanted: a table"],
    );
    refused("prices.a = 1", &["prices.a", "wanted: a table"]);
    endpoint_refused("wieght = 1", &["endpoints.main.wieght", "line 4", "base_url"]);
}

/// A glob that is well-formed, but that nothing can be matched with.
fn too_large_a_glob(before: &str, after: &str) -> String {
    format!("{before}{}a{}{after}", "{".repeat(300), "}".repeat(300))
}

#[test]
fn an_endpoints_value_that_is_impossible_is_a_fault() {
    for (lines, key, wanted) in [
        ("priority = 10", "priority", "from 0 to 9"),
        ("weight = 1001", "weight", "from 0 to 1000"),
        ("weight = -1", "weight", "from 0 to 1000"),
        ("queue = \"failure\"", "queue", "one of \"primary\", \"secondary\""),
        ("protocol = \"gemini\"", "protocol", "one of \"anthropic\", \"openai\""),
        ("auth = \"basic\"", "auth", "\"x-api-key\", \"bearer\", \"both\", \"passthrough\""),
        ("profiles = []", "profiles", "at least one"),
        ("profiles = [\"a b\"]", "profiles", "\"a b\"; wanted"),
        ("models = [\"claude-[\"]", "models", "globs"),
        (&too_large_a_glob("models = [\"", "\"]"), "models", "globs"),
        (&too_large_a_glob("model_map = { \"", "\" = \"b\" }"), "model_map", "no glob"),
        ("model_map = { \"a[\" = \"b\" }", "model_map", "no glob"),
        ("model_map = { a = 1 }", "model_map", "no name of a model"),
        ("model_map = { a = \"\" }", "model_map", "no name of a model"),
        ("model_map = 1", "model_map", "a table such as"),
        ("max_in_flight = -1", "max_in_flight", "0 for none"),
        ("price_factor = -1.0", "price_factor", "at least 0"),
        ("enabled = \"true\"", "enabled", "true or false"),
        ("headers = { \"a b\" = \"c\" }", "headers", "no header can have"),
        ("headers = { Host = \"c\" }", "headers", "the header host"),
        ("headers = { content-length = \"3\" }", "headers", "the header content-length"),
        ("headers = { connection = \"close\" }", "headers", "the header connection"),
        ("headers = { a = \"b\\nc\" }", "headers", "for a a text, not shown"),
        ("headers = { a = 1 }", "headers", "for a an integer, not shown"),
        ("headers = { A = \"1\", a = \"1\" }", "headers", "twice"),
        ("verify_headers = { te = \"1\" }", "verify_headers", "the header te"),
        ("api_key_env = \"X\"", "api_key", "in the same layer"),
        ("auth = \"passthrough\"", "auth", "together with a key"),
    ] {
        endpoint_refused(lines, &[&format!("endpoints.main.{key}"), wanted]);
    }
}

#[test]
fn a_base_url_is_http_and_its_userinfo_leaves_authorization_free() {
    let with = |url: &str, more: &str| format!("[endpoints.a]\nbase_url = \"{url}\"\napi_key = \"k\"\n{more}");
    one_fault(&with("ftp://a", ""), &[], &["endpoints.a.base_url", "\"ftp://a\"", "http or https"]);
    one_fault(&with("a.example", ""), &[], &["endpoints.a.base_url"]);
    one_fault(&with("https://a?key=x", ""), &[], &["endpoints.a.base_url", "not shown", "query"]);
    one_fault(&with("https://u:p@a", "auth = \"bearer\""), &[], &["endpoints.a.base_url", "authorization"]);
    one_fault(&with("https://u:p@a", "auth = \"both\""), &[], &["endpoints.a.base_url", "authorization"]);
    one_fault(&with("https://u:p@a", "protocol = \"openai\""), &[], &["endpoints.a.base_url", "authorization"]);
    sound(&with("https://u:p@a", ""), &[]);
    one_fault("[endpoints.a]\napi_key = \"k\"", &[], &["endpoints.a.base_url", "line 1", "found nothing"]);
    one_fault("[endpoints.a]\nbase_url = \"http://a\"", &[], &["endpoints.a.api_key_env", "found no key"]);
    one_fault("[endpoints.a]\nbase_url = 5\napi_key = \"k\"", &[], &["endpoints.a.base_url"]);
    sound("[endpoints.a]\nbase_url = \"http://a\"\nauth = \"passthrough\"", &[]);
}

#[test]
fn ids_are_checked_and_must_differ_in_a_variable_too() {
    let endpoint = |id: &str| format!("[endpoints.{id}]\nbase_url = \"http://a\"\napi_key = \"k\"\n");
    one_fault(&endpoint("Main"), &[], &["endpoints.Main", "an id is"]);
    one_fault(&endpoint("\"a.b\""), &[], &["endpoints.\"a.b\"", "an id is"]);
    let lines = ["endpoints (", "local.toml line 1 and ", "local.toml line 4): found \"a-b\" and \"a_b\""];
    one_fault(&(endpoint("a-b") + &endpoint("a_b")), &[], &lines);
    let of_profile = |id: &str, profile: &str| endpoint(id) + &format!("profiles = [\"{profile}\"]\n");
    let alike = of_profile("a", "t-1") + &of_profile("b", "t_1");
    let lines = ["endpoints.*.profiles (", "local.toml line 4 and ", "local.toml line 8): found \"t-1\" and \"t_1\""];
    one_fault(&alike, &[], &lines);
    one_fault(&format!("{ENDPOINT}[clients.B]\nkey = \"c\""), &[], &["clients.B", "an id is"]);
}

#[test]
fn a_secret_that_can_not_be_read_is_a_fault_but_for_disabled_endpoints() {
    let directory = Directory::new(&[("good", "k-file\r\n"), ("empty", "\n"), ("wide", "ké")]);
    let endpoint = |line: &str| format!("[endpoints.a]\nbase_url = \"http://a\"\n{line}\n");
    let file = |name: &str| format!("api_key_file = {:?}", directory.path().join(name));
    sound(&endpoint(&file("good")), &[]);
    for (line, wanted) in [
        (file("absent"), "a readable file"),
        (file("empty"), "is empty"),
        (file("wide"), "no header can hold"),
        ("api_key = \"\"".to_owned(), "is empty"),
        ("api_key = \"a\\nb\"".to_owned(), "no header can hold"),
        ("api_key = \" a\"".to_owned(), "no header can hold"),
        ("api_key = 5".to_owned(), "an integer, not shown"),
        ("api_key_env = \"MY_KEY\"".to_owned(), "the variable MY_KEY, which is unset or empty"),
        ("api_key_env = \"sk-ant-1\"".to_owned(), "the name of a variable"),
        ("api_key_env = \"\"".to_owned(), "the name of a variable"),
        ("api_key_env = \"EMPTY\"".to_owned(), "unset or empty"),
    ] {
        one_fault(&endpoint(&line), &[("EMPTY", "")], &["endpoints.a.api_key", wanted]);
    }
    for line in [file("absent"), "api_key_env = \"MY_KEY\"".to_owned()] {
        sound(&endpoint(&format!("{line}\nenabled = false")), &[]);
    }
    one_fault(
        &endpoint("api_key_env = \"MY_KEY\""),
        &[("MY_KEY", "line\n")],
        &["endpoints.a.api_key_env", "the variable MY_KEY, not shown", "no header"],
    );
}

#[test]
fn a_variable_that_only_the_defaults_name_is_named_where_its_text_is_at_fault() {
    for (name, text, key, told) in [
        ("QCC_ADMIN_TOKEN", "a ", "admin.token_env (", "no header can hold"),
        ("QCC_READ_TOKEN", "a\n", "admin.read_token_env (", "no header can hold"),
        ("QCC_WEBHOOK_URL", "hooks.example", "webhook.url_env (", "that is no URL"),
        ("QCC_WEBHOOK_SECRET", "é", "webhook.secret_env (", "no header can hold"),
    ] {
        one_fault(ENDPOINT, &[(name, text)], &[key, &format!("the variable {name}, not shown"), told]);
    }
}

#[test]
fn clients_are_known_by_keys_of_their_own() {
    let with = |clients: &str| format!("{ENDPOINT}{clients}");
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (clients, key, wanted) in [
        ("[clients.a]".to_owned(), "clients.a.key_env", "found no key"),
        ("[clients.a]\nkey_env = \"NOWHERE\"".to_owned(), "clients.a.key_env", "unset or empty"),
        ("[clients.a]\nkey = \"\"".to_owned(), "clients.a.key", "is empty"),
        ("[clients.a]\nkeys_sha256 = []".to_owned(), "clients.a.keys_sha256", "an empty list"),
        ("[clients.a]\nkeys_sha256 = [\"12\"]".to_owned(), "clients.a.keys_sha256", "1 of 1 texts"),
        ("[clients.a]\nkeys_sha256 = \"12\"".to_owned(), "clients.a.keys_sha256", "a list of SHA-256 sums"),
        (format!("[clients.a]\nkey = \"x\"\nkeys_sha256 = [\"{digest}\"]"), "clients.a.key", "in the same layer"),
        (
            format!("[clients.a]\nkey = \"abc\"\n[clients.b]\nkeys_sha256 = [\"{digest}\"]"),
            "clients.b",
            "a key that a has too",
        ),
        (
            "[clients.a]\nkey = \"x\"\nprofile = \"other\"".to_owned(),
            "clients.a.profile",
            "\"other\", which no endpoint lists",
        ),
        ("[clients.a]\nkey = \"x\"\nprofile = \"\"".to_owned(), "clients.a.profile", "the name of a profile"),
        ("[clients.a]\nkey = \"x\"\nexpires = \"soon\"".to_owned(), "clients.a.expires", "RFC 3339"),
        ("[clients.a]\nkey = \"x\"\nmax_in_flight = -1".to_owned(), "clients.a.max_in_flight", "from 0"),
    ] {
        one_fault(&with(&clients), &[], &[key, wanted]);
    }
    let loaded = sound(&with(&format!("[clients.a]\nkeys_sha256 = [\"{digest}\", \"{digest}\"]\nteam = \"t\"")), &[]);
    let client = &loaded.clients[0];
    assert!(client.enabled && client.keys.len() == 1 && client.keys[0].matches("abc"));
    assert_eq!((client.profile.as_str(), client.team.as_deref()), ("default", Some("t")));
}

#[test]
fn authorities_that_can_not_be_used_are_a_fault() {
    for (pem, told) in USELESS {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        refused(&format!("[upstream]\nca_file = {:?}", file.path()), &["upstream.ca_file (", told]);
    }
}

#[test]
fn a_passthrough_endpoint_serves_no_profile_whose_clients_have_keys() {
    let text = |profile: &str| {
        format!(
            "{ENDPOINT}[endpoints.open]\nbase_url = \"http://b\"\nauth = \"passthrough\"\nprofiles = [\"open\"]\n\
             [clients.a]\nkey = \"x\"\nprofile = \"{profile}\""
        )
    };
    sound(&text("default"), &[]);
    one_fault(&text("open"), &[], &["endpoints.open.auth", "whose client a has a key"]);
}

#[test]
fn an_address_that_others_reach_needs_clients_with_keys() {
    let text = |server: &str| format!("[server]\n{server}\n{ENDPOINT}");
    for host in ["0.0.0.0", "::", "10.1.2.3", "gateway.internal"] {
        one_fault(&text(&format!("host = \"{host}\"")), &[], &["server.host", host, "allow_anonymous"]);
        sound(&text(&format!("host = \"{host}\"\nallow_anonymous = true")), &[]);
        sound(&format!("{}[clients.a]\nkey = \"x\"", text(&format!("host = \"{host}\""))), &[]);
    }
    for host in ["127.0.0.1", "::1", "localhost"] {
        sound(&text(&format!("host = \"{host}\"")), &[]);
    }
}

#[test]
fn the_gateways_own_routes_have_an_address_that_no_client_is_served_at() {
    let text = |host: &str, listen: &str| {
        format!("[server]\nhost = \"{host}\"\nport = 7860\n[admin]\nlisten = \"{listen}\"\n{ENDPOINT}")
    };
    one_fault(&text("127.0.0.1", "127.0.0.1:7860"), &[], &["admin.listen (", "line 5", "another port"]);
    one_fault(&text("::1", "[::1]:7860"), &[], &["admin.listen (", "[::1]:7860"]);
    sound(&text("127.0.0.1", "127.0.0.1:7861"), &[]);
    sound(&text("127.0.0.1", "[::1]:7860"), &[]);
    sound(&text("localhost", "127.0.0.1:7861"), &[]);
    sound(&text("127.0.0.1", "127.0.0.1:0"), &[("QCC__SERVER__PORT", "0")]);
}

#[test]
fn no_endpoint_is_the_gateway_itself() {
    let text = |host: &str, url: &str| {
        format!(
            "[server]\nhost = \"{host}\"\nallow_anonymous = true\n[endpoints.a]\nbase_url = \"{url}\"\napi_key = \"k\"\n"
        )
    };
    for (host, url) in [
        ("127.0.0.1", "http://127.0.0.1:7860"),
        ("127.0.0.1", "http://localhost:7860/v1"),
        ("localhost", "http://[::1]:7860"),
        ("::1", "http://[::1]:7860"),
        ("0.0.0.0", "http://127.0.0.1:7860"),
        ("gateway.internal", "http://gateway.internal:7860"),
    ] {
        one_fault(&text(host, url), &[], &["endpoints.a.base_url (", "line 5", "the gateway's own address"]);
    }
    for (host, url) in [
        ("127.0.0.1", "http://127.0.0.1:7861"),
        ("127.0.0.1", "http://127.0.0.2:7860"),
        ("127.0.0.1", "https://localhost:7860"),
        ("127.0.0.1", "http://gateway.internal:7860"),
    ] {
        sound(&text(host, url), &[]);
    }
}

#[test]
fn what_is_no_table_takes_nothing_away_from_the_layers_below() {
    for (lower, higher, told) in [
        ("server = 5\n", "[server]\nport = 1\n", "server (%default.toml line 1): found an integer"),
        ("clients = 1\n", "[clients.a]\nkey = \"k\"\n", "clients (%default.toml line 1): found an integer"),
        (
            "[rules]\nas = 1\n",
            "[[rules]]\nstatus = 402\nas = \"client\"\n",
            "rules (%default.toml line 1): found a table",
        ),
    ] {
        let directory = Directory::new(&[("default.toml", lower), ("local.toml", &format!("{higher}{ENDPOINT}"))]);
        let told = told.replace('%', &format!("{}/", directory.path().display()));
        let found = load(&directory.source(&[])).unwrap_err().to_string();
        assert!(found.starts_with(&told) && found.ends_with("\n1 fault in the settings"), "{found}");
    }
}

#[test]
fn without_any_endpoint_the_demonstration_is_named() {
    one_fault("", &[], &["endpoints", "qcc-gateway demo"]);
    one_fault("endpoints = 1", &[], &["endpoints (", "wanted: tables"]);
    one_fault("endpoints.a = 1", &[], &["endpoints.a (", "wanted: a table"]);
}

#[test]
fn what_a_file_may_say_that_can_not_be_read_is_not_missed() {
    let others = [("QCC__SERVER__HOST", "0.0.0.0"), ("QCC__ENDPOINTS__A__WEIGHT", "1"), ("QCC__CLIENTS__B__TEAM", "t")];
    one_fault("[endpoints", &others, &["local.toml line 1", "not TOML"]);
    let client = "[clients.c]\nkey = \"c\"\nprofile = \"far\"\n[prices.a]\ninput = 1\n";
    let directory = Directory::new(&[("default.toml", "\0"), ("local.toml", &format!("{ENDPOINT}{client}"))]);
    let told = |source: &Source| load(source).unwrap_err().to_string();
    let broken = told(&directory.source(&others));
    assert!(broken.contains("default.toml line 1") && broken.ends_with("\n1 fault in the settings"), "{broken}");
    let (empty, nowhere) = (Directory::new(&[]), directory.path().join("nowhere"));
    for (source, file) in [
        (Source { place: Some(nowhere.clone()), ..directory.source(&others) }, "nowhere"),
        (Source { environment: Some("prod".to_owned()), ..empty.source(&others) }, "prod.toml"),
    ] {
        let told = told(&source);
        assert!(told.contains(file) && told.ends_with("\n1 fault in the settings"), "{told}");
    }
    let clients = format!("[server]\nhost = \"0.0.0.0\"\nclients_file = {nowhere:?}\n{ENDPOINT}");
    one_fault(&clients, &[], &["server.clients_file (", "local.toml line 3", "nowhere: No such file"]);
    let with_clients = format!("{clients}[clients.alice]\nkey = \"k\"\n");
    one_fault(&with_clients, &[], &["server.clients_file (", "local.toml line 3", "nowhere: No such file"]);
}

#[test]
fn admin_tokens_are_read_in_all_their_forms() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "t\n").unwrap();
    let digest = KeyDigest::of("t");
    let (path, hex) = (file.path().display(), digest.to_hex());
    for name in ["token", "read_token"] {
        for (lines, variables) in [
            (format!("{name} = \"t\""), vec![]),
            (format!("{name}_env = \"MY_TOKEN\""), vec![("MY_TOKEN", "t")]),
            (format!("{name}_file = \"{path}\""), vec![]),
            (format!("{name}_sha256 = \"{hex}\""), vec![]),
        ] {
            let admin = sound(&format!("[admin]\n{lines}\n{ENDPOINT}"), &variables).settings.admin;
            let (set, other) = match name {
                "token" => (admin.token, admin.read_token),
                _ => (admin.read_token, admin.token),
            };
            assert_eq!((set, other), (Some(digest), None), "{lines}");
        }
    }
    let admin = sound(ENDPOINT, &[("QCC_ADMIN_TOKEN", "t"), ("QCC_READ_TOKEN", "r")]).settings.admin;
    assert_eq!((admin.token, admin.read_token), (Some(digest), Some(KeyDigest::of("r"))));
    let unset = "[admin]\ntoken_env = \"ANOTHER\"\nread_token_env = \"\"";
    let admin = sound(&format!("{unset}\n{ENDPOINT}"), &[("QCC_ADMIN_TOKEN", "t")]).settings.admin;
    assert_eq!((admin.token, admin.read_token), (None, None));
}

#[test]
fn a_clients_bounds_are_read() {
    let client = |lines: &str| sound(&format!("[clients.a]\nkey = \"k\"\n{lines}\n{ENDPOINT}"), &[]).clients[0].clone();
    let none = client("expires = \"\"\nmax_in_flight = 0");
    assert_eq!((none.expires, none.max_in_flight), (None, None));
    for expires in ["\"1970-01-02T00:00:00Z\"", "1970-01-02T00:00:00Z", "\"1970-01-02T01:00:00+01:00\""] {
        assert_eq!(client(&format!("expires = {expires}")).expires, Some(Duration::from_hours(24)), "{expires}");
    }
    assert_eq!(client("max_in_flight = 3").max_in_flight.map(NonZeroU32::get), Some(3));
}

#[test]
fn every_key_has_an_effect() {
    for text in [
        "[retry]\npark = \"11s\"\nmax_attempts = 3\ndeadline = \"1m\"",
        "[state]\nfile = \"\"",
        "[timeouts]\nsuspect = \"1s\"\nconnect = \"1s\"\nfirst_content = \"1s\"",
        "[stream]\non_break = \"abort\"",
        "[affinity]\nenabled = false",
        "[state]\nfile = \"x\"",
        "[reload]\nwatch = \"1s\"",
        "[webhook]\nurl = \"http://a\"\nevents = [\"exhausted\"]",
        "[otel]\nendpoint = \"http://a\"",
        "[prices.a]\ninput = 1\noutput = 2",
        "[[rules]]\nstatus = 403\nas = \"client\"",
        "[breaker]\nwindow = \"1s\"\n[verifier]\ntimeout = \"1s\"\n[stats]\nevents = 1",
        "[overload]\ncooldown = \"1s\"\n[rate_limit]\nexhausted_after = \"1s\"",
    ] {
        assert_eq!(sound(&format!("{text}\n{ENDPOINT}"), &[]).notes, [], "{text}");
    }
    assert_eq!(sound(&format!("{ENDPOINT}price_factor = 0.5"), &[]).notes, []);
}

pub(super) const NOTHING: [&str; 0] = [];

/// The keys of the notes on an otherwise sound file.
#[track_caller]
pub(super) fn noted(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let notes = sound(&format!("{text}\n{ENDPOINT}"), variables).notes;
    notes.into_iter().map(|note| note.key).collect()
}

#[test]
fn a_read_token_that_protects_nothing_is_noted() {
    assert_eq!(noted("[admin]\nread_token = \"read-token\"", &[]), ["admin.read_token"]);
    assert_eq!(noted("[admin]\nread_token = \"read-token\"\ntoken = \"admin-token\"", &[]), NOTHING);
    // There an admin token is made at the start.
    let elsewhere = "[server]\nhost = \"0.0.0.0\"\nallow_anonymous = true\n[admin]\nread_token = \"read-token\"";
    assert_eq!(noted(elsewhere, &[]), NOTHING);
}

#[test]
fn a_token_whose_place_a_later_layer_takes_with_a_variable_that_is_unset_is_noted() {
    let by_a_variable = |text: &str, name: &str| noted(text, &[("QCC__ADMIN__TOKEN_ENV", name)]);
    for form in ["token = \"t\"", &format!("token_sha256 = \"{}\"", "0".repeat(64))] {
        let text = format!("[admin]\n{form}");
        let (key, _) = form.split_once(' ').unwrap();
        assert_eq!(by_a_variable(&text, "UNSET"), [format!("admin.{key}")]);
        assert_eq!(by_a_variable(&text, ""), NOTHING, "that there is to be none is said");
    }
    assert_eq!(noted("[admin]\ntoken = \"t\"", &[("QCC__ADMIN__TOKEN_ENV", "SET"), ("SET", "s")]), NOTHING);
    assert_eq!(by_a_variable("", "UNSET"), NOTHING, "nothing but a default is displaced");
}

#[test]
fn a_client_with_the_admin_token_for_a_key_is_noted() {
    let clients = "[clients.a]\nkey = \"a\"\n[clients.b]\nkey = \"b\"";
    assert_eq!(noted(&format!("[admin]\ntoken = \"b\"\n{clients}"), &[]), ["clients.b"]);
    assert_eq!(noted(&format!("[admin]\ntoken = \"c\"\n{clients}"), &[]), NOTHING);
}

#[test]
fn a_webhooks_secret_without_a_receiver_is_noted() {
    let secret = ("QCC_WEBHOOK_SECRET", "s");
    assert_eq!(noted("", &[secret]), ["webhook.secret_env"]);
    assert_eq!(noted("[webhook]\nurl = \"http://a\"", &[secret]), NOTHING);
    assert_eq!(noted("", &[secret, ("QCC_WEBHOOK_URL", "http://a")]), NOTHING);
}

#[test]
fn a_client_that_names_no_profile_has_its_tables_line_where_there_is_no_default_one() {
    let text = "[endpoints.a]\nbase_url = \"http://a\"\napi_key = \"k\"\nprofiles = [\"x\"]\n[clients.c]\nkey = \"c\"";
    one_fault(text, &[], &["clients.c.profile (", "local.toml line 5): found the profile \"default\""]);
}

#[test]
fn a_faulty_endpoints_clients_are_no_faults_but_others_are() {
    let text = |profile: &str| {
        format!(
            "[endpoints.a]\nbase_url = 1\napi_key = \"k\"\nprofiles = [\"x\"]\n[clients.c]\nkey = \"c\"\nprofile = \"{profile}\""
        )
    };
    one_fault(&text("x"), &[], &["endpoints.a.base_url"]);
    let told = faults_of(&text("y"), &[]);
    assert!(told.contains("clients.c.profile") && told.ends_with("\n2 faults in the settings"), "{told}");
}

#[test]
fn all_faults_are_told_at_once_a_line_each_and_counted() {
    let text = "[server]\nport = true\nhost = 5\n[nothing]\n[endpoints.\"a\\nb\"]\nbase_url = \"x\"\n";
    let told = faults_of(text, &[("QCC__RETRY__MAX_ATTEMPTS", "0123")]);
    let lines: Vec<&str> = told.lines().collect();
    for key in ["nothing", "server.host", "server.port", "retry.max_attempts", "endpoints.\"a\\nb\""] {
        assert!(lines.iter().any(|line| line.starts_with(key)), "{key}: {told}");
    }
    assert_eq!(lines.last(), Some(&format!("{} faults in the settings", lines.len() - 1).as_str()));
    assert_eq!(load_text(text, &[]).unwrap_err().to_string().lines().last(), Some("6 faults in the settings"));
}

#[test]
fn a_file_that_is_no_toml_is_a_fault_and_the_others_are_still_looked_at() {
    let directory =
        Directory::new(&[("default.toml", "[server]\nport = \n"), ("local.toml", "[server]\nport = true\n")]);
    let told = load(&directory.source(&[])).unwrap_err().to_string();
    assert!(told.contains("default.toml line 2"), "{told}");
    assert!(told.contains("server.port") && told.contains("local.toml line 2"), "{told}");
}
