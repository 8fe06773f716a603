//! What an event says of its answer.

use std::collections::BTreeMap;
use std::fmt;

use super::ending::error_body;
use super::event::Event;
use super::json::{ObjectMembers, ObjectText, elements, has_value, has_value_besides, is_empty, quoted};
use super::scanner::Progress;
use super::{Expected, Format};
use crate::domain::error_object::ErrorObject;

/// What an event says of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not an event: a comment, or a mere `retry` or `id`.
    Comment,
    /// Nothing of the answer itself: `message_start`, `ping`, a block or an item with nothing in it, a role, or an event of
    /// an unknown type without a `delta`.
    Preamble,
    /// A part of the answer. An event too long to be read in full counts as one, unless its name or its end says otherwise.
    Content,
    /// The answer has failed.
    Error(StreamError),
    /// The answer is complete except for its closing event: the reason for its end was named.
    Complete,
    /// The protocol's closing event.
    Closed,
}

/// An error inside a stream. Its `Debug` shows no message, since that may quote a prompt.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamError {
    /// The error, written as the body of an error answer.
    pub body: String,
    /// Whether the protocol's clients recognize the event as an error. Otherwise they would ignore it.
    pub is_known_to_clients: bool,
}

impl fmt::Debug for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamError").field("is_known_to_clients", &self.is_known_to_clients).finish_non_exhaustive()
    }
}

/// How far a choice has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Choice {
    #[default]
    UnderWay,
    /// A reason for its end came with content, after an earlier one: a server that writes one into every chunk says nothing
    /// by it.
    PerhapsFinished,
    /// The reason for its end was named, and nothing more of it has come.
    Finished,
}

impl Choice {
    fn then(self, says_something: bool, is_finished: bool) -> Self {
        match (says_something, is_finished) {
            (false, false) => self,
            (false, true) => Self::Finished,
            // Content after the end proves that it was not the end.
            (true, false) => Self::UnderWay,
            (true, true) if self == Self::UnderWay => Self::Finished,
            (true, true) => Self::PerhapsFinished,
        }
    }
}

/// The choices of an answer that have begun, and how far each has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices(BTreeMap<u32, Choice>);

impl Choices {
    /// More choices than any provider gives.
    const MOST: usize = 1024;

    fn note(&mut self, index: u32, says_something: bool, is_finished: bool) {
        if self.0.len() >= Self::MOST && !self.0.contains_key(&index) {
            return;
        }
        let choice = self.0.entry(index).or_default();
        *choice = choice.then(says_something, is_finished);
    }

    /// Notes a part of a choice that is too long to tell which choice it belongs to: it may be any.
    fn note_long(&mut self, is_finished: bool) {
        if self.0.is_empty() {
            self.0.insert(0, Choice::default());
        }
        let is_finished = is_finished && self.0.len() == 1;
        for choice in self.0.values_mut() {
            *choice = choice.then(true, is_finished);
        }
    }

    /// Whether the next event may say more than that the first choice goes on.
    fn need_a_look(&self) -> bool {
        self.0.iter().any(|(index, choice)| *index > 0 || *choice > Choice::UnderWay)
    }

    /// How far the choice furthest behind has come, among those asked for and those that have begun.
    fn least(&self, expected: u32) -> Choice {
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        let least = self.0.values().min().filter(|_| self.0.len() >= expected);
        least.copied().unwrap_or_default()
    }

    /// Whether every choice is finished.
    fn are_all_finished(&self, expected: u32) -> bool {
        self.least(expected) == Choice::Finished
    }

    /// Whether every choice is finished, provided that the stream ends now, in order.
    pub(super) fn may_be_finished(&self, expected: u32) -> bool {
        self.least(expected) >= Choice::PerhapsFinished
    }
}

/// Classifies a whole event. Once the answer has content, an event that only adds to it gets no closer look.
pub(super) fn look(event: &Event<'_>, expected: Expected, choices: &mut Choices, progress: Progress) -> Kind {
    if let Some(error) = event.error {
        return Kind::Error(error_of_field(error, expected.format));
    }
    if event.name.is_none() && event.data.is_none() {
        return Kind::Comment;
    }
    let has_begun = progress >= Progress::Content;
    match expected.format {
        Format::Messages => message(event, progress),
        Format::Chat | Format::Completions => chunk(event, expected, choices, has_begun),
        Format::Responses => response(event, has_begun),
    }
}

/// Classifies an event too long to be read in full, by its name and the end of its data.
pub(super) fn look_at_ends(event: &Event<'_>, end: &[u8], expected: Expected, choices: &mut Choices) -> Kind {
    match (expected.format, name_of(event, expected.format)) {
        // Servers that sort an event's members write its type after all else.
        (Format::Responses, None) => kind_by_name(last_type(end).unwrap_or_default(), Format::Responses),
        (format, _) => match look_at_name(event, format) {
            Kind::Content if format.has_choices() => {
                choices.note_long(has_value(end, b"\"finish_reason\""));
                if choices.are_all_finished(expected.choices) { Kind::Complete } else { Kind::Content }
            }
            kind => kind,
        },
    }
}

/// Classifies an event too long to be read in full, by its name. One without a name counts as an error if it has an `error`
/// and no choices.
pub(super) fn look_at_name(event: &Event<'_>, format: Format) -> Kind {
    let has_error = || {
        let data = event.text();
        format != Format::Responses
            && has_value(data, b"\"error\"")
            && memchr::memmem::find(data, b"\"choices\"").is_none()
    };
    match name_of(event, format) {
        None if has_error() => kind_by_name(b"error", format),
        name => kind_by_name(name.unwrap_or_default(), format),
    }
}

/// Whether an event that broke off goes on with the answer, by its beginning.
pub(super) fn goes_on(event: &Event<'_>, format: Format) -> bool {
    let data = event.text();
    let says = |member: &[u8], nothing: &[u8]| has_value(data, member) && has_value_besides(data, member, nothing);
    match format {
        Format::Messages => {
            matches!(name_of(event, format), Some(b"content_block_start" | b"content_block_delta"))
        }
        Format::Chat => says(b"\"content\"", b"\"\"") || says(b"\"tool_calls\"", b"[]"),
        Format::Completions => says(b"\"text\"", b"\"\""),
        Format::Responses => false,
    }
}

/// Whether an event may become an error, by its beginning.
pub(super) fn may_become_error(event: &Event<'_>, format: Format) -> bool {
    matches!(look_at_name(event, format), Kind::Error(_)) || ErrorObject::may_begin(event.text())
}

/// The name by which clients know an event, as far as it can be told without reading its data.
fn name_of<'a>(event: &'a Event<'_>, format: Format) -> Option<&'a [u8]> {
    match (format, event.name) {
        // Its clients go by the type in the data, not by the name.
        (Format::Responses, name) if name != Some(b"error") => leading_type(event.text()).or(name),
        (_, name) => name.or_else(|| leading_type(event.text())),
    }
}

fn kind_by_name(name: &[u8], format: Format) -> Kind {
    match (format, name) {
        // Whether clients would recognize it can't be told, and part of it may be gone already.
        (_, b"error") | (Format::Responses, b"response.failed") => Kind::Error(StreamError {
            body: error_body(format, "The error is too long to be shown."),
            is_known_to_clients: false,
        }),
        (Format::Messages, b"message_start" | b"ping")
        | (Format::Responses, b"response.created" | b"response.queued" | b"response.in_progress") => Kind::Preamble,
        (Format::Messages, b"message_stop") | (Format::Responses, b"response.completed" | b"response.incomplete") => {
            Kind::Closed
        }
        (Format::Messages | Format::Chat | Format::Completions | Format::Responses, _) => Kind::Content,
    }
}

/// The type at the beginning of an event's data: all that is left of a long event without a name.
fn leading_type(data: &[u8]) -> Option<&[u8]> {
    type_at(data.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start())
}

/// The last type in the end of an event's data, if it is an event type of the Responses API: nothing inside an event has
/// such a type.
fn last_type(end: &[u8]) -> Option<&[u8]> {
    let last = type_at(end.get(memchr::memmem::rfind(end, b"\"type\"")?..)?)?;
    last.starts_with(b"response.").then_some(last)
}

fn type_at(members: &[u8]) -> Option<&[u8]> {
    let value = members.strip_prefix(b"\"type\"")?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    value.strip_prefix(b"\"")?.split(|byte| *byte == b'"').next()
}

fn content_if(says_something: bool) -> Kind {
    if says_something { Kind::Content } else { Kind::Preamble }
}

/// An event of an unknown type.
fn unknown(data: &ObjectMembers<'_>) -> Kind {
    content_if(data.filled("delta").is_some())
}

fn message(event: &Event<'_>, progress: Progress) -> Kind {
    if progress == Progress::Content && event.name == Some(b"content_block_delta") {
        return Kind::Content;
    }
    let data = ObjectMembers::read(event.text()).unwrap_or_default();
    let named = event.name.map(|name| String::from_utf8_lossy(name).into_owned());
    let name = named.or_else(|| data.text("type")).unwrap_or_default();
    match name.as_str() {
        "error" => Kind::Error(nested_error(event, Format::Messages, event.name.is_some())),
        "message_start" | "ping" | "content_block_stop" => Kind::Preamble,
        "message_stop" => Kind::Closed,
        "content_block_start" => {
            let block = data.get("content_block").and_then(ObjectMembers::of).unwrap_or_default();
            // An answer with another block was not complete, whatever is in the block.
            content_if(progress == Progress::Complete || block.say_something_besides(&["type"]))
        }
        "content_block_delta" => {
            let delta = data.get("delta").and_then(ObjectMembers::of).unwrap_or_default();
            content_if(delta.say_something_besides(&["type"]))
        }
        "message_delta" => {
            let delta = data.get("delta").and_then(ObjectMembers::of).unwrap_or_default();
            if delta.filled("stop_reason").is_some() { Kind::Complete } else { Kind::Preamble }
        }
        _ if is_error(event.text()) => Kind::Error(nested_error(event, Format::Messages, false)),
        _ => unknown(&data),
    }
}

fn chunk(event: &Event<'_>, expected: Expected, choices: &mut Choices, has_begun: bool) -> Kind {
    let data = event.text();
    if data.trim_ascii() == b"[DONE]" {
        return Kind::Closed;
    }
    // Hardly any event has that word, and one search tells.
    let has_word = memchr::memmem::find(data, b"\"error\"").is_some();
    let has_error = has_word && has_value(data, b"\"error\"") && is_error(data);
    // Some builds of vLLM, which end such a stream as if it were whole, write errors without an object of their own.
    // Clients of the `OpenAI` API ignore them.
    let is_flat_error = has_word && !has_error && ErrorObject::read(data).is_some();
    if has_error || is_flat_error || event.name == Some(b"error") {
        return Kind::Error(nested_error(event, expected.format, has_error));
    }
    // A completion has a choice for each prompt of its request, so another choice may still begin after one is finished.
    let counts = expected.choices > 1 || expected.format == Format::Completions || choices.need_a_look();
    if has_begun
        && !counts
        && !has_word
        && has_value(data, b"\"choices\"")
        && has_value_besides(data, b"\"choices\"", b"[]")
        && !has_value(data, b"\"finish_reason\"")
        && !has_value_besides(data, b"\"index\"", b"0")
    {
        return Kind::Content;
    }
    let text = data;
    let Some(data) = ObjectMembers::read(text) else {
        // The data may hold text in a wrong encoding, or numbers that JSON does not have: clients may be less strict.
        return content_if(!has_begun && !has_word && has_value(text, b"\"choices\""));
    };
    let mut says_something = false;
    let list = data.filled("choices");
    let parts = list.and_then(elements).unwrap_or_default();
    if let Some(error) = failed_chunk(event, &data, &parts, expected.format) {
        return Kind::Error(error);
    }
    for choice in parts {
        let index = choice.get("index").and_then(|index| serde_json::from_str(index.get()).ok()).unwrap_or(0);
        let delta = choice.get("delta").and_then(ObjectMembers::of).unwrap_or_default();
        let goes_on = delta.say_something_besides(&["role"]) || choice.filled("text").is_some();
        let is_finished = choice.filled("finish_reason").is_some_and(|reason| reason.get() != "\"null\"");
        choices.note(index, goes_on, is_finished);
        says_something |= goes_on;
    }
    if choices.are_all_finished(expected.choices) {
        return Kind::Complete;
    }
    content_if(says_something || (has_begun && list.is_some()))
}

/// The error by which a chunk says that the answer failed, in a shape that clients do not know: an error within a choice,
/// as from `OpenRouter`, or the reason for its end; Groq's own member; or, without any choice, a provider's own error
/// shape.
fn failed_chunk(
    event: &Event<'_>,
    data: &ObjectMembers<'_>,
    choices: &[ObjectMembers<'_>],
    format: Format,
) -> Option<StreamError> {
    let of_choice = choices.iter().find_map(|choice| told_error(choice.get("error")?.get(), format));
    let of_groq = || told_error(ObjectMembers::of(data.get("x_groq")?)?.get("error")?.get(), format);
    let of_finish = || ErrorObject::failed_finish(choices.iter().filter_map(|choice| choice.text("finish_reason")));
    let body = if let Some(body) = of_choice.or_else(of_groq) {
        body
    } else if let Some(message) = of_finish() {
        error_body(format, &message)
    } else if choices.is_empty() && ErrorObject::of_answer(200, event.text()).is_some() {
        String::from_utf8_lossy(event.text()).into_owned()
    } else {
        return None;
    };
    Some(StreamError { body, is_known_to_clients: false })
}

/// The body of an error answer for an `error` member that is an object or a non-empty text.
fn told_error(error: &str, format: Format) -> Option<String> {
    if let Some((_, body)) = ErrorObject::of_member(error) {
        return Some(body);
    }
    let text: String = serde_json::from_str(error).ok()?;
    (!text.is_empty()).then(|| error_body(format, &text))
}

fn response(event: &Event<'_>, has_begun: bool) -> Kind {
    let data = ObjectMembers::read(event.text()).unwrap_or_default();
    let name = match event.name {
        Some(b"error") => "error".to_owned(),
        // Its clients go by the type, and know no name but `error`.
        name => data
            .text("type")
            .filter(|kind| !kind.is_empty())
            .unwrap_or_else(|| String::from_utf8_lossy(name.unwrap_or_default()).into_owned()),
    };
    let holds = |member: &str, besides: &[&str]| {
        data.get(member).and_then(ObjectMembers::of).is_some_and(|members| members.say_something_besides(besides))
    };
    match name.as_str() {
        "response.created" | "response.queued" | "response.in_progress" => Kind::Preamble,
        "response.completed" | "response.incomplete" => Kind::Closed,
        "response.failed" => {
            let failed = data.get("response").and_then(ObjectMembers::of).unwrap_or_default();
            Kind::Error(flat_error(&failed.get("error").and_then(ObjectMembers::of).unwrap_or(failed), true))
        }
        "error" if data.0.is_empty() => {
            let body = error_body(Format::Responses, &String::from_utf8_lossy(event.text()));
            Kind::Error(StreamError { body, is_known_to_clients: false })
        }
        "error" => {
            // In the form of the API's reference, without an `error`, the SDKs pass it on as one more event.
            let inner = data.filled("error").and_then(ObjectMembers::of);
            let is_known = inner.is_some();
            Kind::Error(flat_error(&inner.unwrap_or(data), is_known))
        }
        "response.output_item.added" => content_if(has_begun || holds("item", &["type", "id", "status", "role"])),
        "response.content_part.added" | "response.reasoning_summary_part.added" => {
            content_if(has_begun || holds("part", &["type"]))
        }
        _ if is_error(event.text()) => {
            Kind::Error(flat_error(&data.get("error").and_then(ObjectMembers::of).unwrap_or(data), false))
        }
        name if name.rsplit('.').next() == Some("done") => Kind::Content,
        _ => unknown(&data),
    }
}

/// Whether data has an `error` that is not empty: an object of either protocol, or a mere text.
fn is_error(data: &[u8]) -> bool {
    let Some(data_members) = ObjectMembers::read(data) else { return false };
    let Some(error) = data_members.get("error").filter(|error| !is_empty(error)) else { return false };
    error.get().starts_with('"') || ErrorObject::read(data).is_some()
}

/// The error of an event that has it in a field of its own, which clients ignore.
fn error_of_field(error: &[u8], format: Format) -> StreamError {
    let error = String::from_utf8_lossy(error);
    let body = told_error(&error, format).unwrap_or_else(|| error_body(format, &error));
    StreamError { body, is_known_to_clients: false }
}

/// The error of an event whose data is, or should be, the body of an error answer.
fn nested_error(event: &Event<'_>, format: Format, is_known_to_clients: bool) -> StreamError {
    let data = event.text();
    let text = String::from_utf8_lossy(data);
    // An error in a provider's own shape says more than a text only if it stands for a status.
    let stands_for_status = |error: ErrorObject| error.status_by_its_words().is_some();
    let body = if ErrorObject::read(data).is_some() || ErrorObject::of_answer(200, data).is_some_and(stands_for_status)
    {
        text.into_owned()
    } else {
        let members = ObjectMembers::read(data).unwrap_or_default();
        let words = members.text("error").or_else(|| members.text("message"));
        error_body(format, &words.unwrap_or_else(|| text.into_owned()))
    };
    StreamError { body, is_known_to_clients }
}

/// The error of the Responses API, whose code and message have no object of their own. It may be a mere text.
fn flat_error(error: &ObjectMembers<'_>, is_known_to_clients: bool) -> StreamError {
    let code = error.text("code").filter(|code| !code.is_empty());
    // Relays write the fields that they do not fill as empty texts, and some use numbers as codes.
    let number = error.get("code").and_then(|code| serde_json::from_str::<u64>(code.get()).ok());
    // If the error has no object of its own, the type is the event's.
    let is_events = |kind: &str| kind == "error" || kind.starts_with("response.");
    let kind = error.text("type").filter(|kind| !kind.is_empty() && !is_events(kind));
    // A number says more than a word made up here.
    let unnamed = if number.is_some() { "error" } else { "server_error" };
    let kind = kind.or_else(|| code.clone()).unwrap_or_else(|| unnamed.to_owned());
    let code = code.map(|code| quoted(&code)).or_else(|| number.map(|number| number.to_string()));
    let inner = ObjectText::default()
        .text("message", &error.text("message").or_else(|| error.text("error")).unwrap_or_default())
        .text("type", &kind)
        .member("param", "null")
        .member("code", code.as_deref().unwrap_or("null"))
        .finish();
    StreamError { body: ObjectText::default().member("error", &inner).finish(), is_known_to_clients }
}

/// The number of an event of the Responses API.
pub(super) fn sequence_number(event: &Event<'_>) -> Option<u64> {
    serde_json::from_str(ObjectMembers::read(event.text())?.get("sequence_number")?.get()).ok()
}
