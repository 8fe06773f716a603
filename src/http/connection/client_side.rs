//! What a request's handlers see of its connection, and what the connection sees of the answer's body.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::Request;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::Version;
use bytes::Bytes;
use tokio::time::timeout;

use super::super::alarm::Alarm;
use super::super::drain::{DrainDeadline, Ear};
use super::framing::BodyEnd;
use super::sharing::{Ending, Handle, UnderWay};

/// Where a request's answer goes.
#[derive(Clone, Debug)]
pub(in crate::http) struct ClientSide {
    connection: Option<Handle>,
    version: Version,
    alarm: Alarm,
    ear: Ear,
}

impl ClientSide {
    /// The client side of this request.
    pub(in crate::http) fn of(request: &Request) -> Self {
        Self::new(request.conn_data::<Handle>().cloned(), request.version())
    }

    pub(super) fn new(connection: Option<Handle>, version: Version) -> Self {
        let state = connection.as_ref().map(|Handle(state)| state);
        let (alarm, ear) = state.map(|state| (state.alarm_of_request.clone(), state.ear.clone())).unwrap_or_default();
        Self { connection, version, alarm, ear }
    }

    /// The alarm that wakes the request when something is overdue.
    pub(in crate::http) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// Ready when the drain's time is up.
    pub(in crate::http) fn poll_drained(&self, deadline: &DrainDeadline, cx: &mut Context<'_>) -> Poll<()> {
        self.ear.poll_passed(deadline, cx)
    }

    /// Notes that the request's head has come and how its body ends. The result must live until the request is answered.
    pub(in crate::http) fn begin(&self, end: BodyEnd) -> Option<UnderWay> {
        self.connection.as_ref().map(|connection| connection.begin(end))
    }

    /// Whether the client speaks HTTP/1.0, where an orderly end does not prove the answer whole.
    pub(in crate::http) fn speaks_http_10(&self) -> bool {
        self.version == Version::HTTP_10
    }

    /// Makes the connection end with the answer to this request.
    pub(in crate::http) fn is_the_last(&self) {
        if let Some(connection) = &self.connection {
            connection.0.is_last.set(true);
        }
    }

    /// Makes an incomplete answer's end visible to the client. With HTTP/1.0 only a reset shows it, because there even a
    /// whole answer may end with the connection. Waits until what was passed on has been handed to the system, at most
    /// for `limit` if the client does not take it.
    pub(in crate::http) async fn break_off(self, limit: Duration) {
        let Some(connection) = self.connection else { return };
        if self.version == Version::HTTP_10 {
            connection.0.ending.set(Ending::Reset);
        }
        // Timed out or not: the connection is broken off next.
        let _ = timeout(limit, connection.flushed()).await;
    }
}

/// An answer's body. Its request is under way until this is dropped.
#[derive(Debug)]
pub(in crate::http) struct Answering {
    body: BoxBody,
    under_way: Option<UnderWay>,
    /// Whether the client can tell the answer's end from the connection's.
    shows_its_end: bool,
}

impl Answering {
    /// The body of an answer to a client that speaks this version.
    pub(in crate::http) fn new(body: BoxBody, under_way: Option<UnderWay>, version: Version) -> Self {
        let shows_its_end = version != Version::HTTP_10 || body.size() != BodySize::Stream;
        Self { body, under_way, shows_its_end }
    }
}

impl Drop for Answering {
    /// If it is dropped early, as when a stop's grace period ends, an orderly close would be a lie.
    fn drop(&mut self) {
        if let (false, Some(UnderWay { state, .. })) = (self.shows_its_end, &self.under_way) {
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
