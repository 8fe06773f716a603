//! Secrecy: every secret that the gateway is given is looked for in everything that it says.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::process::{Process, Settings};
use crate::support::app::{TRAFFIC, body};
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{ok, sse, status};

/// What every planted secret holds.
const MARK: &str = "hunter2";

/// Settings with a secret in every place that takes one.
fn marked(upstream: &Upstream) -> Settings {
    let with_userinfo = upstream.base_url().replace("http://", "http://user:hunter2-userinfo@");
    let mut text = String::from(
        "[server]\nport = 0\nworkers = 1\n[log]\nlevel = \"trace\"\nupstream_errors = true\n\
         [verifier]\ninitial_delay = \"10ms\"\ninterval = \"10ms\"\njitter = 0.0\n\
         [admin]\ntoken = \"hunter2-admin\"\nread_token = \"hunter2-reader\"\n\
         [webhook]\nurl = \"http://user:hunter2-hook@127.0.0.1:1/hunter2-hook?token=hunter2\"\n\
         [otel]\nendpoint = \"http://user:hunter2-otel@127.0.0.1:1\"\n\
         [clients.alice]\nkey = \"hunter2-alice\"\n\
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
    Settings::new(&text)
}

/// Asks for everything there is, with secrets right and wrong, and gives every answer.
async fn everything_asked(address: SocketAddr) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut ask = async |method: &str, path: &str, headers: &[(&str, &str)], sent: &str| {
        let mut client = RawClient::connect(address).await;
        client.send_request(method, path, headers, sent.as_bytes()).await;
        let answer = client.answer().await;
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
    }
    assert_eq!(ask("GET", "/__qcc__/stats", &[admin], "").await, 200, "the routes were really answered");
    for form in ["token=hunter2-admin", "token=hunter2-wrong", "hunter2=hunter2"] {
        ask("POST", "/__qcc__/login", &[], form).await;
    }
    ask("POST", "/__qcc__/logout", &[("cookie", "qcc_session=hunter2-cookie")], "").await;
    ask("GET", "/__qcc__/stats", &[("cookie", "qcc_session=hunter2-cookie")], "").await;
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
}

#[actix_web::test]
async fn no_secret_is_in_what_check_prints() {
    let upstream = Upstream::anthropic("main").await;
    for arguments in [&["check"][..], &["check", "--live"]] {
        let (_, output, errors) = marked(&upstream).run(arguments).await;
        assert!(output.contains("alice") && output.contains("main"), "{output}");
        assert!(!output.contains(MARK) && !errors.contains(MARK), "{output}{errors}");
    }
}
