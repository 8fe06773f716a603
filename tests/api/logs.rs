//! The log: its request lines, the route that shows the latest of them, and who may see it.

use qcc_gateway::telemetry::MAX_LINES;
use serde_json::{Value, json};

use crate::support::app::{TRAFFIC, body};
use crate::support::eventually::eventually;
use crate::support::process::{Process, settings};
use crate::support::raw_client::{Answer, Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{never_answer, ok, sse, status, status_and};

async fn asked(gateway: &Process, query: &str, headers: &[(&str, &str)]) -> Answer {
    RawClient::connect(gateway.address).await.get(&format!("/__qcc__/logs{query}"), headers).await
}

async fn messages(gateway: &Process, query: &str) -> Vec<String> {
    let answer = asked(gateway, query, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lines = answer.json()["lines"].as_array().unwrap().clone();
    lines.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

async fn stopped(gateway: Process) -> Vec<String> {
    gateway.signal("TERM").await;
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(0));
    log
}

#[actix_web::test]
async fn the_latest_lines_are_shown_as_they_were_logged() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script_traffic([ok()]);
    let gateway = Process::start(settings("", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    let headers = [TRAFFIC, ("x-request-id", "r 1"), ("x-claude-code-session-id", "s1")];
    assert_eq!(client.post("/v1/messages", &headers, body(false)).await.status, 200);
    let answer = asked(&gateway, "?grep=request%20id", &[]).await;
    let lines = answer.json()["lines"].clone();
    let line = &lines[0];
    assert_eq!((lines.as_array().unwrap().len(), &line["level"]), (1, &json!("INFO")), "{lines}");
    assert_eq!(line["target"], "qcc_gateway::http::scope");
    let shown = format!("{} INFO  {}", line["at"].as_str().unwrap(), line["message"].as_str().unwrap());
    let earlier = messages(&gateway, "?grep=PROFILE+default").await;
    assert!(earlier[0].starts_with("profile default: 1 endpoints, 1 usable"), "{earlier:?}");
    assert!(messages(&gateway, "?lines=1").await[0].starts_with("request id=\"r 1\" client=- session=s1 "));
    let log = stopped(gateway).await;
    assert!(log.contains(&shown), "{shown}\n{log:?}");
}

#[actix_web::test]
async fn a_request_line_tells_everything_in_its_order() {
    let upstream = Upstream::anthropic("ep-a").await;
    upstream.script_traffic([status(400)]);
    let gateway = Process::start(settings("[clients.alice]\nkey = \"k\"", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    let headers = [TRAFFIC, ("x-api-key", "k"), ("x-request-id", "r1")];
    assert_eq!(client.post("/v1/messages", &headers, body(false)).await.status, 400);
    let line = messages(&gateway, "?lines=1").await.remove(0);
    let (before, numbers) = line.split_once(" ms=").unwrap();
    assert_eq!(
        before,
        "request id=r1 client=alice session=- method=POST path=/v1/messages model=claude-haiku-4-5 status=400 \
         endpoint=ep-a upstream_request_id=req_ep-a_0 attempts=1"
    );
    let names: Vec<&str> = numbers.split(' ').filter_map(|field| Some(field.split_once('=')?.0)).collect();
    assert_eq!(names, ["ttft_ms", "tokens_in", "tokens_out", "trail", "peer"], "{line}");
    assert!(line.contains(" trail=ep-a=400@") && line.ends_with(" peer=127.0.0.1"), "{line}");
    stopped(gateway).await;
}

/// Once wrong: the client was told an id that was to be found nowhere.
#[actix_web::test]
async fn a_head_that_does_not_come_has_a_line_with_the_id_that_its_client_is_told() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("header_timeout = \"50ms\"", &[&upstream])).await;
    let answer = RawClient::connect(gateway.address).await.answer().await;
    let id = answer.header("x-qcc-request-id").unwrap();
    let line = gateway.logs(&format!("request id={id} ")).await;
    assert!(line.ends_with(&format!("INFO  request id={id} status=408 peer=127.0.0.1")), "{line}");
    stopped(gateway).await;
}

#[actix_web::test]
async fn in_json_a_requests_fields_are_fields() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script_traffic([sse(2).then_end()]);
    let gateway = Process::start(settings("[log]\nformat = \"json\"", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    let headers = [TRAFFIC, ("x-request-id", "r1")];
    assert_eq!(client.post("/v1/messages", &headers, body(true)).await.status, 200);
    assert!(messages(&gateway, "?lines=1").await[0].starts_with("request id=r1 "), "for people the fields are in it");
    let log = stopped(gateway).await;
    let line = log.iter().find(|line| line.contains("\"r1\"")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["message"], &line["id"], &line["client"]), (&json!("request"), &json!("r1"), &json!(null)));
    assert_eq!((&line["status"], &line["attempts"], &line["endpoint"]), (&json!(200), &json!(1), &json!("a")));
    assert_eq!(
        (&line["tokens_in"], &line["tokens_out"], &line["outcome"]),
        (&json!(40), &json!(3), &json!("successful"))
    );
    assert!(line["ms"].is_u64() && line["ttft_ms"].is_u64() && line["trail"].is_string(), "{line}");
}

#[actix_web::test]
async fn in_json_a_request_whose_client_left_has_no_status_but_an_outcome() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script_traffic([never_answer()]);
    let mut gateway = Process::start(settings("[log]\nformat = \"json\"", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    upstream.received(1).await;
    drop(client);
    let line: Value = serde_json::from_str(&gateway.logs("\"request\"").await).unwrap();
    assert_eq!(
        (&line["status"], &line["outcome"], &line["endpoint"]),
        (&json!(null), &json!("cancelled"), &json!("a"))
    );
    assert!(messages(&gateway, "?grep=request%20id").await[0].contains(" status=cancelled "), "as before for people");
    stopped(gateway).await;
}

#[actix_web::test]
async fn a_request_is_no_warning() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script_traffic([ok(), status(400), status(404), status_and(429, &[("retry-after", "1")])]);
    let gateway = Process::start(settings("[retry]\npark = \"0s\"", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    for _ in 0..4 {
        client.post("/v1/messages", &[TRAFFIC], body(false)).await;
    }
    client.post("/nothing", &[TRAFFIC], "").await;
    assert_eq!(messages(&gateway, "?grep=request%20id").await.len(), 5);
    assert_eq!(messages(&gateway, "?level=warn").await, [""; 0]);
    stopped(gateway).await;
}

/// Found with a NUL in a header, which no client of good will sends: the parser below logged it as an error.
#[actix_web::test]
async fn nothing_that_a_client_sends_or_an_endpoint_breaks_off_is_an_error_unless_it_is_asked_for_by_name() {
    let upstream = Upstream::anthropic("a").await;
    let unreadable = [
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: 1\0\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ];
    for (level, shown_as) in [("info", None), ("debug", Some(" DEBUG ")), ("info,actix_http=error", Some(" ERROR "))] {
        upstream.script_traffic([sse(2).then_reset()]);
        let lines = format!("[log]\nlevel = \"{level}\"\n[stream]\non_break = \"abort\"");
        let gateway = Process::start(settings(&lines, &[&upstream])).await;
        for request in unreadable {
            let mut client = RawClient::connect(gateway.address).await;
            client.send(request.as_bytes()).await;
            assert_eq!(client.answer().await.status, 400, "{request:?}");
            client.ended().await;
        }
        let mut client = RawClient::connect(gateway.address).await;
        let broken = client.post("/v1/messages", &[TRAFFIC], body(true)).await;
        assert_eq!((broken.status, broken.ended), (200, Ended::Truncated));
        let log = stopped(gateway).await;
        for wanted in [" DEBUG ", " ERROR "] {
            let of_heads = log.iter().filter(|line| line.contains(wanted) && line.contains("stream error")).count();
            assert_eq!(of_heads > 0, shown_as == Some(wanted), "{level}: {log:#?}");
        }
        if shown_as != Some(" ERROR ") {
            assert!(!log.iter().any(|line| line.contains(" ERROR ")), "{level}: {log:#?}");
        }
    }
}

#[actix_web::test]
async fn only_what_the_level_lets_through_is_kept() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    let set = async |level: &str| {
        let mut client = RawClient::connect(gateway.address).await;
        client.send_request("PUT", "/__qcc__/log-level", &[], level.as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
    };
    assert_eq!(client.post("/v1/messages", &[TRAFFIC, ("x-request-id", "heard")], body(false)).await.status, 200);
    set("warn").await;
    assert_eq!(client.post("/v1/messages", &[TRAFFIC, ("x-request-id", "unheard")], body(false)).await.status, 200);
    let requests = messages(&gateway, "?grep=REQUEST%20ID").await;
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].contains("id=heard"));
    let warnings = messages(&gateway, "?level=warn").await;
    assert!(warnings.iter().any(|line| line.starts_with("log level set to \"warn\" by admin")), "{warnings:?}");
    assert!(!warnings.iter().any(|line| line.contains("listening")), "{warnings:?}");
    stopped(gateway).await;
}

#[actix_web::test]
async fn a_used_up_window_is_a_warning() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script_traffic([status_and(429, &[("retry-after", "7200")])]);
    let gateway = Process::start(settings("", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    assert_eq!(client.post("/v1/messages", &[TRAFFIC], body(false)).await.status, 429);
    let warnings = messages(&gateway, "?level=warn").await;
    assert!(warnings.iter().any(|line| line.starts_with("endpoint a exhausted model=")), "{warnings:?}");
    stopped(gateway).await;
}

#[actix_web::test]
async fn what_an_admin_did_has_the_admins_address_at_its_end() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_traffic([status(401)]);
    let gateway = Process::start(settings("", &[&a, &b])).await;
    for (id, act) in [("b", "disable"), ("b", "enable"), ("b", "isolate")] {
        let mut client = RawClient::connect(gateway.address).await;
        assert_eq!(client.post(&format!("/__qcc__/endpoints/{id}/{act}"), &[], "").await.status, 200);
    }
    let mut client = RawClient::connect(gateway.address).await;
    client.post("/v1/messages", &[TRAFFIC], body(false)).await;
    let lines = messages(&gateway, "?grep=endpoint%20").await;
    let begins = |start: &str| lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{lines:?}"));
    begins("endpoint b disabled by=\"admin 127.0.0.1\"");
    begins("endpoint b enabled by=\"admin 127.0.0.1\"");
    let by_admin = begins("endpoint b isolated reason=admin failures=0 last_error=");
    assert!(
        by_admin.ends_with("\" by=\"admin 127.0.0.1\"") || by_admin.ends_with("- by=\"admin 127.0.0.1\""),
        "{by_admin}"
    );
    let by_itself = begins("endpoint a isolated reason=credential failures=");
    assert!(!by_itself.contains(" by="), "{by_itself}");
    stopped(gateway).await;
}

/// Found by an operator: a second of requests by whoever can reach the gateway, without a key, emptied the list of
/// warnings.
#[actix_web::test]
async fn a_flood_of_requests_takes_no_warning_from_the_log() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    client.send_request("PUT", "/__qcc__/log-level", &[], b"info").await;
    assert_eq!(client.answer().await.status, 200);
    let address = gateway.address;
    let flood = async {
        for number in 0..MAX_LINES {
            let refused = RawClient::connect(address).await.get(&format!("/nothing/{number}"), &[]).await;
            assert_eq!(refused.status, 404);
        }
    };
    gateway.while_read(flood).await;
    let all = messages(&gateway, "?lines=2000").await;
    assert!(
        all.iter().all(|line| line.starts_with("request id=")),
        "the flood is larger than what is kept: {}",
        all[0]
    );
    let warnings = messages(&gateway, "?level=warn").await;
    assert!(warnings.iter().any(|line| line.starts_with("log level set to \"info\" by admin")), "{warnings:?}");
    stopped(gateway).await;
}

#[actix_web::test]
async fn a_bad_query_is_refused() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("", &[&upstream])).await;
    for (query, wanted) in [("?lines=0", "1 to 2000"), ("?lines=many", "1 to 2000"), ("?level=loud", "error, warn")] {
        let refused = asked(&gateway, query, &[]).await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.json()["error"].as_str().unwrap().contains(wanted), "{}", refused.text());
    }
    stopped(gateway).await;
}

#[actix_web::test]
async fn lines_that_nobody_takes_are_counted() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("", &[&upstream])).await;
    let address = gateway.address;
    let stats = async || RawClient::connect(address).await.get("/__qcc__/stats", &[]).await.json();
    assert_eq!(stats().await["log_lines_lost"], 0);
    let _child = gateway.closes_its_log();
    RawClient::connect(address).await.get("/nothing", &[]).await;
    eventually("it is told", async || stats().await["log_lines_lost"] == 1).await;
    let metrics = RawClient::connect(address).await.get("/__qcc__/metrics", &[]).await.text();
    assert!(metrics.contains("\nqcc_log_lines_lost_total 1\n"), "{metrics}");
}

#[actix_web::test]
async fn the_log_is_for_readers_even_where_stats_are_public() {
    let upstream = Upstream::anthropic("a").await;
    let tokens = "[admin]\ntoken = \"admin-token\"\nread_token = \"read-token\"\npublic_stats = true";
    let gateway = Process::start(settings(tokens, &[&upstream])).await;
    let public = RawClient::connect(gateway.address).await.get("/__qcc__/stats", &[]).await;
    assert_eq!(public.status, 200);
    for (token, status) in [("", 401), ("Bearer wrong", 401), ("Bearer read-token", 200), ("Bearer admin-token", 200)] {
        assert_eq!(asked(&gateway, "", &[("authorization", token)]).await.status, status, "{token}");
    }
    let mut client = RawClient::connect(gateway.address).await;
    assert_eq!(client.post("/__qcc__/logs", &[("authorization", "Bearer admin-token")], "").await.status, 405);
    stopped(gateway).await;
}
