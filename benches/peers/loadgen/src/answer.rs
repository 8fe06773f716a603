//! What comes back, checked as it comes.

use std::time::Instant;

use dialogue::api::Script;
use dialogue::stamp::{STAMP_DIGITS, STAMP_MARK, now_micros};
use memchr::memmem;

/// Takes an answer's body piece by piece, without its framing.
pub trait Reader {
    /// `arrived`: when the read that brought it returned.
    fn piece(&mut self, data: &[u8], arrived: Instant);
    /// What is wrong with it, now that it has ended as its framing says.
    fn fault(&self) -> Option<String>;
}

/// A JSON message.
pub struct WholeReader {
    script: &'static Script,
    body: Vec<u8>,
    is_lenient: bool,
}

impl WholeReader {
    pub fn new(script: &'static Script, is_lenient: bool) -> Self {
        Self { script, body: Vec::with_capacity(script.answer.len()), is_lenient }
    }
}

impl Reader for WholeReader {
    fn piece(&mut self, data: &[u8], _: Instant) {
        self.body.extend_from_slice(data);
    }

    fn fault(&self) -> Option<String> {
        let is_right = if self.is_lenient {
            let body = self.body.trim_ascii();
            body.starts_with(b"{") && body.ends_with(b"}") && memmem::find(body, b"\"usage\"").is_some()
        } else {
            self.body == self.script.answer.as_bytes()
        };
        (!is_right).then(|| format!("not the upstream's answer, {} bytes", self.body.len()))
    }
}

/// A stream of events.
pub struct StreamReader<'a> {
    script: &'static Script,
    deltas: usize,
    is_lenient: bool,
    length: usize,
    events: usize,
    /// The last bytes, by which an event is known that ends in another piece than it began in, and the last one by its words.
    tail: Vec<u8>,
    /// Told when how many events have come, and how old a stamp is that came with them.
    heard: &'a mut dyn FnMut(Instant, usize, Option<u64>),
}

impl<'a> StreamReader<'a> {
    pub fn new(
        script: &'static Script,
        deltas: usize,
        is_lenient: bool,
        heard: &'a mut dyn FnMut(Instant, usize, Option<u64>),
    ) -> Self {
        let tail = Vec::with_capacity(2 * script.last().len());
        Self { script, deltas, is_lenient, length: 0, events: 0, tail, heard }
    }
}

impl Reader for StreamReader<'_> {
    fn piece(&mut self, data: &[u8], arrived: Instant) {
        let is_straddling = self.tail.ends_with(b"\n") && !self.tail.ends_with(b"\n\n") && data.starts_with(b"\n");
        let events = memmem::find_iter(data, b"\n\n").count() + usize::from(is_straddling);
        self.length += data.len();
        self.events += events;
        let kept = self.script.last().len();
        self.tail.extend_from_slice(&data[data.len().saturating_sub(kept)..]);
        self.tail.drain(..self.tail.len().saturating_sub(kept));
        if events > 0 {
            (self.heard)(arrived, events, stamp_age(data));
        }
    }

    fn fault(&self) -> Option<String> {
        // Written anew, the closing event may have other blanks, but none of another kind ends so.
        let mark: &[u8] = if self.script.last().contains("[DONE]") { b"[DONE]" } else { b"\"message_stop\"" };
        let closed = memmem::find(&self.tail, mark).is_some() && self.tail.ends_with(b"\n\n");
        let (events, length) = (self.script.event_count(self.deltas), self.script.stream_length(self.deltas));
        let is_right = closed && (self.is_lenient || (self.events, self.length) == (events, length));
        (!is_right)
            .then(|| format!("{} events of {events}, {} bytes of {length}, closed: {closed}", self.events, self.length))
    }
}

/// How long ago the last piece of content with a stamp was sent, in microseconds.
fn stamp_age(data: &[u8]) -> Option<u64> {
    let at = memmem::rfind(data, STAMP_MARK.as_bytes())? + STAMP_MARK.len();
    let digits = std::str::from_utf8(data.get(at..at + STAMP_DIGITS)?).ok()?;
    Some(now_micros().saturating_sub(digits.parse().ok()?))
}
