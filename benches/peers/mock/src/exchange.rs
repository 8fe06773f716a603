//! Requests and answers of one connection.

use std::fmt::Write as _;
use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use dialogue::api::{Api, Script};
use dialogue::stamp::{now_micros, stamped};
use dialogue::upstream::REFUSAL;
use memchr::{memchr, memmem};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

/// What is known of a request once its head is there.
struct Head {
    api: Api,
    length: usize,
    is_chunked: bool,
    events: Option<usize>,
    delay: Duration,
}

impl Head {
    fn read(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let api =
            if text.lines().next().is_some_and(|line| line.contains("/chat/")) { Api::Chat } else { Api::Messages };
        let mut head = Self { api, length: 0, is_chunked: false, events: None, delay: Duration::ZERO };
        for line in text.lines().skip(1) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.len() {
                14 if name.eq_ignore_ascii_case("content-length") => head.length = value.parse().unwrap_or(0),
                17 if name.eq_ignore_ascii_case("transfer-encoding") => head.is_chunked = value.ends_with("chunked"),
                13 if name.eq_ignore_ascii_case("x-mock-events") => head.events = value.parse().ok(),
                15 if name.eq_ignore_ascii_case("x-mock-delay-us") => {
                    head.delay = Duration::from_micros(value.parse().unwrap_or(0));
                }
                _ => {}
            }
        }
        head
    }
}

fn whole(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nrequest-id: req_011BenchBenchBench\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

fn chunk(event: &str) -> String {
    format!("{:x}\r\n{event}\r\n", event.len())
}

static WHOLE_REFUSAL: LazyLock<Vec<u8>> = LazyLock::new(|| whole("400 Bad Request", REFUSAL));

/// What is said by an API, as it stands on the wire.
struct Wire {
    script: &'static Script,
    answer: Vec<u8>,
    /// A stream's head with its first event: they leave together.
    stream_begin: String,
    delta: String,
}

impl Wire {
    fn of(api: Api) -> Self {
        let script = api.script();
        let mut stream_begin = String::from(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nrequest-id: req_011BenchBenchBench\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        stream_begin.push_str(&chunk(script.opening[0]));
        Self { script, answer: whole("200 OK", script.answer), stream_begin, delta: chunk(script.delta) }
    }
}

static MESSAGES: LazyLock<Wire> = LazyLock::new(|| Wire::of(Api::Messages));
static CHAT: LazyLock<Wire> = LazyLock::new(|| Wire::of(Api::Chat));

fn wire(api: Api) -> &'static Wire {
    match api {
        Api::Messages => &MESSAGES,
        Api::Chat => &CHAT,
    }
}

/// Whether a stream is asked for. Clients write the key behind the messages, so it is looked for from the end.
fn wants_stream(body: &[u8]) -> bool {
    memmem::rfind(body, b"\"stream\"").is_some_and(|at| {
        let rest = body[at + 8..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"true"))
    })
}

/// One connection: what has been read of it and is not used up.
pub struct Exchanges<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchanges<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    /// Reads further; false at the end of the connection.
    async fn more(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// Answers so many requests.
    pub async fn serve(mut self, answers: usize) -> io::Result<()> {
        for _ in 0..answers {
            let Some((head, body_at)) = self.head().await? else { return Ok(()) };
            let Some((body, end)) = self.body(&head, body_at).await? else { return Ok(()) };
            let body = body.as_deref().unwrap_or(&self.buffer[body_at..end]);
            let is_object = body.first() == Some(&b'{') && body.last() == Some(&b'}');
            let streamed = wants_stream(body);
            self.buffer.drain(..end);
            if !is_object {
                self.say(&WHOLE_REFUSAL).await?;
            } else if streamed {
                self.stream_out(&head).await?;
            } else {
                self.say(&wire(head.api).answer).await?;
            }
        }
        Ok(())
    }

    /// The next head, and where it ends.
    async fn head(&mut self) -> io::Result<Option<(Head, usize)>> {
        loop {
            if let Some(at) = memmem::find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some((Head::read(&self.buffer[..at]), at + 4)));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// A body with its end in the buffer: as it stands there, or put together from its chunks.
    async fn body(&mut self, head: &Head, begin: usize) -> io::Result<Option<(Option<Vec<u8>>, usize)>> {
        if !head.is_chunked {
            let end = begin + head.length;
            self.buffer.reserve(end.saturating_sub(self.buffer.len()));
            while self.buffer.len() < end {
                if !self.more().await? {
                    return Ok(None);
                }
            }
            return Ok(Some((None, end)));
        }
        let (mut body, mut at) = (Vec::new(), begin);
        loop {
            let Some(line) = memchr(b'\n', &self.buffer[at..]) else {
                if !self.more().await? {
                    return Ok(None);
                }
                continue;
            };
            let size = std::str::from_utf8(&self.buffer[at..at + line]).ok().map(|text| text.trim());
            let size = size.and_then(|text| usize::from_str_radix(text, 16).ok()).ok_or(io::ErrorKind::InvalidData)?;
            let data = at + line + 1;
            while self.buffer.len() < data + size + 2 {
                if !self.more().await? {
                    return Ok(None);
                }
            }
            body.extend_from_slice(&self.buffer[data..data + size]);
            at = data + size + 2;
            if size == 0 {
                return Ok(Some((Some(body), at)));
            }
        }
    }

    /// A stream, each event in a write of its own, as a provider sends them.
    async fn stream_out(&mut self, head: &Head) -> io::Result<()> {
        let wire = wire(head.api);
        self.say(wire.stream_begin.as_bytes()).await?;
        for event in &wire.script.opening[1..] {
            self.event(chunk(event).as_bytes()).await?;
        }
        let mut next = Instant::now();
        for _ in 0..head.events.unwrap_or(50) {
            if head.delay.is_zero() {
                self.event(wire.delta.as_bytes()).await?;
            } else {
                next += head.delay;
                sleep_until(next).await;
                self.say(chunk(&stamped(wire.script.delta, now_micros())).as_bytes()).await?;
            }
        }
        let closing = wire.script.closing;
        let (last, others) = (closing[closing.len() - 1], &closing[..closing.len() - 1]);
        for event in others {
            self.event(chunk(event).as_bytes()).await?;
        }
        let mut end = chunk(last);
        let _ = write!(end, "0\r\n\r\n");
        self.say(end.as_bytes()).await
    }

    /// One event, after which others may have a turn: so that it leaves before the next is there.
    async fn event(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.say(chunk).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Sends it all, and at once.
    async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}
