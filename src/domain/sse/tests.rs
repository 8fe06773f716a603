use bytes::Bytes;
use proptest::prelude::*;

use super::kind::Kind;
use super::relay::{Ending, LONGEST_HELD, Relay};
use super::scanner::{Found, LONGEST_LOOKED_INTO, Progress, Scanner};
use super::{Expected, Format};
use crate::domain::error_object::ErrorObject;

mod conversion;
mod relay;

/// The kinds of the events of a stream that comes in these pieces, and how far it has come.
fn kinds_of(format: Format, pieces: &[&[u8]]) -> (Vec<Kind>, Progress) {
    let (kinds, scanner) = scanned(format, pieces);
    (kinds, scanner.progress())
}

fn scanned(format: Format, pieces: &[&[u8]]) -> (Vec<Kind>, Scanner) {
    let mut scanner = Scanner::new(Expected::one(format));
    let mut kinds = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while let Some(Found { length, kind }) = scanner.advance(rest) {
            kinds.push(kind);
            rest = &rest[length..];
        }
    }
    (kinds, scanner)
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Comment,
    Preamble,
    Content,
    Error,
    Complete,
    Closed,
}

fn word(format: Format, event: &str) -> Word {
    let (kinds, _) = kinds_of(format, &[event.as_bytes(), b"\n\n"]);
    match kinds.first().unwrap_or_else(|| panic!("no event in {event}")) {
        Kind::Comment => Word::Comment,
        Kind::Preamble => Word::Preamble,
        Kind::Content => Word::Content,
        Kind::Error(_) => Word::Error,
        Kind::Complete => Word::Complete,
        Kind::Closed => Word::Closed,
    }
}

#[test]
fn an_event_is_what_its_protocol_says() {
    use Format::{Chat, Completions, Messages};
    use Word::{Closed, Comment, Complete, Content, Error, Preamble};
    for (format, event, expected) in [
        (Messages, ": a comment", Comment),
        (Messages, "retry: 3000", Comment),
        (Messages, "event: ping", Preamble),
        (Messages, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[]}}", Preamble),
        (Messages, "event: ping\ndata: {\"type\":\"ping\"}", Preamble),
        (Messages, "event: content_block_start\ndata: {\"content_block\":{\"type\":\"text\",\"text\":\"\"}}", Preamble),
        (
            Messages,
            "event: content_block_start\ndata: {\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}",
            Preamble,
        ),
        (
            Messages,
            "event: content_block_start\ndata: {\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"n\",\"input\":{}}}",
            Content,
        ),
        (
            Messages,
            "event: content_block_start\ndata: {\"content_block\":{\"type\":\"redacted_thinking\",\"data\":\"x\"}}",
            Content,
        ),
        (Messages, "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"\"}}", Preamble),
        (Messages, "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}", Content),
        (Messages, "event: content_block_delta\ndata: {\"delta\":{\"type\":\"never_heard_of\",\"x\":1}}", Content),
        (
            Messages,
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}",
            Content,
        ),
        (Messages, "event: content_block_stop\ndata: {}", Preamble),
        (Messages, "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}", Complete),
        (Messages, "event: message_delta\ndata: {\"delta\":{\"stop_reason\":null}}", Preamble),
        (Messages, "event:message_stop\r\ndata:{}\r\n\r\n", Closed),
        (Messages, "event: message_stop\rdata: {}\r\r", Closed),
        (
            Messages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}",
            Error,
        ),
        (Messages, "event: error\ndata: oops", Error),
        (Messages, "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}", Error),
        (Messages, "event: new_thing\ndata: {\"delta\":{\"a\":1}}", Content),
        (Messages, "event: new_thing\ndata: {\"other\":{\"a\":1}}", Preamble),
        (Messages, "data: event: message_stop", Preamble),
        (Messages, "\u{feff}event: message_stop\ndata: {}", Closed),
        (Messages, "event:\ndata: {\"type\":\"message_stop\"}", Closed),
        (Messages, "event: message\ndata: {\"type\":\"message_stop\"}", Closed),
        (
            Chat,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"finish_reason\":null}]}",
            Preamble,
        ),
        (Chat, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", Content),
        (Chat, "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"a\"}}]}", Content),
        (Chat, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}", Content),
        (Chat, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}", Complete),
        (Chat, "data: {\"choices\":[],\"usage\":{}}", Preamble),
        (Chat, "data: [DONE]", Closed),
        (Chat, "data:[DONE]", Closed),
        (Chat, "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\"}}", Error),
        (Chat, "data: {\"error\":\"words\"}", Error),
        (Chat, "data: {\"error\":null,\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", Content),
        (
            Chat,
            "data: {\"error\":{\"message\":\"\",\"type\":\"\"},\"choices\":[{\"delta\":{\"content\":\"a\"}}]}",
            Content,
        ),
        (Chat, "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\":{\\\"message\\\":1}\"}}]}", Content),
        (Chat, "event: error\ndata: {\"message\":\"m\"}", Error),
        (Chat, ": OPENROUTER PROCESSING", Comment),
        (
            Chat,
            "data: {\"error\":{\"code\":502,\"message\":\"m\"},\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}",
            Error,
        ),
        (Chat, "data: {\"object\":\"error\",\"message\":\"m\",\"type\":\"BadRequestError\",\"code\":400}", Error),
        (
            Chat,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"content_filter_results\":{\"error\":{\"code\":\"x\"}}}]}",
            Content,
        ),
        (
            Chat,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[{\"logprob\":-Infinity}]},\"finish_reason\":null}]}",
            Content,
        ),
        (Chat, "data: {\"error\":{\"message\":NaN},\"choices\":[]}", Preamble),
        (Completions, "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":null}]}", Preamble),
        (Completions, "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}", Content),
        (Completions, "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}", Complete),
    ] {
        assert_eq!(word(format, event), expected, "{event}");
    }
}

#[test]
fn an_event_of_the_responses_api_is_what_its_type_says() {
    use Format::Responses;
    use Word::{Closed, Content, Error, Preamble};
    for (format, event, expected) in [
        (Responses, "event: response.created\ndata: {\"response\":{}}", Preamble),
        (Responses, "event: response.in_progress\ndata: {\"response\":{}}", Preamble),
        (
            Responses,
            "event: response.output_item.added\ndata: {\"item\":{\"id\":\"i\",\"type\":\"message\",\"status\":\"in_progress\",\"content\":[],\"role\":\"assistant\"}}",
            Preamble,
        ),
        (
            Responses,
            "event: response.output_item.added\ndata: {\"item\":{\"id\":\"i\",\"type\":\"function_call\",\"name\":\"f\",\"arguments\":\"\"}}",
            Content,
        ),
        (
            Responses,
            "event: response.content_part.added\ndata: {\"part\":{\"type\":\"output_text\",\"annotations\":[],\"text\":\"\"}}",
            Preamble,
        ),
        (Responses, "event: response.output_text.delta\ndata: {\"delta\":\"a\"}", Content),
        (Responses, "event: response.output_text.delta\ndata: {\"delta\":\"\"}", Preamble),
        (Responses, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}", Content),
        (Responses, "event: response.output_text.done\ndata: {\"text\":\"a\"}", Content),
        (Responses, "event: response.completed\ndata: {}", Closed),
        (Responses, "event: response.incomplete\ndata: {}", Closed),
        (Responses, "event:\ndata: {\"type\":\"response.completed\"}", Closed),
        (Responses, "event: message\ndata: {\"type\":\"response.completed\"}", Closed),
        (Responses, "event: message\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}", Content),
        (Responses, "event: chunk\ndata: {\"type\":\"response.completed\"}", Closed),
        (Responses, "event: response.completed\ndata: {\"type\":\"\"}", Closed),
        (Responses, "event: error\ndata: {\"type\":\"response.in_progress\"}", Error),
        (
            Responses,
            "event: response.failed\ndata: {\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}",
            Error,
        ),
        (Responses, "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\"}", Error),
    ] {
        assert_eq!(word(format, event), expected, "{event}");
    }
}

/// What is read of an event that is an error.
fn check_error(format: Format, event: &str, body: &str, known: bool) {
    let (kinds, _) = kinds_of(format, &[event.as_bytes(), b"\n\n"]);
    let [Kind::Error(error)] = &*kinds else { panic!("{kinds:?}") };
    assert_eq!((error.body.as_str(), error.is_known_to_clients), (body, known), "{event}");
    assert!(ErrorObject::read(body.as_bytes()).is_some(), "it counts as an error: {event}");
    assert!(!format!("{error:?}").contains("oops"));
}

/// Found from outside: these ended in `[DONE]` as if nothing had been the matter, or counted as 500 whatever they said.
#[test]
fn an_error_is_one_in_the_words_of_providers_and_relays_too() {
    use Format::{Chat, Completions, Messages};
    let choice = r#"{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":502,"message":"oops"}}"#;
    let reason = |reason: &str| format!(r#"data: {{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
    let anthropic = r#"{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"oops\"}}"#;
    let relay = |more: &str| format!("event: error\ndata: {{\"error\":\"Claude API error\",\"status\":429{more}}}");
    for (format, event, status) in [
        (Chat, format!(r#"data: {{"choices":[{choice}]}}"#), 502),
        (Chat, r#"data: {"choices":[{"error":{"message":"oops","type":"rate_limit_error"}}]}"#.to_owned(), 429),
        (Chat, r#"data: {"choices":[{"delta":{},"error":"oops"}]}"#.to_owned(), 500),
        (Chat, reason("error"), 500),
        (Chat, reason("network_error"), 500),
        (Chat, reason("insufficient_system_resource"), 500),
        (Chat, r#"data: {"choices":[],"x_groq":{"error":"over capacity"}}"#.to_owned(), 500),
        (Chat, r#"error: {"code":503,"message":"oops","type":"unavailable_error"}"#.to_owned(), 503),
        (Completions, r#"error: {"code":500,"message":"oops","type":"server_error"}"#.to_owned(), 500),
        (Messages, r#"error: {"code":500,"message":"oops","type":"server_error"}"#.to_owned(), 500),
        (Chat, r#"data: {"base_resp":{"status_code":1002,"status_msg":"oops"}}"#.to_owned(), 429),
        (Messages, relay(""), 429),
        (Messages, relay(&format!(",\"details\":\"{anthropic}\"")), 400),
        (Messages, "event: error\ndata: {\"error\":\"oops\"}".to_owned(), 500),
    ] {
        let (kinds, _) = kinds_of(format, &[event.as_bytes(), b"\n\n"]);
        let [Kind::Error(error)] = &*kinds else { panic!("{event}: {kinds:?}") };
        let read = ErrorObject::of_answer(200, error.body.as_bytes()).unwrap_or_else(|| panic!("{}", error.body));
        assert_eq!(read.stands_for(), status, "{event}: {}", error.body);
    }
    for event in [
        reason("stop"),
        reason("sensitive"),
        r#"data: {"choices":[{"delta":{"content":"a"},"error":null}]}"#.to_owned(),
        r#"data: {"choices":[],"x_groq":{"id":"r","error":null}}"#.to_owned(),
        r#"data: {"choices":[],"x_groq":{"id":"r","error":false}}"#.to_owned(),
        r#"data: {"choices":[{"delta":{"content":"a"},"error":{"message":"","type":"","code":null}}]}"#.to_owned(),
        r#"data: {"choices":[],"base_resp":{"status_code":0,"status_msg":""}}"#.to_owned(),
        "error: none\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}".to_owned(),
    ] {
        assert_ne!(word(Chat, &event), Word::Error, "{event}");
    }
    let behind = [
        br#"data: {"choices":[{"index":0,"delta":{"content":"a"}}]}"#.as_slice(),
        b"\n\n",
        br#"data: {"choices":null,"base_resp":{"status_code":1002,"status_msg":"oops"}}"#,
        b"\n\n",
    ];
    assert!(matches!(kinds_of(Chat, &behind).0[..], [Kind::Content, Kind::Error(_)]), "behind content, too");
    let null = reason("null");
    assert_ne!(word(Chat, &null), Word::Complete, "a text, and as good as nothing");
}

#[test]
fn the_error_of_an_event_reads_like_the_body_of_an_answer() {
    for (format, event, body, known) in [
        (
            Format::Messages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}",
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
            true,
        ),
        (
            Format::Messages,
            "event: error\ndata: oops",
            r#"{"type":"error","error":{"type":"api_error","message":"oops"}}"#,
            true,
        ),
        (
            Format::Messages,
            "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}",
            r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#,
            false,
        ),
        (
            Format::Chat,
            "data: {\"error\":\"words\"}",
            r#"{"error":{"message":"words","type":"server_error","param":null,"code":null}}"#,
            true,
        ),
        (
            Format::Messages,
            "event: error\ndata: {\"type\":\"error\",\"error\":\"words\"}",
            r#"{"type":"error","error":{"type":"api_error","message":"words"}}"#,
            true,
        ),
        (
            Format::Completions,
            "event: error\ndata: oops",
            r#"{"error":{"message":"oops","type":"server_error","param":null,"code":null}}"#,
            false,
        ),
        (
            Format::Chat,
            "data: {\"object\":\"error\",\"message\":\"m\",\"type\":\"x\",\"code\":400}",
            r#"{"object":"error","message":"m","type":"x","code":400}"#,
            false,
        ),
    ] {
        check_error(format, event, body, known);
    }
}

#[test]
fn an_error_of_the_responses_api_reads_like_the_body_of_an_answer() {
    for (event, body, known) in [
        (
            "event: response.failed\ndata: {\"response\":{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}}}",
            r#"{"error":{"message":"m","type":"rate_limit_exceeded","param":null,"code":"rate_limit_exceeded"}}"#,
            true,
        ),
        (
            "event: error\ndata: {\"type\":\"error\",\"code\":null,\"message\":\"m\"}",
            r#"{"error":{"message":"m","type":"server_error","param":null,"code":null}}"#,
            false,
        ),
        (
            "event: response.failed\ndata: {\"response\":{\"error\":{\"type\":\"\",\"code\":\"\",\"message\":\"\"}}}",
            r#"{"error":{"message":"","type":"server_error","param":null,"code":null}}"#,
            true,
        ),
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":\"words\"}",
            r#"{"error":{"message":"words","type":"server_error","param":null,"code":null}}"#,
            false,
        ),
        (
            "data: {\"type\":\"response.thing\",\"error\":\"words\"}",
            r#"{"error":{"message":"words","type":"server_error","param":null,"code":null}}"#,
            false,
        ),
        (
            "event: response.failed\ndata: {\"response\":{\"status\":\"failed\",\"error\":\"words\"}}",
            r#"{"error":{"message":"words","type":"server_error","param":null,"code":null}}"#,
            true,
        ),
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":{},\"message\":\"m\"}",
            r#"{"error":{"message":"m","type":"server_error","param":null,"code":null}}"#,
            false,
        ),
        (
            "event: error\ndata: oops",
            r#"{"error":{"message":"oops","type":"server_error","param":null,"code":null}}"#,
            false,
        ),
        (
            "event: error\ndata: {\"type\":\"response.in_progress\",\"response\":{}}",
            r#"{"error":{"message":"","type":"server_error","param":null,"code":null}}"#,
            false,
        ),
        (
            "event: error\ndata: {\"type\":\"error\",\"code\":429,\"message\":\"slow down\"}",
            r#"{"error":{"message":"slow down","type":"error","param":null,"code":429}}"#,
            false,
        ),
    ] {
        check_error(Format::Responses, event, body, known);
    }
}

#[test]
fn an_answer_of_several_choices_is_complete_when_each_is_finished() {
    let finished = |index: u32| {
        format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n")
    };
    let mut scanner = Scanner::new(Expected { format: Format::Chat, choices: 2 });
    scanner.advance(finished(1).as_bytes());
    assert_eq!(scanner.progress(), Progress::Preamble);
    scanner.advance(finished(0).as_bytes());
    assert_eq!(scanner.progress(), Progress::Complete);
}

/// Found with completions of several prompts, which have more choices than `n` says: one that was cut was closed as whole.
#[test]
fn an_answer_is_not_complete_while_a_choice_is_under_way() {
    use Progress::{Complete, Content};
    let chunk = |index: u32, text: &str, finish_reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":{index},\"text\":\"{text}\",\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{finish_reason}}}]}}\n\n"
        )
    };
    let (stop, usage) = ("\"stop\"", "data: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\n");
    let interleaved =
        [chunk(0, "a", "null"), chunk(1, "a", "null"), chunk(0, "", stop), chunk(1, "", stop), usage.to_owned()];
    let in_turn =
        [chunk(0, "a", "null"), chunk(0, "", stop), chunk(1, "a", "null"), chunk(1, "", stop), usage.to_owned()];
    for (format, events, expected) in [
        (Format::Completions, interleaved, [Content, Content, Content, Complete, Complete]),
        (Format::Completions, in_turn.clone(), [Content, Complete, Content, Complete, Complete]),
        (Format::Chat, in_turn, [Content, Complete, Content, Complete, Complete]),
    ] {
        let mut scanner = Scanner::new(Expected::one(format));
        let found = events.map(|event| {
            scanner.advance(event.as_bytes());
            scanner.progress()
        });
        assert_eq!(found, expected, "{format:?}");
    }
}

/// Found with relays whose word on why an answer ended came before its end: an answer that was cut then was closed as whole.
#[test]
fn content_behind_the_end_of_an_answer_takes_it_back() {
    use Format::{Chat, Completions, Messages};
    use Progress::{Complete, Content, Preamble};
    let chunk = |index: u32, text: &str, is_last: bool| {
        let reason = if is_last { "\"stop\"" } else { "null" };
        format!(
            "data: {{\"choices\":[{{\"index\":{index},\"text\":\"{text}\",\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    let usage = "data: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\n".to_owned();
    let long = "x".repeat(LONGEST_LOOKED_INTO);
    let event = |name: &str, data: &str| format!("event: {name}\ndata: {data}\n\n");
    let stop = event("message_delta", "{\"delta\":{\"stop_reason\":\"end_turn\"}}");
    let tool = event("content_block_start", "{\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"input\":{}}}");
    let empty = event("content_block_start", "{\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
    let text = event("content_block_delta", "{\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}");
    let nothing = event("content_block_delta", "{\"delta\":{\"type\":\"text_delta\",\"text\":\"\"}}");
    for (format, events, expected) in [
        (Chat, vec![chunk(0, "a", false), chunk(0, "", true), usage.clone()], vec![Content, Complete, Complete]),
        (Chat, vec![chunk(0, "a", true), usage.clone()], vec![Complete, Complete]),
        (Chat, vec![chunk(0, "", true), chunk(0, "", true), chunk(0, "", false)], vec![Complete; 3]),
        (Chat, vec![chunk(0, "", true), chunk(0, "b", false), chunk(0, "c", false)], vec![Complete, Content, Content]),
        (Chat, vec![chunk(0, "", true), chunk(0, "b", false), usage.clone()], vec![Complete, Content, Content]),
        (Chat, vec![chunk(0, "", true), chunk(0, "b", false), chunk(0, "c", true)], vec![Complete, Content, Complete]),
        (
            Chat,
            vec![chunk(0, "a", true), chunk(0, "b", true), chunk(0, "c", true), usage.clone(), chunk(0, "", true)],
            vec![Complete, Content, Content, Content, Complete],
        ),
        (Chat, vec![chunk(0, "", true), chunk(0, &long, false), usage.clone()], vec![Complete, Content, Content]),
        (Completions, vec![chunk(0, "", true), chunk(0, "b", false)], vec![Complete, Content]),
        // A choice that nobody has asked for.
        (Chat, vec![chunk(0, "a", false), chunk(1, "b", false), chunk(0, "", true)], vec![Content; 3]),
        (Chat, vec![chunk(1, "a", false), chunk(0, "b", false), chunk(1, "", true)], vec![Content; 3]),
        (
            Chat,
            vec![chunk(0, "a", false), chunk(1, "b", false), chunk(1, "", true), chunk(0, "", true)],
            vec![Content, Content, Content, Complete],
        ),
        (Chat, vec![chunk(0, "", true), chunk(1, "", false)], vec![Complete, Content]),
        (Messages, vec![stop.clone(), tool, text.clone()], vec![Complete, Content, Content]),
        (Messages, vec![text.clone(), stop.clone(), empty], vec![Content, Complete, Content]),
        (Messages, vec![text.clone(), stop.clone(), text, stop.clone()], vec![Content, Complete, Content, Complete]),
        (Messages, vec![stop, nothing, event("content_block_stop", "{}"), event("ping", "{}")], vec![Complete; 4]),
        (Chat, vec![chunk(0, "", false), usage], vec![Preamble; 2]),
    ] {
        let mut scanner = Scanner::new(Expected::one(format));
        let found: Vec<Progress> = events
            .iter()
            .map(|event| {
                scanner.advance(event.as_bytes());
                scanner.progress()
            })
            .collect();
        let told: Vec<&str> = events.iter().map(|event| event.get(..200).unwrap_or(event)).collect();
        assert_eq!(found, expected, "{format:?} {told:?}");
    }
}

#[test]
fn responses_events_are_counted_where_they_have_no_number() {
    let mut scanner = Scanner::new(Expected::one(Format::Responses));
    assert_eq!(scanner.next_number(), 0);
    scanner.advance(b"event: response.created\ndata: {\"sequence_number\":4}\n\n");
    assert_eq!(scanner.next_number(), 5);
    scanner.advance(b"event: response.output_text.delta\ndata: {\"delta\":\"a\"}\n\n");
    assert_eq!(scanner.next_number(), 6);
    scanner.advance(b": comment\n\n");
    assert_eq!(scanner.next_number(), 6);
}

#[test]
fn of_an_event_that_is_too_long_the_name_alone_counts() {
    let long = "x".repeat(LONGEST_LOOKED_INTO);
    for (format, name, expected) in [
        (Format::Messages, "content_block_delta", Word::Content),
        (Format::Messages, "never_heard_of", Word::Content),
        (Format::Responses, "response.created", Word::Preamble),
        (Format::Responses, "response.completed", Word::Closed),
        (Format::Responses, "response.failed", Word::Error),
    ] {
        let event = format!("event: {name}\ndata: {{\"a\":\"{long}\"}}");
        assert_eq!(word(format, &event), expected, "{name}");
        let (torn, _) = event.split_at(event.len() - 2);
        let (_, progress) = kinds_of(format, &[torn.as_bytes()]);
        assert_eq!(progress == Progress::Content, expected == Word::Content, "{name}, before its end");
    }
    for (kind, expected) in [("response.completed", Word::Closed), ("response.output_text.delta", Word::Content)] {
        let unnamed = format!("data: {{ \"type\" : \"{kind}\", \"a\":\"{long}\"}}");
        assert_eq!(word(Format::Responses, &unnamed), expected, "{kind}, without a name");
    }
    for (kind, expected) in [
        ("response.completed", Word::Closed),
        ("response.failed", Word::Error),
        ("response.output_text.done", Word::Content),
        ("error", Word::Content),
    ] {
        for sorted in [
            format!("data: {{\"response\":{{\"text\":\"{long}\",\"type\":\"x\"}},\"type\":\"{kind}\"}}"),
            format!("event: message\ndata: {{\"text\":\"{long}\",\"type\" : \"{kind}\" }}"),
        ] {
            assert_eq!(word(Format::Responses, &sorted), expected, "{kind}, behind all else");
        }
    }
    let bare = format!("data: {{\"error\":{{\"message\":\"{long}\"}}}}");
    assert_eq!(word(Format::Chat, &bare), Word::Error, "an error in the place of an answer");
    assert_eq!(word(Format::Responses, &bare), Word::Content, "there it may be a tool's");
    for (reason, expected) in [("\"stop\"", Word::Complete), ("null", Word::Content)] {
        let last = format!("{{\"delta\":{{\"content\":\"{long}\"}},\"text\":\"{long}\",\"finish_reason\":{reason}}}");
        for format in [Format::Chat, Format::Completions] {
            assert_eq!(word(format, &format!("data: {{\"choices\":[{last}]}}")), expected, "{format:?} {reason}");
        }
    }
}

/// The choice that such a chunk belongs to can't be told.
#[test]
fn a_chunk_that_is_too_long_ends_no_one_of_several_choices() {
    let long = "x".repeat(LONGEST_LOOKED_INTO);
    let chunk = |text: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}\n\n"
        )
    };
    let other = chunk("").replace("\"index\":0", "\"index\":1");
    for events in [[chunk(""), other.clone(), chunk(&long)], [other.clone(), chunk(&long), other]] {
        let mut scanner = Scanner::new(Expected { format: Format::Chat, choices: 2 });
        for event in &events {
            scanner.advance(event.as_bytes());
        }
        assert_eq!(scanner.progress(), Progress::Content);
    }
}

/// A complete response repeats all that was asked and answered, and states its usage after that.
#[test]
fn of_an_event_that_is_too_long_its_end_tells_the_usage() {
    let usage = "\"usage\":{\"input_tokens\":7,\"output_tokens\":9}";
    let counted = |format, event: String, piece: usize| {
        let pieces: Vec<&[u8]> = event.as_bytes().chunks(piece).collect();
        let usage = scanned(format, &pieces).1.usage();
        (usage.input, usage.output)
    };
    for length in [LONGEST_LOOKED_INTO - 100, LONGEST_LOOKED_INTO, 3 * LONGEST_LOOKED_INTO] {
        // With quotation marks, as in what a model has written.
        let long = "\\\"usage\\\":{}".repeat(length / 13);
        let response = format!("{{\"output\":[{{\"text\":\"{long}\",\"usage\":{{}}}}],{usage},\"user\":null}}");
        let data = format!("{{\"response\":{response},\"sequence_number\":3}}");
        for piece in [usize::MAX, 4096, 1000] {
            for ending in ["", "\nid: 3"] {
                let event = format!("event: response.completed\ndata: {data}{ending}\n\n");
                assert_eq!(counted(Format::Responses, event, piece), (7, 9), "{length} {piece} {ending:?}");
            }
            let chunk = format!("data: {{\"choices\":[\"{long}\"],{usage}}}\n\n");
            assert_eq!(counted(Format::Chat, chunk, piece), (7, 9), "{length} {piece}");
            let deeper = format!("data: {{\"choices\":[{{\"a\":\"{long}\",\"b\":{{{usage}}}}}]}}\n\n");
            assert_eq!(counted(Format::Chat, deeper, piece), (0, 0), "{length} {piece}");
        }
    }
}

#[test]
fn no_more_than_one_event_is_held() {
    let mut scanner = Scanner::new(Expected::one(Format::Messages));
    for _ in 0..100 {
        assert_eq!(scanner.advance(&[b'x'; 10_000]), None);
    }
    let found = scanner.advance(b"\n\nevent: message_stop\ndata: {}\n\n").unwrap();
    assert_eq!((found.length, found.kind), (2, Kind::Content));
}

/// Found with an endless preamble in pieces of one byte: for each, all that was held was searched again.
#[test]
fn an_event_that_has_outgrown_every_look_is_looked_at_once() {
    for (begins, progress) in [("event: message_start\n", Progress::Preamble), ("event: x\n", Progress::Content)] {
        let mut scanner = Scanner::new(Expected::one(Format::Messages));
        scanner.advance(begins.as_bytes());
        scanner.advance("data: x\n".repeat(LONGEST_LOOKED_INTO / 8).as_bytes());
        for _ in 0..LONGEST_LOOKED_INTO {
            assert_eq!(scanner.advance(b"x"), None);
        }
        assert_eq!(scanner.progress(), progress, "{begins}");
    }
}

/// A stream of events of every kind, with letters of several bytes in it.
pub(super) fn any_stream() -> impl Strategy<Value = String> {
    let event = prop_oneof![
        Just(": comment ä".to_owned()),
        Just("event: ping\ndata: {\"type\":\"ping\"}".to_owned()),
        "[a-zäö€😀]{0,12}".prop_map(|text| format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}"
        )),
        Just("data: {\"choices\":[{\"delta\":{\"content\":\"ü\"},\"finish_reason\":null}]}".to_owned()),
        Just("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}".to_owned()),
        Just("event: message_delta\ndata: {\"delta\":\ndata: {\"stop_reason\":\"x\"}}".to_owned()),
        (0_u64..9).prop_map(|count| format!("event: message_delta\ndata: {{\"usage\":\ndata: {{\"output_tokens\":{count}}}}}")),
        Just("event: error\ndata: {\"error\":{\"type\":\"api_error\",\"message\":\"é\"}}".to_owned()),
        Just("event: message_stop\ndata: {\"type\":\"message_stop\"}".to_owned()),
        Just("data: [DONE]".to_owned()),
        Just("event: response.failed\ndata: {\"response\":{\"error\":{\"code\":\"x\",\"message\":\"é\"}},\"sequence_number\":9}".to_owned()),
        Just(String::new()),
    ];
    let line_end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
    (prop::collection::vec(event, 0..8), line_end).prop_map(|(events, line_end)| {
        let stream: Vec<String> = events.into_iter().map(|event| event + "\n\n").collect();
        stream.concat().replace('\n', line_end)
    })
}

/// The pieces of a stream that is cut at these places.
pub(super) fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    ends.sort_unstable();
    ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

pub(super) fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Messages), Just(Format::Chat), Just(Format::Completions), Just(Format::Responses)]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_result(
        stream in any_stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>().prop_map(|index| index.index(4096)), 0..12),
        format in any_format(),
    ) {
        let whole = kinds_of(format, &[stream.as_bytes()]);
        prop_assert_eq!(kinds_of(format, &cut(stream.as_bytes(), &cuts)), whole.clone());
        let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        prop_assert_eq!(kinds_of(format, &single), whole);
        let usage = |pieces: &[&[u8]]| scanned(format, pieces).1.usage();
        prop_assert_eq!(usage(&single), usage(&[stream.as_bytes()]));
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), format in any_format()) {
        let mut relay = Relay::new(Expected::one(format));
        relay.push(Bytes::from(bytes));
        let _: Ending = relay.end(true);
        assert!(relay.held() <= 200 + LONGEST_HELD);
    }
}
