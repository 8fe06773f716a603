//! The body of an answer as a stream of pieces.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use super::chunked::ChunkedDecoder;
use super::error::BodyError;
use super::framing::Framing;
use super::pool::{Pool, now};
use super::wire::{Connection, Outgoing};

/// Takes the pieces of a body out of what has been received.
#[derive(Debug)]
enum Decoder {
    /// This many bytes are still to come.
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl Decoder {
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(ChunkedDecoder::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_finished(),
            Self::UntilClose => false,
        }
    }

    /// The next available piece, split off without copying.
    fn take(&mut self, received: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::Length(left) => {
                let length = usize::try_from(*left).map_or(received.len(), |left| left.min(received.len()));
                *left -= length as u64;
                Ok((length > 0).then(|| received.split_to(length).freeze()))
            }
            Self::Chunked(decoder) => {
                decoder.advance(received)?;
                let piece = decoder.take_data(received);
                if piece.is_some() {
                    // Looks ahead, so that the end is known with the last piece. A fault found here is found again after
                    // this piece.
                    decoder.advance(received).ok();
                }
                Ok(piece)
            }
            Self::UntilClose => Ok((!received.is_empty()).then(|| received.split().freeze())),
        }
    }

    /// What the end of the connection means here.
    fn ended(&self, error: Option<io::Error>) -> Result<(), BodyError> {
        // Only TLS says so: the socket ended without the closing notice.
        let is_unclosed = error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        match (self, error) {
            (_, Some(error)) if !is_unclosed => Err(BodyError::Broken(error)),
            (Self::UntilClose, Some(_)) => Err(BodyError::Unclosed),
            (Self::UntilClose, None) => Ok(()),
            (Self::Length(_) | Self::Chunked(_), _) => Err(BodyError::Truncated),
        }
    }
}

/// A body that is being received.
struct Incoming {
    connection: Connection,
    decoder: Decoder,
    /// The part of the request that is still to be written.
    unwritten: Option<Outgoing>,
    /// Where the connection goes after the exchange, if it can be used again.
    home: Option<Rc<Pool>>,
}

impl Incoming {
    /// The next piece; `None` after the last.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            self.write_on(cx);
            if let Some(piece) = self.decoder.take(&mut self.connection.received)? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.decoder.is_finished() {
                return Poll::Ready(Ok(None));
            }
            let end = match ready!(self.connection.poll_fill(cx)) {
                Ok(0) => None,
                Ok(_) => continue,
                Err(error) => Some(error),
            };
            return Poll::Ready(self.decoder.ended(end).map(|()| None));
        }
    }

    /// Goes on writing the request, if the answer has begun before its end.
    fn write_on(&mut self, cx: &mut Context<'_>) {
        while let Some(outgoing) = &mut self.unwritten {
            match outgoing.poll_write(&mut self.connection.transport, cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Ok(true)) => self.unwritten = None,
                Poll::Ready(Err(_)) => {
                    self.unwritten = None;
                    self.home = None;
                }
            }
        }
    }

    /// Gives the connection back, or closes it.
    fn finish(self) {
        if let (Some(home), None) = (self.home, self.unwritten) {
            home.put(self.connection, now());
        }
    }
}

/// An answer's body. Pieces are never empty. A body that is dropped before its end closes its connection at once.
pub struct Body {
    incoming: Option<Incoming>,
    is_finished: bool,
}

impl Body {
    pub(super) fn new(
        connection: Connection,
        framing: Framing,
        unwritten: Option<Outgoing>,
        home: Option<Rc<Pool>>,
    ) -> Self {
        let incoming = Incoming { connection, decoder: Decoder::new(framing), unwritten, home };
        let mut body = Self { incoming: Some(incoming), is_finished: false };
        body.finish_if_whole();
        body
    }

    /// Whether the whole body has come: the piece before was the last one. A body that ends with its connection, or whose
    /// last chunk comes later than its last data, shows its end only by the end of the stream.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// How many bytes are still to come, if the upstream has said so.
    #[must_use]
    pub fn remaining_length(&self) -> Option<u64> {
        match self.incoming.as_ref().map(|incoming| &incoming.decoder) {
            None if self.is_finished => Some(0),
            Some(Decoder::Length(left)) => Some(*left),
            None | Some(Decoder::Chunked(_) | Decoder::UntilClose) => None,
        }
    }

    /// Whether only the end of the connection tells where the body ends, so that a torn one looks like a whole one.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| matches!(incoming.decoder, Decoder::UntilClose))
    }

    fn finish_if_whole(&mut self) {
        if self.incoming.as_ref().is_some_and(|incoming| incoming.decoder.is_finished()) {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.is_finished = true;
        if let Some(incoming) = self.incoming.take() {
            incoming.finish();
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        match ready!(incoming.poll_piece(cx)) {
            Ok(Some(piece)) => {
                self.finish_if_whole();
                Poll::Ready(Some(Ok(piece)))
            }
            Ok(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Err(error) => {
                self.incoming = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl fmt::Debug for Body {
    /// Without the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("is_finished", &self.is_finished).finish_non_exhaustive()
    }
}
