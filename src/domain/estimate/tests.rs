use proptest::prelude::*;
use serde_json::json;

use super::*;

fn of(body: &serde_json::Value) -> u64 {
    estimate_tokens(body.to_string().as_bytes())
}

fn user(content: &serde_json::Value) -> u64 {
    of(&json!({ "model": "m", "messages": [{ "role": "user", "content": content }] }))
}

/// The tokens for the wrapping of a single turn.
const ONE_TURN: u64 = (REQUEST + TURN) / TOKEN;

#[test]
fn texts_are_counted_wherever_a_model_reads_them() {
    let words = "words ".repeat(200);
    let text = tokens(text_weight(words.as_bytes()));
    let turn = |content: serde_json::Value| json!({ "messages": [{ "role": "user", "content": content }] });
    for (body, wrapping) in [
        (turn(json!(words)), ONE_TURN),
        (turn(json!([{ "type": "text", "text": words }])), ONE_TURN),
        (turn(json!([{ "type": "tool_result", "tool_use_id": "toolu_1", "content": words }])), ONE_TURN),
        (turn(json!([{ "type": "tool_result", "content": [{ "type": "text", "text": words }] }])), ONE_TURN),
        (turn(json!([{ "type": "thinking", "thinking": words, "signature": "x".repeat(9_999) }])), ONE_TURN),
        (turn(json!([{ "type": "document", "source": { "type": "text", "data": words } }])), ONE_TURN),
        (json!({ "system": words }), REQUEST / TOKEN),
        (json!({ "system": [{ "type": "text", "text": words, "cache_control": { "type": "ephemeral" } }] }), 3),
        (json!({ "tools": [{ "name": "t", "description": words }] }), (REQUEST + TOOLS) / TOKEN),
        (turn(json!([{ "type": "tool_use", "id": "i", "name": "n", "input": { "command": words } }])), ONE_TURN),
    ] {
        let counted = of(&body);
        assert!(counted.abs_diff(text + wrapping) <= 12, "{counted} for {} in {body}", text + wrapping);
    }
}

#[test]
fn what_no_model_reads_is_not_counted() {
    let long = "x".repeat(10_000);
    for body in [
        json!({ "model": long, "metadata": { "user_id": long }, "stop_sequences": [long] }),
        json!({ "messages": [], "tools": [], "system": "" }),
        json!({ "tools": null }),
        json!({}),
    ] {
        assert_eq!(of(&body), REQUEST / TOKEN, "{body}");
    }
    assert_eq!(user(&json!([{ "type": "redacted_thinking", "data": long }])), ONE_TURN);
}

#[test]
fn images_have_a_flat_price_and_documents_one_by_size() {
    let data = "A".repeat(159_998);
    let base64 = |media_type: &str| json!({ "type": "base64", "media_type": media_type, "data": data });
    for (block, counted) in [
        (json!({ "type": "image", "source": base64("image/png") }), 1_600),
        (json!({ "source": { "url": "https://a/b.png", "type": "url" }, "type": "image" }), 1_600),
        (json!({ "type": "document", "source": base64("application/pdf") }), 10_000),
        (
            json!({ "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "" } }),
            1_600,
        ),
    ] {
        assert_eq!(user(&json!([block])) - ONE_TURN, counted, "{}", block["type"]);
    }
    let in_a_result =
        json!([{ "type": "tool_result", "content": [{ "type": "image", "source": base64("image/png") }] }]);
    assert_eq!(user(&in_a_result) - ONE_TURN, 1_600);
}

#[test]
fn every_script_has_its_weight_however_it_is_written() {
    for (text, low, high) in [
        ("The quick brown fox jumps over the lazy dog. ".repeat(100), 900, 1_300),
        ("Съешь ещё этих мягких французских булок. ".repeat(100), 1_500, 2_500),
        ("请把这段话翻译成英文。".repeat(100), 1_000, 1_650),
        ("        let x = compute(value);\n".repeat(100), 500, 1_000),
        ("👍".repeat(100), 200, 300),
    ] {
        let plain = user(&json!(text));
        assert!((low..=high).contains(&plain), "{plain} for {}", text.chars().take(12).collect::<String>());
        let escaped: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let body = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, escaped.concat());
        let difference = estimate_tokens(body.as_bytes()).abs_diff(plain);
        // Blanks that are written as escaped numbers are not recognized.
        assert!(difference <= plain / 4, "{difference} of {plain}");
    }
}

#[test]
fn what_is_no_request_is_weighed_as_text() {
    assert_eq!(estimate_tokens(b""), REQUEST / TOKEN);
    assert_eq!(estimate_tokens(&[b'x'; 400]), 100 + REQUEST / TOKEN);
    assert_eq!(estimate_tokens(b"[]"), 4);
    assert!(estimate_tokens(&[0xFF; 1_000]) > 100);
    assert!(estimate_tokens(b"{\"system\":\"abc") > REQUEST / TOKEN);
}

#[test]
fn depth_is_no_danger_and_no_cost() {
    let depth = 200_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"input\":[", "]}"), ("{\"source\":[", "]}")] {
        let body = format!(r#"{{"messages":{}"x"{}}}"#, open.repeat(depth), close.repeat(depth));
        assert!(estimate_tokens(body.as_bytes()) > 0);
    }
}

#[test]
fn a_name_that_comes_twice_is_counted_twice() {
    let once = estimate_tokens(br#"{"system":"abcdefghijkl"}"#);
    let twice = estimate_tokens(br#"{"system":"abcdefghijkl","system":"abcdefghijkl"}"#);
    assert_eq!((once, twice), (6, 9));
}

proptest! {
    #[test]
    fn more_text_is_never_fewer_tokens(text in "\\PC{0,50}", more in "\\PC{0,50}") {
        let (short, long) = (user(&json!(text)), user(&json!(format!("{text}{more}"))));
        prop_assert!(long >= short);
    }

    #[test]
    fn nothing_that_is_sent_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = estimate_tokens(&body);
        let _ = conversation_weight(&body);
        let _ = source_weight(&body);
    }
}
