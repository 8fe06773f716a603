//! Lets out the whole events of a stream, holds back the torn one, and decides what to do at the end.

use bytes::Bytes;

use super::Expected;
use super::ending::{closing, named_error};
use super::kind::{Kind, StreamError};
use super::scanner::{Found, LONGEST_LOOKED_INTO, Progress, Scanner};
use crate::domain::pieces::Pieces;
use crate::domain::usage::Usage;

/// The most of a torn event that is held back, in bytes. A longer one is let out as it comes, unless it may become an
/// error: no part of an error goes out before all of it was seen, since it may repeat the endpoint's key.
pub(super) const LONGEST_HELD: usize = 64 << 10;

/// How long the event under way is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Up to [`LONGEST_HELD`].
    Usual,
    /// Up to [`LONGEST_LOOKED_INTO`]: it may become an error.
    PerhapsError,
    /// Not any more: it is too long to be held back, and its beginning was let out.
    Spilled,
}

/// The failure of an answer, as the stream itself reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error reported.
    pub error: StreamError,
    /// The event as it came, or in a form that the protocol's clients recognize; `None` if it can't be put into one.
    pub event: Option<Bytes>,
}

/// What the end of a stream's bytes means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer was whole.
    Whole,
    /// The answer was whole except for these bytes.
    Supplied(Bytes),
    /// The answer is not whole. If no part of a torn event was let out, something may be said after it.
    Broken,
}

/// A stream on its way to the client.
#[derive(Debug)]
pub struct Relay {
    scanner: Scanner,
    ready: Pieces,
    /// The event under way, as far as it is held back.
    tail: Pieces,
    hold: Hold,
    has_seen_event: bool,
    last_byte: Option<u8>,
    failure: Option<Failure>,
    has_failed: bool,
}

impl Relay {
    /// A relay for a stream that is about to come.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        Self {
            scanner: Scanner::new(expected),
            ready: Pieces::default(),
            tail: Pieces::default(),
            hold: Hold::Usual,
            has_seen_event: false,
            last_byte: None,
            failure: None,
            has_failed: false,
        }
    }

    /// How far the stream has come.
    pub fn progress(&self) -> Progress {
        self.scanner.progress()
    }

    /// Whether the stream was closed with nothing but its preamble.
    pub fn has_closed_without_answer(&self) -> bool {
        self.scanner.has_closed_without_answer()
    }

    /// The usage that the answer has stated so far.
    pub fn usage(&self) -> Usage {
        self.scanner.usage()
    }

    /// The number of the next event, in formats that number events.
    pub fn next_number(&self) -> u64 {
        self.scanner.next_number()
    }

    /// Whether any event has come. A comment is not one.
    pub fn has_seen_event(&self) -> bool {
        self.has_seen_event
    }

    /// How many bytes are here, ready or not.
    pub fn held(&self) -> usize {
        self.ready.length() + self.tail.length()
    }

    /// Whether part of an event has gone out and the rest is still to come: nothing can be said after it.
    pub fn is_within_event(&self) -> bool {
        self.hold == Hold::Spilled
    }

    /// Takes in the next bytes. What follows an error is thrown away.
    pub fn push(&mut self, mut piece: Bytes) {
        if self.has_failed {
            return;
        }
        let mut whole = 0;
        while let Some(Found { length, kind }) = self.scanner.advance(piece.get(whole..).unwrap_or_default()) {
            self.has_seen_event |= kind != Kind::Comment;
            if self.has_closed_without_answer() {
                let before = piece.split_to(whole.min(piece.len()));
                self.let_out_before(before);
                return self.withhold_close();
            }
            if let Kind::Error(error) = kind {
                let before = piece.split_to(whole.min(piece.len()));
                self.let_out_before(before);
                let event = piece.split_to(length.min(piece.len()));
                return self.fail(error, event);
            }
            whole += length;
            if whole >= piece.len() {
                break;
            }
        }
        if whole > 0 {
            let events = piece.split_to(whole.min(piece.len()));
            self.let_out(events);
        }
        if self.tail.is_empty() && self.last_byte == Some(b'\r') && piece.first() == Some(&b'\n') {
            // The rest of the line end that closed the event before, which has gone out.
            let line_feed = piece.split_to(1);
            self.add_ready(line_feed);
        }
        self.hold_back(piece);
    }

    /// The next bytes for the client.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.ready.pop()
    }

    /// The error with which the stream ended itself; given once.
    pub fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Takes in that there are no more bytes. `in_order`: the upstream said so, so the last event may lack its blank line.
    pub fn end(&mut self, in_order: bool) -> Ending {
        let is_within_event = self.is_within_event() || !self.tail.is_empty();
        if self.progress() != Progress::Closed && in_order && is_within_event {
            match self.scanner.finish() {
                Some(Kind::Closed) if self.has_closed_without_answer() => self.withhold_close(),
                Some(Kind::Closed | Kind::Complete) => {
                    let lacks_line_end = self.tail.last_byte().or(self.last_byte) != Some(b'\n');
                    self.let_out(Bytes::new());
                    self.let_out(Bytes::from_static(if lacks_line_end { b"\n\n" } else { b"\n" }));
                }
                Some(Kind::Error(error)) => {
                    self.fail(error, Bytes::from_static(b"\n\n"));
                    return Ending::Broken;
                }
                Some(Kind::Comment | Kind::Preamble | Kind::Content) | None => {}
            }
        }
        if self.has_closed_without_answer() {
            return Ending::Broken;
        }
        let is_complete = match self.progress() {
            Progress::Closed => return Ending::Whole,
            Progress::Complete => !self.is_within_event() && !self.scanner.is_within_content(),
            Progress::Content => in_order && !is_within_event && self.scanner.may_be_complete(),
            Progress::Preamble => false,
        };
        let closing = closing(self.scanner.format()).filter(|_| is_complete);
        closing.map_or(Ending::Broken, |event| Ending::Supplied(self.behind(event)))
    }

    /// An event to be written after what has gone out: if that ends in a carriage return, its line feed comes first.
    pub fn behind(&self, event: &str) -> Bytes {
        let line_feed = if self.last_byte == Some(b'\r') { "\n" } else { "" };
        Bytes::from(format!("{line_feed}{event}"))
    }

    /// Ends the event under way with these bytes, and lets it out.
    fn let_out(&mut self, last_part: Bytes) {
        self.spill();
        self.hold = Hold::Usual;
        self.add_ready(last_part);
    }

    /// Lets out whole events, if there are any.
    fn let_out_before(&mut self, events: Bytes) {
        if !events.is_empty() {
            self.let_out(events);
        }
    }

    /// Withholds the close of an answer that never came, and all that follows.
    fn withhold_close(&mut self) {
        self.has_failed = true;
        self.tail = Pieces::default();
    }

    fn spill(&mut self) {
        while let Some(piece) = self.tail.pop() {
            self.add_ready(piece);
        }
    }

    fn add_ready(&mut self, piece: Bytes) {
        if let Some(last) = piece.last() {
            self.last_byte = Some(*last);
            self.ready.push(piece);
        }
    }

    fn hold_back(&mut self, part: Bytes) {
        if part.is_empty() {
            return;
        }
        self.tail.push(part);
        let length = self.tail.length();
        // Each question is asked once: a piece may be a single byte, and all that is held is searched.
        if self.hold == Hold::Usual && length > LONGEST_HELD && self.scanner.may_become_error() {
            self.hold = Hold::PerhapsError;
        }
        let most = match self.hold {
            Hold::Usual => LONGEST_HELD,
            Hold::PerhapsError => LONGEST_LOOKED_INTO,
            Hold::Spilled => 0,
        };
        if length <= most {
            return;
        }
        if self.hold == Hold::PerhapsError
            && let Some(error) = self.scanner.long_error()
        {
            return self.fail(error, Bytes::new());
        }
        self.spill();
        self.hold = Hold::Spilled;
    }

    fn fail(&mut self, error: StreamError, last_part: Bytes) {
        self.has_failed = true;
        if self.progress() == Progress::Closed {
            // The answer is whole, and counts as whole: nothing after its end can take that back.
            self.tail = Pieces::default();
            return;
        }
        let known = error.is_known_to_clients;
        self.tail.push(last_part);
        if self.tail.last_byte() == Some(b'\r') {
            // Whether a line feed would have followed is no longer waited for; without one, some readers would wait.
            self.tail.push(Bytes::from_static(b"\n"));
        }
        let event = std::mem::take(&mut self.tail).into_one();
        // If the event is withheld, its beginning may have gone out: then nothing can be said after it.
        if known {
            self.hold = Hold::Usual;
        }
        // The event takes the place and the number of the one that came.
        let number = self.next_number().saturating_sub(1);
        let event = match named_error(self.scanner.format(), &error.body, number) {
            _ if known => Some(event),
            Some(named) if !self.is_within_event() => Some(self.behind(&named)),
            _ => None,
        };
        self.failure = Some(Failure { error, event });
    }
}
