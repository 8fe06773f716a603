//! Clients' connections: heads that do not come, old clients, connections that are kept, closed and broken off.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::support::app::{Setup, TRAFFIC, TestApp, body};
use crate::support::eventually::eventually;
use crate::support::raw_client::{Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, never_answer, ok, raw, sse, status, status_with};

/// A gateway with further lines in its `[server]`.
async fn gateway(upstream: &Upstream, lines: &str) -> TestApp {
    let server = format!("host = \"127.0.0.1\"\nport = 0\nworkers = 1\nother_paths = [\"*\"]\n{lines}");
    Setup::only().section("server", &server).primary(upstream).start().await
}

const IMPATIENT: &str = "header_timeout = \"150ms\"";

async fn check_408(client: &mut RawClient) {
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.ended), (408, Ended::Whole));
    let error = answer.json();
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("timeout_error")));
    let id = error["request_id"].as_str().unwrap();
    assert!(id.starts_with("req_"));
    assert_eq!(answer.header("x-qcc-request-id"), Some(id));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.ended().await, Ended::Truncated);
}

#[actix_web::test]
async fn a_first_head_that_does_not_come_is_answered_and_the_connection_closed() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, IMPATIENT).await;
    for begun in ["", "G", "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-half"] {
        let mut client = app.client().await;
        client.send(begun.as_bytes()).await;
        check_408(&mut client).await;
    }
    let rejected = async || app.stats().await["rejected_requests"] == 2;
    eventually("the count of those that had begun", rejected).await;
    assert_eq!(upstream.total(), 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_head_that_trickles_in_is_not_waited_for_either() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, IMPATIENT).await;
    let mut client = app.client().await;
    // The pace is what is tested: each byte comes well within the time, all of them far beyond it.
    for byte in "GET /v1/models HTTP/1.1\r\nhost: x\r\n".bytes() {
        if client.try_send(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    check_408(&mut client).await;
    app.finish().await;
}

/// Found with half a head behind an answered request: the connection stayed for ever.
#[actix_web::test]
async fn a_later_head_that_stays_torn_has_its_connection_closed_without_an_answer() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, IMPATIENT).await;
    for begun in ["G", "\r\n", "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-half"] {
        let mut client = app.client().await;
        assert_eq!(client.get("/v1/models", &[TRAFFIC]).await.status, 200);
        client.send(begun.as_bytes()).await;
        assert_eq!(client.try_answer().await.unwrap_err(), Ended::Truncated, "{begun:?}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_head_torn_while_an_answer_is_under_way_is_given_its_time_after_the_answer() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, IMPATIENT).await;
    upstream.script([hold("answer").then(ok())]);
    let mut client = app.client().await;
    client.send_request("GET", "/v1/models", &[TRAFFIC], b"").await;
    upstream.gates().reached("answer").await;
    client.send(b"GET /v1/mod").await;
    sleep(Duration::from_millis(300)).await;
    upstream.gates().open("answer");
    assert_eq!(client.answer().await.status, 200, "the head's time does not run while an answer is under way");
    assert_eq!(client.try_answer().await.unwrap_err(), Ended::Truncated);
    app.finish().await;
}

#[actix_web::test]
async fn a_kept_connection_without_a_byte_of_a_next_head_stays_open() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, IMPATIENT).await;
    let mut client = app.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/v1/models", &[TRAFFIC]).await.status, 200);
        assert_eq!(client.post("/v1/messages", &[TRAFFIC], body(false)).await.status, 200);
        sleep(Duration::from_millis(300)).await;
    }
    app.finish().await;
}

/// Sends a message the old way.
async fn ask_http_10(client: &mut RawClient, path: &str, headers: &str, body: &str) {
    let head = format!("POST {path} HTTP/1.0\r\nx-traffic: 1\r\n{headers}content-length: {}\r\n\r\n", body.len());
    client.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
}

/// Found with `ab`: chunks came behind an HTTP/1.0 head.
#[actix_web::test]
async fn a_client_of_http_1_0_gets_its_stream_up_to_the_end_of_the_connection() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    for (stream, keep_alive) in
        [(true, ""), (false, ""), (true, "connection: keep-alive\r\n"), (false, "connection: keep-alive\r\n")]
    {
        let mut client = app.client().await;
        ask_http_10(&mut client, "/v1/messages", keep_alive, &body(stream)).await;
        let head = client.answer_head().await;
        assert_eq!((head.status, head.version), (200, 0));
        assert_eq!(head.headers.all("transfer-encoding"), [""; 0]);
        assert_eq!(head.headers.all("connection"), ["close"]);
        assert_eq!(head.headers.get("content-length").is_some(), !stream, "a length where it is known");
        let answer = client.rest().await;
        assert_eq!(answer.ended, Ended::Whole);
        if stream {
            let closing = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
            assert!(answer.text().ends_with(closing), "{}", answer.text());
        } else {
            assert_eq!(answer.json()["type"], "message");
        }
        assert_eq!(client.ended().await, Ended::Truncated, "closed in order");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_broken_answer_is_reset_for_a_client_of_http_1_0_behind_what_was_passed_on() {
    let upstream = Upstream::anthropic("a").await;
    // Once wrong: to Claude Code, whose streams are broken off in other versions, it was not told in words.
    for agent in ["", "user-agent: claude-cli/2.1.330 (external, cli)\r\n"] {
        let app = gateway(&upstream, "").await;
        upstream.script([sse(5).then_reset()]);
        let mut client = app.client().await;
        ask_http_10(&mut client, "/v1/messages", agent, &body(true)).await;
        assert_eq!(client.answer_head().await.status, 200);
        let answer = client.rest().await;
        assert_eq!(answer.ended, Ended::Reset, "an end in order would be that of a whole answer");
        let events = answer.events();
        let deltas = events.iter().filter(|event| event.name.as_deref() == Some("content_block_delta")).count();
        assert_eq!((deltas, events.last().unwrap().name.as_deref()), (5, Some("error")), "{agent}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_http_1_0_client_gets_own_answers_and_refusals_too() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).start().await;
    for (request, status) in [
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET /__qcc__/health/live HTTP/1.0\r\n\r\n", 200),
        ("GET /nothing HTTP/1.0\r\n\r\n", 404),
        ("GET /v1/models HTTP/1.0\r\n\r\n", 200),
    ] {
        let mut client = app.client().await;
        client.send(request.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("connection"), answer.ended), (status, Some("close"), Ended::Whole));
        assert!(answer.header("transfer-encoding").is_none());
        assert_eq!(client.ended().await, Ended::Truncated, "{request:?}");
    }
    app.finish().await;
}

/// How much the slow reader is sent, in events.
const MANY: usize = 100;

/// Found with a reader that falls behind: the last of what had been passed on was lost with the break.
#[actix_web::test]
async fn what_was_passed_on_before_a_break_arrives_also_at_a_slow_reader() {
    for (version, on_break, end) in [
        ("1.1", "abort", Ended::Truncated),
        ("1.1", "event", Ended::Whole),
        ("1.0", "abort", Ended::Reset),
        ("1.0", "event", Ended::Reset),
    ] {
        let upstream = Upstream::anthropic("a").await;
        let lines = format!("[stream]\non_break = \"{on_break}\"");
        let app = gateway(&upstream, &lines).await;
        let event = format!("event: ping\ndata: {{\"type\":\"ping\",\"pad\":\"{}\"}}\n\n", "x".repeat(10_000));
        let stream = (0..MANY).fold(sse(1), |stream, _| stream.bytes(event.clone()));
        upstream.script([stream.hold("break").then_close()]);
        upstream.gates().open("break");
        let mut client = RawClient::connect_narrow(app.address()).await;
        let body = body(true);
        let head = format!(
            "POST /v1/messages HTTP/{version}\r\nhost: x\r\nx-traffic: 1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
        assert_eq!(client.answer_head().await.status, 200);
        let (mut pings, mut errors) = (0, 0);
        let ended = loop {
            match client.event().await {
                Ok(event) => {
                    pings += usize::from(event.raw.len() > 10_000);
                    errors += usize::from(event.name.as_deref() == Some("error"));
                }
                Err(ended) => break ended,
            }
        };
        assert_eq!(pings, MANY, "HTTP/{version} {on_break}");
        let is_told = on_break == "event" || version == "1.0";
        assert_eq!((ended, errors), (end, usize::from(is_told)), "HTTP/{version} {on_break}");
        assert!(client.torn().is_empty());
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_head_request_gets_the_length_and_no_body() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    let page = "x".repeat(1234);
    let text = [("content-type", "text/plain")];
    for code in [200, 404, 500] {
        upstream.behave(Behaviour::honest().traffic(status_with(code, &text, page.clone())));
        let mut client = app.client().await;
        let head = client.head("/v1/models", &[TRAFFIC]).await;
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (code, Some("1234"), 0));
        let get = client.get("/v1/models", &[TRAFFIC]).await;
        assert_eq!((get.status, get.body.len()), (code, 1234), "the connection is in order");
    }
    assert!(upstream.requests().iter().any(|request| request.method == "HEAD"));
    app.finish().await;
}

#[actix_web::test]
async fn a_connection_is_closed_when_the_client_asks_for_it() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    for stream in [false, true] {
        let mut client = app.client().await;
        let answer = client.post("/v1/messages", &[TRAFFIC, ("connection", "close")], body(stream)).await;
        assert_eq!((answer.status, answer.ended), (200, Ended::Whole));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(client.ended().await, Ended::Truncated);
    }
    app.finish().await;
}

/// Found with a chunked body: what stood behind it was answered, on a connection that was said to be closed.
#[actix_web::test]
async fn what_stands_behind_the_last_request_of_a_connection_is_not_looked_at() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "max_body = \"1KiB\"").await;
    let behind = "GET /v1/models?behind HTTP/1.1\r\nhost: x\r\n\r\n";
    let large = "x".repeat(5000);
    for (status, request) in [
        (200, format!("GET /v1/models?last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n{behind}")),
        (200, format!("GET /v1/models?last HTTP/1.0\r\n\r\n{behind}")),
        (501, format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\n\r\n{behind}")),
        (
            413,
            format!(
                "POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1388\r\n{large}\r\n0\r\n\r\n{behind}"
            ),
        ),
    ] {
        let mut client = app.client().await;
        client.send(request.as_bytes()).await;
        assert_eq!(client.answer().await.status, status);
        assert!(client.try_answer().await.is_err());
    }
    assert!(upstream.requests().iter().all(|request| request.target.ends_with("last")));
    app.finish().await;
}

#[actix_web::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    upstream.script([hold("first").then(ok())]);
    let mut client = app.client().await;
    let body = body(false);
    let second = format!(
        "POST /v1/messages?second HTTP/1.1\r\nhost: x\r\nx-traffic: 1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let all = format!(
        "GET /first HTTP/1.1\r\nhost: x\r\nx-traffic: 1\r\n\r\n{second}GET /third HTTP/1.1\r\nhost: x\r\nx-traffic: 1\r\n\r\n"
    );
    client.send(all.as_bytes()).await;
    upstream.gates().reached("first").await;
    assert_eq!(upstream.total(), 1, "one after the other");
    upstream.gates().open("first");
    assert_eq!(client.answer().await.json()["target"], "/first");
    assert_eq!(client.answer().await.json()["type"], "message");
    assert_eq!(client.answer().await.json()["target"], "/third");
    let targets: Vec<String> = upstream.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/first", "/v1/messages?second", "/third"]);
    app.finish().await;
}

/// Found by reading: actix would have read the second head while the first request was answered, and answered that as the second
/// one wants to be.
#[actix_web::test]
async fn what_a_request_asks_for_is_not_done_to_the_one_before_it() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    for second in
        ["HEAD /second HTTP/1.1\r\nhost: x\r\nx-traffic: 1\r\n\r\n", "GET /second HTTP/1.0\r\nx-traffic: 1\r\n\r\n"]
    {
        upstream.script([hold("first").then(ok())]);
        let so_far = upstream.total();
        let mut client = app.client().await;
        let body = body(false);
        let length = body.len();
        let first =
            format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-traffic: 1\r\ncontent-length: {length}\r\n\r\n{body}");
        client.send(format!("{first}{second}").as_bytes()).await;
        upstream.gates().reached("first").await;
        upstream.gates().open("first");
        let answer = client.answer().await;
        assert_eq!((answer.json()["type"].as_str(), answer.header("connection")), (Some("message"), None));
        assert_eq!(upstream.received(so_far + 2).await.target, "/second");
    }
    app.finish().await;
}

#[actix_web::test]
async fn where_the_length_of_an_answer_to_head_is_not_known_none_is_told() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
    for (head, length) in [(chunked, None), ("HTTP/1.1 404 No\r\ncontent-length: 7\r\n\r\n", Some("7"))] {
        upstream.script([raw(head)]);
        let mut client = app.client().await;
        let answer = client.head("/other", &[TRAFFIC]).await;
        assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (length, None));
        assert_eq!(client.get("/other", &[TRAFFIC]).await.status, 200, "the connection is in order");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_told_and_the_upstream_is_not_asked() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    let mut client = app.client().await;
    let body = body(false);
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-traffic: 1\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).await;
    client.send(body.as_bytes()).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.interim.as_slice()), (200, [100].as_slice()));
    assert_eq!(upstream.received(1).await.header("expect"), None);
    app.finish().await;
}

#[actix_web::test]
async fn a_key_is_asked_for_before_a_body_that_waits_to_be_sent() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).section("clients.alice", "key = \"alice-key\"").start().await;
    let mut client = app.client().await;
    client
        .send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 20000000\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 401);
    assert_eq!(client.ended().await, Ended::Truncated);
    app.finish().await;
}

/// Found by an audit: it was told to go on first.
#[actix_web::test]
async fn who_is_refused_by_the_head_alone_is_not_told_to_go_on_with_the_body() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::only()
        .section("server", "host = \"127.0.0.1\"\nport = 0\nmax_body = \"1KiB\"")
        .primary(&upstream)
        .section("clients.alice", "key = \"alice-key\"")
        .start()
        .await;
    for (path, key, length, status) in [
        ("/v1/messages", "no-key", 10, 401),
        ("/v1/messages", "alice-key", 2000, 413),
        ("/v1/nothing", "alice-key", 10, 404),
    ] {
        let mut client = app.client().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        client.send(head.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.interim.as_slice()), (status, [].as_slice()), "{path}");
        assert_eq!((answer.header("connection"), client.ended().await), (Some("close"), Ended::Truncated), "{path}");
    }
    assert_eq!((upstream.total(), &app.stats().await["rejected_requests"]), (0, &json!(3)));
    app.finish().await;
}

#[actix_web::test]
async fn after_a_refusal_that_leaves_a_body_unread_the_connection_is_closed() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "max_body = \"1KiB\"").await;
    for framing in ["content-length: 5000", "transfer-encoding: chunked"] {
        let mut client = app.client().await;
        client.send(format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n").as_bytes()).await;
        let sent = format!("1388\r\n{}", "x".repeat(5000));
        client.try_send(sent.as_bytes()).await.ok();
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.ended), (413, Ended::Whole), "the refusal arrives whole");
        assert_eq!(answer.header("connection"), Some("close"));
        client.try_send(b"\r\n0\r\n\r\nGET /v1/models?smuggled HTTP/1.1\r\nhost: x\r\n\r\n").await.ok();
        client.ended().await;
    }
    assert_eq!(upstream.total(), 0);
    app.finish().await;
}

/// The answer to what can't be read must not be lost because of what lies unread behind it.
#[actix_web::test]
async fn a_refusal_of_a_head_arrives_though_the_client_goes_on_sending() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    for _ in 0..20 {
        let mut client = app.client().await;
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}", "x".repeat(400_000));
        client.try_send(head.as_bytes()).await.ok();
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.ended), (431, Ended::Whole));
        assert_eq!(client.ended().await, Ended::Truncated, "a reset could overtake the answer");
    }
    app.finish().await;
}

#[actix_web::test]
async fn paths_and_queries_arrive_to_the_byte() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    let mut client = app.client().await;
    let targets = [
        "//",
        "//v1//models",
        "/v1/%2e%2e/x",
        "/a/../b",
        "/a/./b",
        "/%zz",
        "/%",
        "/{id}",
        "/a?b?c",
        "/a?",
        "/a?x=1&x=2&",
        "/a|b",
        "/a\\b",
        "/A%2fb%2F",
        "/a;b=c",
        "/a+b%20c",
        "/\"q\"",
        "/v1/models?q=[1]^2",
        "/a?q='~!$&()*,",
        "/v1/models/claude:x@y",
    ];
    for target in targets {
        assert_eq!(client.get(target, &[TRAFFIC]).await.status, 200, "{target}");
    }
    let got: Vec<String> = upstream.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(got, targets);
    app.finish().await;
}

#[actix_web::test]
async fn a_base_url_with_a_version_of_its_own_takes_the_place_of_v1() {
    for (base, asked, got) in [
        ("", "/v1/models?a", "/v1/models?a"),
        ("/v1", "/v1/models", "/v1/models"),
        ("/v3", "/v1/models", "/v3/models"),
        ("/api/v3", "/v1/models/x", "/api/v3/models/x"),
        ("/api/v3", "/other", "/api/v3/other"),
        ("/proxy", "/v1/models", "/proxy/v1/models"),
        ("/v3", "/v1/v1/models", "/v3/models"),
        ("", "/v1/v1/models", "/v1/models"),
        ("", "/v1/v1/messages?beta=true", "/v1/messages?beta=true"),
    ] {
        let upstream = Upstream::anthropic("a").await;
        let app = Setup::only()
            .section("server", "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nother_paths = [\"*\"]")
            .endpoint("a", &format!("{}{base}", upstream.base_url()), "")
            .start()
            .await;
        let mut client = app.client().await;
        let status = if asked.contains("messages") {
            client.post(asked, &[TRAFFIC], body(false)).await.status
        } else {
            client.get(asked, &[TRAFFIC]).await.status
        };
        assert_eq!((status, upstream.received(1).await.target.as_str()), (200, got), "{base} {asked}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_other_path_goes_on_to_the_next_endpoint_by_queue_priority_and_id() {
    let [a, b, c] = [Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::openai("c").await];
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "queue = \"secondary\"")
        .endpoint("b", &b.base_url(), "priority = 1")
        .endpoint("c", &c.base_url(), "protocol = \"openai\"")
        .start()
        .await;
    let answered_by =
        async || app.client().await.get("/v1/models", &[TRAFFIC]).await.header("x-qcc-endpoint").map(str::to_owned);
    for (failing, by) in [(None, "c"), (Some(&c), "b"), (Some(&b), "a")] {
        if let Some(failing) = failing {
            failing.behave(Behaviour::always(status(500)));
        }
        assert_eq!(answered_by().await.as_deref(), Some(by));
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_post_on_another_path_is_sent_elsewhere_only_if_nothing_of_it_was_written() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::only()
        .section("server", "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nother_paths = [\"/v1/files\"]")
        .primary(&a)
        .secondary(&b)
        .start()
        .await;
    let mut client = app.client().await;
    a.down().await;
    let answer = client.post("/v1/files", &[TRAFFIC], "data").await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")), "nobody had it");
    a.up();
    a.script([crate::support::upstream::step::reset()]);
    let answer = client.post("/v1/files", &[TRAFFIC], "data").await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (502, Some("a")), "it may have done its work");
    assert_eq!((a.total(), b.total()), (1, 1));
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_closes_its_side_has_left() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    upstream.behave(Behaviour::always(never_answer()));
    let mut client = app.client().await;
    client.send_request("GET", "/v1/models", &[TRAFFIC], b"").await;
    let request = upstream.received(1).await;
    client.half_close().await;
    request.closed_by_peer().await;
    app.finish().await;
}

/// Found behind an HTTP/1.0 request on another connection: the head of its answer was used again, and closed this one.
#[actix_web::test]
async fn two_requests_in_one_packet_are_both_answered() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    for _ in 0..5 {
        let mut client = app.client().await;
        client.send(b"GET /a HTTP/1.0\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
        let mut client = app.client().await;
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(client.answer().await.json()["target"], "/a");
        assert_eq!(client.answer().await.json()["target"], "/b");
    }
    app.finish().await;
}

/// Found with 3,000 requests without a key, one of which was the last: the connection was polled without end, and kept its place and
/// a whole processor after its client had left.
#[actix_web::test]
async fn a_flood_behind_the_last_request_of_a_connection_ends_with_it() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    let one = "GET /v1/models?first HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /v1/models?last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    upstream.script([hold("first").then(ok())]);
    let mut client = app.client().await;
    client.send(format!("{one}{last}{}", one.repeat(20)).as_bytes()).await;
    upstream.gates().reached("first").await;
    client.send(one.repeat((200 << 10) / one.len()).as_bytes()).await;
    upstream.gates().open("first");
    for _ in 0..2 {
        assert_eq!(client.answer().await.status, 200);
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), client.ended()).await;
    assert!(ended.is_ok(), "the connection is never closed");
    assert_eq!(upstream.total(), 2, "nothing behind the last one is looked at");
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_that_the_end_of_the_grace_cuts_is_reset_for_a_client_of_http_1_0() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "shutdown_grace = \"300ms\"").await;
    upstream.behave(Behaviour::always(sse(2).then_stall()));
    let mut client = app.client().await;
    client.send(b"GET /stored HTTP/1.0\r\nx-traffic: 1\r\n\r\n").await;
    assert_eq!(client.answer_head().await.status, 200);
    client.event().await.unwrap();
    let (answer, _) = tokio::join!(client.rest(), app.finish());
    assert_eq!(answer.ended, Ended::Reset);
}
