//! What an upstream says by Anthropic's Messages API: an answer and a stream carry `usage`, a stream opens with
//! `message_start`, has a `ping` and ends with `message_stop`.

/// A short answer, about as long as a chat's.
pub const ANSWER: &str = concat!(
    r#"{"id":"msg_01BenchBenchBenchBenchBe","type":"message","role":"assistant","model":"claude-sonnet-4-5","#,
    r#""content":[{"type":"text","text":"A fox that jumps over a dog is in the air for about half a second.\n\n"#,
    r#"That follows from its height at the top, \"h\", which is not much more than thirty centimetres: going up and "#,
    r#"coming down take the square root of 2h/g each. Of the dog nothing is known but that it is lazy; had it stood "#,
    r#"up, the fox would have needed another tenth of a second, and a better run."}],"#,
    r#""stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":412,"cache_creation_input_tokens":0,"#,
    r#""cache_read_input_tokens":1024,"output_tokens":96,"service_tier":"standard"}}"#,
);

/// What an upstream says to a request that is no whole JSON object: a proxy has mangled it.
pub const REFUSAL: &str =
    r#"{"type":"error","error":{"type":"invalid_request_error","message":"the body is not a whole JSON object"}}"#;

/// The events before the first piece of content.
pub const OPENING: [&str; 3] = [
    concat!(
        "event: message_start\n",
        r#"data: {"type":"message_start","message":{"id":"msg_01BenchBenchBenchBenchBe","type":"message","#,
        r#""role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"#,
        r#""usage":{"input_tokens":412,"cache_creation_input_tokens":0,"cache_read_input_tokens":1024,"#,
        r#""output_tokens":1,"service_tier":"standard"}}}"#,
        "\n\n"
    ),
    concat!(
        "event: content_block_start\n",
        r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        "\n\n"
    ),
    concat!("event: ping\n", r#"data: {"type": "ping"}"#, "\n\n"),
];

/// A piece of content.
pub const DELTA: &str = concat!(
    "event: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" over the lazy dogs"}}"#,
    "\n\n"
);

/// The events behind the last piece of content.
pub const CLOSING: [&str; 3] = [
    concat!("event: content_block_stop\n", r#"data: {"type":"content_block_stop","index":0}"#, "\n\n"),
    concat!(
        "event: message_delta\n",
        r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"#,
        r#""usage":{"output_tokens":96}}"#,
        "\n\n"
    ),
    concat!("event: message_stop\n", r#"data: {"type":"message_stop"}"#, "\n\n"),
];
