//! An answer's content: its body without compression that nobody asked for.

use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::task::yield_now;

use super::body::Body;
use super::decoding::{Coding, Decoded, Decoder, Undecodable};
use super::error::BodyError;
use crate::domain::sse::Beginning;

/// Why an answer's content did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The body did not come whole.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It is not what its coding says.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

/// Whether the gateway can look into an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legibility {
    /// The gateway can read it.
    Readable,
    /// It is coded in a way that the gateway does not know.
    Coded,
}

/// How a body is coded, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coded {
    /// It is not.
    Not,
    /// In this way.
    By(Coding),
    /// In a way, or in several, that the gateway does not undo.
    Otherwise,
}

/// Values that servers send as a coding although they are none; browsers and SDKs leave such a body as it is. `none`
/// keeps proxies from compressing a stream, and so from holding it back.
const NO_CODINGS: [&str; 7] = ["identity", "none", "utf-8", "utf8", "chunked", "binary", "8bit"];

impl Coded {
    /// The coding, or the codings, that the headers name.
    pub fn of(headers: &HeaderMap) -> Self {
        let codings: Vec<&str> = headers
            .get_all(CONTENT_ENCODING)
            .flat_map(|value| value.to_str().unwrap_or("?").split(','))
            .map(str::trim)
            .filter(|coding| !coding.is_empty() && !NO_CODINGS.iter().any(|none| coding.eq_ignore_ascii_case(none)))
            .collect();
        match codings.as_slice() {
            [] => Self::Not,
            [only] => Coding::named(only).map_or(Self::Otherwise, Self::By),
            [_, _, ..] => Self::Otherwise,
        }
    }
}

/// The content of an answer, piece by piece. Pieces are never empty.
#[derive(Debug)]
pub struct Content {
    body: Body,
    decoder: Option<Decoder>,
    /// What was read to see how the content begins, and the fault that came after it; both are still to be handed on.
    begun: Bytes,
    fault: Option<ContentError>,
    is_over: bool,
}

impl Content {
    /// The body as it came.
    pub fn untouched(body: Body) -> Self {
        Self { body, decoder: None, begun: Bytes::new(), fault: None, is_over: false }
    }

    /// The body decoded, if it has to be; the headers then no longer say that it is coded, nor how long it was.
    ///
    /// # Errors
    ///
    /// If there is no memory for that.
    pub fn decoded(body: Body, headers: &mut HeaderMap) -> Result<(Self, Legibility), Undecodable> {
        let coding = match Coded::of(headers) {
            Coded::Not => {
                headers.remove(CONTENT_ENCODING);
                return Ok((Self::untouched(body), Legibility::Readable));
            }
            Coded::Otherwise => return Ok((Self::untouched(body), Legibility::Coded)),
            Coded::By(coding) => coding,
        };
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
        let decoder = Some(Decoder::new(coding)?);
        Ok((Self { decoder, ..Self::untouched(body) }, Legibility::Readable))
    }

    /// Reads as much as is needed to see how the content begins, and calls `has_come` when something has come. All of it
    /// stays to be read, even if this is dropped.
    pub async fn beginning(&mut self, mut has_come: impl FnMut()) -> Beginning {
        poll_fn(|cx| self.poll_beginning(cx, &mut has_come)).await
    }

    fn poll_beginning(&mut self, cx: &mut Context<'_>, has_come: &mut impl FnMut()) -> Poll<Beginning> {
        loop {
            if let Some(beginning) = Beginning::of(&self.begun) {
                return Poll::Ready(beginning);
            }
            let coming = ready!(self.poll_coming(cx));
            has_come();
            match coming {
                Some(Ok(piece)) if self.begun.is_empty() => self.begun = piece,
                Some(Ok(piece)) => self.begun = [&*self.begun, &*piece].concat().into(),
                Some(Err(fault)) => {
                    self.fault = Some(fault);
                    return Poll::Ready(Beginning::Other);
                }
                None => return Poll::Ready(Beginning::Other),
            }
        }
    }

    /// Whether the piece before was the last one. If that is not known yet, the end of the stream shows it.
    pub fn is_finished(&self) -> bool {
        self.begun.is_empty() && self.decoder.is_none() && self.body.is_finished()
    }

    /// How many bytes are still to come, if that is known.
    pub fn remaining_length(&self) -> Option<u64> {
        if self.decoder.is_some() {
            return None;
        }
        let begun = u64::try_from(self.begun.len()).unwrap_or(u64::MAX);
        self.body.remaining_length().map(|rest| rest.saturating_add(begun))
    }

    /// Whether its framing does not tell where it ends. A coding tells that only of each of its parts.
    pub fn ends_with_connection(&self) -> bool {
        self.body.ends_with_connection()
    }

    fn finish(&mut self) -> Result<Option<Bytes>, ContentError> {
        self.is_over = true;
        Ok(self.decoder.as_mut().map(Decoder::finish).transpose()?.flatten())
    }

    /// The next piece that was not read before.
    fn poll_coming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ContentError>>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            match self.decoder.as_mut().map(Decoder::next_piece).transpose() {
                Ok(Some(Decoded::Piece(piece))) => return Poll::Ready(Some(Ok(piece))),
                Ok(Some(Decoded::Unfinished)) => {
                    wake_behind_others(cx);
                    return Poll::Pending;
                }
                Ok(Some(Decoded::Hungry) | None) => {}
                Err(error) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            let Poll::Ready(next) = self.body.poll_next_unpin(cx) else {
                if let Some(decoder) = &mut self.decoder {
                    decoder.begin_turn();
                }
                return Poll::Pending;
            };
            match (next, &mut self.decoder) {
                (Some(Ok(piece)), Some(decoder)) => decoder.feed(piece),
                // If TLS was not closed properly, a compressed body's own end proves it whole.
                (None, _) | (Some(Err(BodyError::Unclosed)), Some(_)) => {
                    return Poll::Ready(self.finish().transpose());
                }
                (Some(Err(error)), _) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                (Some(Ok(piece)), None) => return Poll::Ready(Some(Ok(piece))),
            }
        }
    }
}

impl Stream for Content {
    type Item = Result<Bytes, ContentError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.begun.is_empty() {
            return Poll::Ready(Some(Ok(mem::take(&mut self.begun))));
        }
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        self.poll_coming(cx)
    }
}

/// Makes the task be polled again once the thread has seen to everything else, its sockets included. A task that is
/// merely woken is polled before those.
fn wake_behind_others(cx: &mut Context<'_>) {
    // Its whole effect is in its first poll.
    let _ = pin!(yield_now()).poll_unpin(cx);
}
