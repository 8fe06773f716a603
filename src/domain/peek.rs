//! What the gateway needs to know of a request's JSON body, found in one pass, and the only change that it makes there.
//!
//! Nothing is validated: what can't be read is left to the endpoint, which knows its API better.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::members::{JsonMember, Written, plain_name, value_of};
use super::request_body::RequestBody;

/// What kind of answer a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// An answer in one piece.
    Whole,
    /// An event stream.
    Stream,
    /// Not known: the body can't be read, or its `stream` is neither true nor false, which some APIs take for one of them. Then
    /// both kinds are accepted.
    #[default]
    Unknown,
}

impl Wanted {
    /// Reads the value of `stream` as written.
    fn by(stream: &[u8]) -> Self {
        match stream {
            b"true" => Self::Stream,
            b"false" | b"null" => Self::Whole,
            _ => Self::Unknown,
        }
    }
}

/// What was seen of a request's body. Empty if the body is no JSON object.
///
/// All other values are skipped unread ([`RequestBody::members`]). So a body is read however deeply it is nested, and perhaps
/// even if such a value is not valid JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// The model that the request names. Of several top-level `model` members the last counts, as for most parsers; `None` if
    /// that is not a string.
    pub model: Option<Arc<str>>,
    /// The kind of answer that `stream` asks for. Of several such members the last counts.
    pub wanted: Wanted,
    /// The conversation that the request names: its `metadata.user_id`, else its `prompt_cache_key`, else its
    /// `conversation_id`.
    pub session: Option<String>,
    /// Whether a chat's stream should end with a chunk that tells the usage (`stream_options.include_usage`).
    pub include_usage: bool,
    /// How many choices are asked for (`n`), if more than one.
    pub choices: Option<u32>,
    /// How many prompts a completion that may be streamed has, if more than one: each is answered by choices of its own.
    pub prompts: Option<u32>,
    /// Whether two spellings of `model` name different models.
    is_ambiguous: bool,
    /// The byte ranges of the values of all top-level `model` members, quotation marks included, in the order of the body.
    pub model_spans: Vec<Range<usize>>,
}

/// The longest model name that is kept and shown, in bytes. Anything longer is not taken for a name.
const LONGEST_MODEL: usize = 200;

/// The longest value that is read, in bytes as written. Anything longer names neither a model nor a session.
const LONGEST_READ: usize = 4 << 10;

/// The most top-level `model` members that a request may have. Each is noted and rewritten, so a body of nothing else would cost
/// a multiple of its length.
const MAX_MODELS: usize = 64;

impl Peek {
    /// The model, if its name is fit to be kept, shown and asked for again: not just anything that a client may have put there.
    pub fn model_name(&self) -> Option<&Arc<str>> {
        let is_name = |model: &&Arc<str>| model.len() <= LONGEST_MODEL && !model.chars().any(char::is_control);
        self.model.as_ref().filter(is_name)
    }

    /// Whether it is unclear which model is asked for. Either the body has too many top-level `model` members: some were not
    /// noted, so it can't be sent to an endpoint that knows the model by another name. Or it names one model for servers that
    /// read only `model`, and another for those that also read `Model`.
    pub fn has_no_one_model(&self) -> bool {
        self.has_too_many_models() || self.is_ambiguous
    }

    fn has_too_many_models(&self) -> bool {
        self.model_spans.len() > MAX_MODELS
    }

    /// Inspects a body.
    #[must_use]
    pub fn into_body(body: &RequestBody) -> Self {
        Self::read(body).unwrap_or_default()
    }

    fn read(body: &RequestBody) -> Option<Self> {
        let mut members = body.members().ok()?;
        let mut peek = Self::default();
        let (mut wanted, mut may_be_other) = (Wanted::Whole, false);
        let (mut exactly, mut otherwise) = (None, None);
        let (mut user, mut cache_key, mut conversation, mut prompt) = (None, None, None, None);
        while let Some(JsonMember { name, value }) = members.next_member().ok()? {
            match Name::of(&plain_name(&name.bytes())) {
                Name::Model(spelling) => {
                    let written = value.bytes();
                    // Another name may be written in its place, so it has to be a valid value.
                    serde_json::from_slice::<&RawValue>(&written).ok()?;
                    if !peek.has_too_many_models() {
                        peek.model_spans.push(value.span());
                    }
                    peek.model = read(&written).map(Arc::from);
                    match spelling {
                        Spelling::Exact => exactly = Some(written),
                        Spelling::Folded => otherwise = Some(written),
                    }
                }
                Name::Stream => wanted = Wanted::by(&value.bytes()),
                Name::StreamOtherwise => may_be_other = true,
                Name::Metadata => user = user_of(&value.bytes()),
                Name::PromptCacheKey => cache_key = short_text(&value),
                Name::ConversationId => conversation = short_text(&value),
                Name::StreamOptions => {
                    peek.include_usage = value_of(&value.bytes(), b"include_usage") == Some(b"true");
                }
                Name::Choices => {
                    peek.choices = serde_json::from_slice(&value.bytes()).ok().filter(|choices| *choices > 1);
                }
                Name::Prompt => prompt = Some(value),
                Name::Other => {}
            }
        }
        peek.is_ambiguous = otherwise.is_some() && exactly.is_some_and(|exactly| Some(exactly) != otherwise);
        peek.wanted = if may_be_other { Wanted::Unknown } else { wanted };
        if peek.wanted != Wanted::Whole {
            // Counting a list is as slow as parsing it, and only the end of a stream depends on its length.
            peek.prompts = prompt.as_ref().and_then(prompts).filter(|prompts| *prompts > 1);
        }
        peek.session = user.or(cache_key).or(conversation);
        Some(peek)
    }
}

/// The body with every top-level model replaced by `new`, and every other byte as it was. If the spans don't fit this body, it is
/// returned unchanged.
#[must_use]
pub fn rewrite_model(body: &RequestBody, peek: &Peek, new: &str) -> RequestBody {
    let quoted = Bytes::from(serde_json::Value::from(new).to_string());
    body.with_replaced(&peek.model_spans, &quoted).unwrap_or_else(|| body.clone())
}

/// How a name is spelt.
#[derive(Clone, Copy)]
enum Spelling {
    Exact,
    /// In another case: only some servers take it for the name.
    Folded,
}

/// A member's name, as far as it matters.
enum Name {
    Model(Spelling),
    Stream,
    /// A spelling that only some servers take for `stream`.
    StreamOtherwise,
    Metadata,
    PromptCacheKey,
    ConversationId,
    StreamOptions,
    Choices,
    Prompt,
    Other,
}

impl Name {
    /// Relays written in Go read names in any case, by Unicode's case folding (package encoding/json): for these letters that
    /// adds only the long s. A model that only such relays read counts all the same: it may be another endpoint's, with its own
    /// price.
    fn of(plain: &[u8]) -> Self {
        match plain {
            b"model" => Self::Model(Spelling::Exact),
            b"stream" => Self::Stream,
            b"metadata" => Self::Metadata,
            b"prompt_cache_key" => Self::PromptCacheKey,
            b"conversation_id" => Self::ConversationId,
            b"stream_options" => Self::StreamOptions,
            b"n" => Self::Choices,
            b"prompt" => Self::Prompt,
            other if other.eq_ignore_ascii_case(b"model") => Self::Model(Spelling::Folded),
            other if reads_as_stream(other) => Self::StreamOtherwise,
            _ => Self::Other,
        }
    }
}

/// Whether a server that folds names reads this one as `stream`.
fn reads_as_stream(name: &[u8]) -> bool {
    let first = ["s", "S", "\u{17f}"].into_iter().find_map(|letter| name.strip_prefix(letter.as_bytes()));
    first.is_some_and(|rest| rest.eq_ignore_ascii_case(b"tream"))
}

/// Reads a string, if it is not too long.
fn read(value: &[u8]) -> Option<Cow<'_, str>> {
    if value.len() > LONGEST_READ {
        return None;
    }
    let written = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    match memchr(b'\\', written) {
        Some(_) => unescaped(written).or_else(|| serde_json::from_slice(value).ok()).map(Cow::Owned),
        None => str::from_utf8(written).ok().map(Cow::Borrowed),
    }
}

/// Unescapes a string in which only quotation marks and backslashes are escaped, as in JSON within a string: `metadata.user_id`
/// usually is one. `None` if it has other escapes, or is not valid.
fn unescaped(written: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(written.len());
    let mut bytes = written.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(*bytes.next().filter(|escaped| matches!(escaped, b'"' | b'\\'))?),
            // Neither may occur unescaped in a string.
            0..b' ' | b'"' => return None,
            _ => plain.push(byte),
        }
    }
    String::from_utf8(plain).ok()
}

/// Reads a string that is neither empty nor too long.
fn text(value: &[u8]) -> Option<String> {
    read(value).filter(|text| !text.is_empty()).map(Cow::into_owned)
}

/// Reads a string that is neither empty nor too long; a long one is not even copied together.
fn short_text(value: &Written<'_>) -> Option<String> {
    if value.length() > LONGEST_READ { None } else { text(&value.bytes()) }
}

/// How many prompts a list of prompts has. `None` for a single one, which is a string or a list of tokens.
fn prompts(value: &Written<'_>) -> Option<u32> {
    struct Counted;
    impl<'de> Visitor<'de> for Counted {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut count = 0_u32;
            while list.next_element::<IgnoredAny>()?.is_some() {
                count = count.saturating_add(1);
            }
            Ok(count)
        }
    }
    if value.first() != Some(b'[') {
        return None;
    }
    let value = value.bytes();
    let first = value.strip_prefix(b"[")?.trim_ascii_start().first()?;
    if !matches!(first, b'"' | b'[') {
        return None;
    }
    serde_json::Deserializer::from_slice(&value).deserialize_seq(Counted).ok()
}

fn user_of(metadata: &[u8]) -> Option<String> {
    text(value_of(metadata, b"user_id")?)
}

#[cfg(test)]
mod tests;
