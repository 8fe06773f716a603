//! HTTP/1.1 as bytes, for both sides: heads, and bodies by length, in chunks or up to the connection's end. Strict, so
//! that a peer which frames a message badly is noticed.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// More headers than any peer may send.
const MAX_HEADERS: usize = 256;

/// How a connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// In order: the peer will send no more.
    Closed,
    /// Abruptly.
    Reset,
}

/// What is wrong with the bytes that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// Headers as they came: order, case and values to the byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(String, Bytes)>);

impl Headers {
    fn from_parsed(parsed: &[httparse::Header<'_>]) -> Self {
        Self(parsed.iter().map(|header| (header.name.to_owned(), Bytes::copy_from_slice(header.value))).collect())
    }

    /// The first value of this name (in any case), if it is UTF-8.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every value of this name (in any case) that is UTF-8, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        same.filter_map(|(_, value)| std::str::from_utf8(value).ok()).collect()
    }

    /// Whether one of the values of this name lists the token.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).iter().flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    }
}

/// The head of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Headers,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: u16,
    /// The minor version: 1 for HTTP/1.1.
    pub(crate) version: u8,
    pub(crate) headers: Headers,
}

/// Reads more bytes behind those that are there.
pub(crate) async fn fill<R: AsyncRead + Unpin>(reader: &mut R, buffer: &mut BytesMut) -> Result<(), Lost> {
    match reader.read_buf(buffer).await {
        Ok(0) => Err(Lost::Closed),
        Ok(_) => Ok(()),
        Err(error) => Err(lost_by(&error)),
    }
}

fn lost_by(error: &io::Error) -> Lost {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Lost::Closed,
        _ => Lost::Reset,
    }
}

/// Takes a request's head off the buffer, if it is all there.
pub(crate) fn take_request_head(buffer: &mut BytesMut) -> Result<Option<RequestHead>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(buffer).map_err(|error| malformed(&format!("request head: {error}"), buffer))?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let (Some(method), Some(target)) = (request.method, request.path) else { return Ok(None) };
    let head = RequestHead {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Headers::from_parsed(request.headers),
    };
    buffer.advance(length);
    Ok(Some(head))
}

/// Takes an answer's head off the buffer, if it is all there.
pub(crate) fn take_answer_head(buffer: &mut BytesMut) -> Result<Option<AnswerHead>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(buffer).map_err(|error| malformed(&format!("answer head: {error}"), buffer))?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let (Some(status), Some(version)) = (answer.code, answer.version) else { return Ok(None) };
    let head = AnswerHead { status, version, headers: Headers::from_parsed(answer.headers) };
    buffer.advance(length);
    Ok(Some(head))
}

fn malformed(what: &str, bytes: &[u8]) -> Malformed {
    let shown = bytes.get(..200).unwrap_or(bytes);
    Malformed(format!("{what}: {:?}", String::from_utf8_lossy(shown)))
}

/// How the end of a body is found, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are still to come.
    Length(usize),
    /// In chunks.
    Chunked(Chunk),
    /// Up to the end of the connection.
    UntilClose,
}

/// Where in a chunked body the next byte lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In the line with the size.
    Size,
    /// In the data, of which so much is to come.
    Data(usize),
    /// In the line's end behind the data.
    DataEnd,
    /// In the trailers.
    Trailers,
    /// Behind the last chunk.
    Over,
}

/// What the buffer held of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Bytes of the body; one piece is never more than one chunk.
    Piece(Bytes),
    /// Nothing: more must be read.
    More,
    /// The body is over.
    End,
}

impl Framing {
    /// How the body behind a request's head is framed.
    pub(crate) fn of_request(headers: &Headers) -> Result<Self, Malformed> {
        Ok(Self::announced(headers)?.unwrap_or(Self::Length(0)))
    }

    /// How the body behind an answer's head is framed. `to_head` says whether the request was a HEAD.
    pub(crate) fn of_answer(head: &AnswerHead, to_head: bool) -> Result<Self, Malformed> {
        let announced = Self::announced(&head.headers)?;
        let never_has_one = to_head || head.status < 200 || head.status == 204 || head.status == 304;
        if never_has_one {
            return Ok(Self::Length(0));
        }
        Ok(announced.unwrap_or(Self::UntilClose))
    }

    fn announced(headers: &Headers) -> Result<Option<Self>, Malformed> {
        let lengths = headers.all("content-length");
        let codings = headers.all("transfer-encoding");
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([length], []) => {
                let parsed = length.parse().map_err(|_| Malformed(format!("content-length {length:?}")))?;
                Ok(Some(Self::Length(parsed)))
            }
            ([], ["chunked"]) => Ok(Some(Self::Chunked(Chunk::Size))),
            (lengths, codings) => {
                Err(Malformed(format!("ambiguous framing: content-length {lengths:?}, transfer-encoding {codings:?}")))
            }
        }
    }

    /// Takes what the buffer holds of the body.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Taken, Malformed> {
        match self {
            Self::Length(0) => Ok(Taken::End),
            Self::Length(left) => Ok(take_up_to(left, buffer)),
            Self::UntilClose => Ok(take_up_to(&mut usize::MAX.clone(), buffer)),
            Self::Chunked(chunk) => chunk.take(buffer),
        }
    }

    /// What the end of the connection means here: whether the body was whole.
    pub(crate) fn is_whole_at_close(&self) -> bool {
        match self {
            Self::UntilClose | Self::Length(0) | Self::Chunked(Chunk::Over) => true,
            Self::Length(_) | Self::Chunked(_) => false,
        }
    }
}

impl Chunk {
    fn take(&mut self, buffer: &mut BytesMut) -> Result<Taken, Malformed> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = take_line(buffer) else { return Ok(Taken::More) };
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let size = usize::from_str_radix(digits, 16)
                        .map_err(|_| malformed(&format!("chunk size {line:?}"), buffer))?;
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(left) => return Ok(take_up_to(left, buffer)),
                Self::DataEnd => {
                    let Some(line) = take_line(buffer) else { return Ok(Taken::More) };
                    if !line.is_empty() {
                        return Err(malformed(&format!("{line:?} behind a chunk"), buffer));
                    }
                    *self = Self::Size;
                }
                Self::Trailers => {
                    let Some(line) = take_line(buffer) else { return Ok(Taken::More) };
                    if line.is_empty() {
                        *self = Self::Over;
                    }
                }
                Self::Over => return Ok(Taken::End),
            }
        }
    }
}

fn take_up_to(left: &mut usize, buffer: &mut BytesMut) -> Taken {
    if buffer.is_empty() {
        return Taken::More;
    }
    let length = buffer.len().min(*left);
    *left -= length;
    Taken::Piece(buffer.split_to(length).freeze())
}

fn take_line(buffer: &mut BytesMut) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\r\n")?;
    let line = buffer.split_to(end);
    buffer.advance(2);
    Some(String::from_utf8_lossy(&line).into_owned())
}

/// One chunk of a chunked body.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut framed = format!("{:x}\r\n", data.len()).into_bytes();
    framed.extend_from_slice(data);
    framed.extend_from_slice(b"\r\n");
    framed
}
