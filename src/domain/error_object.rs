//! The error object of either protocol, as found in endpoints' answers.
//!
//! Relays mix the two shapes, so both are accepted from every endpoint.

mod meaning;
mod providers;
mod relays;
mod shapes;

use std::fmt;
use std::sync::LazyLock;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::members::without_mark;

/// The longest error type or code that is taken for a protocol's word, in bytes.
const MAX_WORD: usize = 64;

/// How many events at the end of a body are searched for an error: `[DONE]` may follow it.
const LAST_EVENTS: usize = 8;

/// What Anthropic says about an unknown member, after the member's name. That name is the client's, and begins the message.
const UNKNOWN_MEMBER_PHRASE: &str = ": Extra inputs are not permitted";

/// An error as an endpoint words it. Its `Debug` omits the message, which may quote a prompt.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorObject {
    kind: Option<String>,
    code: Option<String>,
    numeric_code: Option<u64>,
    message: String,
    /// Whether the message begins with something that a client wrote, so that no phrase in it can be trusted as the endpoint's.
    begins_with_clients_word: bool,
    /// The error around which a relay put its own words.
    wrapped: Option<Box<Self>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads an object, or a list of just that object.
    fn read(body: &'a [u8]) -> Option<Self> {
        if body.trim_ascii_start().starts_with(b"[") {
            let [alone]: [&RawValue; 1] = serde_json::from_slice(body).ok()?;
            return object(alone.get().as_bytes());
        }
        object(body)
    }
}

/// The shape in which the error has no object of its own.
#[derive(Deserialize)]
struct Flat<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Flat<'_> {
    fn is_error(body: &[u8]) -> bool {
        object(body).is_some_and(|flat: Flat<'_>| text(Some(flat.object)).as_deref() == Some("error"))
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// Whether a body could have a member `error`. A search is much faster than parsing, and good answers have none; within a string
/// a quotation mark has a backslash before it. A name may also be written with escapes, however odd: `\u006f` is an o. Escapes
/// of anything but lower-case letters are ignored, since whole answers may be written in them.
fn may_hold_error(body: &[u8]) -> bool {
    static NAME: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b"\"error\""));
    static ESCAPE: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b"\\u00"));
    let behind = |at: usize| body.get(at + NAME.needle().len()..).unwrap_or_default();
    let is_letters = |at: usize| matches!(body.get(at + 4), Some(b'6' | b'7'));
    NAME.find_iter(body).any(|at| !is_null(behind(at))) || ESCAPE.find_iter(body).any(is_letters)
}

/// Whether a member's value is `null`, judged by what follows its name: every good answer of the Responses API has such an
/// error.
fn is_null(behind_name: &[u8]) -> bool {
    let value = behind_name.trim_ascii_start().strip_prefix(b":");
    value.is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
}

/// Reads an object, some of whose members `T` has. Not a list, which `T` would accept as its members in order.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}

/// Reads a string; `None` if it is empty, since some relays put an error object of empty strings into their good answers.
fn text(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).filter(|text: &String| !text.is_empty())
}

impl ErrorObject {
    /// Reads a body that is an error object: `{"type":"error","error":{"type":…,"message":…}}` or
    /// `{"error":{"message":…,"type":…,"code":…}}`, alone or, as Google has it, in a list; or
    /// `{"object":"error","message":…,"type":…,"code":…}`, as Mistral, vLLM and `SGLang` have it. `None` if it is none of these.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut error = Self::read_plain(without_mark(body))?;
        error.wrapped = error.unwrapped().map(Box::new);
        Some(error)
    }

    /// This error as the answer to a request for `model`: if its message begins with that name, it begins with the client's word.
    #[must_use]
    pub fn to_request_for(&self, model: Option<&str>) -> Self {
        // Relays trim names, and strip their own prefix.
        let name = model.unwrap_or_default().trim();
        let forms = [name, name.rsplit('/').next().unwrap_or_default()];
        let begins_so = |error: &Self| forms.iter().any(|form| begins_with_name(error.message.trim_start(), form));
        let mut error = self.clone();
        if begins_so(&error) {
            error.begins_with_clients_word = true;
            if name.contains(char::is_whitespace) {
                // The name itself may read like a relay's words around its provider's.
                error.wrapped = None;
            }
        }
        if let Some(wrapped) = &mut error.wrapped {
            wrapped.begins_with_clients_word |= begins_so(wrapped);
        }
        error
    }

    /// The error around which a relay put its own words, if this is a relay's. A type or code in a message that quotes a client's
    /// name is not believed.
    fn unwrapped(&self) -> Option<Self> {
        if self.message.contains(UNKNOWN_MEMBER_PHRASE) {
            return None;
        }
        let is_about_a_name = providers::is_about_a_name(&self.message);
        relays::unwrapped(&self.message).filter(|wrapped| !is_about_a_name || wrapped.has_words_alone())
    }

    fn has_words_alone(&self) -> bool {
        self.kind.is_none()
            && self.code.is_none()
            && self.numeric_code.is_none()
            && providers::is_about_a_name(&self.message)
    }

    /// Reads the body of an answer with this status, even in a shape of neither protocol.
    #[must_use]
    pub fn of_answer(status: u16, body: &[u8]) -> Option<Self> {
        let body = without_mark(body);
        Self::read(body).or_else(|| shapes::read(status, body)).or_else(|| Self::of_last_event(status, body))
    }

    /// Reads an error that a relay wrote as an event of a stream, although the status already says that it failed.
    fn of_last_event(status: u16, body: &[u8]) -> Option<Self> {
        let begins_so = |name: &&[u8]| body.trim_ascii_start().starts_with(name);
        let is_stream = [b"event:".as_slice(), b"data:", b"id:", b"retry:", b":"].iter().any(begins_so);
        if matches!(status, 200..=299) || !is_stream {
            return None;
        }
        let lines = body.split(|byte| matches!(byte, b'\n' | b'\r')).rev();
        let mut data = lines.filter_map(|line| line.strip_prefix(b"data:")).take(LAST_EVENTS);
        // No portal answers with events, so the status is taken for 200 here.
        data.find_map(|data| Self::read(data).or_else(|| shapes::read(200, data)))
    }

    /// Reads the value of a member `error`. Returns the error and the body of an answer that has it; `None` for other values.
    #[must_use]
    pub fn of_member(error: &str) -> Option<(Self, String)> {
        let body = format!("{{\"error\":{error}}}");
        Some((Self::read(body.as_bytes())?, body))
    }

    /// The message for an answer that failed, by the finish reason of a choice, as `OpenRouter`, Zhipu and `DeepSeek` word it.
    #[must_use]
    pub fn failed_finish(finish_reasons: impl IntoIterator<Item = String>) -> Option<String> {
        let is_failed =
            |reason: &String| matches!(reason.as_str(), "error" | "network_error" | "insufficient_system_resource");
        let reason = finish_reasons.into_iter().find(is_failed)?;
        Some(format!("The answer ended with the finish_reason {reason}."))
    }

    /// Whether a body may turn out to be an error object, judged by its beginning.
    #[must_use]
    pub fn may_begin(beginning: &[u8]) -> bool {
        may_hold_error(beginning)
    }

    fn read_plain(body: &[u8]) -> Option<Self> {
        if !may_hold_error(body) {
            return None;
        }
        let envelope = Envelope::read(body)?;
        let fields: Fields<'_> = match envelope.error {
            Some(error) => object(error.get().as_bytes())?,
            None if Flat::is_error(body) => object(body)?,
            None => return None,
        };
        let kind = text(fields.kind);
        let code = text(fields.code);
        let as_number = || fields.code.and_then(|raw| serde_json::from_str(raw.get()).ok());
        // Azure writes its numbers as strings.
        let numeric_code = as_number().or_else(|| code.as_deref().and_then(|code| code.parse().ok()));
        let message = text(fields.message);
        if kind.is_none() && message.is_none() {
            return None;
        }
        Some(Self {
            kind,
            code,
            numeric_code,
            message: message.unwrap_or_default(),
            begins_with_clients_word: false,
            wrapped: None,
        })
    }

    fn of_message(message: &str) -> Self {
        Self {
            kind: None,
            code: None,
            numeric_code: None,
            message: message.to_owned(),
            begins_with_clients_word: false,
            wrapped: None,
        }
    }

    /// The endpoint's own words. They may go to the client that made the request, but into logs, events and stats only if the
    /// operator asked for that.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The error's type, else its code, if that is a short word such as `overloaded_error`: fit for logs.
    #[must_use]
    pub fn type_word(&self) -> Option<&str> {
        [&self.kind, &self.code].into_iter().flatten().map(String::as_str).find(|text| is_word(text))
    }

    /// The message, for comparison with phrases that begin one; empty if it begins with a client's word.
    fn own_words(&self) -> &str {
        let is_clients = self.begins_with_clients_word
            || self.message.contains(UNKNOWN_MEMBER_PHRASE)
            || providers::is_about_a_name(&self.message);
        if is_clients { "" } else { &self.message }
    }

    fn says(&self, word: &str) -> bool {
        self.has_kind(word) || self.has_code(word)
    }

    /// Whether this is its type.
    #[must_use]
    pub fn has_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    /// Whether this is its code. Some relays use numbers as codes.
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code) || self.numeric_code.is_some_and(|number| number.to_string() == code)
    }
}

impl fmt::Debug for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ErrorObject").field(&self.type_word()).finish()
    }
}

/// Whether a text begins with this name, and not with a longer one.
fn begins_with_name(text: &str, name: &str) -> bool {
    let rest = text.strip_prefix(name).filter(|_| !name.is_empty());
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

fn is_word(text: &str) -> bool {
    let is_word_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    !text.is_empty() && text.len() <= MAX_WORD && text.bytes().all(is_word_byte)
}

#[cfg(test)]
mod tests;
