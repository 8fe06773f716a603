//! Notices on their way to a receiver: one at a time, in order, each tried for up to an hour, and only a bounded number waiting.

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff::{Growth, full_jitter};
use super::notice::{Notice, NoticeKind};
use super::time::Moment;

/// The most notices that wait; beyond this the oldest is dropped.
pub const MAX_WAITING: usize = 256;
/// For how long a notice is tried.
const LONGEST: Duration = Duration::from_hours(1);
/// How often a notice is tried at most, should all pauses happen to be short.
const MAX_TRIES: u32 = 200;
/// The longest pause that a receiver's `retry-after` is granted.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(15);
/// The bound on the pause after each failure in a row. The pause is random, from zero to this.
const PAUSE: Growth = Growth { initial: Duration::from_millis(500), multiplier: 2.0, limit: Duration::from_mins(5) };

/// A notice to be delivered now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Its number, from 1: the same for each try.
    pub number: u64,
    /// The news.
    pub notice: Notice,
    /// How many earlier notices were lost without a receiver having heard of that: the same for each try.
    pub lost: u64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Deliver this, and report how that ended.
    Deliver(Parcel),
    /// Ask again at this moment.
    At(Moment),
    /// Ask again after a delivery has ended or a notice has come.
    Nothing,
}

/// How a try to deliver a notice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver answered.
    Answered {
        /// With this status.
        status: u16,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// No answer came.
    Unanswered,
}

/// What becomes of a notice after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has taken it.
    Delivered {
        /// How many tries in a row had failed before, of this notice and others.
        after_failures: u32,
    },
    /// It is tried again.
    Again {
        /// After this pause.
        pause: Duration,
        /// Whether it is the first failure since a success.
        first: bool,
    },
    /// The receiver rejects it, and would reject it again.
    Refused,
    /// It has been tried for long enough.
    GivenUp,
}

/// What happens to a new notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It waits.
    Waits,
    /// It waits, and an older one was dropped for it, the first since a delivery.
    FirstOverflow,
    /// It waits, and an older one was dropped for it.
    Overflow,
}

/// How a receiver's answer is to be taken.
enum Answer {
    Taken,
    Refused,
    Later,
}

impl Answer {
    fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Taken,
            408 | 429 | 500.. => Self::Later,
            // Redirects are not followed: the operator need not trust their target.
            _ => Self::Refused,
        }
    }
}

#[derive(Debug)]
struct Entry {
    number: u64,
    notice: Notice,
    since: Moment,
    tries: u32,
    /// The count of lost notices that it carries, fixed at its first try.
    lost: Option<u64>,
}

/// The notices that are not delivered yet.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Entry>,
    newest: u64,
    /// How many could not be delivered without a receiver having heard of that.
    lost: u64,
    /// How many of these were dropped because too many waited.
    overflowed: u64,
    /// How many could not be delivered since the start.
    lost_in_all: u64,
    failures: u32,
    not_before: Moment,
    is_under_way: bool,
}

impl Outbox {
    /// How many notices are not delivered yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all are delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many could not be delivered since the start, whether or not a receiver has heard of that.
    pub const fn lost_in_all(&self) -> u64 {
        self.lost_in_all
    }

    /// Takes in a notice.
    pub fn push(&mut self, notice: Notice, now: Moment) -> Posted {
        self.newest += 1;
        self.waiting.push_back(Entry { number: self.newest, notice, since: now, tries: 0, lost: None });
        if self.waiting.len() <= MAX_WAITING {
            return Posted::Waits;
        }
        // A notice that has been tried may have arrived, and must not be counted as lost.
        let oldest = usize::from(self.waiting.front().is_some_and(|entry| entry.lost.is_some()));
        self.waiting.remove(oldest);
        self.lose();
        self.overflowed += 1;
        if self.overflowed == 1 { Posted::FirstOverflow } else { Posted::Overflow }
    }

    /// What to do at this moment. A [`Next::Deliver`] is under way from then on.
    pub fn next(&mut self, now: Moment) -> Next {
        let Some(entry) = self.waiting.front_mut().filter(|_| !self.is_under_way) else { return Next::Nothing };
        if now < self.not_before {
            return Next::At(self.not_before);
        }
        self.is_under_way = true;
        let lost = *entry.lost.get_or_insert(self.lost);
        Next::Deliver(Parcel { number: entry.number, notice: entry.notice.clone(), lost })
    }

    /// Takes in how the delivery under way has ended. `chance` is a random number from 0 to 1.
    pub fn ended(&mut self, delivery: Delivery, now: Moment, chance: f64) -> Option<Fate> {
        let entry = self.waiting.front_mut().filter(|_| self.is_under_way)?;
        self.is_under_way = false;
        let (answer, rest) = match delivery {
            Delivery::Answered { status, retry_after } => (Answer::of(status), retry_after.unwrap_or_default()),
            Delivery::Unanswered => (Answer::Later, Duration::ZERO),
        };
        match answer {
            Answer::Taken => {
                let after_failures = std::mem::take(&mut self.failures);
                self.lost -= entry.lost.unwrap_or_default();
                self.overflowed = 0;
                self.waiting.pop_front();
                Some(Fate::Delivered { after_failures })
            }
            Answer::Refused => {
                self.failures = 0;
                self.lose_first();
                Some(Fate::Refused)
            }
            Answer::Later => {
                entry.tries += 1;
                let is_over = entry.tries >= MAX_TRIES || now.since(entry.since) >= LONGEST;
                let first = self.failures == 0;
                let pause = full_jitter(PAUSE.delay(self.failures), chance);
                let pause = pause.max(rest.min(LONGEST_RETRY_AFTER));
                self.failures = self.failures.saturating_add(1);
                self.not_before = now + pause;
                if is_over {
                    self.lose_first();
                    return Some(Fate::GivenUp);
                }
                Some(Fate::Again { pause, first })
            }
        }
    }

    /// Turns to another receiver, which gets only the `wanted` kinds. What waits goes there, as if it had never been tried. The
    /// delivery under way counts as broken off.
    pub fn redirect(&mut self, wanted: impl Fn(NoticeKind) -> bool, now: Moment) {
        self.waiting.retain(|entry| wanted(entry.notice.kind()));
        for entry in &mut self.waiting {
            (entry.tries, entry.since) = (0, now);
        }
        self.is_under_way = false;
        self.failures = 0;
        self.hurry();
    }

    /// Ends the current pause.
    pub fn hurry(&mut self) {
        self.not_before = Moment::START;
    }

    fn lose_first(&mut self) {
        self.waiting.pop_front();
        self.lose();
    }

    fn lose(&mut self) {
        self.lost += 1;
        self.lost_in_all += 1;
    }
}

#[cfg(test)]
mod tests;
