//! The numbers within what the cores show: epochs, leases and waiters by their rank, moments by whether they have come.

use std::collections::BTreeMap;
use std::fmt::Write;

use memchr::memchr_iter;
use qcc_gateway::domain::ids::Epoch;

use super::scope::HOUR;
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Epoch,
    Lease,
    Waiter,
    Moment,
}

/// A number within a text.
struct Token {
    start: usize,
    end: usize,
    kind: Kind,
    value: u64,
}

/// Whether it matters that a number is spoken of here: a worker's own numbers matter only where somebody else knows them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Counts,
    Follows,
}

/// A part of the form, with the numbers in it.
pub(crate) struct Text {
    words: String,
    weight: Weight,
    tokens: Vec<Token>,
}

/// The number that a text begins with, and its length.
pub(crate) fn number(text: &str) -> (u64, usize) {
    let digits = text.bytes().take_while(u8::is_ascii_digit);
    digits.fold((0, 0), |(value, length), digit| (value * 10 + u64::from(digit - b'0'), length + 1))
}

impl Text {
    pub(crate) fn of(text: String, weight: Weight) -> Self {
        let token = |paren: usize| {
            let before = &text.as_bytes()[..paren];
            let kind = match before.last()? {
                b'h' if before.ends_with(b"Epoch") => Kind::Epoch,
                b'e' if before.ends_with(b"EpochGate") => Kind::Epoch,
                b'l' if before.ends_with(b"Serial") => Kind::Lease,
                b'd' if before.ends_with(b"WaiterId") => Kind::Waiter,
                b't' if before.ends_with(b"Moment") => Kind::Moment,
                _ => return None,
            };
            let (value, length) = number(&text[paren + 1..]);
            Some(Token { start: paren + 1, end: paren + 1 + length, kind, value })
        };
        let tokens = memchr_iter(b'(', text.as_bytes()).filter_map(token).collect();
        Self { words: text, weight, tokens }
    }
}

/// How a number is spoken of.
#[derive(Clone, Copy, Default)]
struct Mentions {
    times: usize,
    counts: bool,
    rank: usize,
}

/// The ranks of all numbers.
pub(crate) struct Names {
    /// Of epochs also whose they are: those of different endpoints are never compared.
    mentions: BTreeMap<(Kind, usize, u64), Mentions>,
}

impl Names {
    pub(crate) fn of<'a>(world: &World, texts: impl Iterator<Item = &'a Text>) -> Self {
        let mut mentions: BTreeMap<(Kind, usize, u64), Mentions> = BTreeMap::new();
        for text in texts {
            for token in text.tokens.iter().filter(|token| token.kind != Kind::Moment) {
                let mention = mentions.entry(key(world, token)).or_default();
                mention.times += 1;
                mention.counts |= text.weight == Weight::Counts;
            }
        }
        let mut latest = None;
        let mut rank = 0;
        for ((kind, owner, _), mention) in mentions.iter_mut().rev() {
            if latest.replace((*kind, *owner)) != Some((*kind, *owner)) {
                rank = 0;
            }
            if is_named(*kind, *mention) {
                mention.rank = rank;
                rank += 1;
            }
        }
        Self { mentions }
    }

    pub(crate) fn render(&self, world: &World, text: &Text) -> String {
        let (mut rendered, mut next) = (String::with_capacity(text.words.len()), 0);
        for token in &text.tokens {
            rendered.push_str(&text.words[next..token.start]);
            next = token.end;
            if token.kind == Kind::Moment {
                rendered.push_str(moment(world, token.value));
                continue;
            }
            let mention = self.mentions.get(&key(world, token)).copied().unwrap_or_default();
            if is_named(token.kind, mention) {
                write!(rendered, "{}", mention.rank).unwrap();
            }
        }
        rendered.push_str(&text.words[next..]);
        rendered
    }
}

fn key(world: &World, token: &Token) -> (Kind, usize, u64) {
    let owner = if token.kind == Kind::Epoch { world.promises.owner(Epoch::from_raw(token.value)) } else { 0 };
    (token.kind, owner, token.value)
}

/// Whether a number may still meet its like: one that only workers speak of meets nothing, nor does a lease that is spoken
/// of once.
fn is_named(kind: Kind, mention: Mentions) -> bool {
    mention.counts && (kind != Kind::Lease || mention.times > 1)
}

/// Nothing lasts any time in this world but a park, which an hour ends, and what never ends.
fn moment(world: &World, seconds: u64) -> &'static str {
    let now = world.now.since_start().as_secs();
    match seconds.saturating_sub(now) {
        0 => "past",
        left if left < HOUR.as_secs() => "soon",
        _ => "never",
    }
}
