//! What an answer has cost, in tokens, by what it says itself. Nothing else of it is kept.
//!
//! Streams tell running totals, some of them several times: of each count the greatest holds.

use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Serialize;

use super::members::{Member, Members, plain_name, value_of};

/// The member's name, as it stands in JSON. Within a text a quotation mark has a backslash before it, so that only a name can
/// fit.
static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"usage\""));
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
        let end = body.get(body.len().saturating_sub(END)..).unwrap_or_default();
        Self::of_end(end).unwrap_or_else(|| {
            let mut tally = Tally::default();
            tally.event(body);
            tally.usage()
        })
    }

    /// What the end of an answer says. Behind the answer's own usage nothing comes but further members of the answer, and the
    /// bracket that closes it: a member of the same name that lies deeper is not taken for it.
    fn of_end(end: &[u8]) -> Option<Self> {
        // Forwards the name is found several times as fast as backwards.
        let names: Vec<usize> = NAME.find_iter(end).collect();
        names.into_iter().rev().take(TRIES).find_map(|at| {
            let rest = end.get(at..)?;
            let usage = Told::read(rest, Members::from_one_on(rest))?.usage?;
            Some(Tally::of_usage(usage).unwrap_or_default().usage())
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

/// Where an answer or an event tells its usage: itself, or in the message or response that it holds. Of several the last
/// counts.
#[derive(Default)]
struct Told<'a> {
    usage: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
}

impl<'a> Told<'a> {
    /// None where these are not the members of an object to its end.
    fn read(json: &'a [u8], mut members: Members<'a>) -> Option<Self> {
        let mut told = Self::default();
        while let Some(Member { name, value }) = members.next_member().ok()? {
            match &*plain_name(json.get(name)?) {
                b"usage" => told.usage = json.get(value),
                b"message" => told.message = json.get(value),
                b"response" => told.response = json.get(value),
                _ => {}
            }
        }
        Some(told)
    }

    fn of(json: &'a [u8]) -> Option<Self> {
        Self::read(json, Members::of(json).ok()?)
    }
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
        if NAME.find(data).is_some() {
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
        let Some(told) = Told::of(json) else { return };
        let inner = [told.message, told.response].into_iter().flatten();
        let inner = inner.filter_map(|json| Told::of(json)?.usage);
        for usage in told.usage.into_iter().chain(inner) {
            self.take_in(usage);
        }
    }

    fn take_in(&mut self, usage: &[u8]) {
        let Some(told) = Self::of_usage(usage) else { return };
        self.input = self.input.max(told.input);
        self.prompt = self.prompt.max(told.prompt);
        self.cached = self.cached.max(told.cached);
        self.output = self.output.max(told.output);
        self.cache_read = self.cache_read.max(told.cache_read);
        self.cache_write = self.cache_write.max(told.cache_write);
    }

    /// The counts of one usage object, by any provider's names.
    fn of_usage(usage: &[u8]) -> Option<Self> {
        let mut told = Self::default();
        let mut has_input_details = false;
        let mut members = Members::of(usage).ok()?;
        while let Some(Member { name, value }) = members.next_member().ok()? {
            let value = usage.get(value)?;
            match &*plain_name(usage.get(name)?) {
                b"input_tokens" => told.input = count(value),
                b"prompt_tokens" => told.prompt = count(value),
                b"output_tokens" | b"completion_tokens" => told.output = told.output.max(count(value)),
                b"cache_read_input_tokens" => told.cache_read = count(value),
                b"cache_creation_input_tokens" => told.cache_write = count(value),
                b"prompt_cache_hit_tokens" => told.cached = told.cached.max(count(value)),
                b"prompt_tokens_details" => told.cached = told.cached.max(cached(value)),
                b"input_tokens_details" => {
                    told.cached = told.cached.max(cached(value));
                    has_input_details = value.starts_with(b"{");
                }
                _ => {}
            }
        }
        if has_input_details {
            // The Responses API has Anthropic's name for a prompt with its cached part.
            told.prompt = told.prompt.max(std::mem::take(&mut told.input));
        }
        Some(told)
    }
}

/// A count, in the digits that it is written in. What is no whole number, or too large a one, counts as nothing.
fn count(written: &[u8]) -> u64 {
    let add = |count: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(count * 10 + digit).filter(|count| *count <= MOST)
    };
    written.iter().try_fold(0, add).unwrap_or_default()
}

/// What a prompt's details say was cached.
fn cached(details: &[u8]) -> u64 {
    value_of(details, b"cached_tokens").map_or(0, count)
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
            (r#"{"usage":{"input_tokens":1000000000,"output_tokens":1000000001}}"#, usage(MOST, 0, 0, 0)),
            (r#"{"usage":{"input_tokens":3.0,"output_tokens":1e2,"prompt_tokens":"5"}}"#, Usage::default()),
            (r#"{"usage":{"input_tokens":[7],"output_tokens":{"cached_tokens":7},"cache_read":7}}"#, Usage::default()),
            (r#"{"usage":{"input_tokens":7,"cache_creation":{"input_tokens":9}}}"#, usage(7, 0, 0, 0)),
            (r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":[{"cached_tokens":8}]}}"#, usage(9, 0, 0, 0)),
            (r#"{"usage":{"input\u005ftokens":4,"output_tokens":"\""} , "x":1}"#, usage(4, 0, 0, 0)),
            // Of several the last counts, but for the two names of what was written or cached.
            (r#"{"usage":{"input_tokens":9},"usage":{"input_tokens":4,"input_tokens":3}}"#, usage(3, 0, 0, 0)),
            (r#"{"usage":{"output_tokens":9,"completion_tokens":4}}"#, usage(0, 9, 0, 0)),
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
            r#"{"usage":{"input_tokens":9}"#,
            r#"{"usage":{"input_tokens":9}} x"#,
            r#"{"usage":{"input_tokens":9,}}"#,
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
            (
                vec![
                    r#"{"usage":{"output_tokens":9},"usage":{"output_tokens":4}}"#,
                    r#"{"message":{"usage":{"input_tokens":9}},"mess\u0061ge":{"usage":{"input_tokens":5}}}"#,
                    r#"{"response":{"message":{"usage":{"input_tokens":99}}}}"#,
                ],
                usage(5, 4, 0, 0),
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
