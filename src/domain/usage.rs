//! What an answer has cost, in tokens, by what it says itself. Nothing else of it is kept.
//!
//! Streams tell running totals, some of them several times: of each count the greatest holds.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The member's name, as it stands in JSON. Within a text a quotation mark has a backslash before it, so that only a name can
/// fit.
const NAME: &[u8] = b"\"usage\"";
/// A count above this is none, in tokens: one absurd answer must not spoil the sums.
const MOST: u64 = 1_000_000_000;
/// How much of an answer's end is looked into first, in bytes: the usage stands behind the contents, with nearly all providers.
const END: usize = 16 << 10;
/// How many members of the name are tried in an answer's end.
const TRIES: usize = 4;

/// Tokens, by what providers ask different prices for. None is counted in two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Read by the model, but from no cache.
    pub input: u64,
    /// Written by the model, its thoughts included.
    pub output: u64,
    /// Read from the provider's prompt cache.
    pub cache_read: u64,
    /// Read, and written to that cache.
    pub cache_write: u64,
}

impl Usage {
    /// All that the model has read.
    #[must_use]
    pub const fn read(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The counts, each with the contract's word for its kind.
    #[must_use]
    pub const fn kinds(&self) -> [(&'static str, u64); 4] {
        [
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_write", self.cache_write),
        ]
    }

    /// What a whole answer says.
    #[must_use]
    pub fn of_answer(body: &[u8]) -> Self {
        if memchr::memmem::find(body, NAME).is_none() {
            return Self::default();
        }
        let end = body.get(body.len().saturating_sub(END)..).unwrap_or_default();
        Self::of_end(end).unwrap_or_else(|| {
            let mut tally = Tally::default();
            tally.read(body);
            tally.usage()
        })
    }

    /// What the end of an answer says. Behind the answer's own usage nothing comes but further members of the answer, and the
    /// bracket that closes it: a member of the same name that lies deeper is not taken for it.
    fn of_end(end: &[u8]) -> Option<Self> {
        memchr::memmem::rfind_iter(end, NAME).take(TRIES).find_map(|at| {
            let rest = end.get(at..)?;
            let mut object = Vec::with_capacity(rest.len() + 1);
            object.push(b'{');
            object.extend_from_slice(rest);
            let usage = serde_json::from_slice::<Told<'_>>(&object).ok()?.usage?;
            let mut tally = Tally::default();
            tally.take_in(usage);
            Some(tally.usage())
        })
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.output = self.output.saturating_add(more.output);
        self.cache_read = self.cache_read.saturating_add(more.cache_read);
        self.cache_write = self.cache_write.saturating_add(more.cache_write);
    }
}

/// Where an answer or an event tells its usage: itself, or in the message or response that it holds.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

/// The counts of one answer as its provider names them, the greatest of each so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Without what comes from a cache, or goes there.
    input: u64,
    /// With what comes from a cache.
    prompt: u64,
    /// The part of the prompt that comes from a cache.
    cached: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
}

impl Tally {
    /// Looks at the data of an event. For nearly all events that is a search for the name.
    pub fn event(&mut self, data: &[u8]) {
        if memchr::memmem::find(data, NAME).is_some() {
            self.read(data);
        }
    }

    /// What was counted.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            input: self.input.max(self.prompt.saturating_sub(self.cached)),
            output: self.output,
            cache_read: self.cache_read.max(self.cached),
            cache_write: self.cache_write,
        }
    }

    /// Usage that can't be read counts as none: it is no reason to reject an answer.
    fn read(&mut self, json: &[u8]) {
        let Ok(told) = serde_json::from_slice::<Told<'_>>(json) else { return };
        let inner = [told.message, told.response].into_iter().flatten();
        let inner = inner.filter_map(|raw| serde_json::from_str::<Told<'_>>(raw.get()).ok()?.usage);
        for usage in told.usage.into_iter().chain(inner) {
            self.take_in(usage);
        }
    }

    fn take_in(&mut self, usage: &RawValue) {
        let Ok(told) = serde_json::from_str::<Counts>(usage.get()) else { return };
        let raise = |most: &mut u64, told: u64| *most = told.max(*most);
        // The Responses API has Anthropic's name for a prompt with its cached part.
        raise(if told.has_input_details { &mut self.prompt } else { &mut self.input }, told.input);
        raise(&mut self.prompt, told.prompt);
        raise(&mut self.cached, told.cached);
        raise(&mut self.output, told.output);
        raise(&mut self.cache_read, told.cache_read);
        raise(&mut self.cache_write, told.cache_write);
    }
}

/// The counts of one usage object, by any provider's names.
#[derive(Default)]
struct Counts {
    input: u64,
    prompt: u64,
    cached: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    has_input_details: bool,
}

/// How providers name them.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    InputTokens,
    PromptTokens,
    OutputTokens,
    CompletionTokens,
    CacheReadInputTokens,
    CacheCreationInputTokens,
    PromptCacheHitTokens,
    InputTokensDetails,
    PromptTokensDetails,
    CachedTokens,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;
        impl<'de> Visitor<'de> for OfObject {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
                let mut counts = Counts::default();
                while let Some(name) = map.next_key()? {
                    let Member { count, cached, is_object } = map.next_value()?;
                    match name {
                        Name::InputTokens => counts.input = count,
                        Name::PromptTokens => counts.prompt = count,
                        Name::OutputTokens | Name::CompletionTokens => counts.output = count.max(counts.output),
                        Name::CacheReadInputTokens => counts.cache_read = count,
                        Name::CacheCreationInputTokens => counts.cache_write = count,
                        Name::PromptCacheHitTokens => counts.cached = count.max(counts.cached),
                        Name::PromptTokensDetails => counts.cached = cached.max(counts.cached),
                        Name::InputTokensDetails => {
                            counts.cached = cached.max(counts.cached);
                            counts.has_input_details = is_object;
                        }
                        Name::CachedTokens | Name::Other => {}
                    }
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_map(OfObject)
    }
}

/// A member of a usage object: a count, an object with a count of what was cached, or what is neither and counts as nothing.
#[derive(Default)]
struct Member {
    count: u64,
    cached: u64,
    is_object: bool,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfAnything;
        impl<'de> Visitor<'de> for OfAnything {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_u64<E>(self, count: u64) -> Result<Member, E> {
                Ok(Member { count: if count <= MOST { count } else { 0 }, ..Member::default() })
            }

            fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
                Ok(Member::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
                Ok(Member::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
                Ok(Member::default())
            }

            fn visit_str<E>(self, _: &str) -> Result<Member, E> {
                Ok(Member::default())
            }

            fn visit_unit<E>(self) -> Result<Member, E> {
                Ok(Member::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Member, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Member::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
                let mut cached = 0;
                while let Some(name) = map.next_key()? {
                    match name {
                        Name::CachedTokens => cached = map.next_value::<Member>()?.count,
                        Name::InputTokens
                        | Name::PromptTokens
                        | Name::OutputTokens
                        | Name::CompletionTokens
                        | Name::CacheReadInputTokens
                        | Name::CacheCreationInputTokens
                        | Name::PromptCacheHitTokens
                        | Name::InputTokensDetails
                        | Name::PromptTokensDetails
                        | Name::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Member { cached, is_object: true, ..Member::default() })
            }
        }
        deserializer.deserialize_any(OfAnything)
    }
}

/// The end of an answer that is too large to be held, while it is passed on.
#[derive(Clone, Default)]
pub struct AnswerEnd(Vec<u8>);

impl fmt::Debug for AnswerEnd {
    /// Without what was said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerEnd")
    }
}

impl AnswerEnd {
    /// Takes the next piece in.
    pub fn push(&mut self, piece: &[u8]) {
        let piece = piece.get(piece.len().saturating_sub(END)..).unwrap_or_default();
        let surplus = (self.0.len() + piece.len()).saturating_sub(END);
        self.0.drain(..surplus.min(self.0.len()));
        self.0.extend_from_slice(piece);
    }

    /// What it says.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of_end(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn usage(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Usage {
        Usage { input, output, cache_read, cache_write }
    }

    #[test]
    fn an_answers_usage_is_read_by_every_protocols_names() {
        for (body, expected) in [
            (
                r#"{"type":"message","content":[],"usage":{"input_tokens":40,"output_tokens":3,
                    "cache_read_input_tokens":1000,"cache_creation_input_tokens":200}}"#,
                usage(40, 3, 1000, 200),
            ),
            (
                r#"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,
                    "prompt_tokens_details":{"cached_tokens":80}}}"#,
                usage(20, 7, 80, 0),
            ),
            (
                r#"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":7,"input_tokens":0,
                    "prompt_cache_hit_tokens":60,"input_tokens_details":null}}"#,
                usage(40, 7, 60, 0),
            ),
            (
                r#"{"object":"response","output":[],"usage":{"input_tokens":50,"output_tokens":9,
                    "input_tokens_details":{"cached_tokens":30}},"user":null}"#,
                usage(20, 9, 30, 0),
            ),
            (r#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#, usage(5, 0, 0, 0)),
            (r#"{"usage":{"input_tokens":1,"output_tokens":2},"content":[]}"#, usage(1, 2, 0, 0)),
            (r#"{"input_tokens":400}"#, Usage::default()),
            (r#"{"usage":null}"#, Usage::default()),
            (r#"{"usage":"odd"}"#, Usage::default()),
            (r#"{"usage":{"input_tokens":-1,"output_tokens":18446744073709551615}}"#, Usage::default()),
            ("", Usage::default()),
        ] {
            assert_eq!(Usage::of_answer(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn what_only_resembles_the_answers_usage_is_not_taken_for_it() {
        for body in [
            r#"{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":9}}}]}"#,
            r#"{"content":[{"type":"text","text":"\"usage\":{\"input_tokens\":9}}"}]}"#,
            r#"{"content":["usage",{"input_tokens":9}]}"#,
            r#"[{"usage":{"input_tokens":9}}]"#,
        ] {
            assert_eq!(Usage::of_answer(body.as_bytes()), Usage::default(), "{body}");
        }
        let both = r#"{"usage":{"input_tokens":1},"content":[{"input":{"usage":{"input_tokens":9}}}]}"#;
        assert_eq!(Usage::of_answer(both.as_bytes()), usage(1, 0, 0, 0));
    }

    #[test]
    fn a_usage_that_stands_before_long_contents_is_found_too() {
        let long = "x".repeat(2 * END);
        let body = format!(r#"{{"usage":{{"input_tokens":3}},"content":[{{"text":"{long}"}}]}}"#);
        assert_eq!(Usage::of_answer(body.as_bytes()), usage(3, 0, 0, 0));
    }

    #[test]
    fn of_a_large_answer_the_end_tells_the_usage_however_it_is_cut() {
        let long = "0.25,".repeat(3 * END);
        let body = format!(r#"{{"data":[{{"embedding":[{long}0]}}],"usage":{{"prompt_tokens":6}}}}"#);
        for size in [1, 7, 1000, END, END + 1, body.len()] {
            let mut end = AnswerEnd::default();
            for piece in body.as_bytes().chunks(size) {
                end.push(piece);
            }
            assert_eq!(end.usage(), usage(6, 0, 0, 0), "in pieces of {size}");
            assert!(end.0.len() <= END);
        }
        assert_eq!(AnswerEnd::default().usage(), Usage::default());
    }

    #[test]
    fn of_a_streams_running_totals_the_greatest_of_each_holds() {
        for (events, expected) in [
            (
                vec![
                    r#"{"type":"message_start","message":{"usage":{"input_tokens":25,"output_tokens":1,
                        "cache_read_input_tokens":7,"cache_creation_input_tokens":5}}}"#,
                    r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"\"usage\":{\"output_tokens\":99}"}}"#,
                    r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":10}}"#,
                    r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":0,"output_tokens":15}}"#,
                ],
                usage(25, 15, 7, 5),
            ),
            (
                vec![
                    r#"{"choices":[{"delta":{"content":"a"}}],"usage":null}"#,
                    r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
                    "[DONE]",
                ],
                usage(9, 2, 0, 0),
            ),
            (
                vec![
                    r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#,
                    r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,
                        "prompt_tokens_details":{"cached_tokens":8}}}"#,
                ],
                usage(1, 2, 8, 0),
            ),
            (
                vec![
                    r#"{"type":"response.created","response":{"usage":null}}"#,
                    r#"{"type":"response.completed","response":{"output":[],"usage":{"input_tokens":6,
                        "input_tokens_details":{"cached_tokens":4},"output_tokens":3}}}"#,
                ],
                usage(2, 3, 4, 0),
            ),
            (vec![r#"{"usage":"#, "", r#"{"message":"x","usage":{"input_tokens":1}}"#], usage(1, 0, 0, 0)),
        ] {
            let mut tally = Tally::default();
            for event in &events {
                tally.event(event.as_bytes());
            }
            assert_eq!(tally.usage(), expected, "{events:?}");
        }
    }
}
