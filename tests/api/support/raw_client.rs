//! A raw HTTP/1.1 client. It sends the very bytes that a test wants, sees how an answer ended, and can misbehave: send half
//! of a request, stop reading (by calling nothing more), close one side, hang up. Nothing waits longer than the limit.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::eventually::within;
use super::wire::{AnswerHead, Framing, Headers, Lost, Malformed, Taken, fill, take_answer_head};

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All of it came.
    Whole,
    /// The connection was reset before its end.
    Reset,
    /// The connection was closed in order before its end.
    Truncated,
}

impl From<Lost> for Ended {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Closed => Self::Truncated,
            Lost::Reset => Self::Reset,
        }
    }
}

/// An answer, as much of it as came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In order, with their case.
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    pub(crate) ended: Ended,
    /// The 1xx statuses that came before.
    pub(crate) interim: Vec<u16>,
}

impl Answer {
    /// The first value of a header, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Fails the test where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The events of the body. Bytes behind the last whole one are left out.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut bytes = BytesMut::from(self.body.as_ref());
        std::iter::from_fn(|| Event::take(&mut bytes)).collect()
    }
}

/// An event of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The field `event`, if there is one.
    pub(crate) name: Option<String>,
    /// The fields `data`, joined by line ends; empty for a comment.
    pub(crate) data: String,
    /// The event as it came, with the blank line.
    pub(crate) raw: Bytes,
}

impl Event {
    fn take(bytes: &mut BytesMut) -> Option<Self> {
        let end_by = |separator: &[u8]| {
            let start = bytes.windows(separator.len()).position(|window| window == separator)?;
            Some(start + separator.len())
        };
        let end = [b"\n\n".as_slice(), b"\r\n\r\n", b"\r\r"].into_iter().filter_map(end_by).min()?;
        let raw = bytes.split_to(end).freeze();
        let text = String::from_utf8_lossy(&raw);
        let field = |name: &str| -> Vec<String> {
            let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            values.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned()).collect()
        };
        let (name, data) = (field("event").pop(), field("data").join("\n"));
        Some(Self { name, data, raw })
    }
}

/// One connection, and the requests and answers on it one after the other.
pub(crate) struct RawClient {
    stream: TcpStream,
    /// What was read and not yet used.
    buffer: BytesMut,
    host: String,
    /// Whether the last request was a HEAD, whose answer has no body.
    sent_head: bool,
    interim: Vec<u16>,
    /// The answer whose head was read and whose body may be under way.
    reading: Option<Reading>,
    /// What was read of an event stream and is not yet an event.
    torn: BytesMut,
}

#[derive(Clone)]
struct Reading {
    head: AnswerHead,
    framing: Framing,
}

impl RawClient {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_by(TcpSocket::new_v4().unwrap(), address).await
    }

    /// Connects with the smallest receive buffer, so that the peer soon notices when nobody reads.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        Self::connect_by(socket, address).await
    }

    /// Whether nobody listens there: a connection is refused.
    pub(crate) async fn is_refused(address: SocketAddr) -> bool {
        let connected = within("an answer to the connecting", TcpStream::connect(address)).await;
        connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    }

    async fn connect_by(socket: TcpSocket, address: SocketAddr) -> Self {
        let connected = within(&format!("a connection to {address}"), socket.connect(address)).await;
        let stream = connected.unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
            host: address.to_string(),
            sent_head: false,
            interim: Vec::new(),
            reading: None,
            torn: BytesMut::new(),
        }
    }

    // Sending.

    /// Sends these bytes. Fails the test where the peer takes them no more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.unwrap_or_else(|ended| panic!("not sent, the connection has ended: {ended:?}"));
    }

    /// Sends these bytes, or says how the connection has ended.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        within("the peer takes what is sent", self.stream.write_all(bytes)).await.map_err(|_| Ended::Reset)
    }

    /// For requests that are sent as bytes: whether they are HEAD, whose answers have no body.
    pub(crate) fn expects_no_body(&mut self, expects_none: bool) {
        self.sent_head = expects_none;
    }

    /// Sends a request: its head with `host`, these headers and `content-length` (with a body, or a method that has
    /// one), and the body.
    pub(crate) async fn send_request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let request = self.request(method, target, headers, body);
        self.send(&request).await;
    }

    fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        self.sent_head = method == "HEAD";
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() || ["POST", "PUT", "PATCH"].contains(&method) {
            head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        head.push_str("\r\n");
        [head.as_bytes(), body].concat()
    }

    // Whole exchanges.

    pub(crate) async fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_request("GET", target, headers, b"").await;
        self.answer().await
    }

    pub(crate) async fn head(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_request("HEAD", target, headers, b"").await;
        self.answer().await
    }

    pub(crate) async fn post(&mut self, target: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        self.send_request("POST", target, headers, body.as_ref()).await;
        self.answer().await
    }

    /// As [`RawClient::post`], but a connection that ends before the head of the answer does not fail the test.
    pub(crate) async fn try_post(
        &mut self,
        target: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<Answer, Ended> {
        let request = self.request("POST", target, headers, body.as_ref());
        // A peer that takes no more may have answered all the same.
        let _sent = self.try_send(&request).await;
        self.try_answer().await
    }

    // Reading.

    /// Reads an answer to its end. Fails the test where no head comes.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.unwrap_or_else(|ended| panic!("no answer, the connection has ended: {ended:?}"))
    }

    /// Reads an answer to its end, or says how the connection ended before the head was there.
    pub(crate) async fn try_answer(&mut self) -> Result<Answer, Ended> {
        self.try_answer_head().await?;
        Ok(self.rest().await)
    }

    /// Reads the head of the next answer, past any 1xx. Fails the test where none comes.
    pub(crate) async fn answer_head(&mut self) -> AnswerHead {
        self.try_answer_head().await.unwrap_or_else(|ended| panic!("no answer, the connection has ended: {ended:?}"))
    }

    /// Reads the head of the next answer, past any 1xx, or says how the connection ended before it.
    pub(crate) async fn try_answer_head(&mut self) -> Result<AnswerHead, Ended> {
        self.torn.clear();
        self.interim.clear();
        loop {
            let head = loop {
                if let Some(head) = readable(take_answer_head(&mut self.buffer)) {
                    break head;
                }
                within("the head of an answer", fill(&mut self.stream, &mut self.buffer)).await?;
            };
            if head.status < 200 {
                self.interim.push(head.status);
                continue;
            }
            let framing = readable(Framing::of_answer(&head, self.sent_head));
            self.reading = Some(Reading { head: head.clone(), framing });
            return Ok(head);
        }
    }

    /// The next piece of the body that is under way, as it comes, or how it ended.
    pub(crate) async fn piece(&mut self) -> Result<Bytes, Ended> {
        let Some(reading) = &mut self.reading else { return Err(Ended::Whole) };
        loop {
            match readable(reading.framing.take(&mut self.buffer)) {
                Taken::Piece(piece) => return Ok(piece),
                Taken::End => return Err(Ended::Whole),
                Taken::More => {}
            }
            match within("more of a body", fill(&mut self.stream, &mut self.buffer)).await {
                Ok(()) => {}
                Err(Lost::Closed) if reading.framing.is_whole_at_close() => return Err(Ended::Whole),
                Err(lost) => return Err(lost.into()),
            }
        }
    }

    /// The next event of the stream that is under way, or how the body ended.
    pub(crate) async fn event(&mut self) -> Result<Event, Ended> {
        loop {
            if let Some(event) = Event::take(&mut self.torn) {
                return Ok(event);
            }
            let piece = self.piece().await?;
            self.torn.extend_from_slice(&piece);
        }
    }

    /// What was read of a stream and is not a whole event.
    pub(crate) fn torn(&self) -> &[u8] {
        &self.torn
    }

    /// The rest of the answer whose head was read, with what was read of an event that is not whole. Fails the test where
    /// no head was read.
    pub(crate) async fn rest(&mut self) -> Answer {
        let mut body = self.torn.split();
        let ended = loop {
            match self.piece().await {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(ended) => break ended,
            }
        };
        let Some(Reading { head, .. }) = self.reading.clone() else { panic!("no head was read") };
        let interim = self.interim.clone();
        Answer { status: head.status, headers: head.headers, body: body.freeze(), ended, interim }
    }

    /// Whether another request may be sent on this connection: the last answer is read to its end, and neither it nor
    /// its framing closes the connection.
    pub(crate) fn is_reusable(&self) -> bool {
        let Some(Reading { head, framing }) = &self.reading else { return true };
        let is_over = match framing {
            Framing::UntilClose => false,
            Framing::Length(_) | Framing::Chunked(_) => framing.is_whole_at_close(),
        };
        let says_close = head.headers.lists("connection", "close");
        is_over && !says_close && head.version == 1
    }

    // Leaving.

    /// Waits until the peer ends the connection, and says how; what still comes is thrown away.
    pub(crate) async fn ended(&mut self) -> Ended {
        let mut rest = BytesMut::new();
        loop {
            if let Err(lost) = within("the end of the connection", fill(&mut self.stream, &mut rest)).await {
                return lost.into();
            }
            rest.clear();
        }
    }

    /// Closes the sending side; reading goes on.
    pub(crate) async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Hangs up abruptly: the peer sees a reset. Dropping the client is the orderly way.
    pub(crate) fn hang_up(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

fn readable<T>(read: Result<T, Malformed>) -> T {
    read.unwrap_or_else(|Malformed(what)| panic!("the peer's answer can't be read: {what}"))
}
