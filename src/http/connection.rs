//! A client's connection, below HTTP: heads that do not come, pauses that are too long, answers that have to be broken off so
//! that it shows, and closing without losing what was sent.
//!
//! HTTP/1 itself is actix's. This sees bytes come and go, and the handlers tell it when a request begins and ends.

mod calm;
mod closing;

use actix_http::Request;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::Version;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use super::alarm::Alarm;
use super::drain::{DrainDeadline, Ear};
use super::intake::{BodyBudget, Held};
use super::reply::raw_refusal;
use super::times::deadline;
use crate::domain::refusal::Refusal;
use crate::settings::Server;

pub(super) use calm::calmly;

/// So much of a head that is not there whole is free, in bytes. What is beyond it counts as buffered: idle connections cost
/// nothing, and where bodies fill the buffer, whoever asks for health is still heard.
const FREE_HEAD: u64 = 8 << 10;

/// How long an idle client connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a client is waited for, in what its head is held, and what it is told.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// How long the head of a request may take.
    pub(super) head: Duration,
    /// How long nothing may come between two requests.
    pub(super) idle: Duration,
    pub(super) buffered: BodyBudget,
    /// The most that may be buffered, in bytes.
    pub(super) together: u64,
    /// The operator's help for developers.
    pub(super) help: Arc<str>,
}

impl Patience {
    pub(super) fn of(server: &Server, buffered: &BodyBudget) -> Self {
        Self {
            head: server.header_timeout,
            idle: KEEP_ALIVE,
            buffered: buffered.clone(),
            together: server.max_buffered,
            help: server.help.as_str().into(),
        }
    }
}

/// What is known of the next request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// None has come yet.
    First,
    /// A request is being answered, or nothing of the next head has come.
    None,
    /// The beginning of a later one has come.
    Torn,
}

/// How the connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// In order: it says that no more comes.
    Close,
    /// By a reset, for an answer whose end would otherwise look like that of a whole one.
    Reset,
}

/// What the connection and the handlers of its requests share.
#[derive(Debug)]
struct State {
    head: Cell<Head>,
    /// When what is waited for now is overdue; found out when it has to be waited for.
    due: Cell<Option<Instant>>,
    /// What has the connection looked at again when that is so.
    alarm: Alarm,
    /// Whether it may have been set for later than the end of the next pause.
    is_set_late: Cell<bool>,
    /// What has the request under way looked at again.
    alarm_of_request: Alarm,
    ear: Ear,
    /// How much has come of a head that is not there whole, and its share of what may be buffered.
    head_length: Cell<u64>,
    head_held: RefCell<Held>,
    /// Requests that have come and are not answered to their end.
    in_flight: Cell<usize>,
    /// Whether bytes have come that can't belong to the request under way.
    has_read_beyond: Cell<bool>,
    /// Whether the body of the request under way has come.
    has_body: Cell<bool>,
    /// How often there was a look for what has come.
    reads: Cell<u64>,
    /// Nothing more is read: the client is at its end, or its patience with it is.
    is_read_out: Cell<bool>,
    /// A request has come behind the last one.
    has_surplus: Cell<bool>,
    /// Whether the request under way is the last one.
    is_last: Cell<bool>,
    /// Who reads, to be told when that changes.
    reader: RefCell<Option<Waker>>,
    ending: Cell<Ending>,
    /// How often everything that was to be sent had been handed to the system.
    flushes: Cell<u64>,
    flushed: RefCell<Option<Waker>>,
}

impl State {
    /// Something else is waited for from now on.
    fn awaits(&self, head: Head) {
        self.head.set(head);
        self.due.set(None);
    }

    /// Whether the last request is answered.
    fn is_over(&self) -> bool {
        self.is_last.get() && self.in_flight.get() == 0
    }

    fn wake_reader(&self) {
        let reader = self.reader.borrow_mut().take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// What a handler can say to the connection that its request came on.
#[derive(Clone, Debug)]
pub(super) struct Handle(Rc<State>);

impl Handle {
    /// A request's head has come.
    fn begin(&self) -> UnderWay {
        let state = &self.0;
        if state.is_set_late.replace(false) {
            state.alarm.clear();
        }
        state.awaits(Head::None);
        state.head_length.set(0);
        state.head_held.borrow_mut().release();
        state.in_flight.set(state.in_flight.get() + 1);
        state.has_read_beyond.set(false);
        state.has_body.set(false);
        UnderWay(Rc::clone(state))
    }

    fn reads(&self) -> u64 {
        self.0.reads.get()
    }

    /// Whether nobody has looked for what has come since that look, though a request is under way whose body has come: then
    /// what lies there has no room.
    fn waits_without_reading(&self, since: u64) -> bool {
        let state = &self.0;
        state.reads.get() == since && state.in_flight.get() > 0 && state.has_body.get() && !state.is_read_out.get()
    }

    /// Waits until all that was to be sent so far has been handed to the system.
    async fn flushed(&self) {
        let before = self.0.flushes.get();
        poll_fn(|cx| {
            if self.0.flushes.get() > before {
                return Poll::Ready(());
            }
            *self.0.flushed.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Where a request's answer goes.
#[derive(Clone, Debug)]
pub(super) struct ClientSide {
    connection: Option<Handle>,
    version: Version,
    alarm: Alarm,
    ear: Ear,
}

impl ClientSide {
    /// The side that this request came from.
    pub(super) fn of(request: &Request) -> Self {
        Self::new(request.conn_data::<Handle>().cloned(), request.version())
    }

    fn new(connection: Option<Handle>, version: Version) -> Self {
        let state = connection.as_ref().map(|Handle(state)| state);
        let (alarm, ear) = state.map(|state| (state.alarm_of_request.clone(), state.ear.clone())).unwrap_or_default();
        Self { connection, version, alarm, ear }
    }

    /// What has the request looked at again when something is overdue.
    pub(super) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// Comes when a drain's time is up.
    pub(super) fn poll_drained(&self, deadline: &DrainDeadline, cx: &mut Context<'_>) -> Poll<()> {
        self.ear.poll_passed(deadline, cx)
    }

    /// The request's head has come. The result lasts until it is answered.
    pub(super) fn begin(&self) -> Option<UnderWay> {
        self.connection.as_ref().map(Handle::begin)
    }

    /// Whether the client speaks HTTP/1.0, where a clean end is no sign of a whole answer.
    pub(super) fn speaks_http_10(&self) -> bool {
        self.version == Version::HTTP_10
    }

    /// Whether an earlier request was the last one on its connection. What comes behind that must not be looked at (RFC 9112,
    /// section 9.6), for nobody has promised to answer it.
    pub(super) fn is_too_late(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.0.is_last.get())
    }

    /// Has the connection end: a request has come behind the last one. What was answered goes out before.
    pub(super) fn has_surplus(&self) {
        if let Some(connection) = &self.connection {
            connection.0.has_surplus.set(true);
        }
    }

    /// The connection ends with the answer to this request.
    pub(super) fn is_the_last(&self) {
        if let Some(connection) = &self.connection {
            connection.0.is_last.set(true);
        }
    }

    /// The request's body has come to its end: what comes now is the next request's head.
    pub(super) fn body_has_come(&self) {
        if let Some(connection) = &self.connection {
            connection.0.has_read_beyond.set(false);
            connection.0.has_body.set(true);
        }
    }

    /// The answer ends before its end, which the client must see. With HTTP/1.0 only a reset shows it: there the end of the
    /// connection is how a whole answer may end, too. Waits until what was passed on has been handed to the system; a client
    /// that does not take it is not waited for longer than `limit`.
    pub(super) async fn break_off(self, limit: Duration) {
        let Some(connection) = self.connection else { return };
        if self.version == Version::HTTP_10 {
            connection.0.ending.set(Ending::Reset);
        }
        // Both ends of the wait are as good: the connection is broken off next.
        let _ = timeout(limit, connection.flushed()).await;
    }
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<State>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let state = &self.0;
        let in_flight = state.in_flight.get().saturating_sub(1);
        state.in_flight.set(in_flight);
        if in_flight == 0 {
            let is_torn = state.has_read_beyond.get();
            state.awaits(if is_torn { Head::Torn } else { Head::None });
            // Mostly the alarm of an earlier pause is set, and the connection need not be looked at now.
            if is_torn || state.is_over() || !state.alarm.will_ring() {
                state.wake_reader();
            }
        }
    }
}

/// An answer's body. Its request is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Answering {
    body: BoxBody,
    under_way: Option<UnderWay>,
    /// Whether the client can tell the answer's end from the connection's.
    shows_its_end: bool,
}

impl Answering {
    /// The body of an answer to a client that speaks this version.
    pub(super) fn new(body: BoxBody, under_way: Option<UnderWay>, version: Version) -> Self {
        let shows_its_end = version != Version::HTTP_10 || body.size() != BodySize::Stream;
        Self { body, under_way, shows_its_end }
    }
}

impl Drop for Answering {
    /// Where it is dropped before its end, as at the end of a stop's grace, an end in order would be a lie.
    fn drop(&mut self) {
        if let (false, Some(UnderWay(state))) = (self.shows_its_end, &self.under_way) {
            state.ending.set(Ending::Reset);
        }
    }
}

impl MessageBody for Answering {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = self.body.as_pin_mut().poll_next(cx);
        self.shows_its_end |= matches!(next, Poll::Ready(None));
        next
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Taken when it ends.
    stream: Option<TcpStream>,
    state: Rc<State>,
    patience: Patience,
    client_has_left: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, patience: Patience) -> Self {
        let state = State {
            head: Cell::new(Head::First),
            due: Cell::new(Some(deadline(patience.head))),
            alarm: Alarm::default(),
            is_set_late: Cell::new(false),
            alarm_of_request: Alarm::default(),
            ear: Ear::default(),
            head_length: Cell::new(0),
            head_held: RefCell::new(patience.buffered.hold_nothing(patience.together)),
            in_flight: Cell::new(0),
            has_read_beyond: Cell::new(false),
            has_body: Cell::new(false),
            reads: Cell::new(0),
            is_read_out: Cell::new(false),
            has_surplus: Cell::new(false),
            is_last: Cell::new(false),
            reader: RefCell::new(None),
            ending: Cell::new(Ending::Close),
            flushes: Cell::new(0),
            flushed: RefCell::new(None),
        };
        let state = Rc::new(state);
        Self { stream: Some(stream), state, patience, client_has_left: false }
    }

    pub(super) fn handle(&self) -> Handle {
        Handle(Rc::clone(&self.state))
    }

    fn poll_stream<T>(&mut self, poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.stream {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// So many bytes have come.
    fn has_read(&self, length: u64) -> Result<(), Refusal> {
        let state = &self.state;
        if state.in_flight.get() > 0 {
            state.has_read_beyond.set(true);
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

    /// Gives a head up. The first one is answered: nothing was ever sent on the connection, so nothing can get between. A
    /// client that is told so within a later one could take it for the answer to something else.
    fn give_up(&mut self, refusal: &Refusal) {
        self.state.is_read_out.set(true);
        if let (Head::First, Some(stream)) = (self.state.head.get(), &self.stream) {
            // A client that takes no answer gets none.
            stream.try_write(&raw_refusal(refusal, &self.patience.help)).ok();
        }
    }

    /// Whether the next head, or its end, is overdue. While a request is answered none is waited for.
    fn is_overdue(&self, cx: &mut Context<'_>) -> bool {
        let state = &self.state;
        if state.in_flight.get() > 0 {
            return false;
        }
        let limit = match state.head.get() {
            Head::None => self.patience.idle,
            Head::First | Head::Torn => self.patience.head,
        };
        // Asked with every head: all that is there is read before any of it is looked at.
        state.is_set_late.set(limit > self.patience.idle);
        let due = state.due.get().unwrap_or_else(|| deadline(limit));
        state.due.set(Some(due));
        state.alarm.has_passed(due, cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.state.reads.set(self.state.reads.get() + 1);
        if self.state.is_read_out.get() || self.state.is_over() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = self.poll_stream(|stream| stream.poll_read(cx, buf));
        match &read {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                let length = buf.filled().len() - before;
                if let Err(refusal) = self.has_read(u64::try_from(length).unwrap_or(u64::MAX)) {
                    // To whoever reads it is the end.
                    buf.set_filled(before);
                    self.give_up(&refusal);
                }
            }
            Poll::Ready(_) => {
                self.state.is_read_out.set(true);
                self.client_has_left = true;
            }
            Poll::Pending if self.is_overdue(cx) => {
                self.give_up(&Refusal::HeadTooSlow);
                return Poll::Ready(Ok(()));
            }
            Poll::Pending => *self.state.reader.borrow_mut() = Some(cx.waker().clone()),
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_stream(|stream| stream.poll_write(cx, buf))
    }

    /// Called once all that was to be sent has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = self.poll_stream(|stream| stream.poll_flush(cx));
        if self.state.has_surplus.get() && flush.is_ready() {
            // With very much behind that, actix would not read on, and so not find that this is the end.
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
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
            // The end in order is what must not be seen.
            return Poll::Ready(Ok(()));
        }
        self.poll_stream(|stream| stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_stream(|stream| stream.poll_write_vectored(cx, bufs))
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
            Ending::Close if !self.client_has_left => closing::close(stream),
            Ending::Close => {}
        }
    }
}

#[cfg(test)]
mod tests;
