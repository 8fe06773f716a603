//! The decoder of the chunked transfer coding (RFC 9112, section 7.1), fed with whatever has arrived.
//!
//! It is strict where leniency could make two readers see two bodies: a line ends in CR LF and nothing else.

use bytes::{Buf, Bytes, BytesMut};

/// The longest line with a chunk's size and its extensions, in bytes.
const MAX_SIZE_LINE: usize = 4 * 1024;
/// The length of a CR LF, in bytes.
const LINE_END: usize = 2;
/// The longest trailer section, in bytes.
const MAX_TRAILERS: usize = 32 * 1024;

/// What is wrong with the chunking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChunk {
    /// A size is not a hexadecimal number of at most 64 bits.
    #[error("a chunk's size is no number")]
    Size,
    /// A line does not end in CR LF.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// A line, or the trailer section, is too long.
    #[error("a line is too long")]
    TooLong,
    /// A chunk is longer than its size says.
    #[error("a chunk does not end where its size says")]
    DataEnd,
}

/// Where the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a size line.
    Size,
    /// Within a chunk: this many bytes are still to come.
    Data(u64),
    /// Before the CR LF after a chunk.
    DataEnd,
    /// In the trailer section, of which this many bytes have been dropped.
    Trailers(usize),
    /// After the last CR LF.
    Finished,
    /// After something invalid: where the next chunk begins is unknown, so there is none.
    Invalid(InvalidChunk),
}

/// The decoder.
#[derive(Debug)]
pub(super) struct ChunkedDecoder {
    state: State,
}

impl ChunkedDecoder {
    pub(super) const fn new() -> Self {
        Self { state: State::Size }
    }

    /// Whether the body's framing is complete.
    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Takes framing off the front of what has been received, until data, the end, or the need for more.
    ///
    /// # Errors
    ///
    /// What is wrong with the chunking; the same error from then on.
    pub(super) fn advance(&mut self, received: &mut BytesMut) -> Result<(), InvalidChunk> {
        self.try_advance(received).inspect_err(|&fault| self.state = State::Invalid(fault))
    }

    fn try_advance(&mut self, received: &mut BytesMut) -> Result<(), InvalidChunk> {
        loop {
            self.state = match self.state {
                State::Size => {
                    let Some(line) = first_line(received, MAX_SIZE_LINE)? else { return Ok(()) };
                    let (size, length) = (chunk_size(line)?, line.len() + LINE_END);
                    received.advance(length);
                    if size == 0 { State::Trailers(0) } else { State::Data(size) }
                }
                State::DataEnd => match received.as_ref() {
                    [b'\r', b'\n', ..] => {
                        received.advance(2);
                        State::Size
                    }
                    [] | [b'\r'] => return Ok(()),
                    _ => return Err(InvalidChunk::DataEnd),
                },
                State::Trailers(dropped) => {
                    let line = first_line(received, MAX_TRAILERS.saturating_sub(dropped))?;
                    let Some(length) = line.map(<[u8]>::len) else { return Ok(()) };
                    received.advance(length + LINE_END);
                    if length == 0 { State::Finished } else { State::Trailers(dropped + length + LINE_END) }
                }
                State::Data(_) | State::Finished => return Ok(()),
                State::Invalid(fault) => return Err(fault),
            }
        }
    }

    /// The next available data, split off without copying; call [`ChunkedDecoder::advance`] first.
    pub(super) fn take_data(&mut self, received: &mut BytesMut) -> Option<Bytes> {
        let State::Data(left) = self.state else { return None };
        if received.is_empty() {
            return None;
        }
        let length = usize::try_from(left).map_or(received.len(), |left| left.min(received.len()));
        self.state = match left - length as u64 {
            0 => State::DataEnd,
            left => State::Data(left),
        };
        Some(received.split_to(length).freeze())
    }
}

/// The line at the front, without its CR LF; `None` if it is incomplete.
fn first_line(received: &[u8], limit: usize) -> Result<Option<&[u8]>, InvalidChunk> {
    let Some(line_feed) = received.iter().take(limit).position(|&byte| byte == b'\n') else {
        return if received.len() < limit { Ok(None) } else { Err(InvalidChunk::TooLong) };
    };
    match received.get(..line_feed).and_then(|line| line.strip_suffix(b"\r")) {
        Some(line) if !line.contains(&b'\r') => Ok(Some(line)),
        Some(_) | None => Err(InvalidChunk::LineEnd),
    }
}

/// Reads `1A;name=value`; blanks after the number are accepted, as some servers pad it.
fn chunk_size(line: &[u8]) -> Result<u64, InvalidChunk> {
    let number = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    if number.is_empty() {
        return Err(InvalidChunk::Size);
    }
    number.iter().try_fold(0_u64, |size, &byte| {
        let digit = char::from(byte).to_digit(16).ok_or(InvalidChunk::Size)?;
        let shifted = size.checked_mul(16).ok_or(InvalidChunk::Size)?;
        Ok(shifted + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum End {
        Finished { surplus: usize },
        Unfinished,
        Invalid(InvalidChunk),
    }

    /// Feeds the decoder one part after the other.
    fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, End) {
        let mut decoder = ChunkedDecoder::new();
        let mut received = BytesMut::new();
        let mut body = Vec::new();
        for part in parts {
            received.extend_from_slice(part);
            loop {
                if let Err(error) = decoder.advance(&mut received) {
                    return (body, End::Invalid(error));
                }
                let Some(data) = decoder.take_data(&mut received) else { break };
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
        }
        let end = if decoder.is_finished() { End::Finished { surplus: received.len() } } else { End::Unfinished };
        (body, end)
    }

    fn check(wire: &str, body: &str, end: End) {
        assert_eq!(decode([wire.as_bytes()]), (body.as_bytes().to_vec(), end), "{wire:?}");
    }

    #[test]
    fn sizes_extensions_and_trailers_are_read_as_the_grammar_says() {
        let whole = || End::Finished { surplus: 0 };
        check("0\r\n\r\n", "", whole());
        check("3\r\nabc\r\n0\r\n\r\n", "abc", whole());
        check("a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789", whole());
        check("3;x=y;z=\"q\"\r\nabc\r\n0;last\r\n\r\n", "abc", whole());
        check("3  \r\nabc\r\n0 ;x\r\n\r\n", "abc", whole());
        check("1\r\na\r\n0\r\nx-sum: 1\r\ny: 2\r\n\r\n", "a", whole());
        check("1\r\na\r\n0\r\n\r\nHTTP", "a", End::Finished { surplus: 4 });
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        for (wire, body, error) in [
            ("3\nabc\r\n0\r\n\r\n", "", InvalidChunk::LineEnd),
            ("3\r\nabc\n0\r\n\r\n", "abc", InvalidChunk::DataEnd),
            ("3\r\nabcd\r\n0\r\n\r\n", "abc", InvalidChunk::DataEnd),
            ("1\r\na\r\n0\n\r\n", "a", InvalidChunk::LineEnd),
            ("1\r\na\r\n0\r\n\n", "a", InvalidChunk::LineEnd),
            ("1\r\na\r\n0\r\nx: y\n\r\n", "a", InvalidChunk::LineEnd),
            ("3;a\rb\r\nabc", "", InvalidChunk::LineEnd),
            ("\r\n", "", InvalidChunk::Size),
            (";x\r\n", "", InvalidChunk::Size),
            ("0x3\r\n", "", InvalidChunk::Size),
            ("+3\r\n", "", InvalidChunk::Size),
            ("-3\r\n", "", InvalidChunk::Size),
            (" 3\r\n", "", InvalidChunk::Size),
            ("3 3\r\n", "", InvalidChunk::Size),
            ("10000000000000000\r\n", "", InvalidChunk::Size),
        ] {
            check(wire, body, End::Invalid(error));
        }
        check("ffffffffffffffff\r\nabc", "abc", End::Unfinished);
    }

    #[test]
    fn lines_have_a_bound() {
        let extension = format!("1;{}", "x".repeat(MAX_SIZE_LINE));
        check(&extension, "", End::Invalid(InvalidChunk::TooLong));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(MAX_TRAILERS / 6 + 1));
        check(&trailers, "", End::Invalid(InvalidChunk::TooLong));
    }

    /// A chunked body's bytes and its content.
    fn encoded() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let chunk = (prop::collection::vec(any::<u8>(), 1..40), "(;[a-z]{1,5}(=[a-z0-9]{1,5})?)?");
        let trailer = "[a-z]{1,8}: [a-z0-9 ]{0,12}\r\n";
        (prop::collection::vec(chunk, 0..6), prop::collection::vec(trailer, 0..3)).prop_map(|(chunks, trailers)| {
            let (mut wire, mut body) = (Vec::new(), Vec::new());
            for (data, extension) in chunks {
                wire.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
                wire.extend_from_slice(&data);
                wire.extend_from_slice(b"\r\n");
                body.extend_from_slice(&data);
            }
            wire.extend_from_slice(b"0\r\n");
            wire.extend_from_slice(trailers.concat().as_bytes());
            wire.extend_from_slice(b"\r\n");
            (wire, body)
        })
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_body(
            (wire, body) in encoded(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]);
            prop_assert_eq!(decode(parts), (body.clone(), End::Finished { surplus: 0 }));
            prop_assert_eq!(decode(wire.chunks(1)), (body, End::Finished { surplus: 0 }));
        }

        #[test]
        fn a_truncated_body_is_never_taken_for_a_whole_one((wire, body) in encoded(), cut in any::<prop::sample::Index>()) {
            let (seen, end) = decode([&wire[..cut.index(wire.len())]]);
            prop_assert_eq!(end, End::Unfinished);
            prop_assert!(body.starts_with(&seen));
        }

        #[test]
        fn no_bytes_make_it_panic(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..5)) {
            decode(parts.iter().map(Vec::as_slice));
        }
    }
}
