//! A whole JSON answer, where an event stream was asked for; a stream that is called something else; and either kind, where the
//! gateway can't see which was asked for.

use serde_json::{Value, json};

use crate::support::app::{Setup, TRAFFIC};
use crate::support::raw_client::{Answer, Ended};
use crate::support::streaming::{PATHS, Pair};
use crate::support::upstream::step::{ok, sse, sse_called, status_with};

const JSON: [(&str, &str); 2] = [("content-type", "application/json"), ("request-id", "req_1")];

async fn answered(path: &'static str, request: &Value, body: &Value) -> Answer {
    let pair = Pair::serving(path).await;
    pair.a.script_traffic([status_with(200, &JSON, body.to_string())]);
    let app = pair.strict().start().await;
    let answer = app.client().await.post(path, &[TRAFFIC], request.to_string()).await;
    assert_eq!((answer.status, answer.ended, answer.header("x-qcc-endpoint")), (200, Ended::Whole, Some("a")));
    let row = app.row("a").await;
    assert_eq!((&row["successes"], &row["failures"]), (&json!(1), &json!(0)));
    app.finish().await;
    answer
}

#[actix_web::test]
async fn a_message_is_passed_on_as_its_events() {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "stop_sequence": null, "usage": {"input_tokens": 4, "output_tokens": 2},
        "content": [
            {"type": "text", "text": "hällo"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1, "a": [1.50]}},
        ],
    });
    let request = json!({"model": "m", "stream": true, "messages": []});
    let answer = answered("/v1/messages", &request, &message).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!((answer.header("request-id"), answer.header("x-accel-buffering")), (Some("req_1"), Some("no")));
    let events = answer.events();
    let names: Vec<_> = events.iter().map(|event| event.name.as_deref().unwrap()).collect();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    assert_eq!(names, [&["message_start"], &block[..], &block[..], &["message_delta", "message_stop"]].concat());
    let data: Vec<Value> = events.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect();
    assert_eq!(data[2]["delta"]["text"], "hällo");
    // The tool's input keeps its members' order, which JSON values here do not: so it is compared as text.
    let input = serde_json::to_string(&message["content"][1]["input"]).unwrap();
    assert_eq!(data[5]["delta"]["partial_json"], input);
    assert_eq!((&data[7]["delta"]["stop_reason"], &data[7]["usage"]["output_tokens"]), (&json!("tool_use"), &json!(2)));
}

#[actix_web::test]
async fn a_chat_completion_is_passed_on_as_its_chunks() {
    let completion = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hällo"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    });
    for include_usage in [true, false] {
        let request = json!({
            "model": "m", "stream": true, "messages": [], "stream_options": {"include_usage": include_usage},
        });
        let answer = answered("/v1/chat/completions", &request, &completion).await;
        let events = answer.events();
        assert_eq!(events.last().unwrap().data, "[DONE]");
        let chunks: Vec<Value> =
            events[..events.len() - 1].iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect();
        let delta = |index: usize| &chunks[index]["choices"][0]["delta"];
        assert_eq!((&delta(0)["role"], &delta(1)["content"]), (&json!("assistant"), &json!("hällo")));
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
        assert_eq!(
            (chunks.len(), chunks[chunks.len() - 1]["usage"].is_object()),
            (3 + usize::from(include_usage), include_usage)
        );
    }
}

/// Found with pi: it took JSON for an answer with nothing in it, and its task for done.
#[actix_web::test]
async fn a_response_is_passed_on_as_its_events() {
    let response = json!({
        "id": "resp_1", "object": "response", "status": "completed", "error": null, "model": "m",
        "output": [{"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}],
        "usage": {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6},
    });
    let request = json!({"model": "m", "stream": true, "input": "x"});
    let answer = answered("/v1/responses", &request, &response).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events = answer.events();
    let names: Vec<_> =
        events.iter().map(|event| event.name.as_deref().unwrap().trim_start_matches("response.")).collect();
    let item =
        ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"];
    assert_eq!(names, [&["created"], &item[..], &["completed"]].concat());
    let last: Value = serde_json::from_str(&events.last().unwrap().data).unwrap();
    assert_eq!((&last["sequence_number"], &last["response"]), (&json!(5), &response));
}

#[actix_web::test]
async fn where_there_are_no_such_events_the_answer_is_passed_on_as_it_is() {
    let request = json!({"model": "m", "stream": true, "input": "x"});
    for path in ["/v1/responses", "/v1/completions", "/v1/embeddings"] {
        let body = json!({"id": "x", "status": "queued", "output": [], "choices": []});
        let answer = answered(path, &request, &body).await;
        assert_eq!((answer.json(), answer.header("content-type")), (body, Some("application/json")), "{path}");
    }
}

#[actix_web::test]
async fn json_that_is_no_answer_is_a_matter_for_the_next_endpoint() {
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let pair = Pair::serving(path).await;
        pair.a.script_traffic([status_with(200, &JSON, r#"{"status":"fine"}"#)]);
        let app = pair.strict().start().await;
        let answer = pair.ask(&mut app.client().await).await;
        assert_eq!((answer.header("x-qcc-endpoint"), answer.ended), (Some("b"), Ended::Whole));
        assert_eq!(app.row("a").await["isolated_reason"], "body");
        app.finish().await;
    }
}

/// Found by reading: some servers read 1 as true, or a body in UTF-16, and their streams failed on one endpoint after the other.
#[actix_web::test]
async fn where_it_can_not_be_seen_what_was_asked_for_either_kind_is_an_answer() {
    let pair = Pair::serving("/v1/chat/completions").await;
    let app = pair.strict().start().await;
    let utf16: Vec<u8> = r#"{"model":"m","stream":true}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [br#"{"model":"m","stream":1}"#.as_slice(), &utf16] {
        for (step, content_type) in [(sse(2).finished().then_end(), "text/event-stream"), (ok(), "application/json")] {
            pair.a.script_traffic([step]);
            let answer = app.client().await.post("/v1/chat/completions", &[TRAFFIC], body).await;
            assert_eq!((answer.status, answer.ended), (200, Ended::Whole), "{content_type}");
            assert_eq!(
                answer.header("x-qcc-trail").and_then(|trail| trail.split_once('@')).map(|step| step.0),
                Some("a=ok")
            );
            assert!(answer.header("content-type").unwrap().starts_with(content_type));
        }
    }
    app.finish().await;
}

/// What servers call a stream that they don't call one. Some call it nothing.
const OTHER_NAMES: [Option<&str>; 4] =
    [None, Some("text/plain; charset=utf-8"), Some("application/octet-stream"), Some("application/json")];

/// Clients read such streams, and the gateway isolated the endpoint.
#[actix_web::test]
async fn a_stream_is_one_whatever_it_is_called() {
    for path in PATHS {
        for name in OTHER_NAMES {
            let pair = Pair::serving(path).await;
            pair.a.script_traffic([sse_called(name, 2).then_end()]);
            let app = pair.strict().start().await;
            let answer = pair.ask(&mut app.client().await).await;
            assert_eq!((answer.status, answer.ended, answer.header("x-qcc-endpoint")), (200, Ended::Whole, Some("a")));
            assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"), "{path} {name:?}");
            assert!(answer.text().contains("answer") && answer.events().len() > 2, "{path} {}", answer.text());
            let row = app.row("a").await;
            assert_eq!((&row["successes"], &row["failures"]), (&json!(1), &json!(0)));
            app.finish().await;
        }
    }
}

#[actix_web::test]
async fn a_stream_that_is_called_something_else_fails_and_breaks_as_any_other() {
    for name in OTHER_NAMES {
        let pair = Pair::serving("/v1/messages").await;
        pair.a.script_traffic([sse_called(name, 2).then_cut(), sse_called(name, 0).then_error("overloaded_error")]);
        let app = pair.setup(Setup::new()).start().await;
        let mut client = app.client().await;
        let torn = pair.ask(&mut client).await;
        assert_eq!((torn.header("x-qcc-endpoint"), app.row("a").await["failures"].clone()), (Some("a"), json!(1)));
        assert_eq!(torn.events().last().unwrap().name.as_deref(), Some("error"), "{name:?}");
        let answer = pair.ask(&mut client).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")), "{name:?}");
        assert!(answer.header("x-qcc-trail").unwrap().starts_with("a=529@"));
        app.finish().await;
    }
}

#[actix_web::test]
async fn what_is_no_stream_by_its_words_either_is_none() {
    for body in ["<!doctype html>", "database error", "", "events: none"] {
        let pair = Pair::serving("/v1/messages").await;
        pair.a.script_traffic([status_with(200, &[("content-type", "text/plain")], body)]);
        let app = pair.strict().start().await;
        let answer = pair.ask(&mut app.client().await).await;
        assert_eq!((answer.header("x-qcc-endpoint"), answer.ended), (Some("b"), Ended::Whole), "{body}");
        assert_eq!(app.row("a").await["isolated_reason"], "body", "{body}");
        app.finish().await;
    }
}

/// Once wrong: what was called a stream was held only up to 256 KiB, and then passed on as a broken one.
#[actix_web::test]
async fn a_large_message_that_is_called_a_stream_is_passed_on_as_its_events() {
    let pair = Pair::serving("/v1/messages").await;
    let text = "x".repeat(300 << 10);
    let message =
        json!({"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]});
    let headers = [("content-type", "text/event-stream")];
    pair.a.script_traffic([status_with(200, &headers, format!("\n\n{message}"))]);
    let app = pair.strict().start().await;
    let answer = pair.ask(&mut app.client().await).await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("a")));
    assert_eq!(answer.events().last().unwrap().name.as_deref(), Some("message_stop"));
    assert!(answer.text().contains(&text));
    app.finish().await;
}

/// Found by reading: the verifier took it for JSON and traffic did not, so that such an endpoint came and went.
#[actix_web::test]
async fn json_that_is_called_a_stream_is_json_also_where_none_was_asked_for() {
    let pair = Pair::serving("/v1/messages").await;
    let message =
        json!({"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}]});
    pair.a.script_traffic([status_with(200, &[("content-type", "text/event-stream")], message.to_string())]);
    let app = pair.strict().start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint"), answer.json()), (200, Some("a"), message));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    app.finish().await;
}
