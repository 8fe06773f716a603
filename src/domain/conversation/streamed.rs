//! A streamed answer in a test conversation, read piece by piece: what it says, what it cost, and whether its closing event
//! has come.

use std::fmt;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::super::endpoint::{Endpoint, Protocol};
use super::super::error_object::ErrorObject;
use super::answer::{Tokens, counted};

/// How a stream has ended so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StreamEnd {
    /// It has not ended by its own word.
    #[default]
    Open,
    /// The answer is complete: the reason for its end was named. Only the closing event and the usage may still come.
    Complete,
    /// By the protocol's closing event.
    Closed,
    /// By an error event. The error is `None` if its shape is unknown.
    Failed(Option<ErrorObject>),
    /// By an event whose data is not JSON.
    Garbled,
}

/// Reads the event stream (WHATWG HTML, section 9.2.6) that answers a messages or chat request, however it is cut into
/// pieces.
///
/// What comes after its end is ignored. The operator's secrets are hidden in each event once it is whole, since a read may
/// end within a secret.
#[derive(Clone)]
pub struct StreamedAnswer {
    endpoint: Arc<Endpoint>,
    /// The line under way.
    line: Vec<u8>,
    /// Whether the latest byte was a carriage return, so that a line feed now belongs to the same line end.
    after_return: bool,
    is_first_line: bool,
    /// The event under way.
    event: Vec<u8>,
    data: Option<Vec<u8>>,
    text: String,
    tokens: Tokens,
    end: StreamEnd,
}

impl fmt::Debug for StreamedAnswer {
    /// Without what was said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, tokens, end, .. } = self;
        f.debug_struct("StreamedAnswer")
            .field("endpoint", &endpoint.id)
            .field("tokens", tokens)
            .field("end", end)
            .finish_non_exhaustive()
    }
}

impl StreamedAnswer {
    /// An answer of this endpoint, before its first byte.
    #[must_use]
    pub const fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            line: Vec::new(),
            after_return: false,
            is_first_line: true,
            event: Vec::new(),
            data: None,
            text: String::new(),
            tokens: Tokens { input: 0, output: 0 },
            end: StreamEnd::Open,
        }
    }

    /// Takes in the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let after_return = mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => self.end_line(),
                _ => self.line.push(byte),
            }
        }
    }

    /// Takes in that the body ended in order. An event that lacks its last blank line counts as whole; a torn one is
    /// recognized by its JSON.
    pub fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.dispatch();
    }

    /// How it has ended so far.
    #[must_use]
    pub const fn end(&self) -> &StreamEnd {
        &self.end
    }

    /// The text so far, without any thinking.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it cost so far, as far as stated.
    #[must_use]
    pub const fn tokens(&self) -> Tokens {
        self.tokens
    }

    fn end_line(&mut self) {
        let line = mem::take(&mut self.line);
        let byte_order_mark: &[u8] = if mem::take(&mut self.is_first_line) { b"\xef\xbb\xbf" } else { b"" };
        let line = line.strip_prefix(byte_order_mark).unwrap_or(&line);
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => value.clone_into(&mut self.event),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // An empty name means a comment; other fields say nothing here.
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let event = mem::take(&mut self.event);
        let Some(data) = self.data.take().filter(|data| !data.is_empty()) else { return };
        match self.end {
            StreamEnd::Open | StreamEnd::Complete => {
                let data = self.endpoint.hidden_in(Bytes::from(data));
                self.take_in(&event, &data);
            }
            StreamEnd::Closed | StreamEnd::Failed(_) | StreamEnd::Garbled => {}
        }
    }

    fn take_in(&mut self, event: &[u8], data: &[u8]) {
        if data == b"[DONE]" {
            match self.endpoint.protocol {
                Protocol::OpenAi => self.end = StreamEnd::Closed,
                // Some relays end every stream like this; here only `message_stop` counts.
                Protocol::Anthropic => {}
            }
            return;
        }
        let Ok(value) = serde_json::from_slice::<Value>(data) else {
            // After a complete answer only the closing event can be torn, and that may be missing as well.
            if self.end == StreamEnd::Open {
                self.end = StreamEnd::Garbled;
            }
            return;
        };
        let kind = value.get("type").and_then(Value::as_str);
        let error = ErrorObject::read(data);
        if error.is_some() || event == b"error" || kind == Some("error") {
            self.end = StreamEnd::Failed(error);
            return;
        }
        for usage in [value.get("usage"), value.pointer("/message/usage")].into_iter().flatten() {
            self.tokens = self.tokens.greatest(counted(usage));
        }
        match self.endpoint.protocol {
            Protocol::Anthropic => {
                self.text.push_str(anthropic_text(&value));
                if event == b"message_stop" || kind == Some("message_stop") {
                    self.end = StreamEnd::Closed;
                } else if names(value.pointer("/delta/stop_reason")) {
                    self.end = StreamEnd::Complete;
                }
            }
            Protocol::OpenAi => {
                for choice in value.get("choices").and_then(Value::as_array).into_iter().flatten() {
                    self.text.push_str(choice.pointer("/delta/content").and_then(Value::as_str).unwrap_or_default());
                    if names(choice.get("finish_reason")) {
                        self.end = StreamEnd::Complete;
                    }
                }
            }
        }
    }
}

/// Whether a reason for the end is named. Some relays write an empty one into every event.
fn names(reason: Option<&Value>) -> bool {
    reason.and_then(Value::as_str).is_some_and(|reason| !reason.is_empty())
}

/// The text of an event: in a delta or, with some relays, in the block that it opens.
fn anthropic_text(event: &Value) -> &str {
    let text_of = |part: &str, kind: &str| {
        let part = event.pointer(part).filter(|part| part.get("type").and_then(Value::as_str) == Some(kind))?;
        part.get("text").and_then(Value::as_str)
    };
    text_of("/delta", "text_delta").or_else(|| text_of("/content_block", "text")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
