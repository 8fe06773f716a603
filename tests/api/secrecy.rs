//! Secrecy: every secret that the gateway is given is looked for in everything that it says.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use qcc_gateway::app::App;
use qcc_gateway::settings::{self, Source};

use crate::support::app::{TRAFFIC, body};
use crate::support::process::{Process, Settings};
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{error, ok, sse, status};

/// What every planted secret holds.
const MARK: &str = "hunter2";

/// Settings with a secret in every place that takes one.
fn marked(upstream: &Upstream) -> Settings {
    Settings::new(&marked_text(upstream))
        .variable("QCC_WEBHOOK_SECRET", "hunter2-webhook-secret")
        .variable("QCC__ENDPOINTS__SPARE__API_KEY", "hunter2-from-a-variable")
        .variable("CAROLS_KEY", "hunter2-carol")
}

fn marked_text(upstream: &Upstream) -> String {
    let with_userinfo = upstream.base_url().replace("http://", "http://user:hunter2-userinfo@");
    let mut text = String::from(
        "[server]\nport = 0\nworkers = 1\n[log]\nlevel = \"trace\"\nupstream_errors = true\n\
         [verifier]\ninitial_delay = \"10ms\"\ninterval = \"10ms\"\njitter = 0.0\n\
         [timeouts]\nconnect = \"300ms\"\n[retry]\npark = \"0s\"\n\
         [admin]\ntoken = \"hunter2-admin\"\nread_token = \"hunter2-reader\"\n\
         [webhook]\nurl = \"http://user:hunter2-hook@127.0.0.1:1/hunter2-hook?token=hunter2\"\n\
         [otel]\nendpoint = \"http://user:hunter2-otel@127.0.0.1:1\"\n\
         [clients.alice]\nkey = \"hunter2-alice\"\n\
         [clients.carol]\nkey_env = \"CAROLS_KEY\"\nprofile = \"broken\"\n\
         [clients.late]\nkey = \"hunter2-late\"\nexpires = \"2020-01-01T00:00:00Z\"\n\
         [clients.busy]\nkey = \"hunter2-busy\"\nmax_in_flight = 1\n",
    );
    for (id, queue) in [("main", "primary"), ("spare", "secondary")] {
        write!(
            text,
            "[endpoints.{id}]\nbase_url = \"{with_userinfo}\"\napi_key = \"hunter2-{id}\"\nqueue = \"{queue}\"\n\
             headers = {{ x-team = \"hunter2-header\" }}\nverify_headers = {{ x-probe = \"hunter2-probe\" }}\n"
        )
        .unwrap();
    }
    // Upstreams with which no connection comes about, each for a reason of its own.
    let no_tls = with_userinfo.replace("http://", "https://");
    let refusing = "http://user:hunter2-userinfo@127.0.0.1:1";
    let nameless = "https://user:hunter2-userinfo@nowhere.invalid";
    for (id, url) in [("no-tls", no_tls.as_str()), ("refusing", refusing), ("nameless", nameless)] {
        write!(text, "[endpoints.{id}]\nbase_url = \"{url}\"\napi_key = \"hunter2-{id}\"\nprofiles = [\"broken\"]\n")
            .unwrap();
    }
    text
}

/// Asks for everything there is, with secrets right and wrong, and gives every answer.
async fn everything_asked(address: SocketAddr) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut ask = async |method: &str, path: &str, headers: &[(&str, &str)], sent: &str| {
        let mut client = RawClient::connect(address).await;
        client.send_request(method, path, headers, sent.as_bytes()).await;
        let answer = client.answer().await;
        // Of the path only what is not a secret of its own.
        let path = path.split('?').next().unwrap_or_default();
        said.push(format!("{method} {path} {:?} {}", answer.headers, answer.text()));
        answer.status
    };

    let mut statuses = Vec::new();
    for stream in [false, true, true, false, false, false] {
        let headers = [TRAFFIC, ("x-api-key", "hunter2-alice"), ("x-qcc-key", "hunter2-alice")];
        statuses.push(ask("POST", "/v1/messages", &headers, &body(stream)).await);
    }
    assert!(statuses.starts_with(&[200, 200, 200]), "{statuses:?}");
    for (path, header) in [
        ("/v1/messages", ("x-qcc-key", "hunter2-carol")),
        ("/v1/messages?key=hunter2-query", ("x-qcc-key", "hunter2-carol")),
        ("/v1/models?key=hunter2-query", ("x-qcc-key", "hunter2-carol")),
        ("/v1/messages", ("x-api-key", "hunter2-wrong")),
        ("/v1/chat/completions", ("authorization", "Bearer hunter2-wrong")),
        ("/v1/messages", ("x-api-key", "hunter2-late")),
        ("/nothing", ("x-api-key", "hunter2-alice")),
        ("/v1/messages", ("authorization", "Basic hunter2-wrong")),
    ] {
        assert!(ask("POST", path, &[TRAFFIC, header], "{").await >= 400, "{path}");
    }
    let admin = ("authorization", "Bearer hunter2-admin");
    for header in [admin, ("authorization", "Bearer hunter2-reader"), ("authorization", "Bearer hunter2-wrong")] {
        for path in [
            "/",
            "/stats",
            "/metrics",
            "/usage",
            "/usage?format=csv",
            "/events",
            "/logs?lines=2000",
            "/health/live",
            "/health/ready",
            "/login",
            "/nothing",
        ] {
            ask("GET", &format!("/__qcc__{path}"), &[header], "").await;
        }
        for act in ["isolate", "verify", "disable", "enable"] {
            ask("POST", &format!("/__qcc__/endpoints/main/{act}"), &[header], "").await;
        }
        for id in ["no-tls", "refusing", "nameless"] {
            ask("POST", &format!("/__qcc__/endpoints/{id}/verify"), &[header], "").await;
        }
        ask("PUT", "/__qcc__/log-level", &[header], "trace").await;
    }
    assert_eq!(ask("GET", "/__qcc__/stats", &[admin], "").await, 200, "the routes were really answered");
    for form in ["token=hunter2-admin", "token=hunter2-wrong", "hunter2=hunter2"] {
        ask("POST", "/__qcc__/login", &[], form).await;
    }
    let session = format!("qcc_session_{}=hunter2-cookie", address.port());
    ask("POST", "/__qcc__/logout", &[("cookie", &session)], "").await;
    ask("GET", "/__qcc__/stats", &[("cookie", &session)], "").await;
    said
}

#[actix_web::test]
async fn no_secret_is_in_any_log_line_answer_or_error() {
    let upstream = Upstream::anthropic("main").await;
    upstream.script_traffic([ok(), sse(2).then_end(), sse(2).then_cut(), status(401), status(500), status(404)]);
    let mut gateway = Process::start(marked(&upstream)).await;
    let said = gateway.while_read(everything_asked(gateway.address)).await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    assert!(log.iter().any(|line| line.contains("TRACE")), "it did log at trace");
    assert!(log.iter().any(|line| line.contains("webhook http://127.0.0.1:1: isolated can't be delivered")), "{log:?}");
    assert!(log.len() > 50 && said.len() > 40, "{} lines, {} answers", log.len(), said.len());
    for text in log.iter().chain(&said) {
        assert!(!text.contains(MARK), "{text}");
    }
    assert!(!upstream.take_faults().is_empty(), "it was spoken to in TLS");
}

/// In passing through, the credential is the client's own, and as much a secret.
#[actix_web::test]
async fn no_credential_that_is_passed_through_is_in_any_log_line_answer_or_error() {
    let upstream = Upstream::anthropic("main").await;
    let url = upstream.base_url();
    let more = format!(
        "[server]\nport = 0\nworkers = 1\n[log]\nlevel = \"trace\"\nupstream_errors = true\n\
         [verifier]\ninitial_delay = \"10ms\"\ninterval = \"10ms\"\njitter = 0.0\n\
         [endpoints.main]\nbase_url = \"{url}\"\nauth = \"passthrough\"\nverify_headers = {{ x-api-key = \"hunter2-probe\" }}\n\
         [endpoints.spare]\nbase_url = \"http://127.0.0.1:1\"\nauth = \"passthrough\"\nqueue = \"secondary\"\n"
    );
    let refused = error(401, "authentication_error", "no such key");
    let repeated = "of hunter2-bearer or hunter2-key";
    let repeats = error(500, "api_error", repeated);
    let torn = format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":\"{repeated}\"}}}}\n\n"
    );
    upstream.script_traffic([
        ok(),
        sse(2).bytes(torn).then_end(),
        refused.clone(),
        status(403),
        repeats.clone(),
        repeats.clone(),
        repeats,
    ]);
    upstream.script_verifications([refused]);
    let mut gateway = Process::start(Settings::new(&more)).await;
    let address = gateway.address;
    let said = gateway
        .while_read(async {
            let mut said = Vec::new();
            for stream in [false, true, false, false, false, false] {
                let headers = [
                    TRAFFIC,
                    ("authorization", "Bearer hunter2-bearer"),
                    ("x-api-key", "hunter2-key"),
                    ("x-goog-api-key", "hunter2-goog"),
                    ("cookie", "hunter2=hunter2"),
                    ("proxy-authorization", "Basic hunter2"),
                ];
                let mut client = RawClient::connect(address).await;
                let answer = client.post("/v1/messages?key=hunter2", &headers, body(stream)).await;
                // Who gets it back is whose it is.
                said.push(format!("{:?} {}", answer.headers, answer.text().replace(repeated, "")));
            }
            for path in ["stats", "events"] {
                said.push(RawClient::connect(address).await.get(&format!("/__qcc__/{path}"), &[]).await.text());
            }
            let verdict = RawClient::connect(address).await.post("/__qcc__/endpoints/main/verify", &[], "").await;
            said.push(verdict.text());
            said
        })
        .await;
    let came = upstream.traffic_requests();
    assert!(came.iter().all(|request| request.header("x-api-key") == Some("hunter2-key")), "it was passed through");
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    assert!(log.iter().any(|line| line.contains("TRACE")) && log.iter().any(|line| line.contains("isolated reason=")));
    for text in log.iter().chain(&said) {
        assert!(!text.contains(MARK), "{text}");
    }
}

/// What a panic, an assertion or a careless log line would print.
#[actix_web::test]
async fn no_secret_is_in_any_debug_print() {
    let upstream = Upstream::anthropic("main").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, marked_text(&upstream).replace("\"trace\"", "\"off\"")).unwrap();
    let variables = [("CAROLS_KEY", "hunter2-carol"), ("QCC_WEBHOOK_SECRET", "hunter2-webhook-secret")];
    let variables: BTreeMap<String, String> =
        variables.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let source = Source { place: Some(file), environment: None, variables };
    let loaded = settings::load(&source).unwrap();
    let mut printed = vec![
        format!("{source:?} {source:#?}"),
        format!("{loaded:?} {loaded:#?}"),
        format!("{:?} {:?} {:?}", loaded.settings, loaded.topology, loaded.clients),
    ];
    printed.extend(loaded.topology.iter().map(|endpoint| format!("{endpoint:?} {}", endpoint.base_url)));
    let app = App::start(loaded, Arc::new(|_| ())).await.unwrap();
    // The app holds what the workers share, the settings in force among it.
    printed.push(format!("{app:?} {app:#?} {:?}", app.core()));
    app.stop().await;
    let all = printed.concat();
    assert!(
        all.contains("Settings") && all.contains("Endpoint") && all.contains("Shared") && all.contains("carol"),
        "{all}"
    );
    assert!(!all.contains(MARK), "{all}");
}

#[actix_web::test]
async fn no_secret_is_in_what_check_prints() {
    let upstream = Upstream::anthropic("main").await;
    for arguments in [&["check"][..], &["check", "--live"]] {
        let (_, output, errors) = marked(&upstream).run(arguments).await;
        assert!(output.contains("alice") && output.contains("main"), "{output}");
        assert!(!output.contains(MARK) && !errors.contains(MARK), "{output}{errors}");
    }
    assert!(!upstream.take_faults().is_empty(), "it was spoken to in TLS");
}
