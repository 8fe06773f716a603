//! Finds where a client's request ends, so that actix is handed one request at a time.
//!
//! While answering a request, actix would parse the next ones and apply what it reads there to the one under way: whether
//! it is a HEAD, its version, and whether the connection is kept. It also ends trailer lines only at CR LF, so after a
//! bare line feed it would take the next request for trailers.
//!
//! Only actix reads what a head says; [`Framing::begin`] tells it here. This module finds a head's end and, if the head
//! states it beyond doubt, the body's length, so that a body that comes with its head is handed on with it.

use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING, UPGRADE};
use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// How many bytes of later requests are kept, in addition to what one read brings. The rest stays with the system, so
/// until it is read it hides that the client has left.
const KEPT: usize = 16 << 10;

/// Bytes that actix refuses wherever a line of a body's framing is expected.
const REFUSED: &[u8] = b"\r\r";

/// How a request's body ends, by what its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum BodyEnd {
    /// After this many bytes; 0 means no body.
    Length(u64),
    /// With its last chunk and trailers.
    Chunked,
    /// With the connection.
    Close,
}

impl BodyEnd {
    /// The body's end as actix reads it from these headers (RFC 9112, section 6.3); `has_body` is whether actix expects a
    /// body at all. An upgrade is refused and its connection closed, whatever else its head says of a body.
    pub(in crate::http) fn told_by(headers: &HeaderMap, has_body: bool) -> Self {
        let length = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok();
        if !has_body {
            Self::Length(0)
        } else if headers.contains_key(TRANSFER_ENCODING) {
            Self::Chunked
        } else if headers.contains_key(UPGRADE) {
            Self::Close
        } else {
            length().map_or(Self::Close, Self::Length)
        }
    }
}

/// The position within a head's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// At the start of a line.
    Start,
    /// After a CR at the start of a line.
    Cr,
    /// Further on in a line.
    Within,
}

/// The position within a chunked body (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunks {
    /// In the digits of a chunk's size.
    Size(u64),
    /// After the digits, on their line.
    Extension(u64),
    /// This many bytes before the end of a chunk.
    Data(u64),
    /// In the line end after a chunk.
    DataEnd,
    /// Where a trailer line may begin, or the last line end.
    Trailers,
    LastCr,
    Trailer,
    TrailerCr,
    /// After a line feed among the trailers that no CR precedes.
    Garbled,
}

/// The position within the request that was handed on last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before a head, where empty lines may be (RFC 9112, section 2.2).
    Before,
    /// In a head.
    Head(Line),
    /// After a head that actix has not read yet. `given` bytes of the body have been handed on, and `more` still may be.
    Unread {
        given: u64,
        more: u64,
    },
    /// This many bytes before the body's end.
    Length(u64),
    Chunked(Chunks),
    /// In a body that ends with the connection.
    Endless,
    /// After its end.
    Whole,
}

/// Follows what a client sends, and keeps what belongs to requests after the one under way.
#[derive(Debug)]
pub(super) struct Framing {
    stage: Stage,
    is_under_way: bool,
    /// What is kept: as far as is known, nothing of it belongs to the request under way.
    kept: BytesMut,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Before, is_under_way: false, kept: BytesMut::new() }
    }

    /// Whether a head has been read whose request is not fully answered.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Whether anything of a later request has come.
    pub(super) fn has_more(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether so much of later requests has come that no more should be read.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= KEPT
    }

    /// Whether the head is incomplete, or has not begun.
    pub(super) fn is_before_head_end(&self) -> bool {
        matches!(self.stage, Stage::Before | Stage::Head(_))
    }

    /// Whether the request that was handed on last is still incomplete.
    pub(super) fn is_torn(&self) -> bool {
        !matches!(self.stage, Stage::Before | Stage::Whole)
    }

    /// Follows what has come. Returns how many of these bytes to hand on; the rest is kept.
    ///
    /// Whatever was kept earlier has to be handed on first, by [`Framing::next_kept`].
    pub(super) fn take(&mut self, came: &[u8]) -> usize {
        let own = if self.has_more() { 0 } else { self.follow(came) };
        self.kept.extend_from_slice(came.get(own..).unwrap_or_default());
        own
    }

    /// The next of the kept bytes to hand on, at most `most`.
    pub(super) fn next_kept(&mut self, most: usize) -> Option<Bytes> {
        if self.stage == Stage::Chunked(Chunks::Garbled) {
            self.stage = Stage::Endless;
            return Some(Bytes::from_static(REFUSED));
        }
        if self.kept.is_empty() {
            return None;
        }
        let mut kept = std::mem::take(&mut self.kept);
        let own = self.follow(kept.get(..most).unwrap_or(&kept));
        let handed_on = (own > 0).then(|| kept.split_to(own).freeze());
        self.kept = kept;
        handed_on
    }

    /// Notes that actix has read a head, and how the body ends.
    pub(super) fn begin(&mut self, end: BodyEnd) {
        self.is_under_way = true;
        let given = if let Stage::Unread { given, .. } = self.stage { given } else { 0 };
        self.stage = match end {
            BodyEnd::Length(length) => Self::before_end(length.saturating_sub(given)),
            BodyEnd::Chunked => Stage::Chunked(Chunks::Size(0)),
            BodyEnd::Close => Stage::Endless,
        };
    }

    /// Notes that the request under way has been answered.
    pub(super) fn end(&mut self) {
        self.is_under_way = false;
    }

    fn before_end(left: u64) -> Stage {
        if left == 0 { Stage::Whole } else { Stage::Length(left) }
    }

    /// Follows these bytes. Returns how many of them to hand on.
    fn follow(&mut self, came: &[u8]) -> usize {
        let mut rest = came;
        if self.stage == Stage::Whole && !self.is_under_way {
            self.stage = Stage::Before;
        }
        self.stage = match self.stage {
            Stage::Before | Stage::Head(_) => self.follow_head(&mut rest),
            Stage::Unread { given, more } => {
                let taken = skip(&mut rest, more);
                Stage::Unread { given: given + taken, more: more - taken }
            }
            Stage::Length(left) => Self::before_end(left - skip(&mut rest, left)),
            Stage::Chunked(at) => at.follow(&mut rest),
            Stage::Endless => {
                rest = &[];
                Stage::Endless
            }
            Stage::Whole => Stage::Whole,
        };
        came.len() - rest.len()
    }

    fn follow_head(&self, rest: &mut &[u8]) -> Stage {
        let (mut line, mut told) = if let Stage::Head(line) = self.stage {
            // A line split between two reads has not been examined.
            (line, Told::Unclear)
        } else {
            let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            rest.advance(empty);
            if rest.is_empty() {
                return Stage::Before;
            }
            (Line::Within, Told::Nothing)
        };
        while !rest.is_empty() {
            if line == Line::Start {
                told = told.and(rest);
            }
            if !line.follow(rest) {
                continue;
            }
            let more = if let Told::Length(length) = told { length } else { 0 };
            let given = skip(rest, more);
            return Stage::Unread { given, more: more - given };
        }
        Stage::Head(line)
    }
}

/// Skips this many bytes, or all there are. Returns how many.
fn skip(rest: &mut &[u8], most: u64) -> u64 {
    let length = usize::try_from(most).map_or(rest.len(), |most| most.min(rest.len()));
    rest.advance(length);
    length as u64
}

impl Line {
    /// Advances to the next place of interest. Returns whether it has passed an empty line.
    fn follow(&mut self, rest: &mut &[u8]) -> bool {
        let was = *self;
        *self = match (was, rest.first()) {
            (Self::Start, Some(b'\r')) => {
                rest.advance(1);
                Self::Cr
            }
            (Self::Start | Self::Cr, Some(b'\n')) => {
                rest.advance(1);
                return true;
            }
            _ => {
                let line_feed = memchr(b'\n', rest);
                rest.advance(line_feed.map_or(rest.len(), |at| at + 1));
                if line_feed.is_some() { Self::Start } else { Self::Within }
            }
        };
        false
    }
}

/// What a head's lines have said so far about its body's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Length(u64),
    /// Only a reader of the whole head can tell.
    Unclear,
}

impl Told {
    /// Takes in the line at the front of these bytes.
    fn and(self, rest: &[u8]) -> Self {
        let value = |name: &[u8]| {
            let (front, value) = rest.split_at_checked(name.len())?;
            front.eq_ignore_ascii_case(name).then_some(value)
        };
        match (rest.first(), self) {
            (Some(b'c' | b'C'), told) => match (value(b"content-length:"), told) {
                (None, told) => told,
                (Some(value), Self::Nothing) => length(value).map_or(Self::Unclear, Self::Length),
                (Some(_), Self::Length(_) | Self::Unclear) => Self::Unclear,
            },
            (Some(b't' | b'T'), _) if value(b"transfer-encoding").is_some() => Self::Unclear,
            (Some(b'u' | b'U'), _) if value(b"upgrade").is_some() => Self::Unclear,
            (_, told) => told,
        }
    }
}

/// The number that the rest of this line consists of, if it is nothing else.
fn length(value: &[u8]) -> Option<u64> {
    let line = value.get(..memchr(b'\n', value)?)?;
    let digits = line.trim_ascii();
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

impl Chunks {
    fn follow(mut self, rest: &mut &[u8]) -> Stage {
        while let Some(&byte) = rest.first() {
            self = match self {
                Self::Data(left) => match left - skip(rest, left) {
                    0 => Self::DataEnd,
                    left => Self::Data(left),
                },
                Self::Garbled => break,
                at => {
                    rest.advance(1);
                    match at.behind(byte) {
                        Some(next) => next,
                        None => return Stage::Whole,
                    }
                }
            };
        }
        Stage::Chunked(self)
    }

    /// The position after this byte; `None` is the end. An invalid size, or a CR that ends no line, is refused by actix.
    fn behind(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size(0) | Self::Extension(0) | Self::TrailerCr, b'\n') => Self::Trailers,
            (Self::Size(size) | Self::Extension(size), b'\n') => Self::Data(size),
            (Self::Size(size), digit) => match char::from(digit).to_digit(16) {
                Some(digit) => Self::Size(size.saturating_mul(16).saturating_add(digit.into())),
                None => Self::Extension(size),
            },
            (Self::DataEnd, b'\n') => Self::Size(0),
            (Self::LastCr, b'\n') => return None,
            (Self::Trailers | Self::Trailer, b'\n') => Self::Garbled,
            (Self::Trailers, b'\r') => Self::LastCr,
            (Self::Trailer, b'\r') => Self::TrailerCr,
            (Self::Trailers | Self::LastCr | Self::Trailer | Self::TrailerCr, _) => Self::Trailer,
            (at @ (Self::Extension(_) | Self::Data(_) | Self::DataEnd | Self::Garbled), _) => at,
        })
    }
}

#[cfg(test)]
mod tests;
