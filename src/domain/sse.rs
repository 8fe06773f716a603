//! Watches an event stream go by: has it come to its end?
//!
//! Incremental: any split of the bytes gives the same result, nothing is copied but a line that is torn between two
//! pieces, and no more than one line is held.

use serde::Deserialize;

/// The longest line that is looked into, in bytes. No closing event is as long.
const LONGEST_LINE: usize = 64 << 10;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// There is more to come.
    #[default]
    Under,
    /// The answer is complete, but for the closing event: a stop reason was named.
    Complete,
    /// The protocol's closing event has come.
    Closed,
}

/// Looks at the lines of an event stream (WHATWG HTML, section 9.2) of either protocol.
#[derive(Clone, Debug, Default)]
pub struct StreamWatch {
    progress: Progress,
    /// The beginning of a line whose end has not come yet.
    torn: Vec<u8>,
    /// The line that is under way is longer than any of interest.
    skipping: bool,
}

impl StreamWatch {
    /// Takes the next bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, after) = rest.split_at(end);
            self.end_line(line);
            rest = after.get(1..).unwrap_or_default();
        }
        self.hold(rest);
    }

    /// How far the stream has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    fn end_line(&mut self, last_part: &[u8]) {
        if std::mem::take(&mut self.skipping) {
            self.torn.clear();
            return;
        }
        if self.torn.is_empty() {
            self.look_at(last_part);
        } else {
            let mut line = std::mem::take(&mut self.torn);
            line.extend_from_slice(last_part);
            self.look_at(&line);
            // The room is kept for the next torn line.
            line.clear();
            self.torn = line;
        }
    }

    fn hold(&mut self, part: &[u8]) {
        if self.torn.len() + part.len() > LONGEST_LINE {
            self.skipping = true;
            self.torn.clear();
        }
        if !self.skipping {
            self.torn.extend_from_slice(part);
        }
    }

    fn look_at(&mut self, line: &[u8]) {
        let reached = if let Some(name) = field(line, b"event") {
            match name {
                b"message_stop" | b"response.completed" | b"response.failed" | b"response.incomplete" => {
                    Progress::Closed
                }
                _ => return,
            }
        } else if let Some(data) = field(line, b"data") {
            if data == b"[DONE]" {
                Progress::Closed
            } else if names_a_stop(data) {
                Progress::Complete
            } else {
                return;
            }
        } else {
            return;
        };
        self.progress = self.progress.max(reached);
    }
}

/// The value of a field's line, without the one blank that may follow the colon.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// What of an event's data tells that an answer is complete.
#[derive(Deserialize)]
struct Stop {
    delta: Option<Delta>,
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Delta {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    finish_reason: Option<String>,
}

/// Whether data names why the answer ended: a `stop_reason` in a `message_delta`, or a choice's `finish_reason`.
fn names_a_stop(data: &[u8]) -> bool {
    // Nearly all events hold neither word, and are not parsed.
    if !contains(data, b"stop_reason") && !contains(data, b"finish_reason") {
        return false;
    }
    let Ok(stop) = serde_json::from_slice::<Stop>(data) else { return false };
    let by_delta = stop.delta.is_some_and(|delta| delta.stop_reason.is_some());
    by_delta || stop.choices.iter().any(|choice| choice.finish_reason.is_some())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn watched(stream: &str) -> Progress {
        let mut watch = StreamWatch::default();
        watch.push(stream.as_bytes());
        watch.progress()
    }

    #[test]
    fn a_stream_is_closed_by_its_protocols_event_alone() {
        use Progress::{Closed, Complete, Under};
        for (stream, progress) in [
            ("", Under),
            ("event: message_start\ndata: {\"type\":\"message_start\"}\n\n", Under),
            ("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", Closed),
            ("event:message_stop\r\ndata: {}\r\n\r\n", Closed),
            ("event: message_stop\rdata: {}\r\r", Closed),
            ("event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n", Complete),
            ("data: {\"delta\":{\"stop_reason\":null}}\n\n", Under),
            ("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", Complete),
            ("data: {\"choices\":[{\"delta\":{},\"finish_reason\":null}]}\n\n", Under),
            ("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", Closed),
            ("event: response.completed\ndata: {}\n\n", Closed),
            ("event: response.created\ndata: {}\n\n", Under),
            (": event: message_stop\n\n", Under),
            ("data: event: message_stop\n\n", Under),
            ("data: {\"delta\":{\"text\":\"{\\\"stop_reason\\\":\\\"x\\\"}\"}}\n\n", Under),
            ("event: message_stop", Under),
        ] {
            assert_eq!(watched(stream), progress, "{stream}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let mut watch = StreamWatch::default();
        for _ in 0..100 {
            watch.push(&[b'x'; 10_000]);
            assert!(watch.torn.len() <= LONGEST_LINE);
        }
        watch.push(b"\nevent: message_stop\n\n");
        assert_eq!(watch.progress(), Progress::Closed);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_result(cuts in prop::collection::vec(0_usize..200, 0..20), crlf in any::<bool>()) {
            let stream = "event: a\ndata: {\"t\":\"ä\"}\n\n: ping\n\ndata: {\"delta\":{\"stop_reason\":\"x\"}}\n\nevent: message_stop\ndata: {}\n\n";
            let stream = if crlf { stream.replace('\n', "\r\n") } else { stream.to_owned() };
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut watch = StreamWatch::default();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                watch.push(&bytes[from..cut]);
                from = cut;
            }
            prop_assert_eq!(watch.progress(), Progress::Closed);
        }
    }
}
