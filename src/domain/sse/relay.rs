//! Lets whole events of a stream out, holds the torn one back, and knows what to do at the end.

use bytes::Bytes;

use super::Expected;
use super::ending::{closing, named_error};
use super::kind::{Kind, StreamError};
use super::scanner::{Found, LONGEST_LOOKED_INTO, Progress, Scanner};
use crate::domain::pieces::Pieces;
use crate::domain::usage::Usage;

/// The most of a torn event that is held back, in bytes. A longer one is let out as it comes, but for what may become an error:
/// of an error nothing goes out before it was seen whole, for it may repeat the endpoint's key.
pub(super) const LONGEST_HELD: usize = 64 << 10;

/// How long the event under way is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Up to [`LONGEST_HELD`].
    Usual,
    /// It may become an error: as long as it could be looked into.
    PerhapsError,
    /// Its beginning was let out, because the whole of it is too long to be held.
    Spilled,
}

/// The answer has failed, by the word of the stream itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it says.
    pub error: StreamError,
    /// The event as it came, or so that the protocol's clients hear of it; none where that can't be done.
    pub event: Option<Bytes>,
}

/// What the end of a stream's bytes means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer was whole.
    Whole,
    /// The answer was whole, but for these bytes.
    Supplied(Bytes),
    /// The answer is not whole. Where nothing of a torn event was let out, something may be said behind it.
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
    /// For a stream that is about to come.
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

    /// What the answer has cost by what it has said so far.
    pub fn usage(&self) -> Usage {
        self.scanner.usage()
    }

    /// The number of the next event, where events are numbered.
    pub fn next_number(&self) -> u64 {
        self.scanner.next_number()
    }

    /// Whether any event has come. A comment is none.
    pub fn has_seen_event(&self) -> bool {
        self.has_seen_event
    }

    /// How many bytes are here, ready or not.
    pub fn held(&self) -> usize {
        self.ready.length() + self.tail.length()
    }

    /// Whether a part of an event has gone out whose rest is still to come: nothing can be said behind that.
    pub fn is_within_event(&self) -> bool {
        self.hold == Hold::Spilled
    }

    /// Takes the next bytes in. What comes behind an error is thrown away.
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
            // The rest of the line end that closed the event before: that has gone out.
            let line_feed = piece.split_to(1);
            self.add_ready(line_feed);
        }
        self.hold_back(piece);
    }

    /// The next bytes for the client.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.ready.pop()
    }

    /// The error with which the stream has ended itself; it is given once.
    pub fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// There are no more bytes. `in_order`: the upstream has said so, so that the last event may lack its blank line.
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

    /// An event as it may stand behind what has gone out: a line feed that a carriage return still lacks comes first.
    pub fn behind(&self, event: &str) -> Bytes {
        let line_feed = if self.last_byte == Some(b'\r') { "\n" } else { "" };
        Bytes::from(format!("{line_feed}{event}"))
    }

    /// The event under way ends with these bytes, and goes out.
    fn let_out(&mut self, last_part: Bytes) {
        self.spill();
        self.hold = Hold::Usual;
        self.add_ready(last_part);
    }

    /// Whole events go out, if there are any.
    fn let_out_before(&mut self, events: Bytes) {
        if !events.is_empty() {
            self.let_out(events);
        }
    }

    /// What would close an answer that never came does not go out, and nothing behind it.
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
        // Each is asked once: pieces may be of a byte, and what is here is looked through.
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
            // The answer is whole, and counts as that: nothing behind its end can take that back.
            self.tail = Pieces::default();
            return;
        }
        let known = error.is_known_to_clients;
        self.tail.push(last_part);
        if self.tail.last_byte() == Some(b'\r') {
            // Whether a line feed would have followed is no longer waited for; without one some readers would wait for it.
            self.tail.push(Bytes::from_static(b"\n"));
        }
        let event = std::mem::take(&mut self.tail).into_one();
        // Of one that is withheld the beginning may have gone out: then nothing can be said behind it.
        if known {
            self.hold = Hold::Usual;
        }
        // It takes the place of the one that came, and its number.
        let number = self.next_number().saturating_sub(1);
        let event = match named_error(self.scanner.format(), &error.body, number) {
            _ if known => Some(event),
            Some(named) if !self.is_within_event() => Some(self.behind(&named)),
            _ => None,
        };
        self.failure = Some(Failure { error, event });
    }
}
