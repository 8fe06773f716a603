//! What the gateway needs to know of a request's JSON body, found in one pass, and the one thing that it changes there.
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

use super::members::{Member, Written, plain_name, value_of};
use super::request_body::RequestBody;

/// What kind of answer a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// One in one piece.
    Whole,
    /// An event stream.
    Stream,
    /// It can't be seen: the body can't be read, or its `stream` is neither true nor false, which some APIs take for one of them.
    /// Either kind is an answer then.
    #[default]
    Unknown,
}

impl Wanted {
    /// By the value of `stream` as it is written.
    fn by(stream: &[u8]) -> Self {
        match stream {
            b"true" => Self::Stream,
            b"false" | b"null" => Self::Whole,
            _ => Self::Unknown,
        }
    }
}

/// What was seen of a request's body. Empty where the body is no JSON object.
///
/// Values other than these are passed over unread ([`RequestBody::members`]), so however deep a body is nested, it is read; and so may be
/// one that is JSON but for such a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// The model that the request names. Of several top-level `model` the last counts, as for most parsers; none where that
    /// is no text.
    pub model: Option<Arc<str>>,
    /// The kind of answer that is asked for by `stream`. Of several the last counts.
    pub wanted: Wanted,
    /// The conversation that the request names: its `metadata.user_id`, else its `prompt_cache_key`, else its
    /// `conversation_id`.
    pub session: Option<String>,
    /// Whether a chat's stream is to end with a chunk that tells the usage (`stream_options.include_usage`).
    pub include_usage: bool,
    /// How many choices are asked for (`n`), where more than one.
    pub choices: Option<u32>,
    /// How many prompts a completion has that may be streamed, where it has more than one: each is answered by choices of its own.
    pub prompts: Option<u32>,
    /// Whether two spellings of `model` name different ones.
    is_ambiguous: bool,
    /// Where the values of all top-level `model` stand, quotation marks included, in the order of the body.
    pub model_spans: Vec<Range<usize>>,
}

/// The longest model name that is kept and shown, in bytes. What is longer is no name.
const LONGEST_MODEL: usize = 200;

/// The longest value that is read, in bytes as it is written. What is longer names neither a model nor a session.
const LONGEST_READ: usize = 4 << 10;

/// So many top-level `model` a request may have. Each has a place of its own and is written anew, so that a body of nothing
/// else would cost a multiple of its length.
const MOST_MODELS: usize = 64;

impl Peek {
    /// The model, if it is a name that can be kept, shown and asked for again: not what a client may have put in its place.
    pub fn model_name(&self) -> Option<&Arc<str>> {
        let is_name = |model: &&Arc<str>| model.len() <= LONGEST_MODEL && !model.chars().any(char::is_control);
        self.model.as_ref().filter(is_name)
    }

    /// Whether it can't be said which model is asked for. The body has more top-level `model` than can be looked after: some of them
    /// were not noted, so that it can't be sent to an endpoint that calls the model by another name. Or it names one for servers that
    /// read `model` alone, and another for those that read `Model` too.
    pub fn has_no_one_model(&self) -> bool {
        self.has_too_many_models() || self.is_ambiguous
    }

    fn has_too_many_models(&self) -> bool {
        self.model_spans.len() > MOST_MODELS
    }

    /// Looks into a body.
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
        while let Some(Member { name, value }) = members.next_member().ok()? {
            match Name::of(&plain_name(&name.bytes())) {
                Name::Model(spelling) => {
                    let written = value.bytes();
                    // Another name may be written in its place, so it is to be a value, and not what only looks like one.
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
            // A list is read as slowly as by a parser, and only the end of a stream depends on how long it is.
            peek.prompts = prompt.as_ref().and_then(prompts).filter(|prompts| *prompts > 1);
        }
        peek.session = user.or(cache_key).or(conversation);
        Some(peek)
    }
}

/// The body with every top-level model replaced by `new`, and each other byte as it was. Where the spans are not those of
/// this body, it is returned unchanged.
#[must_use]
pub fn rewrite_model(body: &RequestBody, peek: &Peek, new: &str) -> RequestBody {
    let quoted = Bytes::from(serde_json::Value::from(new).to_string());
    body.with_replaced(&peek.model_spans, &quoted).unwrap_or_else(|| body.clone())
}

/// How a name is spelt.
#[derive(Clone, Copy)]
enum Spelling {
    Exact,
    /// In another case: some servers take it for the name, and others do not.
    Folded,
}

/// A member's name, as far as it matters.
enum Name {
    Model(Spelling),
    Stream,
    /// What some servers take for it, and others do not.
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
    /// Relays written in Go read names in any case, by Unicode's folding (package encoding/json): of the letters here only the long s
    /// is another one. A model that only they read is one all the same: it may be of another endpoint, and have its price.
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

/// A text that is not too long.
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

/// A text in which nothing but quotation marks and backslashes are escaped, as in JSON within a text: `metadata.user_id` is
/// mostly that. None where there is more to it, or less.
fn unescaped(written: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(written.len());
    let mut bytes = written.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(*bytes.next().filter(|escaped| matches!(escaped, b'"' | b'\\'))?),
            // Neither may stand in a text as it is.
            0..b' ' | b'"' => return None,
            _ => plain.push(byte),
        }
    }
    String::from_utf8(plain).ok()
}

/// A text that is not empty.
fn text(value: &[u8]) -> Option<String> {
    read(value).filter(|text| !text.is_empty()).map(Cow::into_owned)
}

/// Likewise; one that is too long is not even copied together.
fn short_text(value: &Written<'_>) -> Option<String> {
    if value.length() > LONGEST_READ { None } else { text(&value.bytes()) }
}

/// How many prompts there are in a list of them. A text is one prompt, and so is a list of tokens.
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
