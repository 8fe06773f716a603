//! A client's connection, below HTTP: heads that do not come, pauses that are too long, answers that nobody takes or that
//! must be broken off visibly, and closing without losing what was sent.
//!
//! HTTP/1 itself is actix's. This module sees bytes come and go, and the handlers tell it when a request begins and ends.

mod client_side;
mod closing;
mod framing;
mod sharing;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::TcpStream;
use log::kv::Value;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::identity::fresh_request_id;
use super::intake::BodyBudget;
use super::reply::raw_refusal;
use super::times::deadline;
use crate::domain::refusal::Refusal;
use crate::domain::stats::RequestEnd;
use crate::settings::Settings;

pub(super) use client_side::{Answering, ClientSide};
use closing::Left;
pub(super) use closing::TAKING;
pub(super) use framing::BodyEnd;
pub(super) use sharing::Handle;
use sharing::{Ending, Head, State};

/// How many bytes of an incomplete head are free. Anything beyond counts as buffered: idle connections cost nothing, and
/// health checks are still heard when bodies fill the buffer.
const FREE_HEAD: u64 = 8 << 10;

/// How many bytes are read before the reader gets a turn and empties its buffer, which would otherwise grow to 128 KiB or
/// more and stay that large for as long as the connection lasts.
const READ_IN_A_TURN: usize = 32 << 10;

/// How long an idle client connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a client is waited for, the budget its head is held in, and what it is told.
#[derive(Clone, Debug)]
pub(super) struct ClientBounds {
    /// How long the head of a request may take.
    pub(super) head: Duration,
    /// The longest pause between two requests.
    pub(super) idle: Duration,
    /// How long the client may take nothing of what waits to be written.
    pub(super) taking: Duration,
    pub(super) buffered: BodyBudget,
    /// The most that may be buffered, in bytes.
    pub(super) together: u64,
    /// The operator's help for developers.
    pub(super) help: Arc<str>,
}

impl ClientBounds {
    pub(super) fn of(settings: &Settings, buffered: &BodyBudget) -> Self {
        let server = &settings.server;
        Self {
            head: server.header_timeout,
            idle: KEEP_ALIVE,
            // As long as an upstream may be silent mid-stream: neither may hold an endpoint's place forever.
            taking: settings.timeouts.stream_idle,
            buffered: buffered.clone(),
            together: server.max_buffered,
            help: server.help.as_str().into(),
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// `None` once it has ended.
    stream: Option<TcpStream>,
    state: Rc<State>,
    bounds: ClientBounds,
    client_has_left: bool,
    /// How much has been read in this turn, in bytes.
    read_in_turn: usize,
    /// When the client has to have taken something; `None` if nothing waits for that.
    taking_due: Option<Instant>,
    /// Whether what waits is written into the last room of the system's buffer.
    is_crammed: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, bounds: ClientBounds) -> Self {
        // Each event should leave at once; a socket that refuses this still works.
        stream.set_nodelay(true).ok();
        let state = Rc::new(State::new(&bounds));
        Self {
            stream: Some(stream),
            state,
            bounds,
            client_has_left: false,
            read_in_turn: 0,
            taking_due: None,
            is_crammed: false,
        }
    }

    pub(super) fn handle(&self) -> Handle {
        Handle(Rc::clone(&self.state))
    }

    /// The peer's address.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.stream.as_ref()?.peer_addr().ok()
    }

    fn poll_stream<T>(&mut self, poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.stream {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Counts bytes handed on, as long as the head is incomplete. Once it is whole, neither its bytes nor those of its
    /// body count here: the handler sees to them, and can say what is wrong in the path's protocol.
    fn has_read(&self, length: u64) -> Result<(), Refusal> {
        let state = &self.state;
        if !state.framing.borrow().is_before_head_end() {
            return Ok(());
        }
        if state.head.get() == Head::None {
            state.awaits(Head::Torn);
        }
        let before = state.head_length.get();
        state.head_length.set(before.saturating_add(length));
        let counted = |length: u64| length.saturating_sub(FREE_HEAD);
        let further = counted(state.head_length.get()).saturating_sub(counted(before));
        if further == 0 { Ok(()) } else { state.head_held.borrow_mut().grow(further) }
    }

    /// Gives up on a head. On the first one the client is answered: nothing was ever sent on the connection, so no mix-up
    /// is possible. Within a later one the client could take it for the answer to something else.
    fn give_up(&mut self, refusal: &Refusal) {
        self.state.is_read_out.set(true);
        if let (Head::First, Some(stream)) = (self.state.head.get(), &self.stream) {
            let id = fresh_request_id();
            // Nothing more is known of this request.
            let peer = self.peer().map(|peer| peer.ip().to_canonical());
            log::info!(
                id = id.as_str(),
                status = refusal.status(),
                outcome = RequestEnd::of_answer(Some(refusal.status()), None).as_str(),
                peer = peer.as_ref().map(Value::from_display);
                "request"
            );
            // A client that has not sent a byte has not asked for anything.
            let has_begun = self.state.head_length.get() > 0;
            self.state.given_up.set(has_begun.then(|| refusal.status()));
            // A client that takes no answer gets none.
            stream.try_write(&raw_refusal(refusal, &id, &self.bounds.help)).ok();
        }
    }

    /// Whether the next head, or its end, is overdue. No head is waited for while a request is being answered.
    fn is_overdue(&self, cx: &mut Context<'_>) -> bool {
        let state = &self.state;
        if state.is_under_way() {
            return false;
        }
        let limit = match state.head.get() {
            Head::None => self.bounds.idle,
            Head::First | Head::Torn => self.bounds.head,
        };
        // Reached for every head, as all available bytes are read before any are parsed.
        state.is_set_late.set(limit > self.bounds.idle);
        let due = state.due.get().unwrap_or_else(|| deadline(limit));
        state.due.set(Some(due));
        state.alarm.is_overdue(due, cx)
    }

    /// Handles the result of a write. A client that has taken nothing for too long is cut off by a reset: it has not left
    /// on its own, and would hold its endpoint's place forever.
    ///
    /// `write` repeats the attempted write on the socket itself.
    fn poll_written(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
        write: impl FnOnce(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            (self.taking_due, self.is_crammed) = (None, false);
            return written;
        }
        if self.client_has_left && self.state.is_under_way() {
            // The client has closed its side and takes nothing: there is nobody left for whom an endpoint should go on.
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let Some(stream) = &self.stream else { return written };
        let due = *self.taking_due.get_or_insert_with(|| deadline(self.bounds.taking));
        let is_overdue = !self.is_crammed && self.state.alarm_of_request.is_overdue(due, cx);
        if !is_overdue && !self.is_crammed {
            return Poll::Pending;
        }
        // The system signals writability only once a third of its buffer is empty, and a slow client may take far less.
        // So the rest of the buffer is filled at once: if there is room next time, the client has made it.
        match write(&SockRef::from(stream)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_overdue => {
                if let Some(stream) = self.stream.take() {
                    closing::abort(stream);
                }
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let due = deadline(self.bounds.taking);
                (self.taking_due, self.is_crammed) = (Some(due), false);
                if self.state.alarm_of_request.is_overdue(due, cx) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            written => {
                self.is_crammed = true;
                Poll::Ready(written)
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.state.is_read_out.get() || self.state.is_over() {
            return Poll::Ready(Ok(()));
        }
        if self.read_in_turn >= READ_IN_A_TURN {
            self.read_in_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let kept = self.state.framing.borrow_mut().next_kept(buf.remaining());
        if let Some(kept) = kept {
            buf.put_slice(&kept);
        }
        while buf.filled().len() == before {
            if self.state.framing.borrow().is_full() {
                self.state.read_by(cx.waker());
                return Poll::Pending;
            }
            match self.poll_stream(|stream| stream.poll_read(cx, buf)) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {
                    let came = buf.filled().get(before..).unwrap_or_default();
                    let own = self.state.framing.borrow_mut().take(came);
                    buf.set_filled(before + own);
                }
                ended @ Poll::Ready(_) => {
                    self.state.is_read_out.set(true);
                    self.client_has_left = true;
                    return ended;
                }
                Poll::Pending if self.is_overdue(cx) => {
                    self.give_up(&Refusal::HeadTooSlow);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    self.read_in_turn = 0;
                    self.state.read_by(cx.waker());
                    return Poll::Pending;
                }
            }
        }
        let length = buf.filled().len() - before;
        self.read_in_turn += length;
        if let Err(refusal) = self.has_read(u64::try_from(length).unwrap_or(u64::MAX)) {
            // The reader sees the end of the stream.
            buf.set_filled(before);
            self.give_up(&refusal);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.poll_stream(|stream| stream.poll_write(cx, buf));
        self.poll_written(written, cx, |socket| socket.send(buf))
    }

    /// Called once everything to be sent has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = self.poll_stream(|stream| stream.poll_flush(cx));
        if let Poll::Ready(Ok(())) = flush {
            self.state.flushes.set(self.state.flushes.get() + 1);
            let waker = self.state.flushed.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        flush
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.ending.get() == Ending::Reset {
            // An orderly end is what the client must not see.
            return Poll::Ready(Ok(()));
        }
        self.poll_stream(|stream| stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.poll_stream(|stream| stream.poll_write_vectored(cx, bufs));
        self.poll_written(written, cx, |socket| socket.send_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        match self.state.ending.get() {
            Ending::Reset => closing::reset(stream),
            // The one serving the connection closes it: it counts as open until then.
            Ending::Close if !self.client_has_left => {
                let is_sending = self.state.is_being_sent_to();
                *self.state.left.borrow_mut() = Some(Left { stream, is_sending });
            }
            Ending::Close => {}
        }
    }
}

#[cfg(test)]
mod tests;
