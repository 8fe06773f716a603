//! Line ends and other signs in what clients and upstreams choose: model names, ids, sessions, errors. None of them becomes
//! a further header, a further request or a further line of the log.

use serde_json::json;

use super::attack;
use crate::support::app::TRAFFIC;
use crate::support::process::{Process, settings};
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{error, ok, raw, status_with};

/// What breaks lines, somewhere, or turns them round.
const SIGNS: [&str; 9] = ["\r\n", "\n", "\r", "\0", "\u{85}", "\u{2028}", "\u{2029}", "\u{202e}", "\u{1b}[2J"];
/// What a forged line would say.
const FORGED: &str = "INFO endpoint a recovered";

/// Whether each line of a log is one that the gateway began, and holds no sign that a terminal or a reader would obey.
fn check_log(log: &[String]) {
    for line in log {
        let begins = line.get(..25).is_some_and(|at| at.starts_with("20") && at.ends_with("Z "));
        assert!(begins, "a line that the gateway has not begun: {line:?}");
        assert!(!line.chars().any(|sign| sign.is_control() || ('\u{2028}'..='\u{202e}').contains(&sign)), "{line:?}");
        assert!(!line.split_once(' ').unwrap().1.starts_with(FORGED), "{line:?}");
    }
}

async fn stopped(gateway: Process) -> Vec<String> {
    gateway.signal("TERM").await;
    gateway.ended().await.1
}

#[actix_web::test]
async fn a_model_is_no_header_and_no_line_whatever_is_in_its_name() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("[log]\nlevel = \"trace\"", &[&upstream])).await;
    let address = gateway.address;
    gateway
        .while_read(async {
            for (number, sign) in SIGNS.into_iter().enumerate() {
                let model = format!("m{sign}x-api-key: forged{sign}2026-01-01T00:00:00.000Z {FORGED}");
                let body = json!({ "model": model, "messages": [] }).to_string();
                let answer = RawClient::connect(address).await.post("/v1/messages", &[TRAFFIC], &body).await;
                assert_eq!(answer.status, 200, "{sign:?}");
                let request = upstream.received(number + 1).await;
                assert_eq!(request.body, body, "{sign:?}");
                assert_eq!(request.keys(), ["upstream-secret"], "{sign:?}");
            }
        })
        .await;
    let log = stopped(gateway).await;
    assert_eq!(log.iter().filter(|line| line.contains("request id=")).count(), SIGNS.len());
    check_log(&log);
}

/// A name that no endpoint serves is repeated in the refusal, which is JSON. One that can't be shown is left to an endpoint.
#[actix_web::test]
async fn a_model_that_is_not_served_is_repeated_as_text_alone() {
    let upstream = Upstream::anthropic("a").await;
    let more = format!("[endpoints.b]\nbase_url = \"{}\"\napi_key = \"k\"\nmodels = [\"only\"]", upstream.base_url());
    let gateway = Process::start(settings(&more, &[])).await;
    for sign in SIGNS {
        let body = json!({ "model": format!("m{sign}\"}}{sign}set-cookie: a=b"), "messages": [] }).to_string();
        let answer = RawClient::connect(gateway.address).await.post("/v1/messages", &[TRAFFIC], &body).await;
        let can_be_shown = !sign.chars().any(char::is_control);
        assert_eq!(answer.status, if can_be_shown { 404 } else { 200 }, "{sign:?}");
        if can_be_shown {
            assert_eq!(answer.json()["error"]["type"], "not_found_error");
        }
        assert_eq!(answer.header("set-cookie"), None);
    }
    check_log(&stopped(gateway).await);
}

#[actix_web::test]
async fn ids_and_sessions_are_one_field_each_of_one_line() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("", &[&upstream])).await;
    let address = gateway.address;
    gateway
        .while_read(async {
            for name in ["x-request-id", "x-claude-code-session-id", "x-conversation-id"] {
                for sign in SIGNS {
                    let value = format!("a{sign}b status=500 trail=\"x\" {FORGED}");
                    let mut client = RawClient::connect(address).await;
                    let answer = client.try_post("/v1/messages", &[TRAFFIC, (name, &value)], attack(false)).await;
                    // A line end or another control sign makes a head that can't be read, or ends the header in sight; all else is a
                    // value that is not kept.
                    let answer = answer.unwrap_or_else(|ended| panic!("{name} {sign:?}: {ended:?}"));
                    assert!([200, 400].contains(&answer.status), "{name} {sign:?}: {}", answer.status);
                    if let Some(id) = answer.header("x-qcc-request-id").filter(|_| name == "x-request-id") {
                        assert!(id.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{id:?}");
                    }
                }
            }
            let plain = [TRAFFIC, ("x-request-id", "a b status=500"), ("x-conversation-id", "s status=500")];
            RawClient::connect(address).await.post("/v1/messages", &plain, attack(false)).await;
        })
        .await;
    let log = stopped(gateway).await;
    check_log(&log);
    let last = log.iter().rfind(|line| line.contains("request id=")).unwrap();
    assert!(last.contains("id=\"a b status=500\" ") && last.contains("session=\"s status=500\" "), "{last}");
}

/// What an upstream says in a head it says to the gateway alone, or as one header to the client.
#[actix_web::test]
async fn an_upstreams_ids_and_errors_are_one_field_each_of_one_line() {
    let upstream = Upstream::anthropic("a").await;
    let more = "[log]\nlevel = \"trace\"\nupstream_errors = true\n[breaker]\nfailure_threshold = 1\n\
                [verifier]\ninitial_delay = \"20ms\"\ninterval = \"20ms\"\njitter = 0.0";
    let mut gateway = Process::start(settings(more, &[&upstream])).await;
    let address = gateway.address;
    let said = format!("no{}2026-01-01T00:00:00.000Z {FORGED}", SIGNS.concat());
    let mut steps = vec![
        status_with(200, &[("content-type", "application/json"), ("request-id", "r status=500 \"x\"")], "{}"),
        raw("HTTP/1.1 200 OK\r\nrequest-id: \u{2028}\u{202e}ä\r\ncontent-length: 2\r\n\r\n{}"),
        raw("HTTP/1.1 200 OK\r\nrequest-id: a\rb\r\ncontent-length: 2\r\n\r\n{}"),
        raw(format!("HTTP/1.1 500 {FORGED}\r\nanthropic-ratelimit-x: \u{2028}\r\ncontent-length: 2\r\n\r\n{{}}")),
    ];
    steps.push(error(500, &format!("api_error\n{FORGED}"), &said));
    steps.push(error(500, "api_error", &said));
    let count = steps.len();
    upstream.script_traffic(steps);
    upstream.script_verifications([error(500, "api_error", &said), ok()]);
    gateway
        .while_read(async {
            for _ in 0..count {
                let answer = RawClient::connect(address).await.post("/v1/messages", &[TRAFFIC], attack(false)).await;
                assert!(answer.headers.0.iter().all(|(name, _)| name != "forged"));
            }
        })
        .await;
    gateway.logs("verification 1 failed").await;
    gateway.logs("endpoint a recovered").await;
    let log = stopped(gateway).await;
    assert!(log.iter().any(|line| line.contains("isolated reason=")), "{log:?}");
    check_log(&log);
}
