use std::sync::Arc;

use super::super::conversation::Manner;
use super::super::endpoint::{Endpoint, Home};
use super::super::testing::endpoint;
use super::*;
use proptest::prelude::*;
use serde_json::json;

fn challenge(random: u64) -> Challenge {
    Challenge::new(EndpointId::new("main").unwrap(), Epoch::from_raw(4), Code::from_random(random))
}

fn judge(protocol: Protocol, status: u16, body: &str) -> Verdict {
    let elapsed = Duration::from_millis(700);
    challenge(99).judge(
        &Reply { protocol, status, body: ReplyBody::Whole(body.as_bytes()), asked: Asked::ANYTHING, elapsed },
        Words::Left,
    )
}

fn said(text: &str) -> [(Protocol, String); 2] {
    let message = json!({"type": "message", "content": [{"type": "text", "text": text}]});
    let completion = json!({"choices": [{"message": {"role": "assistant", "content": text}}]});
    [(Protocol::Anthropic, message.to_string()), (Protocol::OpenAi, completion.to_string())]
}

fn code() -> String {
    Code::from_random(99).to_string()
}

fn error_of(verdict: Verdict) -> String {
    match verdict {
        Verdict::Proven(proof) => panic!("{proof:?}"),
        Verdict::Unproven(unproven) => unproven.error.to_string(),
    }
}

#[test]
fn a_code_is_six_capitals_and_digits() {
    for random in [0, 1, 99, 1 << 26, u64::MAX] {
        let code = Code::from_random(random).to_string();
        assert_eq!(code.len(), 6, "{code}");
        assert!(code.chars().all(|c| CHARACTERS.contains(&c)), "{code}");
    }
    assert_ne!(Code::from_random(1), Code::from_random(2));
    assert_ne!(Code::from_random(0), Code::from_random(1 << 25));
}

#[test]
fn the_question_has_the_halves_of_the_code() {
    for random in [0, 1, 99, u64::MAX] {
        let (prompt, code) = (challenge(random).prompt(), Code::from_random(random).to_string());
        let (first, second) = code.split_at(3);
        assert!(prompt.contains(first) && prompt.contains(second), "{code}: {prompt}");
    }
}

#[test]
fn a_proof_says_of_whom_it_is_and_how_it_was_come_by() {
    let [(protocol, body), _] = said(&code());
    let Verdict::Proven(proof) = judge(protocol, 203, &body) else { panic!("the code is in it") };
    assert_eq!((proof.endpoint().as_str(), proof.epoch()), ("main", Epoch::from_raw(4)));
    assert_eq!((proof.status(), proof.score(), proof.elapsed()), (203, 90, Duration::from_millis(700)));
}

#[test]
fn the_code_passes_however_it_is_written() {
    let code = code();
    let (first, second) = code.split_at(3);
    for text in [
        code.clone(),
        code.to_lowercase(),
        format!("  `{code}`.\n"),
        format!("Sure! The whole code is **{code}**, as you asked."),
        format!("{first}-{second}"),
        format!("{first} {second}"),
    ] {
        for (protocol, body) in said(&text) {
            assert!(matches!(judge(protocol, 200, &body), Verdict::Proven(_)), "{body}");
        }
    }
}

#[test]
fn a_code_in_two_text_blocks_passes_and_one_that_was_only_thought_does_not() {
    let code = code();
    let (first, second) = code.split_at(2);
    let blocks = json!({"content": [{"type": "text", "text": first}, {"type": "text", "text": second}]});
    let thought = json!({"content": [{"type": "thinking", "thinking": code}, {"type": "text", "text": "hm"}]});
    assert!(matches!(judge(Protocol::Anthropic, 200, &blocks.to_string()), Verdict::Proven(_)));
    assert_eq!(error_of(judge(Protocol::Anthropic, 200, &thought.to_string())), "the code is missing");
}

#[test]
fn what_is_not_the_code_fails() {
    let other = Code::from_random(98).to_string();
    let reversed: String = code().chars().rev().collect();
    let swapped = code().split_at(3).1.to_owned() + code().split_at(3).0;
    for text in ["", "OK", &other, &reversed, &swapped, &challenge(99).prompt(), code().split_at(5).0] {
        for (protocol, body) in said(text) {
            assert_eq!(error_of(judge(protocol, 200, &body)), "the code is missing", "{text}");
        }
    }
}

#[test]
fn an_answer_that_is_none_fails_even_with_the_code_in_it() {
    let code = code();
    let [(_, message), (_, completion)] = said(&code);
    let not_the_protocols = "HTTP 200 with a body that is no answer of the protocol";
    for (protocol, status, body, error) in [
        (Protocol::Anthropic, 200, format!("<html>{code}</html>"), not_the_protocols),
        (Protocol::Anthropic, 200, code.clone(), not_the_protocols),
        (Protocol::Anthropic, 200, String::new(), not_the_protocols),
        (Protocol::Anthropic, 200, completion, not_the_protocols),
        (Protocol::OpenAi, 200, message.clone(), not_the_protocols),
        (Protocol::Anthropic, 500, message.clone(), "HTTP 500"),
        (Protocol::Anthropic, 302, message, "HTTP 302"),
        (
            Protocol::Anthropic,
            401,
            json!({"type": "error", "error": {"type": "authentication_error", "message": code}}).to_string(),
            "HTTP 401 authentication_error",
        ),
        (
            Protocol::OpenAi,
            200,
            json!({"error": {"type": "server_error", "message": code}, "choices": [{"message": {"content": code}}]})
                .to_string(),
            "HTTP 200 server_error",
        ),
    ] {
        assert_eq!(error_of(judge(protocol, status, &body)), error, "{body}");
    }
}

/// An endpoint that was isolated for its streams.
fn streamed_challenge(manner: Manner) -> Challenge {
    let subject = Subject { manner, ..Subject::new(Arc::new(endpoint("main", Home::Primary)), Epoch::from_raw(4)) };
    Challenge::of(&subject, Code::from_random(99))
}

fn streamed(protocol: Protocol, events: &str) -> StreamedAnswer {
    let mut answer = StreamedAnswer::new(Arc::new(Endpoint { protocol, ..endpoint("main", Home::Primary) }));
    answer.push(events.as_bytes());
    answer
}

#[test]
fn only_a_stream_with_a_complete_answer_proves_an_endpoint_whose_streams_failed() {
    let said = json!({"choices": [{"delta": {"content": code()}}]});
    let finish = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    let error = json!({"error": {"type": "server_error", "message": "m"}});
    for (status, events, wrong) in [
        (200, format!("data: {said}\n\ndata: [DONE]\n\n"), None),
        // Some relays never send `[DONE]`: the table counts that as a success, too.
        (200, format!("data: {said}\n\ndata: {finish}\n\n"), None),
        (200, format!("data: {said}\n\n"), Some("the stream ended without its closing event")),
        (200, format!("data: {said}\n\ndata: {error}\n\ndata: [DONE]\n\n"), Some("HTTP 200 server_error")),
        (200, "data: [DONE]\n\n".to_owned(), Some("the code is missing")),
        (200, format!("data: {said}\n\ndata: {{\n\n"), Some("an event of the stream is no JSON")),
        (502, format!("data: {said}\n\ndata: [DONE]\n\n"), Some("HTTP 502")),
    ] {
        let stream = streamed(Protocol::OpenAi, &events);
        let reply = Reply {
            protocol: Protocol::OpenAi,
            status,
            body: ReplyBody::Streamed(&stream),
            asked: Asked::ANYTHING,
            elapsed: Duration::ZERO,
        };
        for manner in [Manner::Either, Manner::Streamed] {
            let verdict = streamed_challenge(manner).judge(&reply, Words::Left);
            match wrong {
                None => assert!(matches!(verdict, Verdict::Proven(_)), "{events}"),
                Some(wrong) => assert_eq!(error_of(verdict), wrong, "{events}"),
            }
        }
        let unasked = error_of(challenge(99).judge(&reply, Words::Left));
        assert!(unasked.starts_with("HTTP "), "a stream that nobody asked for proves nothing: {unasked}");
    }
    for (protocol, body) in self::said(&code()) {
        let reply = Reply {
            protocol,
            status: 200,
            body: ReplyBody::Whole(body.as_bytes()),
            asked: Asked::ANYTHING,
            elapsed: Duration::ZERO,
        };
        let error = error_of(streamed_challenge(Manner::Streamed).judge(&reply, Words::Left));
        assert_eq!(error, "HTTP 200 with no event stream, though one was asked for");
        let verdict = streamed_challenge(Manner::Either).judge(&reply, Words::Left);
        assert!(matches!(verdict, Verdict::Proven(_)), "no stream has broken, so a whole answer is one too");
    }
}

#[test]
fn a_failure_says_what_was_seen() {
    let body = json!({"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}).to_string();
    let Verdict::Unproven(unproven) = judge(Protocol::Anthropic, 404, &body) else { panic!("a 404 proves nothing") };
    assert_eq!((unproven.status, unproven.error_type.as_deref()), (Some(404), Some("not_found_error")));
    assert!(unproven.lacks_model);
    assert_eq!(unproven.elapsed, Duration::from_millis(700));

    let body = json!({"content": [{"type": "text", "text": "no"}], "usage": {"input_tokens": 40, "output_tokens": 3}});
    let Verdict::Unproven(unproven) = judge(Protocol::Anthropic, 200, &body.to_string()) else { panic!("no code") };
    assert_eq!(unproven.tokens, Tokens { input: 40, output: 3 });
    assert!(!unproven.lacks_model);
}

/// Only then is the next model asked: other failures would occur with any model.
#[test]
fn an_endpoint_that_may_only_lack_the_model_says_so_in_several_ways() {
    let error = |kind: &str, code: &str| json!({"error": {"type": kind, "code": code, "message": "m"}}).to_string();
    for (status, body, lacks_model) in [
        (404, String::new(), true),
        (503, error("new_api_error", "model_not_found"), true),
        (400, error("not_found_error", ""), true),
        (403, error("permission_error", ""), true),
        (403, String::new(), true),
        (401, error("key_model_access_denied", "401"), true),
        (401, error("authentication_error", ""), false),
        (400, error("invalid_request_error", ""), false),
        (500, error("server_error", ""), false),
        (500, String::new(), false),
    ] {
        let Verdict::Unproven(unproven) = judge(Protocol::OpenAi, status, &body) else { panic!("{status} {body}") };
        assert_eq!(unproven.lacks_model, lacks_model, "{status} {body}");
    }
}

#[test]
fn the_score_is_for_the_code_the_speed_and_the_brevity() {
    let brief = "A2BC3D";
    for (millis, text, expected) in [
        (0, brief.to_owned(), 100),
        (499, brief.to_owned(), 100),
        (500, brief.to_owned(), 90),
        (999, brief.to_owned(), 90),
        (1000, brief.to_owned(), 80),
        (2000, brief.to_owned(), 70),
        (0, "x".repeat(49), 100),
        (0, "x".repeat(50), 95),
        (0, "é".repeat(99), 95),
        (0, "x".repeat(100), 90),
        (60_000, "x".repeat(5000), 60),
    ] {
        assert_eq!(score(Duration::from_millis(millis), &text), expected, "{millis} ms, {} bytes", text.len());
    }
}

#[test]
fn the_question_has_no_digits_but_the_codes_and_its_halves_stand_far_apart() {
    // This is why no echo passes, for every code (see `Code`).
    let challenge = challenge(99);
    let (first, second) = (challenge.code.half(0), challenge.code.half(1));
    let prompt: String = challenge.prompt().chars().filter(|c| c.is_alphanumeric()).collect();
    let (before, rest) = prompt.split_once(&first).unwrap();
    let (between, after) = rest.split_once(&second).unwrap();
    for part in [before, between, after] {
        assert!(part.len() >= 6 && !part.contains(|c: char| c.is_numeric()), "{part}");
    }
}

proptest! {
    #[test]
    fn no_echo_of_the_question_passes(random in any::<u64>(), separator in "[ -/\\n\"]{0,3}", times in 1..4_usize) {
        let challenge = challenge(random);
        let echo = vec![challenge.prompt(); times].join(&separator);
        let bare: String = echo.chars().filter(|c| c.is_alphanumeric()).collect();
        for text in [echo.to_lowercase(), echo, bare] {
            prop_assert!(!holds_code(&text, challenge.code), "{}", text);
        }
    }

    #[test]
    fn the_right_code_always_passes_and_another_never(random in any::<u64>(), other in any::<u64>()) {
        let (code, other) = (Code::from_random(random), Code::from_random(other));
        prop_assert!(holds_code(&code.to_string(), code));
        prop_assert_eq!(holds_code(&other.to_string(), code), code == other);
    }

    #[test]
    fn any_body_is_judged_without_panic(body in prop::collection::vec(any::<u8>(), 0..80), status in any::<u16>()) {
        let body = ReplyBody::Whole(&body);
        let reply = Reply { protocol: Protocol::OpenAi, status, body, asked: Asked::ANYTHING, elapsed: Duration::ZERO };
        prop_assert!(matches!(challenge(1).judge(&reply, Words::Kept), Verdict::Unproven(_)));
    }
}
