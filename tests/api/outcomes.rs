//! The outcome table on real sockets: what came back, what it counts as, and what the client gets.

mod connections;
mod credentials;
mod limits;
mod rules;
mod table;
mod tokens;

use serde_json::json;

use crate::compressed::gzip;
use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::raw_client::Ended;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{
    Behaviour, accept_and_close, error, hold, never_answer, raw, sse, status, status_and, status_with,
};

/// One turn for each endpoint, and no waiting for what may become usable later.
const ONE_TURN: &str = "max_per_endpoint = 1\npark = \"0s\"\ndeadline = \"1s\"";

#[actix_web::test]
async fn an_upstreams_error_is_passed_on_to_the_byte() {
    let upstream = Upstream::anthropic("a").await;
    let words = r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"},"request_id":"req_1"}"#;
    upstream.script([status_with(400, &[("content-type", "application/json"), ("request-id", "req_1")], words)]);
    let app = Setup::new().primary(&upstream).start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.text().as_str(), answer.header("request-id")), (400, words, Some("req_1")));
    assert_eq!(app.stats().await["rejected_requests"], 1);
    app.finish().await;
}

/// Found by an audit: each 4xx that was passed on was the client's fault in the stats, so that a pool of which nobody gets an answer had
/// a success rate of 100 %.
#[actix_web::test]
async fn an_answer_that_is_an_endpoints_fault_is_a_failed_request_whatever_its_status() {
    let html = [("content-type", "text/html")];
    for (step, is_failed) in [
        (status(403), true),
        (status(408), true),
        (status_with(404, &html, "<h1>wrong base URL</h1>"), true),
        (status(400), false),
        (error(404, "not_found_error", "model: claude-haiku-4-5"), false),
    ] {
        let upstream = Upstream::anthropic("a").await;
        upstream.script_traffic([step]);
        let app = Setup::new().primary(&upstream).section("retry", ONE_TURN).verified_on_demand().start().await;
        let answer = app.message().await;
        let stats = app.stats().await;
        let (failed, rejected) = if is_failed { (1, 0) } else { (0, 1) };
        let counted = (&stats["failed_requests"], &stats["rejected_requests"]);
        assert_eq!(counted, (&json!(failed), &json!(rejected)), "{}", answer.status);
        assert!((400..500).contains(&answer.status), "{}", answer.text());
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_key_that_an_upstream_repeats_is_shown_to_no_client() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let said =
        |key: &str| format!(r#"{{"type":"error","error":{{"type":"invalid_request_error","message":"{key}?"}}}}"#);
    let json = [("content-type", "application/json")];
    a.behave(Behaviour::always(status_with(400, &json, said("sk-operators-own"))));
    b.behave(Behaviour::always(status_with(400, &json, said("key"))));
    for (upstream, key, told) in [(&a, "sk-operators-own", "****************"), (&b, "key", "key")] {
        let app = Setup::new().endpoint("x", &upstream.base_url(), &format!("api_key = \"{key}\"")).start().await;
        for answer in [app.message().await, app.client().await.get("/v1/models", &[TRAFFIC]).await] {
            assert_eq!((answer.status, answer.text()), (400, said(told)), "but for the key to the byte");
        }
        app.finish().await;
    }
}

/// Found from outside: clients that read compressed answers were shown it on the other paths.
#[actix_web::test]
async fn a_key_that_an_upstream_repeats_in_a_compressed_error_is_shown_to_no_client() {
    let a = Upstream::anthropic("a").await;
    let error = r#"{"type":"error","error":{"type":"authentication_error","message":"sk-operators-own"}}"#;
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    a.behave(Behaviour::always(status_with(401, &headers, gzip(error.as_bytes()))));
    let app = Setup::new().endpoint("x", &a.base_url(), "api_key = \"sk-operators-own\"").start().await;
    let answer = app.client().await.get("/v1/models", &[TRAFFIC, ("accept-encoding", "gzip")]).await;
    assert_eq!((answer.status, answer.header("content-encoding")), (401, None));
    assert_eq!(answer.text(), error.replace("sk-operators-own", "****************"));
    app.finish().await;
}

/// Found from outside: it became the gateway's own 502.
#[actix_web::test]
async fn of_a_failure_too_large_to_be_held_the_status_is_passed_on() {
    let a = Upstream::anthropic("a").await;
    let error = format!(r#"{{"type":"error","error":{{"type":"api_error","message":"{}"}}}}"#, "x".repeat(5 << 20));
    let headers = [("content-type", "application/json"), ("request-id", "req_up")];
    a.behave(Behaviour::always(status_with(500, &headers, error)));
    let app = Setup::new().primary(&a).start().await;
    for path in ["/v1/messages", "/v1/models"] {
        let answer = app.client().await.post(path, &[TRAFFIC], body(false)).await;
        assert_eq!((answer.status, answer.text(), answer.ended), (500, String::new(), Ended::Whole), "{path}");
        assert_eq!((answer.header("request-id"), answer.header("content-type")), (Some("req_up"), None), "{path}");
    }
    app.finish().await;
}

/// Found with SDKs: they followed it, and sent the gateway's key and the conversation after it.
#[actix_web::test]
async fn a_redirection_leads_no_client_to_another_host() {
    let a = Upstream::anthropic("a").await;
    for (target, shown) in [
        ("https://elsewhere.test/v1/messages", None),
        ("//elsewhere.test/v1/messages", None),
        ("/\\elsewhere.test/v1/messages", None),
        ("v1/messages", None),
        ("/v1/messages?again", Some("/v1/messages?again")),
        ("/", Some("/")),
    ] {
        let refresh = format!("0; url={target}");
        let headers = [("location", target), ("content-location", target), ("refresh", &*refresh), ("nel", "{}")];
        a.behave(Behaviour::honest().traffic(status_with(307, &headers, "")));
        let app = Setup::new().primary(&a).start().await;
        for answer in [app.message().await, app.client().await.get("/v1/models", &[TRAFFIC]).await] {
            assert_eq!(
                (answer.status, answer.header("location"), answer.header("nel")),
                (307, shown, None),
                "{target}"
            );
            assert_eq!((answer.header("content-location"), answer.header("refresh")), (shown, None), "{target}");
        }
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_key_that_an_upstream_repeats_in_a_header_or_as_json_writes_it_is_in_no_answer_and_no_note() {
    let a = Upstream::anthropic("a").await;
    let headers = [("content-type", "application/json"), ("request-id", "of sk-operators/own")];
    let error =
        r#"{"type":"error","error":{"type":"api_error","message":"sk-operators\/own or \u0073k-operators/own?"}}"#;
    a.script_traffic([status_with(200, &headers, "{}"), status_with(500, &headers, error)]);
    let app = Setup::new()
        .variable("QCC__LOG__UPSTREAM_ERRORS", "true")
        .variable("QCC__RETRY__MAX_ATTEMPTS", "1")
        .endpoint("a", &a.base_url(), "api_key = \"sk-operators/own\"")
        .start()
        .await;
    let whole = app.client().await.get("/v1/models", &[TRAFFIC]).await;
    assert_eq!(whole.header("request-id"), Some("of ****************"));
    let failed = app.message().await;
    assert_eq!(failed.header("request-id"), Some("of ****************"));
    let told = [failed.text(), app.row("a").await.to_string()].concat();
    assert_eq!(told.matches("***************** or *********************?").count(), 2, "{told}");
    assert!(!told.contains("operators"), "{told}");
    app.finish().await;
}

#[actix_web::test]
async fn a_key_that_an_upstream_repeats_in_a_stream_is_shown_to_no_client_and_is_in_no_note() {
    let a = Upstream::anthropic("a").await;
    let error = r#"{"type":"error","error":{"type":"api_error","message":"sk-operators-own?"}}"#;
    a.script_traffic([sse(1).bytes(format!("event: error\ndata: {error}\n\n")).then_stall()]);
    let json = [("content-type", "application/json")];
    a.script_verifications([status_with(500, &json, error)]);
    let app = Setup::new()
        .variable("QCC__LOG__UPSTREAM_ERRORS", "true")
        .isolated_by_one_failure()
        .verified_on_demand()
        .endpoint("a", &a.base_url(), "api_key = \"sk-operators-own\"")
        .start()
        .await;
    let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
    assert!(answer.text().contains(&error.replace("sk-operators-own", "****************")), "{}", answer.text());
    let verdict = app.admin("a", "verify").await.text();
    let told = [verdict, app.row("a").await.to_string(), answer.text()].concat();
    assert!(told.contains("****************?") && !told.contains("sk-operators-own"), "{told}");
    app.finish().await;
}

/// Found with an error of 100 KB: its beginning had been let out before the end showed what it was.
#[actix_web::test]
async fn a_key_that_an_upstream_repeats_in_a_long_error_of_a_stream_is_shown_to_no_client() {
    for length in [100_000, 300_000] {
        let a = Upstream::anthropic("a").await;
        let error = format!(
            "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":\"sk-operators-own?{}\"}}}}\n\n",
            "x".repeat(length)
        );
        let (begins, rest) = error.split_at(70_000);
        a.script_traffic([sse(1).bytes(begins.to_owned()).bytes(rest.to_owned()).then_end()]);
        let app = Setup::new().endpoint("a", &a.base_url(), "api_key = \"sk-operators-own\"").start().await;
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
        assert!(!answer.text().contains("sk-operators-own"), "{length}");
        let last = answer.events().last().unwrap().clone();
        assert_eq!((answer.ended, last.name.as_deref()), (Ended::Whole, Some("error")), "{length}");
        let told = if length < 256 << 10 { "****************?" } else { "too long to be shown" };
        assert!(last.data.contains(told), "{length}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn what_another_gateway_behind_it_says_of_its_endpoints_is_not_passed_on() {
    let a = Upstream::anthropic("a").await;
    let foreign =
        [("x-qcc-endpoint", "theirs"), ("x-qcc-attempts", "9"), ("x-qcc-trail", "theirs=ok@1ms"), ("x-kept", "yes")];
    a.behave(Behaviour::always(status_and(400, &foreign)));
    for (shown, endpoint) in [(true, Some("a")), (false, None)] {
        let server = format!("host = \"127.0.0.1\"\nport = 0\nworkers = 1\ntrail_headers = {shown}");
        let app = Setup::only().section("server", &server).primary(&a).start().await;
        let answer = app.message().await;
        assert_eq!((answer.header("x-qcc-endpoint"), answer.header("x-kept")), (endpoint, Some("yes")));
        assert_eq!(answer.header("x-qcc-attempts"), shown.then_some("1"));
        app.finish().await;
    }
}

#[actix_web::test]
async fn what_goes_nowhere_is_rejected_and_its_id_leads_to_a_line_of_the_log() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).start().await;
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    for (method, path, headers, status) in [
        ("GET", "/nope", &[][..], 404),
        ("GET", "/v1/messages", &[], 405),
        ("POST", "/v1/messages/", &[], 404),
        ("GET", "/v1/responses", &upgrade, 501),
    ] {
        let mut client = app.client().await;
        client.send_request(method, path, &[&[TRAFFIC], headers].concat(), b"").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{method} {path}");
        let id = answer.header("x-qcc-request-id").unwrap();
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(id));
    }
    let stats = app.stats().await;
    assert_eq!((&stats["total_requests"], &stats["rejected_requests"]), (&json!(4), &json!(4)));
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_that_isolates_for_its_credential_is_never_passed_on() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script([error(401, "authentication_error", "invalid x-api-key")]);
    b.script([status(500)]);
    let app = Setup::new().section("retry", ONE_TURN).primary(&a).secondary(&b).verified_on_demand().start().await;
    let answer = app.message().await;
    assert_eq!(answer.status, 500);
    assert!(!answer.text().contains("x-api-key"));
    app.finish().await;
}

#[actix_web::test]
async fn the_best_answer_is_passed_on_when_no_endpoint_does_better() {
    for (first, second, expected) in [
        (status(500), status(403), 403),
        (status(403), status(500), 403),
        (status_and(429, &[("retry-after", "3")]), status(500), 500),
        (accept_and_close(), status(503), 503),
        (accept_and_close(), status(401), 502),
    ] {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        a.script([first]);
        b.script([second]);
        let app = Setup::new().section("retry", ONE_TURN).primary(&a).secondary(&b).verified_on_demand().start().await;
        let answer = app.message().await;
        assert_eq!(answer.status, expected, "{}", answer.text());
        assert_eq!(answer.header("x-qcc-attempts"), Some("2"));
        app.finish().await;
    }
}

#[actix_web::test]
async fn no_more_attempts_are_made_than_allowed() {
    let mut upstreams = Vec::new();
    let mut setup = Setup::new().section("retry", "max_attempts = 3").verified_on_demand();
    for name in ["a", "b", "c", "d", "e"] {
        let upstream = Upstream::anthropic(name).await;
        upstream.behave(Behaviour::always(status(500)));
        setup = setup.primary(&upstream);
        upstreams.push(upstream);
    }
    let app = setup.start().await;
    assert_eq!(app.message().await.status, 500);
    assert_eq!(upstreams.iter().map(Upstream::traffic).sum::<usize>(), 3);
    assert_eq!(app.stats().await["retries"], 2);
    app.finish().await;
}

#[actix_web::test]
async fn on_other_paths_client_errors_count_as_nothing_and_a_written_post_is_not_repeated() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::only()
        .section("server", "other_paths = [\"/v1/*\"]\nhost = \"127.0.0.1\"\nport = 0\nworkers = 1")
        .primary(&a)
        .secondary(&b)
        .verified_on_demand();
    let app = app.start().await;
    let mut client = app.client().await;
    a.script([status(401)]);
    assert_eq!(client.get("/v1/models", &[TRAFFIC]).await.status, 401);
    assert_eq!(app.row("a").await["failures"], 0);
    a.script([status(500)]);
    assert_eq!(client.get("/v1/models", &[TRAFFIC]).await.header("x-qcc-endpoint"), Some("b"));
    a.script([status(500)]);
    assert_eq!(client.post("/v1/files", &[TRAFFIC], "x").await.status, 500, "it may have done its work");
    assert_eq!(app.row("a").await["consecutive_failures"], json!(2));
    assert_eq!(b.traffic(), 1);
    app.finish().await;
}

/// How long a client waits is its own choice: an endpoint that takes longer than that is not at fault.
#[actix_web::test]
async fn a_clients_short_time_out_counts_against_nobody() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    for upstream in [&a, &b] {
        upstream.behave(Behaviour::always(never_answer()));
    }
    let app = Setup::new().isolated_by_one_failure().primary(&a).primary(&b).verified_on_demand().start().await;
    for name in ["x-stainless-timeout", "x-stainless-read-timeout", "x-stainless-timeout"] {
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC, (name, "0.2")], body(false)).await;
        assert_eq!(
            (answer.status, answer.header("x-qcc-attempts")),
            (504, Some("1")),
            "told before the client gives up"
        );
        let trail = answer.header("x-qcc-trail").unwrap();
        let ms = trail.split_once("=cancelled@").and_then(|(_, ms)| ms.strip_suffix("ms")?.parse::<u64>().ok());
        // Of the 100 ms some are over when the attempt begins: they are counted from the request's coming.
        assert!(ms.is_some_and(|ms| ms >= 50), "{trail}");
    }
    let stats = app.stats().await;
    assert_eq!(stats["queues"]["failure"], json!([]));
    assert_eq!((app.row("a").await["failures"].as_u64(), app.row("b").await["failures"].as_u64()), (Some(0), Some(0)));
    app.finish().await;
}

/// Once wrong: what was passed on as it came, and took longer than its client waits, was a time-out of the endpoint's.
#[actix_web::test]
async fn a_clients_short_time_out_in_the_midst_of_an_answer_counts_against_nobody() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000000\r\n\r\n";
    let too_long_to_be_held = format!("{head}{}", " ".repeat(5 << 20));
    for (method, path, begun, failures) in
        [("POST", "/v1/messages", too_long_to_be_held.clone(), 0), ("GET", "/v1/models", format!("{head}["), 0)]
    {
        let a = Upstream::anthropic("a").await;
        a.script_traffic([raw(begun).then(hold("the rest"))]);
        let app = Setup::new().isolated_by_one_failure().primary(&a).verified_on_demand().start().await;
        let mut client = app.client().await;
        let request = if method == "POST" { body(false) } else { String::new() };
        client.send_request(method, path, &[TRAFFIC, ("x-stainless-timeout", "2")], request.as_bytes()).await;
        assert_eq!(client.answer().await.ended, Ended::Truncated, "{path}");
        let row = app.row("a").await;
        assert_eq!((&row["failures"], &row["cancelled"]), (&json!(failures), &json!(1)), "{path}");
        assert_eq!(app.stats().await["failed_requests"], 1);
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_model_that_is_no_name_is_neither_kept_nor_shown() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([status(401)]);
    let app = Setup::new().primary(&upstream).verified_on_demand().start().await;
    let endless = json!({ "model": "x".repeat(100_000) }).to_string();
    app.client().await.post("/v1/messages", &[TRAFFIC], endless).await;
    let isolated = app.events().await.pop().unwrap();
    assert_eq!((&isolated["kind"], &isolated["model"]), (&json!("isolated"), &json!(null)));
    app.finish().await;
}
