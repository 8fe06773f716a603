//! The same by OpenAI's Chat Completions: a stream tells its usage in a chunk of its own, and ends with `[DONE]`.

use std::fmt::Write as _;

use crate::client::{CODE, MESSAGE, QUESTION, SESSION_DIGITS, SYSTEM};

/// What stands before a session's number.
pub const SESSION_MARK: &str = r#""prompt_cache_key":"5e551044-0000-4000-8000-"#;

/// A short answer.
pub const ANSWER: &str = concat!(
    r#"{"id":"chatcmpl-BenchBenchBenchBenchBenchBenc","object":"chat.completion","created":1760000000,"#,
    r#""model":"gpt-5-mini","choices":[{"index":0,"message":{"role":"assistant","content":"About half a second, which "#,
    r#"follows from the height: going up and coming down take the square root of 2h/g each.\n\nOf the \"lazy\" dog "#,
    r#"nothing more is known.","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":412,"completion_tokens":96,"total_tokens":508,"prompt_tokens_details":"#,
    r#"{"cached_tokens":256,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"#,
    r#""service_tier":"default","system_fingerprint":null}"#,
);

/// A chunk of a stream.
macro_rules! chunk {
    ($rest:literal) => {
        concat!(
            r#"data: {"id":"chatcmpl-BenchBenchBenchBenchBenchBenc","object":"chat.completion.chunk","#,
            r#""created":1760000000,"model":"gpt-5-mini","#,
            $rest,
            "}\n\n"
        )
    };
}

/// The event before the first piece of content.
pub const OPENING: [&str; 1] = [chunk!(
    r#""choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}]"#
)];

/// A piece of content.
pub const DELTA: &str =
    chunk!(r#""choices":[{"index":0,"delta":{"content":" over the lazy dogs"},"finish_reason":null}]"#);

/// The events behind the last piece of content.
pub const CLOSING: [&str; 3] = [
    chunk!(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#),
    chunk!(r#""choices":[],"usage":{"prompt_tokens":412,"completion_tokens":96,"total_tokens":508}"#),
    "data: [DONE]\n\n",
];

/// A request's body of so many bytes, but for the least that it takes.
pub fn body(length: usize, is_streamed: bool, has_session: bool) -> String {
    let mut body = format!(r#"{{"model":"gpt-5-mini","messages":[{{"role":"system","content":"{SYSTEM}"}}"#);
    let mut tail = format!(r#",{{"role":"user","content":"{QUESTION}"}}],"max_completion_tokens":1024"#);
    if is_streamed {
        tail.push_str(r#","stream":true,"stream_options":{"include_usage":true}"#);
    }
    if has_session {
        let _ = write!(tail, r#",{SESSION_MARK}{:0width$}""#, 0, width = SESSION_DIGITS);
    }
    tail.push('}');
    while body.len() + tail.len() < length {
        message(&mut body, length - tail.len());
    }
    body.push_str(&tail);
    body
}

/// One message more, and no further than to that length but for the least that it takes.
fn message(body: &mut String, end: usize) {
    const CLOSE: &str = r#""}"#;
    let end = end.min(body.len() + MESSAGE);
    body.push_str(r#",{"role":"user","content":""#);
    while body.len() + CODE.len() + CLOSE.len() < end {
        body.push_str(CODE);
    }
    while body.len() + CLOSE.len() < end {
        body.push('.');
    }
    body.push_str(CLOSE);
}
