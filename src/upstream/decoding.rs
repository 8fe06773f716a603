//! Undoes the compression of a body (RFC 9110, section 8.4), piece by piece: what has come can be read at once, and
//! however much output a little input stands for, only a bounded part of it exists at a time. Much input may also stand
//! for no output; then too only a bounded amount of work is done at a time.

use std::fmt;
use std::io::{self, Write};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf, Bytes};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DParameter;

/// The most output of a step, in bytes, if the coding lets it be bounded.
const STEP: usize = 64 << 10;
/// The most input of a step in the deflate family, in bytes: there a byte stands for 1032 at most, so this for about half
/// a MiB.
const DEFLATE_STEP: usize = 512;
/// The most input of a step in the other codings, in bytes: there a byte may be a block or half a table, which takes its
/// time even if nothing comes of it.
const OTHER_STEP: usize = 4 << 10;
/// How many steps make a turn. Each takes a millisecond at most, whatever it is given; the 25 gzip members without
/// content that fit into one take a fifth of that.
const STEPS_A_TURN: usize = 4;
/// The largest window of zstd that HTTP allows, as a power of two (RFC 9659).
const ZSTD_WINDOW: u32 = 23;

/// A coding that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952, possibly in several members.
    Gzip,
    /// RFC 1950, and what some senders send instead: RFC 1951 without the frame.
    Deflate,
    /// RFC 7932
    Brotli,
    /// RFC 8878
    Zstd,
}

impl Coding {
    /// The coding of this name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let names = [
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("br", Self::Brotli),
            ("zstd", Self::Zstd),
        ];
        names.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, coding)| coding)
    }
}

/// What came is not what its coding says.
#[derive(Debug, thiserror::Error)]
#[error("the upstream's answer can't be decompressed")]
pub struct Undecodable(#[source] io::Error);

impl From<io::Error> for Undecodable {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

enum State {
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// The first two bytes will show which of the two it is.
    DeflateUnseen(Vec<u8>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Deflate(DeflateDecoder<Vec<u8>>),
    Brotli {
        state: Box<Brotli>,
        has_more: bool,
        is_over: bool,
    },
    Zstd {
        decoder: ZstdDecoder<'static>,
        has_more: bool,
        is_between_frames: bool,
    },
}

/// The next result of what a decoder was fed.
#[derive(Debug)]
pub enum Decoded {
    /// The next piece, never empty.
    Piece(Bytes),
    /// Nothing yet, though there is more to decode: the turn is used up. The thread's other work goes first now.
    Unfinished,
    /// Nothing: more has to be fed first.
    Hungry,
}

/// Decompresses one body.
pub struct Decoder {
    state: State,
    input: Bytes,
    has_begun: bool,
    /// How many steps of the turn have been made.
    steps: usize,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("undecoded", &self.input.len()).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder for a body that is about to come.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn new(coding: Coding) -> Result<Self, Undecodable> {
        let state = match coding {
            Coding::Gzip => State::Gzip(MultiGzDecoder::new(Vec::new())),
            Coding::Deflate => State::DeflateUnseen(Vec::new()),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                State::Brotli {
                    // As in the RFC: without the windows of a gigabyte that some encoders offer in addition.
                    state: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())),
                    has_more: false,
                    is_over: false,
                }
            }
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
                State::Zstd { decoder, has_more: false, is_between_frames: true }
            }
        };
        Ok(Self { state, input: Bytes::new(), has_begun: false, steps: 0 })
    }

    /// Takes the next piece in. The one before must have been decoded: [`Self::next_piece`] has returned
    /// [`Decoded::Hungry`].
    pub fn feed(&mut self, piece: Bytes) {
        self.has_begun |= !piece.is_empty();
        self.input = piece;
    }

    /// Whether there may be more to read before more is fed.
    pub fn has_more(&self) -> bool {
        let is_held = match &self.state {
            State::Gzip(_) | State::DeflateUnseen(_) | State::Zlib(_) | State::Deflate(_) => false,
            State::Brotli { has_more, .. } | State::Zstd { has_more, .. } => *has_more,
        };
        is_held || !self.input.is_empty()
    }

    /// Begins a turn: others have had theirs.
    pub fn begin_turn(&mut self) {
        self.steps = 0;
    }

    /// Decodes more of what was fed. A turn lasts over several calls, and several feedings, so that neither pieces of a
    /// byte nor a body that comes in crumbs makes it longer; after [`Decoded::Unfinished`] the next one begins by itself.
    ///
    /// # Errors
    ///
    /// If the body is not what its coding says. Nothing more can be read then.
    pub fn next_piece(&mut self) -> Result<Decoded, Undecodable> {
        while self.has_more() {
            if self.steps == STEPS_A_TURN {
                self.begin_turn();
                return Ok(Decoded::Unfinished);
            }
            self.steps += 1;
            let piece = self.step()?;
            if !piece.is_empty() {
                return Ok(Decoded::Piece(no_larger_than_needed(piece)));
            }
        }
        Ok(Decoded::Hungry)
    }

    /// Ends the body, and checks that it is whole. An empty one is. Returns the last piece, if there is one.
    ///
    /// # Errors
    ///
    /// If the coding's own end is missing, or wrong.
    pub fn finish(&mut self) -> Result<Option<Bytes>, Undecodable> {
        if !self.has_begun {
            return Ok(None);
        }
        let torn = || Undecodable(io::ErrorKind::UnexpectedEof.into());
        let rest = match &mut self.state {
            State::Gzip(decoder) => {
                decoder.try_finish()?;
                std::mem::take(decoder.get_mut())
            }
            State::Zlib(decoder) => {
                decoder.try_finish()?;
                std::mem::take(decoder.get_mut())
            }
            State::Deflate(decoder) => {
                decoder.try_finish()?;
                std::mem::take(decoder.get_mut())
            }
            State::DeflateUnseen(_) => return Err(torn()),
            State::Brotli { is_over, .. } if !*is_over => return Err(torn()),
            State::Zstd { is_between_frames, .. } if !*is_between_frames => return Err(torn()),
            State::Brotli { .. } | State::Zstd { .. } => Vec::new(),
        };
        Ok((!rest.is_empty()).then(|| Bytes::from(rest)))
    }

    fn step(&mut self) -> Result<Vec<u8>, Undecodable> {
        match &mut self.state {
            State::Gzip(decoder) => {
                write_some(decoder, &mut self.input)?;
                return Ok(std::mem::take(decoder.get_mut()));
            }
            State::Zlib(decoder) => {
                write_some(decoder, &mut self.input)?;
                return Ok(std::mem::take(decoder.get_mut()));
            }
            State::Deflate(decoder) => {
                write_some(decoder, &mut self.input)?;
                return Ok(std::mem::take(decoder.get_mut()));
            }
            State::Brotli { state, has_more, is_over } => {
                return step_brotli(state, has_more, is_over, &mut self.input);
            }
            State::Zstd { decoder, has_more, is_between_frames } => {
                return step_zstd(decoder, has_more, is_between_frames, &mut self.input);
            }
            State::DeflateUnseen(seen) => {
                seen.extend_from_slice(&self.input.split_to(self.input.len().min(1)));
            }
        }
        if let State::DeflateUnseen(seen) = &self.state
            && let [first, second] = **seen
        {
            self.state = if is_zlib(first, second) {
                let mut decoder = ZlibDecoder::new(Vec::new());
                decoder.write_all(&[first, second])?;
                State::Zlib(decoder)
            } else {
                let mut decoder = DeflateDecoder::new(Vec::new());
                decoder.write_all(&[first, second])?;
                State::Deflate(decoder)
            };
        }
        Ok(Vec::new())
    }
}

/// Frees a small piece from the buffer of a whole step: of a stream that is flushed often, many may be held at a time.
fn no_larger_than_needed(piece: Vec<u8>) -> Bytes {
    if piece.len() < piece.capacity() / 2 { Bytes::copy_from_slice(&piece) } else { Bytes::from(piece) }
}

/// Whether these two bytes begin a zlib frame (RFC 1950, section 2.2).
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && (u16::from(first) * 256 + u16::from(second)).is_multiple_of(31)
}

/// Writes the next part of the input, and flushes; what was decoded is then in the decoder's own vector.
fn write_some(decoder: &mut impl Write, input: &mut Bytes) -> Result<(), Undecodable> {
    let part = input.split_to(input.len().min(DEFLATE_STEP));
    let mut rest = &*part;
    while !rest.is_empty() {
        match decoder.write(rest)? {
            // What follows the end is of no interest.
            0 => {
                input.clear();
                break;
            }
            written => rest = rest.get(written..).unwrap_or_default(),
        }
    }
    decoder.flush()?;
    Ok(())
}

/// How much room a step gets for the output of this part: little for a crumb. If that was too little, the next step gets
/// all.
fn room_for(part: &[u8], had_too_little: bool) -> usize {
    if had_too_little { STEP } else { part.len().saturating_mul(16).clamp(1 << 10, STEP) }
}

/// The part of the input for the next step.
fn next_part(input: &Bytes) -> &[u8] {
    input.get(..OTHER_STEP).unwrap_or(input)
}

fn step_brotli(
    state: &mut Brotli,
    has_more: &mut bool,
    is_over: &mut bool,
    input: &mut Bytes,
) -> Result<Vec<u8>, Undecodable> {
    if *is_over {
        input.clear();
        return Ok(Vec::new());
    }
    let part = next_part(input);
    let mut decoded = vec![0; room_for(part, *has_more)];
    let (mut left, mut taken, mut room, mut length, mut total) = (part.len(), 0, decoded.len(), 0, 0);
    let result =
        BrotliDecompressStream(&mut left, &mut taken, part, &mut room, &mut length, &mut decoded, &mut total, state);
    let is_full = length == decoded.len();
    // When it needs more input, it keeps what it could not use yet.
    let taken = if matches!(result, BrotliResult::NeedsMoreInput) { part.len() } else { taken.min(part.len()) };
    input.advance(taken);
    decoded.truncate(length);
    *has_more = false;
    match result {
        BrotliResult::ResultSuccess => *is_over = true,
        // It also says so if there was no room for everything that it has decoded.
        BrotliResult::NeedsMoreInput => *has_more = is_full,
        BrotliResult::NeedsMoreOutput => *has_more = true,
        BrotliResult::ResultFailure => return Err(Undecodable(io::ErrorKind::InvalidData.into())),
    }
    Ok(decoded)
}

/// Decodes as many frames as the part of the input has and there is room for.
fn step_zstd(
    decoder: &mut ZstdDecoder<'static>,
    has_more: &mut bool,
    is_between_frames: &mut bool,
    input: &mut Bytes,
) -> Result<Vec<u8>, Undecodable> {
    let part = next_part(input);
    let mut output = Vec::with_capacity(room_for(part, *has_more));
    let (taken, is_full) = {
        let mut from = InBuffer::around(part);
        let mut to = OutBuffer::around(&mut output);
        loop {
            let before = from.pos();
            *is_between_frames = match decoder.run(&mut from, &mut to) {
                Ok(hint) => hint == 0,
                // What follows a whole frame is no frame, which the next step reports: the frame itself is not lost.
                Err(_) if *is_between_frames && to.pos() > 0 => break (before, false),
                Err(error) => return Err(error.into()),
            };
            let is_full = to.pos() == to.capacity();
            if is_full || from.pos() == part.len() {
                break (from.pos(), is_full);
            }
        }
    };
    input.advance(taken);
    // A full buffer may be all of it; the next step tells. After the end of a frame, it would ask for a further frame.
    *has_more = is_full && !*is_between_frames;
    Ok(output)
}

#[cfg(test)]
mod tests;
