//! What a client asks by Anthropic's Messages API: as Claude Code does, the messages come first, then a system prompt and tools, and behind all that whose
//! session it is.

use std::fmt::Write as _;

pub const SYSTEM: &str = "You are an assistant for programmers. Answer briefly, and say so where you don't know.";
pub const QUESTION: &str = "How long is a fox in the air that jumps over a \\\"lazy\\\" dog?\\nShow the reckoning.";
/// What a large body's messages are made of: code and prose, with as many escapes as these have in JSON.
pub const CODE: &str = "fn leap(height: f64) -> Result<f64, Fault> {\\n    if height <= 0.0 {\\n        return Err(Fault::new(\\\"no height\\\"));\\n    }\\n    // up and down: 2 · √(2h ÷ g)\\n    Ok(2.0 * (2.0 * height / G).sqrt())\\n}\\n\\n";
const PROSE: &str = "The reckoning takes a throw straight up and neglects the air, which for a fox of some seven kilograms is fair enough. What it leaves out is the time for gathering speed, and that the dog, although lazy, is not a point. ";
const TOOL: &str = r#"{"name":"read_file","description":"Reads a file of the project. Give its path from the root.","input_schema":{"type":"object","properties":{"path":{"type":"string","description":"where it is"},"offset":{"type":"integer"}},"required":["path"]}}"#;
/// Digits of a session's number in its identifier.
pub const SESSION_DIGITS: usize = 12;
/// About how long one message of a large body is.
pub const MESSAGE: usize = 6000;
/// What stands before a session's number: `metadata.user_id` is a text of JSON.
pub const SESSION_MARK: &str = r#"\"session_id\":\"5e551044-0000-4000-8000-"#;

/// A request's body of so many bytes, but for the least that it takes.
pub fn body(length: usize, is_streamed: bool, has_session: bool) -> String {
    let mut tail = String::new();
    if has_session {
        let _ = write!(
            tail,
            r#","metadata":{{"user_id":"{{\"device_id\":\"d0\",\"account_uuid\":\"\",{SESSION_MARK}{:0width$}\"}}"}}"#,
            0,
            width = SESSION_DIGITS
        );
    }
    let _ = write!(tail, r#","max_tokens":1024{}}}"#, if is_streamed { r#","stream":true"# } else { "" });
    let mut body = format!(
        r#"{{"model":"claude-sonnet-4-5","messages":[{{"role":"user","content":[{{"type":"text","text":"{QUESTION}"}}]}}"#
    );
    let system = format!(r#"],"system":[{{"type":"text","text":"{SYSTEM}"}}]"#);
    let tools = if length > 16_384 { format!(r#","tools":[{TOOL},{TOOL},{TOOL},{TOOL}]"#) } else { String::new() };
    let rest = system.len() + tools.len() + tail.len();
    while body.len() + rest < length {
        let left = length - body.len() - rest;
        turn(&mut body, left.min(MESSAGE));
    }
    body.push_str(&system);
    body.push_str(&tools);
    body.push_str(&tail);
    body
}

/// What the assistant does and is told about it, together about so long.
fn turn(body: &mut String, length: usize) {
    const CLOSE: &str = r#""}]}"#;
    let end = body.len() + length;
    body.push_str(r#",{"role":"assistant","content":[{"type":"text","text":""#);
    body.push_str(PROSE);
    body.push_str(r#""},{"type":"tool_use","id":"toolu_01Bench","name":"read_file","input":{"path":"src/leap.rs"}}]}"#);
    body.push_str(r#",{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_01Bench","content":""#);
    while body.len() + CODE.len() + CLOSE.len() < end {
        body.push_str(CODE);
    }
    while body.len() + CLOSE.len() < end {
        body.push('.');
    }
    body.push_str(CLOSE);
}
