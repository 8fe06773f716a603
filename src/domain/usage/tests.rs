use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const fn usage(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Usage {
    Usage { input, output, cache_read, cache_write }
}

#[test]
fn an_answers_usage_is_read_by_every_protocols_names() {
    for (body, expected) in [
        (
            r#"{"type":"message","content":[],"usage":{"input_tokens":40,"output_tokens":3,
                "cache_read_input_tokens":1000,"cache_creation_input_tokens":200}}"#,
            usage(40, 3, 1000, 200),
        ),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,
                "prompt_tokens_details":{"cached_tokens":80}}}"#,
            usage(20, 7, 80, 0),
        ),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":7,"input_tokens":0,
                "prompt_cache_hit_tokens":60,"input_tokens_details":null}}"#,
            usage(40, 7, 60, 0),
        ),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":7,"input_tokens":100,
                "prompt_tokens_details":{"cached_tokens":80}}}"#,
            usage(20, 7, 80, 0),
        ),
        (
            r#"{"object":"response","output":[],"usage":{"input_tokens":50,"output_tokens":9,
                "input_tokens_details":{"cached_tokens":30}},"user":null}"#,
            usage(20, 9, 30, 0),
        ),
        (r#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#, usage(5, 0, 0, 0)),
        (r#"{"usage":{"input_tokens":1,"output_tokens":2},"content":[]}"#, usage(1, 2, 0, 0)),
        (r#"{"input_tokens":400}"#, Usage::default()),
        (r#"{"usage":null}"#, Usage::default()),
        (r#"{"usage":"odd"}"#, Usage::default()),
        (r#"{"usage":{"input_tokens":-1,"output_tokens":18446744073709551615}}"#, Usage::default()),
        (r#"{"usage":{"input_tokens":1000000000,"output_tokens":1000000001}}"#, usage(MOST, 0, 0, 0)),
        (r#"{"usage":{"input_tokens":3.0,"output_tokens":1e2,"prompt_tokens":"5"}}"#, Usage::default()),
        (r#"{"usage":{"input_tokens":[7],"output_tokens":{"cached_tokens":7},"cache_read":7}}"#, Usage::default()),
        (r#"{"usage":{"input_tokens":7,"cache_creation":{"input_tokens":9}}}"#, usage(7, 0, 0, 0)),
        (r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":[{"cached_tokens":8}]}}"#, usage(9, 0, 0, 0)),
        (r#"{"usage":{"input\u005ftokens":4,"output_tokens":"\""} , "x":1}"#, usage(4, 0, 0, 0)),
        // If there are several, the last counts, except for the two names of what was written or cached.
        (r#"{"usage":{"input_tokens":9},"usage":{"input_tokens":4,"input_tokens":3}}"#, usage(3, 0, 0, 0)),
        (r#"{"usage":{"output_tokens":9,"completion_tokens":4}}"#, usage(0, 9, 0, 0)),
        ("", Usage::default()),
    ] {
        assert_eq!(Usage::of_answer(body.as_bytes()), expected, "{body}");
    }
}

#[test]
fn what_only_resembles_the_answers_usage_is_not_taken_for_it() {
    for body in [
        r#"{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":9}}}]}"#,
        r#"{"content":[{"type":"text","text":"\"usage\":{\"input_tokens\":9}}"}]}"#,
        r#"{"content":["usage",{"input_tokens":9}]}"#,
        r#"{"usage":{"input_tokens":9}"#,
        r#"{"usage":{"input_tokens":9}} x"#,
        r#"{"usage":{"input_tokens":9,}}"#,
        r#"[{"usage":{"input_tokens":9}}]"#,
    ] {
        assert_eq!(Usage::of_answer(body.as_bytes()), Usage::default(), "{body}");
    }
    let both = r#"{"usage":{"input_tokens":1},"content":[{"input":{"usage":{"input_tokens":9}}}]}"#;
    assert_eq!(Usage::of_answer(both.as_bytes()), usage(1, 0, 0, 0));
}

#[test]
fn a_usage_that_stands_before_long_contents_is_found_too() {
    let long = "x".repeat(2 * END);
    let body = format!(r#"{{"usage":{{"input_tokens":3}},"content":[{{"text":"{long}"}}]}}"#);
    assert_eq!(Usage::of_answer(body.as_bytes()), usage(3, 0, 0, 0));
}

#[test]
fn of_a_large_answer_the_end_tells_the_usage_however_it_is_cut() {
    let long = "0.25,".repeat(3 * END);
    let body = format!(r#"{{"data":[{{"embedding":[{long}0]}}],"usage":{{"prompt_tokens":6}}}}"#);
    for size in [1, 7, 1000, END, END + 1, body.len()] {
        let mut end = AnswerEnd::default();
        for piece in body.as_bytes().chunks(size) {
            end.push(piece);
        }
        assert_eq!(end.usage(), usage(6, 0, 0, 0), "in pieces of {size}");
        assert!(end.0.len() <= 2 * END);
    }
    assert_eq!(AnswerEnd::default().usage(), Usage::default());
}

#[test]
fn of_a_streams_running_totals_the_greatest_of_each_holds() {
    for (events, expected) in [
        (
            vec![
                r#"{"type":"message_start","message":{"usage":{"input_tokens":25,"output_tokens":1,
                    "cache_read_input_tokens":7,"cache_creation_input_tokens":5}}}"#,
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"\"usage\":{\"output_tokens\":99}"}}"#,
                r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":10}}"#,
                r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":0,"output_tokens":15}}"#,
            ],
            usage(25, 15, 7, 5),
        ),
        (
            vec![
                r#"{"choices":[{"delta":{"content":"a"}}],"usage":null}"#,
                r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
                "[DONE]",
            ],
            usage(9, 2, 0, 0),
        ),
        (
            vec![
                r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#,
                r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,
                    "prompt_tokens_details":{"cached_tokens":8}}}"#,
            ],
            usage(1, 2, 8, 0),
        ),
        (
            vec![
                r#"{"type":"response.created","response":{"usage":null}}"#,
                r#"{"type":"response.completed","response":{"output":[],"usage":{"input_tokens":6,
                    "input_tokens_details":{"cached_tokens":4},"output_tokens":3}}}"#,
            ],
            usage(2, 3, 4, 0),
        ),
        (
            vec![
                r#"{"usage":{"output_tokens":9},"usage":{"output_tokens":4}}"#,
                r#"{"message":{"usage":{"input_tokens":9}},"mess\u0061ge":{"usage":{"input_tokens":5}}}"#,
                r#"{"response":{"message":{"usage":{"input_tokens":99}}}}"#,
            ],
            usage(5, 4, 0, 0),
        ),
        (vec![r#"{"usage":"#, "", r#"{"message":"x","usage":{"input_tokens":1}}"#], usage(1, 0, 0, 0)),
    ] {
        let mut tally = Tally::default();
        for event in &events {
            tally.event(event.as_bytes());
        }
        assert_eq!(tally.usage(), expected, "{events:?}");
    }
}

fn any_object(name: &'static str, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec((name, value), 0..6).prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn any_usage() -> impl Strategy<Value = Value> {
    let count = prop_oneof![
        6 => 0..100_u64,
        1 => MOST - 1..MOST + 2,
        1 => any::<u64>(),
    ];
    let leaf = prop_oneof![
        8 => count.prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => "[\\\\{}]?|\"usage\":1".prop_map(Value::from),
        1 => Just(Value::Null),
    ]
    .boxed();
    let details = prop_oneof![any_object("cached_tokens|a", leaf.clone()), leaf.clone()];
    let value = prop_oneof![leaf.clone(), details, prop::collection::vec(leaf, 0..2).prop_map(Value::from)];
    any_object("(input|prompt)_tokens(_details)?|(output|cache_read_input)_tokens|[a\"]", value)
}

/// The usage that a parsed tree states; its members have one value each.
fn of_tree(usage: &Value) -> Usage {
    let count = |value: &Value| value.as_u64().filter(|count| *count <= MOST).unwrap_or_default();
    let cached = count(&usage["prompt_tokens_details"]["cached_tokens"])
        .max(count(&usage["input_tokens_details"]["cached_tokens"]));
    let (input, prompt) = (count(&usage["input_tokens"]), count(&usage["prompt_tokens"]));
    let is_all = usage["input_tokens_details"].is_object() || prompt > 0;
    let (input, prompt) = if is_all { (0, prompt.max(input)) } else { (input, prompt) };
    Usage {
        input: input.max(prompt.saturating_sub(cached)),
        output: count(&usage["output_tokens"]),
        cache_read: count(&usage["cache_read_input_tokens"]).max(cached),
        cache_write: 0,
    }
}

proptest! {
    #[test]
    fn what_is_read_is_what_a_tree_of_it_says(usage in any_usage(), deeper in any_usage(), is_pretty: bool, escaped: bool) {
        let body = json!({ "content": [deeper], "usage": usage, "x": deeper });
        let text = if is_pretty { format!("{body:#}") } else { body.to_string() };
        let text = if escaped { text.replace("_tokens\"", "\\u005ftoken\\u0073\"") } else { text };
        prop_assert_eq!(Usage::of_answer(text.as_bytes()), of_tree(&body["usage"]), "{}", text);
        let mut tally = Tally::default();
        tally.event(format!("{{\"message\":{text}}}").as_bytes());
        prop_assert_eq!(tally.usage(), of_tree(&body["usage"]), "{}", text);
    }
}
