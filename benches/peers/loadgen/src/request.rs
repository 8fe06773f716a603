//! Requests as clients send them: a system prompt, messages of text and tools, and behind all that whose session it is.

use std::fmt::Write as _;

use crate::options::Options;

const SYSTEM: &str = "You are an assistant for programmers. Answer briefly, and say so where you don't know.";
const QUESTION: &str = "How long is a fox in the air that jumps over a \\\"lazy\\\" dog?\\nShow the reckoning.";
/// What a large body's messages are made of: code and prose, with as many escapes as these have in JSON.
const CODE: &str = "fn leap(height: f64) -> Result<f64, Fault> {\\n    if height <= 0.0 {\\n        return Err(Fault::new(\\\"no height\\\"));\\n    }\\n    // up and down: 2 · √(2h ÷ g)\\n    Ok(2.0 * (2.0 * height / G).sqrt())\\n}\\n\\n";
const PROSE: &str = "The reckoning takes a throw straight up and neglects the air, which for a fox of some seven kilograms is fair enough. What it leaves out is the time for gathering speed, and that the dog, although lazy, is not a point. ";
const TOOL: &str = r#"{"name":"read_file","description":"Reads a file of the project. Give its path from the root.","input_schema":{"type":"object","properties":{"path":{"type":"string","description":"where it is"},"offset":{"type":"integer"}},"required":["path"]}}"#;
/// Digits of a session's number in its identifier.
const SESSION_DIGITS: usize = 12;
/// About how long one message of a large body is.
const MESSAGE: usize = 6000;

/// One connection's request: its bytes, in which the session changes from one sending to the next.
pub struct Request {
    bytes: Vec<u8>,
    session_at: Option<usize>,
    sessions: usize,
    next: usize,
}

impl Request {
    /// The request of the connection with this number.
    pub fn new(options: &Options, connection: usize) -> Self {
        let body = body(options);
        let mut head = format!(
            "POST /v1/messages?beta=true HTTP/1.1\r\nhost: {}\r\nuser-agent: loadgen/0.0 (external, bench)\r\naccept: application/json\r\naccept-encoding: gzip, deflate, br, zstd\r\ncontent-type: application/json\r\nx-api-key: {}\r\nanthropic-version: 2023-06-01\r\nx-app: cli\r\nx-stainless-retry-count: 0\r\nx-stainless-timeout: 600\r\n{}",
            options.address, options.key, options.headers
        );
        if options.mode.is_streamed() {
            let _ =
                write!(head, "x-mock-events: {}\r\nx-mock-delay-us: {}\r\n", options.events, options.delay.as_micros());
        }
        let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
        let session_at = body.find(SESSION_MARK).map(|at| head.len() + at + SESSION_MARK.len());
        let bytes = [head.into_bytes(), body.into_bytes()].concat();
        // Connections begin far from each other, so that a session is seldom on two of them at a time.
        let next = connection * 61;
        Self { bytes, session_at, sessions: options.sessions, next }
    }

    /// The next request's bytes.
    pub fn next(&mut self) -> &[u8] {
        if let Some(at) = self.session_at {
            let session = format!("{:0width$}", self.next % self.sessions, width = SESSION_DIGITS);
            self.bytes[at..at + SESSION_DIGITS].copy_from_slice(session.as_bytes());
            self.next += 1;
        }
        &self.bytes
    }
}

/// What stands before a session's number: `metadata.user_id` is a text of JSON.
const SESSION_MARK: &str = r#"\"session_id\":\"5e551044-0000-4000-8000-"#;

fn body(options: &Options) -> String {
    let mut tail = String::new();
    if options.sessions > 0 {
        let _ = write!(
            tail,
            r#","metadata":{{"user_id":"{{\"device_id\":\"d0\",\"account_uuid\":\"\",{SESSION_MARK}{:0width$}\"}}"}}"#,
            0,
            width = SESSION_DIGITS
        );
    }
    let _ =
        write!(tail, r#","max_tokens":1024{}}}"#, if options.mode.is_streamed() { r#","stream":true"# } else { "" });
    let mut body = format!(
        r#"{{"model":"claude-sonnet-4-5","messages":[{{"role":"user","content":[{{"type":"text","text":"{QUESTION}"}}]}}"#
    );
    let system = format!(r#"],"system":[{{"type":"text","text":"{SYSTEM}"}}]"#);
    let tools =
        if options.body > 16_384 { format!(r#","tools":[{TOOL},{TOOL},{TOOL},{TOOL}]"#) } else { String::new() };
    let rest = system.len() + tools.len() + tail.len();
    while body.len() + rest < options.body {
        let left = options.body - body.len() - rest;
        turn(&mut body, left.min(MESSAGE));
    }
    body.push_str(&system);
    body.push_str(&tools);
    body.push_str(&tail);
    body
}

/// What the assistant does and is told about it, together about so long.
fn turn(body: &mut String, length: usize) {
    let end = body.len() + length;
    body.push_str(r#",{"role":"assistant","content":[{"type":"text","text":""#);
    body.push_str(PROSE);
    body.push_str(r#""},{"type":"tool_use","id":"toolu_01Bench","name":"read_file","input":{"path":"src/leap.rs"}}]}"#);
    body.push_str(r#",{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_01Bench","content":""#);
    const CLOSE: &str = r#""}]}"#;
    while body.len() + CODE.len() + CLOSE.len() < end {
        body.push_str(CODE);
    }
    while body.len() + CLOSE.len() < end {
        body.push('.');
    }
    body.push_str(CLOSE);
}
