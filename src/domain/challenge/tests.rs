use super::*;
use proptest::prelude::*;
use serde_json::json;

fn challenge(random: u64) -> Challenge {
    Challenge::new(EndpointId::new("main").unwrap(), Epoch::from_raw(4), Code::from_random(random))
}

fn judge(protocol: Protocol, status: u16, body: &str) -> Verdict {
    let elapsed = Duration::from_millis(700);
    challenge(99).judge(&Reply { protocol, status, body: body.as_bytes(), elapsed }, Words::Left)
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
    // On this rests that no echo passes, for every code (see `Code`).
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
        let reply = Reply { protocol: Protocol::OpenAi, status, body: &body, elapsed: Duration::ZERO };
        prop_assert!(matches!(challenge(1).judge(&reply, Words::Kept), Verdict::Unproven(_)));
    }
}
