//! One connection, and one exchange on it up to the final head of the answer.
//!
//! An exchange reads while it writes: an upstream may answer before it has the whole request, and may then read no further.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::StatusCode;
use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;

use super::client::{Limits, Request, WritePermit};
use super::error::{MalformedHead, SendError};
use super::head::{AnswerHead, request_head, take_answer_head};
use super::room;
use super::transport::{LastUse, Transport};
use crate::domain::base_url::Origin;

/// Room for the first read of an exchange, in bytes.
const FIRST_READ: usize = room::SIZE;
/// Room for a read once reads have filled smaller ones.
const LARGEST_READ: usize = 128 * 1024;
/// Bodies up to this size are copied after their head, so that they leave with it in one piece, in TLS too.
const COPIED_BODY: usize = 16 * 1024;
/// The most pieces that are written at once.
const MAX_PARTS: usize = 16;
/// How many interim answers are accepted before the final one; 102 may come every few seconds.
const MAX_INTERIM: usize = 1000;

/// A connection to an origin.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) origin: Rc<Origin>,
    pub(super) opened: Instant,
    /// When its last exchange ended or, before its first, when it was opened.
    pub(super) idle_since: Instant,
    /// How long the upstream says it keeps an idle connection.
    pub(super) announced: Option<Duration>,
    /// What has arrived and not been read yet.
    pub(super) received: BytesMut,
    read_size: usize,
}

impl Connection {
    pub(super) fn new(transport: Transport, origin: Rc<Origin>, opened: Instant) -> Self {
        Self {
            transport,
            origin,
            opened,
            idle_since: opened,
            announced: None,
            received: BytesMut::new(),
            read_size: FIRST_READ,
        }
    }

    /// Gives the read buffer back, as the connection waits for its next use.
    pub(super) fn become_idle(&mut self) {
        self.read_size = FIRST_READ;
        room::give_back(std::mem::take(&mut self.received));
    }

    /// Whether the connection is open, and nothing has arrived on it that no exchange asked for.
    pub(super) fn is_usable(&mut self, last_use: LastUse) -> bool {
        self.received.is_empty() && self.transport.is_quiet(last_use)
    }

    /// Reads what is there; 0 at the end.
    ///
    /// A waiting connection whose received bytes have all been taken holds no buffer: streams mostly wait.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = self.poll_read(cx);
        if read.is_pending() && self.received.is_empty() {
            room::give_back(std::mem::take(&mut self.received));
        }
        read
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.transport.poll_readable(cx))?;
        if self.received.capacity() == 0 && self.read_size == FIRST_READ {
            self.received = room::take();
        }
        if self.received.capacity() - self.received.len() < self.read_size / 4 {
            self.received.reserve(self.read_size);
        }
        let room = self.received.capacity() - self.received.len();
        let read = ready!(self.transport.poll_read(cx, &mut self.received))?;
        if read == room {
            self.read_size = (self.read_size * 2).min(LARGEST_READ);
        }
        Poll::Ready(Ok(read))
    }
}

/// The part of a request that is still to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Its head, or the piece of its body that comes next.
    next: Bytes,
    /// The pieces after that.
    further: VecDeque<Bytes>,
    /// Whether any of it may have reached the upstream.
    is_begun: bool,
}

impl Outgoing {
    /// A whole request.
    pub(super) fn of(request: &Request<'_>) -> Result<Self, SendError> {
        let body = &request.body;
        if body.len() > COPIED_BODY {
            let head = request_head(request, 0)?.freeze();
            return Ok(Self { next: head, further: body.clone().into_pieces().collect(), is_begun: false });
        }
        let mut whole = request_head(request, body.len())?;
        body.pieces().for_each(|piece| whole.extend_from_slice(piece));
        Ok(Self { next: whole.freeze(), further: VecDeque::new(), is_begun: false })
    }

    /// Writes some of it; `true` once all of it is written.
    pub(super) fn poll_write(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.is_empty() {
            match ready!(self.poll_write_parts(transport, cx)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.is_begun = true;
                    self.advance(written);
                }
                Err(error) => {
                    self.is_begun |= transport.may_write_before_it_fails();
                    return Poll::Ready(Err(error));
                }
            }
        }
        if self.is_empty() { transport.poll_flush(cx).map_ok(|()| true) } else { Poll::Ready(Ok(false)) }
    }

    fn poll_write_parts(&self, transport: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut parts = [IoSlice::new(&self.next); MAX_PARTS];
        if self.further.is_empty() {
            return transport.poll_write(cx, &parts[..1]);
        }
        let further = parts[1..].iter_mut().zip(&self.further);
        let count = 1 + further.map(|(part, piece)| *part = IoSlice::new(piece)).count();
        transport.poll_write(cx, &parts[..count])
    }

    /// Drops this many bytes, which have been written.
    fn advance(&mut self, mut written: usize) {
        while written >= self.next.len() {
            written -= self.next.len();
            self.next = self.further.pop_front().unwrap_or_default();
            if self.next.is_empty() {
                return;
            }
        }
        self.next.advance(written);
    }

    fn is_empty(&self) -> bool {
        self.next.is_empty()
    }
}

/// How far a request has been written.
#[derive(Debug)]
enum Writing {
    /// There is more to write.
    Going(Outgoing),
    /// All of it is written.
    Whole,
    /// A write failed. An answer may be there all the same.
    Failed { is_begun: bool, error: io::Error },
}

/// Why an exchange ended without a final head.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: SendError,
    /// Whether the connection ended before the first byte of an answer. If it had been idle before, the upstream has most
    /// likely closed it before the request arrived.
    pub(super) ended_silently: bool,
}

/// One request and its answer's head on one connection.
pub(super) struct Exchange<'a> {
    connection: &'a mut Connection,
    permit: &'a dyn WritePermit,
    limits: &'a Limits,
    writing: Writing,
    interim: usize,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        connection: &'a mut Connection,
        outgoing: Outgoing,
        permit: &'a dyn WritePermit,
        limits: &'a Limits,
    ) -> Self {
        Self { connection, permit, limits, writing: Writing::Going(outgoing), interim: 0 }
    }

    /// Writes and reads until the final head is there.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Failure>> {
        loop {
            let has_more = match self.poll_writing(cx) {
                Ok(has_more) => has_more,
                Err(error) => return Poll::Ready(Err(Failure { error, ended_silently: false })),
            };
            match self.connection.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.ended(None))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.ended(Some(error)))),
                Poll::Ready(Ok(_)) => match self.take_final_head() {
                    Ok(None) => {}
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Err(error) => return Poll::Ready(Err(Failure { error, ended_silently: false })),
                },
                Poll::Pending if has_more => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What is left of the request after the final head came.
    pub(super) fn into_unwritten(self) -> Unwritten {
        match self.writing {
            Writing::Going(outgoing) => Unwritten::Rest(outgoing),
            Writing::Whole => Unwritten::Nothing,
            Writing::Failed { .. } => Unwritten::Lost,
        }
    }

    /// Writes some; `true` if more can be written at once.
    fn poll_writing(&mut self, cx: &mut Context<'_>) -> Result<bool, SendError> {
        let Writing::Going(outgoing) = &mut self.writing else { return Ok(false) };
        let was_begun = outgoing.is_begun;
        if !was_begun {
            self.permit.may_write().map_err(|_| SendError::Withdrawn)?;
        }
        let written = outgoing.poll_write(&mut self.connection.transport, cx);
        if outgoing.is_begun && !was_begun {
            self.permit.has_written();
        }
        match written {
            Poll::Pending => {}
            Poll::Ready(Ok(false)) => return Ok(true),
            Poll::Ready(Ok(true)) => self.writing = Writing::Whole,
            Poll::Ready(Err(error)) => self.writing = Writing::Failed { is_begun: outgoing.is_begun, error },
        }
        Ok(false)
    }

    fn take_final_head(&mut self) -> Result<Option<AnswerHead>, SendError> {
        while !self.connection.received.is_empty() {
            let Some(head) = take_answer_head(&mut self.connection.received, self.limits)? else { return Ok(None) };
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(SendError::UnexpectedUpgrade);
            }
            if !head.status.is_informational() {
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(MalformedHead::TooManyInterim.into());
            }
        }
        Ok(None)
    }

    /// The failure after the connection has ended, in an orderly way or not.
    fn ended(&mut self, read_error: Option<io::Error>) -> Failure {
        let is_silent = self.connection.received.is_empty() && self.interim == 0;
        let (written, write_error) = match std::mem::replace(&mut self.writing, Writing::Whole) {
            Writing::Going(outgoing) => (outgoing.is_begun, None),
            Writing::Whole => (true, None),
            Writing::Failed { is_begun, error } => (is_begun, Some(error)),
        };
        let error = write_error.or(read_error.filter(|error| error.kind() != io::ErrorKind::UnexpectedEof));
        let is_close = error.as_ref().is_none_or(|error| is_close(error.kind()));
        let error = match error {
            Some(source) => SendError::Broken { written, source },
            None if is_silent => SendError::ClosedBeforeHead { written },
            None => MalformedHead::Torn.into(),
        };
        Failure { error, ended_silently: is_silent && is_close }
    }
}

/// Whether a connection that the other side has closed fails like this.
fn is_close(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(kind, ConnectionReset | BrokenPipe | ConnectionAborted | NotConnected)
}

/// What had not been written of a request when the final head of its answer came.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// Nothing: the connection is in order.
    Nothing,
    /// This much.
    Rest(Outgoing),
    /// Something that can no longer be written.
    Lost,
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::net::TcpStream;

    use super::super::pool::now;
    use super::super::testing::{Upstream, within};
    use super::*;

    #[actix_web::test]
    async fn a_connection_that_waits_holds_no_room_but_what_is_not_taken() {
        let upstream = Upstream::bind().await;
        let stream = TcpStream::connect((&*upstream.origin.host, upstream.origin.port)).await.unwrap();
        let mut peer = upstream.accept().await;
        let mut connection = Connection::new(Transport::Plain(stream), Rc::new(upstream.origin.clone()), now());
        let waits = async |connection: &mut Connection| {
            poll_fn(|cx| Poll::Ready(connection.poll_fill(cx).is_pending())).await
                && connection.received.capacity() == 0
        };
        assert!(waits(&mut connection).await);
        peer.say("an event").await;
        within(poll_fn(|cx| connection.poll_fill(cx))).await.unwrap();
        let event = connection.received.split().freeze();
        assert!(waits(&mut connection).await);
        assert_eq!(event, "an event");
        peer.say("the beginning").await;
        within(poll_fn(|cx| connection.poll_fill(cx))).await.unwrap();
        assert!(!waits(&mut connection).await);
        assert_eq!(connection.received, "the beginning");
    }
}
