//! One connection of a scripted upstream.

use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Shared;
use super::dialect::Facts;
use super::player::{End, Player};
use super::record::{Exchange, Recorded, Settling};
use super::step::Step;
use crate::support::eventually::now;
use crate::support::wire::{Framing, Lost, Malformed, RequestHead, Taken, fill, take_request_head};

/// Why no request came.
enum NoRequest {
    Lost,
    Malformed(Malformed),
}

impl From<Lost> for NoRequest {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

impl From<Malformed> for NoRequest {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Reads requests and plays the steps for them, until either side ends the connection.
pub(super) async fn serve(stream: TcpStream, number: usize, shared: Rc<Shared>) {
    // Each event of a stream is to leave at once.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut connection = Connection { stream, buffer: BytesMut::new(), number, shared };
    loop {
        match connection.exchange().await {
            Ok(End::Keep) => {}
            Ok(End::Close) | Err(NoRequest::Lost) => return,
            Ok(End::Reset) => {
                if let Err(error) = connection.stream.set_zero_linger() {
                    connection.shared.fault(format!("no reset possible: {error}"));
                }
                return;
            }
            Err(NoRequest::Malformed(Malformed(what))) => return connection.shared.fault(what),
        }
    }
}

/// Whether the connection reads what comes behind a request's head.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    On,
    /// What the peer goes on to send is left lying, so that a close becomes a reset, as with services that refuse early.
    Never,
}

struct Connection {
    stream: TcpStream,
    /// What was read and not yet used.
    buffer: BytesMut,
    number: usize,
    shared: Rc<Shared>,
}

impl Connection {
    /// One request and its answer.
    async fn exchange(&mut self) -> Result<End, NoRequest> {
        let head = loop {
            if let Some(head) = take_request_head(&mut self.buffer)? {
                break head;
            }
            fill(&mut self.stream, &mut self.buffer).await?;
        };
        let head_came = now();
        let before_body = self.shared.step_before_body();
        let reading = if before_body.is_some() { Reading::Never } else { Reading::On };
        let framing = Framing::of_request(&head.headers)?;
        let chunked = matches!(framing, Framing::Chunked(_));
        let body = match reading {
            Reading::Never => Bytes::new(),
            Reading::On => self.body(framing).await?,
        };
        let closes = head.headers.lists("connection", "close");
        let (request, settling, step) = self.record(head, head_came, body, chunked, before_body);
        match self.answer(&request, &settling, &step, reading).await {
            End::Keep if reading == Reading::Never => std::future::pending().await,
            End::Keep if closes => Ok(End::Close),
            end => Ok(end),
        }
    }

    async fn body(&mut self, mut framing: Framing) -> Result<Bytes, NoRequest> {
        let mut body = BytesMut::new();
        loop {
            match framing.take(&mut self.buffer)? {
                Taken::Piece(piece) => body.extend_from_slice(&piece),
                Taken::More => fill(&mut self.stream, &mut self.buffer).await?,
                Taken::End => return Ok(body.freeze()),
            }
        }
    }

    fn record(
        &self,
        head: RequestHead,
        head_came: Instant,
        body: Bytes,
        chunked: bool,
        before_body: Option<Step>,
    ) -> (Recorded, Settling, Step) {
        let (settling, exchange) = watch::channel(Exchange::Answering);
        let RequestHead { method, target, headers } = head;
        let connection = self.number;
        let came = now();
        let request = |number| Recorded { method, target, headers, body, chunked, connection, number, came, exchange };
        let (request, step) = self.shared.record(head_came, request, before_body);
        (request, Settling(settling), step)
    }

    /// Plays the step; while reading on it looks out for the peer's leaving, and ends with that.
    async fn answer(&mut self, request: &Recorded, settling: &Settling, step: &Step, reading: Reading) -> End {
        let facts = Facts::of(request, &self.shared.name, self.shared.protocol);
        let key_is_right = self.shared.accepts_keys_of(request);
        let gates = self.shared.gates.clone();
        let (mut reader, writer) = self.stream.split();
        let mut player = Player::new(writer, gates, facts, key_is_right, request.method == "HEAD");
        let end = match reading {
            Reading::Never => player.play(step).await.ok(),
            Reading::On => tokio::select! {
                biased;
                () = left(&mut reader, &mut self.buffer) => None,
                sent = player.play(step) => sent.ok(),
            },
        };
        settling.settle(if end.is_some() { Exchange::Answered } else { Exchange::Left });
        end.unwrap_or(End::Close)
    }
}

/// Returns when the peer has closed its side or reset the connection; what it sends before is kept for later.
async fn left<R: AsyncRead + Unpin>(reader: &mut R, buffer: &mut BytesMut) {
    while fill(reader, buffer).await.is_ok() {}
}
