//! What an answer has cost in tokens, as reported in the answer itself. Nothing else of it is kept.
//!
//! Streams report running totals, some of them several times: the greatest of each count holds.

use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Serialize;

use super::members::{JsonMember, JsonMembers, plain_name, value_of};

/// The member's name, as written in JSON. Within a string a quotation mark has a backslash before it, so only a whole string can
/// match.
static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"usage\""));
/// The highest count that is believed, in tokens: one absurd answer must not spoil the sums.
pub(super) const MOST: u64 = 1_000_000_000;
/// How much of an answer's end is searched first, in bytes: with nearly all providers the usage follows the contents.
const END: usize = 16 << 10;
/// How many members of this name are tried in an answer's end.
const TRIES: usize = 4;

/// Token counts, by the kinds that providers price differently. No token counts as two kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Read by the model, and neither read from a cache nor written to one.
    pub input: u64,
    /// Written by the model, including its thinking.
    pub output: u64,
    /// Read from the provider's prompt cache.
    pub cache_read: u64,
    /// Read by the model, and written to that cache.
    pub cache_write: u64,
}

impl Usage {
    /// All tokens that the model has read.
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

    /// The usage that a whole answer reports.
    #[must_use]
    pub fn of_answer(body: &[u8]) -> Self {
        Self::of_end(latest(body)).unwrap_or_else(|| {
            let mut tally = Tally::default();
            tally.event(body);
            tally.usage()
        })
    }

    /// The usage that the end of an answer reports. The answer's own usage is followed only by further members of the answer
    /// and its closing bracket, so that a nested member of the same name is not taken for it.
    fn of_end(end: &[u8]) -> Option<Self> {
        latest_from_name(end).find_map(|rest| {
            let usage = Told::read(JsonMembers::from_one_on(rest))?.usage?;
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

/// Where an answer or an event may report its usage: itself, or in the message or response that it holds. Of several members of
/// one name the last counts.
#[derive(Default)]
struct Told<'a> {
    usage: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
}

impl<'a> Told<'a> {
    /// `None` if these are not the members of an object up to its end.
    fn read(mut members: JsonMembers<'a>) -> Option<Self> {
        let mut told = Self::default();
        while let Some(JsonMember { name, value }) = members.next_member().ok()? {
            match &*plain_name(name.in_one()?) {
                b"usage" => told.usage = value.in_one(),
                b"message" => told.message = value.in_one(),
                b"response" => told.response = value.in_one(),
                _ => {}
            }
        }
        Some(told)
    }

    fn of(json: &'a [u8]) -> Option<Self> {
        Self::read(JsonMembers::of(json).ok()?)
    }
}

/// The counts of one answer as its provider names them, the greatest of each so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Without tokens read from a cache or written to it.
    input: u64,
    /// With tokens read from a cache.
    prompt: u64,
    /// The part of the prompt that was read from a cache.
    cached: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
}

impl Tally {
    /// Takes in the data of an event. For nearly all events this is only a search for the name.
    pub fn event(&mut self, data: &[u8]) {
        if NAME.find(data).is_some() {
            self.read(data);
        }
    }

    /// Takes in the end of the data of an event that is too long to be held: its own last members, or those of the response that
    /// it holds.
    pub fn event_end(&mut self, end: &[u8]) {
        for members in latest_from_name(end) {
            let openings: [&[u8]; 2] = [b"{", b"{\"response\":{"];
            let wholes = openings.map(|opening| [opening, members].concat());
            if let Some(whole) = wholes.iter().find(|whole| Told::of(whole).is_some()) {
                return self.read(whole);
            }
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

    /// Takes in an answer or an event. Usage that can't be read counts as none: it is no reason to reject an answer.
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

    /// The counts of one usage object, under any provider's names.
    fn of_usage(usage: &[u8]) -> Option<Self> {
        let mut told = Self::default();
        let mut has_input_details = false;
        let mut members = JsonMembers::of(usage).ok()?;
        while let Some(JsonMember { name, value }) = members.next_member().ok()? {
            let value = value.in_one()?;
            match &*plain_name(name.in_one()?) {
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
        if has_input_details || told.prompt > 0 {
            // The Responses API uses Anthropic's name for a prompt with its cached part, and so do answers that use both names.
            told.prompt = told.prompt.max(std::mem::take(&mut told.input));
        }
        Some(told)
    }
}

/// Reads a count. Anything but a whole number, or one that is too large, counts as zero.
fn count(written: &[u8]) -> u64 {
    let add = |count: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(count * 10 + digit).filter(|count| *count <= MOST)
    };
    written.iter().try_fold(0, add).unwrap_or_default()
}

/// The cached tokens according to a prompt's details.
fn cached(details: &[u8]) -> u64 {
    value_of(details, b"cached_tokens").map_or(0, count)
}

/// The end of an answer, or of one of its events, that is passed on but too large to be held.
#[derive(Clone, Default)]
pub struct AnswerEnd(Vec<u8>);

impl fmt::Debug for AnswerEnd {
    /// Shows nothing of what was said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerEnd")
    }
}

impl AnswerEnd {
    /// Takes in the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let piece = latest(piece);
        let length = self.0.len() + piece.len();
        // Not at each piece, which may be a single byte: draining moves what is kept.
        if length > 2 * END {
            self.0.drain(..(length - END).min(self.0.len()));
        }
        self.0.extend_from_slice(piece);
    }

    /// The bytes at the end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        latest(&self.0)
    }

    /// The usage that it reports.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of_end(self.bytes()).unwrap_or_default()
    }
}

/// What follows from each of the last occurrences of the name on, the last one first.
fn latest_from_name(end: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Searching forwards is several times as fast as backwards.
    let names: Vec<usize> = NAME.find_iter(end).collect();
    names.into_iter().rev().take(TRIES).filter_map(|at| end.get(at..))
}

fn latest(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(END)..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
