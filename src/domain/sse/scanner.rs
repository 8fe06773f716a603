//! Finds the events in the bytes of a stream, however it is cut into pieces.

use super::event::Event;
use super::kind::{
    Choices, Kind, StreamError, goes_on, look, look_at_ends, look_at_name, may_become_error, sequence_number,
};
use super::{Expected, Format};
use crate::domain::usage::{AnswerEnd, Tally, Usage};

/// The longest event that is read in full, in bytes. Of a longer one only the name counts, and what its end says of usage
/// and of the answer's end.
pub(super) const LONGEST_LOOKED_INTO: usize = 256 << 10;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing but the preamble.
    #[default]
    Preamble,
    /// There is content, and more to come.
    Content,
    /// The answer is complete except for the closing event.
    Complete,
    /// The protocol's closing event has come.
    Closed,
}

/// An event whose end was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many of the bytes looked at belong to it, or to what precedes it.
    pub length: usize,
    /// What it says.
    pub kind: Kind,
}

/// Reads the events of one stream.
#[derive(Clone, Debug)]
pub struct Scanner {
    expected: Expected,
    progress: Progress,
    /// Whether the closing event came right after the preamble.
    has_closed_without_answer: bool,
    choices: Choices,
    tally: Tally,
    next_number: u64,
    /// The beginning of an event torn between two pieces, as far as it is read.
    torn: Vec<u8>,
    /// The end so far of an event too long to be read in full.
    end: AnswerEnd,
    /// The length of the event under way so far.
    length: usize,
    is_at_line_start: bool,
    /// Whether the last byte was a carriage return: a line feed that follows belongs to the same line end.
    is_after_return: bool,
}

impl Scanner {
    /// A scanner for a stream that is about to come.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        Self {
            expected,
            progress: Progress::default(),
            has_closed_without_answer: false,
            choices: Choices::default(),
            tally: Tally::default(),
            next_number: 0,
            torn: Vec::new(),
            end: AnswerEnd::default(),
            length: 0,
            is_at_line_start: true,
            is_after_return: false,
        }
    }

    /// How far the stream has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether the closing event came with no content and no reason for the answer's end before it, which counts as no
    /// answer. An event that closes a response of the Responses API is itself such a reason.
    pub fn has_closed_without_answer(&self) -> bool {
        self.has_closed_without_answer
    }

    /// The usage that the answer has stated so far.
    pub fn usage(&self) -> Usage {
        self.tally.usage()
    }

    /// How the stream is written.
    pub fn format(&self) -> Format {
        self.expected.format
    }

    /// Whether the answer is complete if its stream ends now, in order: the reason for its end was named with each part of
    /// it, including the last.
    pub(super) fn may_be_complete(&self) -> bool {
        self.progress == Progress::Content && self.choices.may_be_finished(self.expected.choices)
    }

    /// The number of the next event, in formats that number events.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Reads the next bytes up to the end of an event. `None` if no event ends in them; all of them are then taken in.
    /// Otherwise the bytes after the event are still to be read.
    pub fn advance(&mut self, bytes: &[u8]) -> Option<Found> {
        if bytes.is_empty() {
            return None;
        }
        let mut at = 0;
        if std::mem::take(&mut self.is_after_return) && bytes.first() == Some(&b'\n') {
            at = 1;
        }
        // A line feed that ends the event before is no part of this one.
        let start = if self.length == 0 { at } else { 0 };
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(line_length) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.is_at_line_start &= rest.is_empty();
                self.is_after_return &= rest.is_empty();
                self.hold(bytes.get(start..).unwrap_or_default());
                return None;
            };
            let line_start = at;
            at += line_length + 1;
            if rest.get(line_length) == Some(&b'\r') {
                match rest.get(line_length + 1) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.is_after_return = true,
                }
            }
            let is_blank = std::mem::replace(&mut self.is_at_line_start, true) && line_length == 0;
            if is_blank {
                let kind = self.end_event(bytes.get(start..line_start).unwrap_or_default());
                return Some(Found { length: at, kind });
            }
        }
    }

    /// Takes in that the stream has ended, and says what an event under way would have been with its blank line. `None` if
    /// there is no such event, or its data is not whole.
    pub fn finish(&mut self) -> Option<Kind> {
        let event = Event::read(&self.torn);
        let is_whole =
            event.text() == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(event.text()).is_ok();
        if !is_whole || self.length > LONGEST_LOOKED_INTO {
            return None;
        }
        let progress = self.progress;
        let kind = self.end_event(&[]);
        if matches!(kind, Kind::Comment | Kind::Preamble | Kind::Content) {
            // Without its blank line it is not let out, so it is no progress. It may show that there was less, though.
            self.progress = self.progress.min(progress);
        }
        Some(kind)
    }

    /// Whether the event under way may become an error.
    pub(super) fn may_become_error(&self) -> bool {
        may_become_error(&Event::read(&self.torn), self.format())
    }

    /// Whether the event under way is an incomplete part of an answer.
    pub(super) fn is_within_content(&self) -> bool {
        goes_on(&Event::read(&self.torn), self.format())
    }

    /// The event under way, if it is an error by its name and too long to be read in full: its end need not be waited for.
    pub(super) fn long_error(&mut self) -> Option<StreamError> {
        let is_long = self.length > LONGEST_LOOKED_INTO;
        if !is_long || !matches!(look_at_name(&Event::read(&self.torn), self.format()), Kind::Error(_)) {
            return None;
        }
        match self.end_event(&[]) {
            Kind::Error(error) => Some(error),
            Kind::Comment | Kind::Preamble | Kind::Content | Kind::Complete | Kind::Closed => None,
        }
    }

    fn hold(&mut self, part: &[u8]) {
        let room = LONGEST_LOOKED_INTO.saturating_sub(self.torn.len());
        let (looked_into, beyond) = part.split_at(room.min(part.len()));
        self.torn.extend_from_slice(looked_into);
        let was_looked_into = self.length <= LONGEST_LOOKED_INTO;
        self.length = self.length.saturating_add(part.len());
        // Done once: what follows the part that is read in full cannot change the name.
        let outgrows = was_looked_into && self.length > LONGEST_LOOKED_INTO;
        if outgrows {
            self.end.push(&self.torn);
        }
        self.end.push(beyond);
        if outgrows
            && self.progress == Progress::Preamble
            && look_at_name(&Event::read(&self.torn), self.format()) == Kind::Content
        {
            self.reach(Progress::Content);
        }
    }

    /// Ends the event under way with these bytes.
    fn end_event(&mut self, last_part: &[u8]) -> Kind {
        if self.length == 0 && last_part.len() <= LONGEST_LOOKED_INTO {
            return if last_part.is_empty() { Kind::Comment } else { self.judge(last_part) };
        }
        self.hold(last_part);
        let is_long = std::mem::take(&mut self.length) > LONGEST_LOOKED_INTO;
        let mut torn = std::mem::take(&mut self.torn);
        let kind = if is_long { self.judge_long(&torn) } else { self.judge(&torn) };
        // The room is kept for the next torn event.
        torn.clear();
        self.torn = torn;
        kind
    }

    fn judge(&mut self, bytes: &[u8]) -> Kind {
        let event = Event::read(bytes);
        self.tally.event(event.text());
        let kind = look(&event, self.expected, &mut self.choices, self.progress);
        self.note(&event, kind)
    }

    /// Judges an event too long to be read in full, by its beginning and its end.
    fn judge_long(&mut self, beginning: &[u8]) -> Kind {
        let event = Event::read(beginning);
        let end = std::mem::take(&mut self.end);
        let last_data = Event::last_data(end.bytes());
        self.tally.event_end(last_data);
        let kind = look_at_ends(&event, last_data, self.expected, &mut self.choices);
        self.note(&event, kind)
    }

    fn note(&mut self, event: &Event<'_>, kind: Kind) -> Kind {
        if self.format() == Format::Responses && event.data.is_some() {
            self.next_number = sequence_number(event).unwrap_or(self.next_number).saturating_add(1);
        }
        match kind {
            Kind::Comment | Kind::Preamble | Kind::Error(_) => {}
            // What looked like the answer's end was not: a finished answer says no more.
            Kind::Content if self.progress == Progress::Complete => self.progress = Progress::Content,
            Kind::Content => self.reach(Progress::Content),
            Kind::Complete => self.reach(Progress::Complete),
            Kind::Closed => {
                self.has_closed_without_answer |=
                    self.progress == Progress::Preamble && self.format() != Format::Responses;
                self.reach(Progress::Closed);
            }
        }
        kind
    }

    fn reach(&mut self, progress: Progress) {
        self.progress = self.progress.max(progress);
    }
}
