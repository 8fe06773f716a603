//! HTTP/1.1 as a client speaks it, strict about framing: an answer that ends early or goes on too long is an error.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer::Reader;

/// How an answer's body is framed.
#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

struct Head {
    status: u16,
    framing: Framing,
    keeps_open: bool,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub keeps_open: bool,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Up to where the buffer is used up.
    at: usize,
    /// When the latest bytes were read.
    arrived: Instant,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(2048), at: 0, arrived: Instant::now() })
    }

    async fn more(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
        }
        self.arrived = Instant::now();
        Ok(())
    }

    /// Sends one request and reads its whole answer.
    pub async fn exchange(&mut self, request: &[u8], reader: &mut dyn Reader) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        match head.framing {
            Framing::Length(length) => self.pass(length, reader).await?,
            Framing::Chunked => self.chunks(reader).await?,
        }
        if self.at != self.buffer.len() {
            return Err(bad("something follows the answer"));
        }
        Ok(Answer { status: head.status, keeps_open: head.keeps_open })
    }

    async fn head(&mut self) -> io::Result<Head> {
        loop {
            if let Some(end) = memmem::find(&self.buffer[self.at..], b"\r\n\r\n") {
                let text = std::str::from_utf8(&self.buffer[self.at..self.at + end]).map_err(|_| bad("the head"))?;
                let head = parse(text)?;
                self.at += end + 4;
                return Ok(head);
            }
            self.more().await?;
        }
    }

    /// Hands so many bytes on, as they come.
    async fn pass(&mut self, mut left: usize, reader: &mut dyn Reader) -> io::Result<()> {
        while left > 0 {
            if self.at == self.buffer.len() {
                self.more().await?;
            }
            let end = self.buffer.len().min(self.at + left);
            reader.piece(&self.buffer[self.at..end], self.arrived);
            left -= end - self.at;
            self.at = end;
        }
        Ok(())
    }

    async fn chunks(&mut self, reader: &mut dyn Reader) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| bad("a chunk's size"))?;
            if size == 0 {
                break;
            }
            self.pass(size, reader).await?;
            if !self.line().await?.is_empty() {
                return Err(bad("a chunk's end"));
            }
        }
        // Trailers, and the empty line behind them.
        while !self.line().await?.is_empty() {}
        Ok(())
    }

    /// The next line without its end.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(length) = memchr(b'\n', &self.buffer[self.at..]) {
                let line = &self.buffer[self.at..self.at + length];
                let line =
                    std::str::from_utf8(line).map_err(|_| bad("a chunk's line"))?.trim_end_matches('\r').to_owned();
                self.at += length + 1;
                return Ok(line);
            }
            self.more().await?;
        }
    }
}

fn parse(text: &str) -> io::Result<Head> {
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| bad("the status"))?;
    let (mut framing, mut keeps_open) = (None, true);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing = Some(Framing::Length(value.parse().map_err(|_| bad("the length"))?));
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            framing = Some(Framing::Chunked);
        } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            keeps_open = false;
        }
    }
    Ok(Head { status, framing: framing.ok_or_else(|| bad("an answer without framing"))?, keeps_open })
}
