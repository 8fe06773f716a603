//! What an event says of its answer.

use std::collections::BTreeMap;
use std::fmt;

use super::event::Event;
use super::json::{Members, ObjectText, has_value, is_empty, quoted};
use super::{Expected, Format};
use crate::domain::error_object::ErrorObject;

/// What an event says of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing of the answer itself: `message_start`, `ping`, a block or an item with nothing in it, a role, a comment. Nor
    /// does an event of an unknown type that carries no `delta`.
    Preamble,
    /// A part of the answer. An event that is too long to be looked at is taken for one.
    Content,
    /// The answer has failed.
    Error(StreamError),
    /// The answer is complete, but for its closing event: why it ended was named.
    Complete,
    /// The protocol's closing event.
    Closed,
}

/// An error inside of a stream. Its `Debug` shows no message: that may quote a prompt.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamError {
    /// An error object, as it would have been the body of an answer.
    pub body: String,
    /// Whether the protocol's clients know the event for an error. Others would pass over it.
    pub is_known_to_clients: bool,
}

impl fmt::Debug for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamError").field("is_known_to_clients", &self.is_known_to_clients).finish_non_exhaustive()
    }
}

/// Which choices of an answer have begun, and which are finished.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    /// Those that have begun, each with whether it is finished.
    begun: BTreeMap<u32, bool>,
    finished: usize,
}

impl Choices {
    /// More choices than any provider gives.
    const MOST: usize = 1024;

    fn note(&mut self, index: u32, is_finished: bool) {
        if self.begun.len() >= Self::MOST && !self.begun.contains_key(&index) {
            return;
        }
        let finished = self.begun.entry(index).or_default();
        if is_finished && !std::mem::replace(finished, true) {
            self.finished += 1;
        }
    }

    /// Whether every choice is finished: those that were asked for and those that have begun.
    fn are_all_finished(&self, expected: u32) -> bool {
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        self.finished >= expected && self.finished == self.begun.len()
    }
}

/// Looks at a whole event. `has_begun`: the answer has content already, so that what only adds to it needs no closer look.
pub(super) fn look(event: &Event<'_>, expected: Expected, choices: &mut Choices, has_begun: bool) -> Kind {
    if event.name.is_none() && event.data.is_none() {
        return Kind::Preamble;
    }
    match expected.format {
        Format::Messages => message(event, has_begun),
        Format::Chat | Format::Completions => chunk(event, expected, choices, has_begun),
        Format::Responses => response(event, has_begun),
    }
}

/// What the name alone tells of an event that is too long to be looked at.
pub(super) fn look_at_name(event: &Event<'_>, format: Format) -> Kind {
    let name = event.name.or_else(|| leading_type(event.text())).unwrap_or_default();
    match (format, name) {
        (_, b"error") | (Format::Responses, b"response.failed") => Kind::Error(StreamError {
            body: error_body("The error is too long to be shown."),
            is_known_to_clients: true,
        }),
        (Format::Messages, b"message_start" | b"ping")
        | (Format::Responses, b"response.created" | b"response.queued" | b"response.in_progress") => Kind::Preamble,
        (Format::Messages, b"message_stop") | (Format::Responses, b"response.completed" | b"response.incomplete") => {
            Kind::Closed
        }
        (Format::Messages | Format::Chat | Format::Completions | Format::Responses, _) => Kind::Content,
    }
}

/// The type with which the data of an event begins: all that is left of a long event that has no name.
fn leading_type(data: &[u8]) -> Option<&[u8]> {
    let members = data.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start();
    let value = members.strip_prefix(b"\"type\"")?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    value.strip_prefix(b"\"")?.split(|byte| *byte == b'"').next()
}

fn content_if(says_something: bool) -> Kind {
    if says_something { Kind::Content } else { Kind::Preamble }
}

/// An event of an unknown type.
fn unknown(data: &Members<'_>) -> Kind {
    content_if(data.filled("delta").is_some())
}

fn message(event: &Event<'_>, has_begun: bool) -> Kind {
    if has_begun && event.name == Some(b"content_block_delta") {
        return Kind::Content;
    }
    let data = Members::read(event.text()).unwrap_or_default();
    let named = event.name.map(|name| String::from_utf8_lossy(name).into_owned());
    let name = named.or_else(|| data.text("type")).unwrap_or_default();
    match name.as_str() {
        "error" => Kind::Error(nested_error(event, event.name.is_some())),
        "message_start" | "ping" | "content_block_stop" => Kind::Preamble,
        "message_stop" => Kind::Closed,
        "content_block_start" => {
            let block = data.get("content_block").and_then(Members::of).unwrap_or_default();
            content_if(block.say_something_besides(&["type"]))
        }
        "content_block_delta" => {
            let delta = data.get("delta").and_then(Members::of).unwrap_or_default();
            content_if(delta.say_something_besides(&["type"]))
        }
        "message_delta" => {
            let delta = data.get("delta").and_then(Members::of).unwrap_or_default();
            if delta.filled("stop_reason").is_some() { Kind::Complete } else { Kind::Preamble }
        }
        _ if is_error(event.text()) => Kind::Error(nested_error(event, false)),
        _ => unknown(&data),
    }
}

fn chunk(event: &Event<'_>, expected: Expected, choices: &mut Choices, has_begun: bool) -> Kind {
    let data = event.text();
    if data.trim_ascii() == b"[DONE]" {
        return Kind::Closed;
    }
    let has_error = has_value(data, b"\"error\"") && is_error(data);
    if has_error || is_flat_error(data) || event.name == Some(b"error") {
        return Kind::Error(nested_error(event, has_error));
    }
    // A completion has a choice for each prompt of its request. Once one is finished, another one may still begin.
    let counts = expected.choices > 1 || expected.format == Format::Completions || choices.finished > 0;
    if has_begun && !counts && !has_value(data, b"\"finish_reason\"") {
        return Kind::Content;
    }
    let Some(data) = Members::read(data) else { return Kind::Preamble };
    let mut says_something = false;
    for choice in data.objects("choices").unwrap_or_default() {
        let index = choice.get("index").and_then(|index| serde_json::from_str(index.get()).ok()).unwrap_or(0);
        choices.note(index, choice.filled("finish_reason").is_some());
        let delta = choice.get("delta").and_then(Members::of).unwrap_or_default();
        says_something |= delta.say_something_besides(&["role"]) || choice.filled("text").is_some();
    }
    if choices.are_all_finished(expected.choices) {
        return Kind::Complete;
    }
    content_if(says_something || (has_begun && data.filled("choices").is_some()))
}

fn response(event: &Event<'_>, has_begun: bool) -> Kind {
    let data = Members::read(event.text()).unwrap_or_default();
    let named = event.name.map(|name| String::from_utf8_lossy(name).into_owned());
    let name = named.or_else(|| data.text("type")).unwrap_or_default();
    let holds = |member: &str, besides: &[&str]| {
        data.get(member).and_then(Members::of).is_some_and(|members| members.say_something_besides(besides))
    };
    match name.as_str() {
        "response.created" | "response.queued" | "response.in_progress" => Kind::Preamble,
        "response.completed" | "response.incomplete" => Kind::Closed,
        "response.failed" => {
            let failed = data.get("response").and_then(Members::of).unwrap_or_default();
            Kind::Error(flat_error(&failed.get("error").and_then(Members::of).unwrap_or_default(), true))
        }
        "error" => {
            // As the API's reference has it, without an `error`, the SDKs hand it on as one event more.
            let inner = data.get("error").and_then(Members::of);
            let is_known = inner.is_some();
            Kind::Error(flat_error(&inner.unwrap_or(data), is_known))
        }
        "response.output_item.added" => content_if(has_begun || holds("item", &["type", "id", "status", "role"])),
        "response.content_part.added" | "response.reasoning_summary_part.added" => {
            content_if(has_begun || holds("part", &["type"]))
        }
        _ if is_error(event.text()) => {
            Kind::Error(flat_error(&data.get("error").and_then(Members::of).unwrap_or_default(), false))
        }
        name if name.rsplit('.').next() == Some("done") => Kind::Content,
        _ => unknown(&data),
    }
}

/// Whether data has an `error` that says something: an object of either protocol, or a mere text.
fn is_error(data: &[u8]) -> bool {
    let Some(data_members) = Members::read(data) else { return false };
    let Some(error) = data_members.get("error").filter(|error| !is_empty(error)) else { return false };
    error.get().starts_with('"') || ErrorObject::read(data).is_some()
}

/// Whether data is an error that has no object of its own, as the builds of vLLM have it which end such a stream as if it were
/// whole. The `OpenAI` API's clients pass over it.
fn is_flat_error(data: &[u8]) -> bool {
    memchr::memmem::find(data, b"\"error\"").is_some() && ErrorObject::read(data).is_some()
}

/// The error of an event whose data is, or should be, the body of an error answer.
fn nested_error(event: &Event<'_>, is_known_to_clients: bool) -> StreamError {
    let data = event.text();
    let text = String::from_utf8_lossy(data);
    let body = if ErrorObject::read(data).is_some() {
        text.into_owned()
    } else {
        let members = Members::read(data).unwrap_or_default();
        error_body(&members.text("error").or_else(|| members.text("message")).unwrap_or_else(|| text.into_owned()))
    };
    StreamError { body, is_known_to_clients }
}

/// The error of the Responses API, whose code and message stand without an object of their own.
fn flat_error(error: &Members<'_>, is_known_to_clients: bool) -> StreamError {
    let code = error.text("code").filter(|code| !code.is_empty());
    // Relays write the fields that they do not fill as empty texts, and some have numbers for codes.
    let number = error.get("code").and_then(|code| serde_json::from_str::<u64>(code.get()).ok());
    let kind = error.text("type").filter(|kind| !kind.is_empty() && kind != "error");
    // A number says more than a word that is made up here.
    let unnamed = if number.is_some() { "error" } else { "server_error" };
    let kind = kind.or_else(|| code.clone()).unwrap_or_else(|| unnamed.to_owned());
    let code = code.map(|code| quoted(&code)).or_else(|| number.map(|number| number.to_string()));
    let inner = ObjectText::default()
        .text("message", &error.text("message").unwrap_or_default())
        .text("type", &kind)
        .member("param", "null")
        .member("code", code.as_deref().unwrap_or("null"))
        .finish();
    StreamError { body: ObjectText::default().member("error", &inner).finish(), is_known_to_clients }
}

fn error_body(message: &str) -> String {
    let inner = ObjectText::default().text("type", "api_error").text("message", message).finish();
    ObjectText::default().text("type", "error").member("error", &inner).finish()
}

/// The number of an event of the Responses API.
pub(super) fn sequence_number(event: &Event<'_>) -> Option<u64> {
    serde_json::from_str(Members::read(event.text())?.get("sequence_number")?.get()).ok()
}
