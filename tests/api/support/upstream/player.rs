//! Plays a step on a connection.

use std::collections::VecDeque;
use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::dialect::{self, Facts};
use super::step::{Move, Step, Text};
use super::stream::{Stream, pieces};
use crate::support::gates::Gates;
use crate::support::wire::chunk;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Keep,
    Close,
    Reset,
}

/// How many pieces an honest stream has.
const HONEST_PIECES: usize = 3;

pub(super) struct Player<W> {
    writer: W,
    gates: Gates,
    facts: Facts,
    /// Whether the request came with the required key, or none is required.
    key_is_right: bool,
    is_head: bool,
    stream: Stream,
    pieces: VecDeque<String>,
}

impl<W: AsyncWrite + Unpin> Player<W> {
    pub(super) fn new(writer: W, gates: Gates, facts: Facts, key_is_right: bool, is_head: bool) -> Self {
        let stream = Stream::new(facts.clone());
        Self { writer, gates, facts, key_is_right, is_head, stream, pieces: VecDeque::new() }
    }

    /// Plays the step to its end.
    pub(super) async fn play(&mut self, step: &Step) -> io::Result<End> {
        for each in step.moves() {
            match each {
                Move::Close | Move::CloseAtAccept => return Ok(End::Close),
                Move::Reset => return Ok(End::Reset),
                Move::Stall => std::future::pending().await,
                Move::Truncate => {
                    self.truncated().await?;
                    return Ok(End::Close);
                }
                Move::Hold(gate) => self.gates.pass(gate).await,
                Move::Answer(text) => self.answer(text).await?,
                Move::Error { status, of, headers } => self.error(*status, of.as_ref(), headers).await?,
                Move::Whole { status, headers, body } => self.whole(*status, headers, body).await?,
                Move::Raw(bytes) => self.writer.write_all(bytes).await?,
                Move::Repeat { bytes, times } => {
                    for _ in 0..*times {
                        self.writer.write_all(bytes).await?;
                    }
                }
                Move::OpenStream { label, pieces } => {
                    self.open_stream(label.as_deref(), &Text::Honest, *pieces).await?;
                }
                Move::Pieces(count) => self.say(*count).await?,
                Move::FinishStream => {
                    let events = self.stream.finish();
                    self.events(events).await?;
                }
                Move::CloseStream => {
                    let events = self.stream.closing();
                    self.events(events).await?;
                }
                Move::Flood { gate, pieces, bytes } => self.flood(gate, *pieces, *bytes).await?,
                Move::StreamError(kind) => {
                    let event = self.stream.failure(kind);
                    self.events([event]).await?;
                }
                Move::Chunk(bytes) => self.writer.write_all(&chunk(bytes)).await?,
                Move::LastChunk => self.writer.write_all(b"0\r\n\r\n").await?,
            }
        }
        Ok(End::Keep)
    }

    fn text(&self, text: &Text) -> String {
        let code = dialect::joined_code(&self.facts.question);
        match text {
            Text::Honest => code.unwrap_or_else(|| format!("answered by {}", self.facts.upstream)),
            Text::WrongCode => dialect::wrong_code(&code.unwrap_or_default()),
            Text::Echo => self.facts.question.clone(),
            Text::Fixed(text) => text.clone(),
        }
    }

    async fn answer(&mut self, text: &Text) -> io::Result<()> {
        if !self.key_is_right {
            return self.error(401, None, &[]).await;
        }
        if self.facts.stream {
            return self.whole_stream(text).await;
        }
        let body = dialect::whole(&self.facts, &self.text(text));
        self.json(200, &[], &body).await
    }

    async fn whole_stream(&mut self, text: &Text) -> io::Result<()> {
        self.open_stream(Some("text/event-stream; charset=utf-8"), text, HONEST_PIECES).await?;
        self.say(HONEST_PIECES).await?;
        let finish = self.stream.finish();
        self.events(finish).await?;
        let closing = self.stream.closing();
        self.events(closing).await?;
        self.writer.write_all(b"0\r\n\r\n").await
    }

    async fn error(
        &mut self,
        status: u16,
        of: Option<&(String, String)>,
        headers: &[(String, String)],
    ) -> io::Result<()> {
        let body = match of {
            Some((kind, message)) => dialect::error(&self.facts, kind, Some(kind), message),
            None => dialect::error_for_status(&self.facts, status),
        };
        self.json(status, headers, &body).await
    }

    async fn json(&mut self, status: u16, headers: &[(String, String)], body: &serde_json::Value) -> io::Result<()> {
        let json = ("content-type".to_owned(), "application/json".to_owned());
        let headers: Vec<_> = [json, self.facts.id_header()].into_iter().chain(headers.iter().cloned()).collect();
        self.whole(status, &headers, body.to_string().as_bytes()).await
    }

    async fn whole(&mut self, status: u16, headers: &[(String, String)], body: &[u8]) -> io::Result<()> {
        let length = ("content-length".to_owned(), body.len().to_string());
        let has_no_body = self.is_head || status == 204 || status == 304;
        let length = if status == 204 { None } else { Some(length) };
        let mut message = self.head(status, headers.iter().chain(&length));
        if !has_no_body {
            message.extend_from_slice(body);
        }
        self.writer.write_all(&message).await
    }

    async fn truncated(&mut self) -> io::Result<()> {
        let body = dialect::whole(&self.facts, &self.text(&Text::Honest)).to_string();
        let headers = [
            ("content-type".to_owned(), "application/json".to_owned()),
            ("content-length".to_owned(), body.len().to_string()),
        ];
        let mut message = self.head(200, &headers);
        message.extend_from_slice(body.get(..body.len() / 2).unwrap_or_default().as_bytes());
        self.writer.write_all(&message).await
    }

    async fn open_stream(&mut self, label: Option<&str>, text: &Text, count: usize) -> io::Result<()> {
        self.pieces = pieces(&self.text(text), count).into();
        let label = label.map(|label| ("content-type".to_owned(), label.to_owned()));
        let headers = [
            ("cache-control".to_owned(), "no-cache".to_owned()),
            self.facts.id_header(),
            ("transfer-encoding".to_owned(), "chunked".to_owned()),
        ];
        let head = self.head(200, label.iter().chain(&headers));
        self.writer.write_all(&head).await?;
        let opening = self.stream.opening();
        self.events(opening).await
    }

    async fn say(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let text = self.pieces.pop_front().unwrap_or_else(|| " ".to_owned());
            let event = self.stream.piece(&text);
            self.events([event]).await?;
        }
        Ok(())
    }

    async fn flood(&mut self, gate: &str, pieces: usize, bytes: usize) -> io::Result<()> {
        let event = chunk(self.stream.piece(&"x".repeat(bytes)).as_bytes());
        for _ in 0..pieces {
            self.gates.pass(gate).await;
            self.writer.write_all(&event).await?;
        }
        Ok(())
    }

    async fn events(&mut self, events: impl IntoIterator<Item = String>) -> io::Result<()> {
        for event in events {
            self.writer.write_all(&chunk(event.as_bytes())).await?;
        }
        Ok(())
    }

    fn head<'a>(&self, status: u16, headers: impl IntoIterator<Item = &'a (String, String)>) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {status} Scripted\r\nx-upstream: {}\r\n", self.facts.upstream);
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}
