//! The gate: until its first content a stream is held back, and what fails before is asked of another endpoint.

use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::raw_client::{Answer, Ended};
use crate::support::streaming::{PATHS, Pair, STREAM_HEAD, openings};
use crate::support::upstream::step::{Behaviour, Step, hold, never_answer, raw, sse, status_with};
use crate::support::wire::chunk;

fn check_served_by_b(pair: &Pair, answer: &Answer, trail: &str) {
    let path = pair.path;
    assert_eq!(
        (answer.status, answer.header("x-qcc-endpoint"), answer.ended),
        (200, Some("b"), Ended::Whole),
        "{path}"
    );
    assert!(answer.header("x-qcc-trail").unwrap().starts_with(trail), "{path}: {:?}", answer.header("x-qcc-trail"));
    assert!(!answer.text().contains("_a_") && !answer.text().contains("error\":{"), "{path}: {}", answer.text());
    assert!(openings(answer) <= 1, "{path}: {}", answer.text());
    assert!(answer.events().len() > 3);
}

#[actix_web::test]
async fn an_error_before_the_first_content_is_a_matter_for_the_next_endpoint() {
    for path in PATHS {
        for (kind, trail, standing) in [
            ("overloaded_error", "a=529@", "primary"),
            ("rate_limit_error", "a=429@", "primary"),
            ("api_error", "a=500@", "failure"),
            ("authentication_error", "a=401@", "failure"),
        ] {
            let pair = Pair::serving(path).await;
            pair.a.script_traffic([sse(0).then_error(kind)]);
            let app = pair.strict().start().await;
            let answer = pair.ask(&mut app.client().await).await;
            check_served_by_b(&pair, &answer, trail);
            let row = app.row("a").await;
            assert_eq!(row["standing"], standing, "{path} {kind}");
            assert_eq!((pair.a.traffic(), pair.b.traffic()), (1, 1));
            let stats = app.stats().await;
            assert_eq!((&stats["successful_requests"], &stats["failed_requests"]), (&json!(1), &json!(0)));
            app.finish().await;
        }
    }
}

#[actix_web::test]
async fn an_end_with_nothing_but_the_preamble_is_a_matter_for_the_next_endpoint() {
    for path in PATHS {
        for cut in [sse(0).then_cut(), sse(0).then_close(), sse(0).then_reset()] {
            let pair = Pair::serving(path).await;
            pair.a.script_traffic([cut]);
            let app = pair.strict().start().await;
            let answer = pair.ask(&mut app.client().await).await;
            check_served_by_b(&pair, &answer, "a=stream@");
            let row = app.row("a").await;
            assert_eq!((&row["standing"], &row["isolated_reason"]), (&json!("failure"), &json!("stream")), "{path}");
            app.finish().await;
        }
    }
}

#[actix_web::test]
async fn a_first_event_that_does_not_come_is_a_time_out() {
    let plain = STREAM_HEAD.replace("event-stream", "plain");
    let nameless = STREAM_HEAD.replace("content-type: text/event-stream\r\n", "");
    let heads = PATHS.map(|path| (path, STREAM_HEAD));
    for (path, head) in heads.into_iter().chain([("/v1/messages", &*plain), ("/v1/chat/completions", &*nameless)]) {
        let pair = Pair::serving(path).await;
        pair.a.script_traffic([raw(head.to_owned()).then(never_answer())]);
        let app = pair.setup(Setup::new().section("timeouts", "first_event = \"400ms\"")).start().await;
        let answer = pair.ask(&mut app.client().await).await;
        check_served_by_b(&pair, &answer, "a=timeout@");
        app.finish().await;
    }
}

/// Once wrong: a comment behind the head tied the client to an endpoint that said nothing more.
#[actix_web::test]
async fn a_comment_is_no_event() {
    for path in PATHS {
        let pair = Pair::serving(path).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        pair.a.script_traffic([raw(format!("{head}: connected\n\nretry: 3000\n\n")).then(never_answer())]);
        let timeouts = "first_event = \"300ms\"\nfirst_content = \"50ms\"";
        let app = pair.setup(Setup::new().section("timeouts", timeouts)).start().await;
        let answer = pair.ask(&mut app.client().await).await;
        check_served_by_b(&pair, &answer, "a=timeout@");
        app.finish().await;
    }
}

/// Once wrong: it had no more time than a stream has to its first event.
#[actix_web::test]
async fn an_answer_that_comes_whole_where_a_stream_was_asked_for_has_the_time_of_one() {
    let pair = Pair::serving("/v1/messages").await;
    let message = r#"{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"hi"}]}"#;
    let length = message.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    pair.a.script_traffic([raw(head).then(hold("body")).then(raw(message))]);
    let app = pair.setup(Setup::new().section("timeouts", "first_event = \"300ms\"")).start().await;
    let mut client = app.client().await;
    pair.send(&mut client, &[]).await;
    pair.a.received(1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    pair.a.gates().open("body");
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("a")));
    assert_eq!(answer.events().last().unwrap().name.as_deref(), Some("message_stop"));
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_of_pings_is_passed_on_after_a_while_as_it_is() {
    for path in PATHS {
        let pair = Pair::serving(path).await;
        pair.a.script_traffic([sse(0)
            .bytes("event: ping\ndata: {}\n\n: still here\n\n")
            .hold("content")
            .more(1)
            .then_end()]);
        let app = pair.setup(Setup::new().section("timeouts", "first_content = \"100ms\"")).start().await;
        let mut client = app.client().await;
        pair.send(&mut client, &[]).await;
        // The upstream sends no content before the gate opens: that the head is here is first_content's doing.
        let head = client.answer_head().await;
        assert_eq!((head.status, head.headers.get("x-qcc-endpoint")), (200, Some("a")), "{path}");
        pair.a.gates().open("content");
        let rest = client.rest().await;
        assert_eq!(rest.ended, Ended::Whole);
        assert!(rest.text().contains(": still here\n\n"));
        assert_eq!((pair.b.traffic(), app.row("a").await["successes"].clone()), (0, json!(1)));
        app.finish().await;
    }
}

/// Found from outside: an endpoint that sent nothing but a role and an end, and that slowly, was never noticed.
#[actix_web::test]
async fn an_end_without_an_answer_is_none_also_where_the_stream_is_passed_on_already() {
    let pair = Pair::serving("/v1/chat/completions").await;
    pair.a.script_traffic([sse(0).bytes(": still here\n\n").hold("end").bytes("data: [DONE]\n\n").then_close()]);
    let app = pair.setup(Setup::new().section("timeouts", "first_content = \"100ms\"")).start().await;
    let mut client = app.client().await;
    pair.send(&mut client, &[]).await;
    assert_eq!(client.answer_head().await.status, 200);
    pair.a.gates().open("end");
    let rest = client.rest().await;
    assert!(rest.text().contains("\"error\"") && !rest.text().contains("[DONE]"), "{}", rest.text());
    let row = app.row("a").await;
    assert_eq!((&row["successes"], &row["failures"]), (&json!(0), &json!(1)));
    app.finish().await;
}

/// Found from outside: it counted as a stream without an answer, and three requests at fault isolated the endpoint.
#[actix_web::test]
async fn what_is_called_a_stream_and_is_json_is_judged_as_json() {
    let pair = Pair::serving("/v1/messages").await;
    let invalid = r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#;
    let message = r#"{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"hi"}]}"#;
    let headers = [("content-type", "text/event-stream")];
    pair.a.script_traffic([invalid, message].map(|answer| status_with(200, &headers, answer)));
    let app = pair.strict().start().await;
    let mut client = app.client().await;
    pair.send(&mut client, &[]).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (400, invalid));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    pair.send(&mut client, &[]).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.events().last().unwrap().name.as_deref()), (200, Some("message_stop")));
    let row = app.row("a").await;
    assert_eq!((&row["successes"], &row["failures"]), (&json!(1), &json!(0)));
    app.finish().await;
}

#[actix_web::test]
async fn what_is_too_much_to_be_held_is_passed_on() {
    let pair = Pair::serving("/v1/messages").await;
    let comment = format!(": {}\n\n", "x".repeat(1000));
    pair.a.script_traffic([sse(0).bytes(comment.repeat(1100)).hold("content").more(1).then_end()]);
    let app = pair.setup(Setup::new().section("timeouts", "first_content = \"1h\"")).start().await;
    let mut client = app.client().await;
    pair.send(&mut client, &[]).await;
    assert_eq!(client.answer_head().await.status, 200);
    pair.a.gates().open("content");
    let rest = client.rest().await;
    assert_eq!((rest.ended, rest.text().matches(": xxx").count()), (Ended::Whole, 1100));
    app.finish().await;
}

/// The Responses API repeats its request's instructions and tools in its first two events, before any content.
#[actix_web::test]
async fn a_stream_that_fails_behind_a_long_preamble_is_tried_elsewhere() {
    let pair = Pair::serving("/v1/messages").await;
    let comment = format!(": {}\n\n", "x".repeat(1000));
    pair.a.script_traffic([sse(0).bytes(comment.repeat(900)).then_error("api_error")]);
    let app = pair.setup(Setup::new()).start().await;
    let answer = pair.ask(&mut app.client().await).await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")));
    assert!(!answer.text().contains("xxx"), "nothing of the first one goes out");
    app.finish().await;
}

#[actix_web::test]
async fn the_requests_own_error_is_passed_on_with_its_status_and_never_asked_elsewhere() {
    for path in PATHS {
        let pair = Pair::serving(path).await;
        pair.a.script_traffic([sse(0).then_error("invalid_request_error")]);
        let app = pair.strict().start().await;
        let answer = pair.ask(&mut app.client().await).await;
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")), "{path}");
        let error = answer.json();
        assert_eq!(error["error"]["message"], "scripted invalid_request_error from a");
        assert_eq!(error["error"][if path == "/v1/responses" { "code" } else { "type" }], "invalid_request_error");
        assert_eq!((pair.b.traffic(), app.row("a").await["failures"].clone()), (0, json!(0)));
        assert_eq!(app.stats().await["rejected_requests"], 1);
        app.finish().await;
    }
}

#[actix_web::test]
async fn where_no_endpoint_does_better_the_error_is_the_answer() {
    for (kind, status) in
        [("api_error", 500), ("rate_limit_error", 429), ("overloaded_error", 503), ("permission_error", 403)]
    {
        let pair = Pair::serving("/v1/messages").await;
        for upstream in [&pair.a, &pair.b] {
            upstream.behave(Behaviour::always(sse(0).then_error(kind)));
        }
        let timeouts = "park = \"0s\"\ndeadline = \"300ms\"";
        let app = pair.setup(Setup::new().section("retry", timeouts)).start().await;
        let answer = pair.ask(&mut app.client().await).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/json")), "{kind}");
        assert_eq!(answer.json()["type"], "error");
        assert!(!answer.text().contains("message_start"));
        app.finish().await;
    }
}

/// Nothing of the token counter counts against an endpoint, in whatever form its error comes.
#[actix_web::test]
async fn an_error_event_to_the_token_counter_counts_as_nothing() {
    let pair = Pair::serving("/v1/messages").await;
    pair.a.script_traffic([sse(0).then_error("api_error")]);
    let app = pair.strict().start().await;
    let path = "/v1/messages/count_tokens";
    let answer = app.client().await.post(path, &[TRAFFIC], body(true)).await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")));
    let row = app.row("a").await;
    assert_eq!((&row["standing"], &row["failures"]), (&json!("primary"), &json!(0)));
    app.finish().await;
}

#[actix_web::test]
async fn a_short_answer_without_any_content_passes() {
    for path in PATHS {
        let pair = Pair::serving(path).await;
        pair.a.script_traffic([sse(0).then_end()]);
        let app = pair.strict().start().await;
        let answer = pair.ask(&mut app.client().await).await;
        assert_eq!((answer.header("x-qcc-endpoint"), answer.ended), (Some("a"), Ended::Whole), "{path}");
        assert_eq!(app.row("a").await["successes"], 1);
        app.finish().await;
    }
}

/// Found with a relay that closes its streams in order when its own upstream has failed: an empty answer was taken for whole.
#[actix_web::test]
async fn a_closing_event_behind_nothing_but_the_preamble_is_a_matter_for_the_next_endpoint() {
    for (path, closing) in [
        ("/v1/messages", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        ("/v1/chat/completions", "data: [DONE]\n\n"),
        ("/v1/completions", "data: [DONE]\n\n"),
    ] {
        for closing in [closing, closing.trim_end()] {
            let pair = Pair::serving(path).await;
            pair.a.script_traffic([sse(0).bytes(closing).then_cut()]);
            let app = pair.strict().start().await;
            let answer = pair.ask(&mut app.client().await).await;
            check_served_by_b(&pair, &answer, "a=stream@");
            assert_eq!(app.row("a").await["isolated_reason"], "stream", "{path}");
            app.finish().await;
        }
    }
}

/// A stream in chunks of so many bytes.
fn in_chunks(stream: &str, size: usize) -> Step {
    let mut wire = STREAM_HEAD.as_bytes().to_vec();
    for part in stream.as_bytes().chunks(size) {
        wire.extend_from_slice(&chunk(part));
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    raw(wire)
}

#[actix_web::test]
async fn the_winners_bytes_are_passed_on_however_they_were_cut() {
    let mut stream = String::from(
        ": hällo\r\n\r\nevent: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{}}\r\n\r\n",
    );
    for text in ["grüße ", "€uro ", "😀", "\\u00e4"] {
        let data =
            format!("{{\"type\":\"content_block_delta\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}");
        write!(stream, "event: content_block_delta\r\ndata: {data}\r\n\r\nevent: new_thing\rdata: {{}}\r\r").unwrap();
    }
    stream.push_str("event: message_delta\ndata: {\"delta\":\ndata: {\"stop_reason\":\"end_turn\"}}\n\n");
    stream.push_str("event: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n");
    let pair = Pair::serving("/v1/messages").await;
    let app = pair.strict().start().await;
    let mut client = app.client().await;
    for size in [1, 2, 3, 7, 64, 10_000] {
        pair.a.script_traffic([in_chunks(&stream, size)]);
        let answer = pair.ask(&mut client).await;
        assert_eq!((answer.text(), answer.ended), (stream.clone(), Ended::Whole), "in chunks of {size}");
    }
    assert_eq!(app.row("a").await["successes"], 6);
    app.finish().await;
}

/// A cut at any byte before the first content is invisible; at any later one it shows.
#[actix_web::test]
async fn wherever_a_stream_is_cut_it_is_either_served_whole_or_visibly_broken() {
    let pair = Pair::serving("/v1/messages").await;
    let app =
        pair.setup(Setup::new().section("breaker", "failure_threshold = 1000\nmin_requests = 1000")).start().await;
    let preamble =
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\nevent: ping\ndata: {}\n\n";
    let content = "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"ä\"}}\n\n";
    let stop = "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    let closing = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let stream = [preamble, content, stop, closing].concat();
    let (begun, complete) = (preamble.len() + content.len(), stream.len() - closing.len());
    let mut client = app.client().await;
    for cut in (0..=stream.len()).step_by(3) {
        let part = stream.as_bytes().get(..cut).unwrap();
        let wire =
            [STREAM_HEAD.as_bytes(), &if part.is_empty() { Vec::new() } else { chunk(part) }, b"0\r\n\r\n"].concat();
        pair.a.script_traffic([raw(wire)]);
        let answer = pair.ask(&mut client).await;
        assert_eq!(answer.ended, Ended::Whole);
        let last = answer.events().last().unwrap().name.clone();
        let by = answer.header("x-qcc-endpoint").unwrap();
        if cut < begun {
            assert_eq!((by, last.as_deref()), ("b", Some("message_stop")), "cut at {cut}");
        } else if cut < complete - 2 {
            // Of the blank line behind an event that completes the answer, the upstream's clean end takes the place.
            assert_eq!((by, last.as_deref()), ("a", Some("error")), "cut at {cut}");
        } else {
            assert_eq!((by, answer.text().as_str()), ("a", stream.as_str()), "cut at {cut}");
        }
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_leaves_at_the_gate_frees_its_lease_and_closes_its_upstream_within_a_second() {
    for path in PATHS {
        let pair = Pair::serving(path).await;
        pair.a.script_traffic([sse(0).hold("gate").then_stall()]);
        let app = pair.strict().start().await;
        let mut client = app.client().await;
        pair.send(&mut client, &[]).await;
        pair.a.gates().reached("gate").await;
        drop(client);
        let request = pair.a.received(1).await;
        tokio::time::timeout(std::time::Duration::from_secs(1), request.closed_by_peer()).await.unwrap();
        crate::support::eventually::eventually("the lease to be free", async || app.row("a").await["in_flight"] == 0)
            .await;
        let row = app.row("a").await;
        assert_eq!((&row["cancelled"], &row["failures"], &row["standing"]), (&json!(1), &json!(0), &json!("primary")));
        app.finish().await;
    }
}

#[actix_web::test]
async fn content_that_comes_late_but_in_time_is_waited_for() {
    let pair = Pair::serving("/v1/chat/completions").await;
    pair.a.script_traffic([sse(0).hold("content").more(1).then_error("overloaded_error"), hold("never")]);
    let app = pair.strict().start().await;
    let mut client = app.client().await;
    pair.send(&mut client, &[]).await;
    pair.a.gates().reached("content").await;
    pair.a.gates().open("content");
    // There is content: the error behind it is this answer's, and no matter for the next endpoint.
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint"), pair.b.traffic()), (200, Some("a"), 0));
    assert!(answer.events().last().unwrap().data.contains("\"error\""));
    app.finish().await;
}
