use serde_json::{Value, json};

use super::super::{Format, as_events};
use super::kinds_of;
use crate::domain::sse::{Kind, Progress};

/// The data of each event, and its name if it has one.
fn events(format: Format, body: &Value, include_usage: bool) -> Vec<(Option<String>, Value)> {
    let text = as_events(format, body.to_string().as_bytes(), include_usage).unwrap();
    let (kinds, progress) = kinds_of(format, &[text.as_bytes()]);
    assert_eq!(progress, Progress::Closed);
    assert!(!kinds.iter().any(|kind| matches!(kind, Kind::Error(_))));
    text.split_terminator("\n\n")
        .map(|event| {
            let field = |name: &str| {
                event.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
            };
            let data = field("data").unwrap();
            (field("event"), serde_json::from_str(&data).unwrap_or(Value::String(data)))
        })
        .collect()
}

#[test]
fn a_message_becomes_the_events_that_it_stands_for() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "container": null,
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "hällo\n", "citations": [{"type": "c", "n": 1}]},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1.50, {"b": "c"}]}},
            {"type": "never_heard_of", "x": {"y": 1}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 40, "output_tokens": 3, "cache_read_input_tokens": 2},
    });
    let events = events(Format::Messages, &body, false);
    for (name, data) in &events {
        assert_eq!(name.as_deref(), data["type"].as_str());
    }
    // Reassembled as clients do.
    let mut message = events[0].1["message"].clone();
    assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
    assert_eq!(message["usage"], body["usage"]);
    let mut inputs = String::new();
    for (_, data) in &events[1..] {
        let index = usize::try_from(data["index"].as_u64().unwrap_or_default()).unwrap();
        match data["type"].as_str().unwrap() {
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(blocks.len(), index);
                blocks.push(data["content_block"].clone());
            }
            "content_block_delta" => {
                let block = &mut message["content"][index];
                let delta = &data["delta"];
                match delta["type"].as_str().unwrap() {
                    "text_delta" => {
                        block["text"] =
                            format!("{}{}", block["text"].as_str().unwrap(), delta["text"].as_str().unwrap()).into();
                    }
                    "thinking_delta" => block["thinking"] = delta["thinking"].clone(),
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    "citations_delta" => block["citations"] = json!([delta["citation"]]),
                    "input_json_delta" => inputs.push_str(delta["partial_json"].as_str().unwrap()),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" if !inputs.is_empty() => {
                assert_eq!(message["content"][index]["input"], json!({}));
                message["content"][index]["input"] = serde_json::from_str(&std::mem::take(&mut inputs)).unwrap();
            }
            "content_block_stop" | "message_stop" => {}
            "message_delta" => {
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                assert_eq!(data["usage"], body["usage"]);
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(message, body);
}

#[test]
fn what_clients_take_from_the_end_of_a_stream_stands_there() {
    let body = json!({
        "role": "assistant", "content": [], "stop_reason": "refusal", "stop_sequence": null,
        "stop_details": {"category": "x"}, "container": {"id": "c1"}, "context_management": {"applied_edits": [{"n": 1}]},
        "safeguard_results": [{"type": "dangerous_tool_use", "status": {"type": "available", "tool_uses": {}}}],
        "input_transformations": [{"n": 2}],
    });
    let events = events(Format::Messages, &body, false);
    let (_, end) = &events[events.len() - 2];
    assert_eq!(end["type"], "message_delta");
    for name in ["stop_details", "container", "safeguard_results"] {
        assert_eq!(end["delta"][name], body[name], "{name}");
    }
    for name in ["context_management", "input_transformations"] {
        assert_eq!(end[name], body[name], "{name}");
    }
}

#[test]
fn a_chat_completion_becomes_its_chunks() {
    let body = json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "fp",
        "choices": [{
            "index": 0, "logprobs": null, "finish_reason": "tool_calls",
            "message": {
                "role": "assistant", "content": "hi", "refusal": null, "reasoning_content": "hm",
                "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        }],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    });
    for include_usage in [true, false] {
        let events = events(Format::Chat, &body, include_usage);
        let (done, chunks) = events.split_last().unwrap();
        assert_eq!(done.1, "[DONE]");
        let mut message = json!({});
        for (name, chunk) in chunks {
            assert_eq!(*name, None);
            assert_eq!(
                (&chunk["object"], &chunk["id"], &chunk["system_fingerprint"]),
                (&json!("chat.completion.chunk"), &json!("c1"), &json!("fp"))
            );
            for (name, value) in chunk["choices"][0]["delta"].as_object().into_iter().flatten() {
                message[name] = value.clone();
            }
        }
        assert_eq!(
            message,
            json!({
                "role": "assistant", "content": "hi", "reasoning_content": "hm",
                "tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            })
        );
        let last = &chunks.last().unwrap().1;
        if include_usage {
            assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &body["usage"]));
        } else {
            assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
        }
    }
}

#[test]
fn a_response_becomes_its_numbered_events() {
    let text = json!({"type": "output_text", "text": "a\"b", "annotations": []});
    let items = json!([
        {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x"},
        {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": [text, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{\"a\":1}"},
        {"type": "custom_tool_call", "id": "ct", "call_id": "d", "name": "g", "input": "i"},
    ]);
    for (status, last) in [("completed", "response.completed"), ("incomplete", "response.incomplete")] {
        let body =
            json!({"id": "resp", "status": status, "error": null, "output": items, "usage": {"input_tokens": 3}});
        let events = events(Format::Responses, &body, false);
        for (number, (name, data)) in events.iter().enumerate() {
            assert_eq!((name.as_deref(), &data["sequence_number"]), (data["type"].as_str(), &json!(number)));
        }
        assert_eq!(
            events[0].1["response"],
            json!({"id": "resp", "status": "in_progress", "error": null, "output": [], "usage": null})
        );
        let (name, data) = events.last().unwrap();
        assert_eq!((name.as_deref(), &data["response"]), (Some(last), &body));
        let named = |name: &str| -> Vec<&Value> {
            events.iter().filter(|(event, _)| event.as_deref() == Some(name)).map(|(_, data)| data).collect()
        };
        let done: Vec<&Value> = named("response.output_item.done").into_iter().map(|data| &data["item"]).collect();
        assert_eq!(json!(done), items);
        assert_eq!(named("response.output_item.added")[1]["item"]["content"], json!([]));
        let delta = |kind: &str| named(&format!("response.{kind}.delta"))[0];
        for (kind, at, id, said) in [
            ("output_text", 1, "msg", "a\"b"),
            ("refusal", 1, "msg", "no"),
            ("function_call_arguments", 2, "fc", "{\"a\":1}"),
            ("custom_tool_call_input", 3, "ct", "i"),
        ] {
            let delta = delta(kind);
            assert_eq!(
                (&delta["output_index"], &delta["item_id"], &delta["delta"]),
                (&json!(at), &json!(id), &json!(said))
            );
        }
    }
}

#[test]
fn what_is_no_answer_becomes_no_events() {
    for (format, body) in [
        (Format::Messages, "{}"),
        (Format::Messages, "[]"),
        (Format::Messages, r#"{"role":"assistant","content":"text"}"#),
        (Format::Messages, r#"{"content":[]}"#),
        (Format::Messages, r#"{"role":"assistant","content":[],"stop_reason":null}"#),
        (Format::Messages, r#"{"role":"assistant","content":[]}"#),
        (Format::Chat, r#"{"id":"","object":"","choices":[],"usage":{"prompt_tokens":0}}"#),
        (Format::Chat, "{}"),
        (Format::Chat, r#"{"choices":[{"text":"x"}]}"#),
        (Format::Completions, r#"{"choices":[{"text":"x"}]}"#),
        (Format::Responses, r#"{"output":[]}"#),
        (Format::Responses, r#"{"output":[],"status":"queued"}"#),
    ] {
        assert_eq!(as_events(format, body.as_bytes(), false), None, "{body}");
    }
}

#[test]
fn an_answer_that_ends_without_a_word_is_one_and_a_byte_order_mark_before_it_is_no_part_of_it() {
    for body in [
        r#"{"role":"assistant","content":[],"stop_reason":"end_turn"}"#,
        r#"{"role":"assistant","content":[],"stop_reason":"refusal"}"#,
    ] {
        let events = as_events(Format::Messages, body.as_bytes(), false);
        assert!(events.is_some(), "{body}");
        assert_eq!(as_events(Format::Messages, format!("\u{feff}{body}").as_bytes(), false), events);
    }
}

#[test]
fn an_answer_on_many_lines_becomes_events_of_one_line_each() {
    for (format, body) in [
        (
            Format::Messages,
            json!({
                "type": "message", "role": "assistant", "id": "m", "content": [{"type": "tool_use", "input": {"a": [1, 2]}, "x": {"y": 1}}],
                "usage": {"input_tokens": 40, "output_tokens": 3},
            }),
        ),
        (
            Format::Chat,
            json!({
                "id": "c", "choices": [{"message": {"content": "a\nb", "tool_calls": [{"id": "t", "function": {"name": "f"}}]}}],
                "meta": {"a": {"b": 1}}, "usage": {"prompt_tokens": 2},
            }),
        ),
    ] {
        let pretty = serde_json::to_string_pretty(&body).unwrap();
        for text in [pretty.clone(), pretty.replace('\n', "\r\n")] {
            let events = as_events(format, text.as_bytes(), true).unwrap();
            for line in events.split(['\n', '\r']).filter(|line| !line.is_empty() && *line != "data: [DONE]") {
                let is_whole = |data: &str| serde_json::from_str::<Value>(data).is_ok();
                assert!(line.starts_with("event: ") || line.strip_prefix("data: ").is_some_and(is_whole), "{line}");
            }
        }
    }
}

/// Found with what was repeated for each choice, and for each list of calls: 130 KB became 410 MB.
#[test]
fn a_small_answer_stands_for_no_gigabyte() {
    let (long, choices) = ("x".repeat(100 << 10), vec!["{\"message\":{}}"; 2000].join(","));
    let (again, calls) = ("\"tool_calls\":0,".repeat(2000), vec!["{}"; 2000].join(","));
    let blocks = vec!["{}"; 100_000].join(",");
    for (format, body) in [
        (Format::Chat, format!("{{\"id\":\"{long}\",\"choices\":[{choices}]}}")),
        (Format::Chat, format!("{{\"choices\":[{{\"message\":{{{again}\"tool_calls\":[{calls}]}}}}]}}")),
        (Format::Messages, format!("{{\"role\":\"assistant\",\"content\":[{blocks}]}}")),
    ] {
        assert_eq!(as_events(format, body.as_bytes(), true), None, "{} bytes", body.len());
    }
    let many = format!("{{\"id\":\"c\",\"choices\":[{}]}}", vec!["{\"message\":{\"content\":\"a\"}}"; 128].join(","));
    assert!(as_events(Format::Chat, many.as_bytes(), false).is_some(), "as many choices as may be asked for");
    let long = json!({"type": "message", "content": [{"type": "output_text", "text": "x".repeat(2 << 20)}]});
    let long = json!({"status": "completed", "output": [long]}).to_string();
    assert!(as_events(Format::Responses, long.as_bytes(), false).is_some(), "a long text stands in five events");
}

/// Found from outside: each chunk went through all members of the answer, and one answer held a thread up for minutes. This test
/// would take a quarter of an hour.
#[test]
fn an_answer_of_many_members_is_gone_through_once() {
    let many = "\"usage\":0,".repeat(200_000);
    let body = format!(r#"{{{many}"choices":[{{"message":{{{many}"content":"hi"}}}}]}}"#);
    let events = as_events(Format::Chat, body.as_bytes(), true).unwrap_or_default();
    assert!(events.ends_with("data: [DONE]\n\n"));
}
