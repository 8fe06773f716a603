//! What an answer is, by its first bytes: some servers label a stream as something else, or not at all, and some label JSON
//! as a stream.

use crate::domain::members::BYTE_ORDER_MARK;

/// The most bytes that may precede the first telling one. Some servers send blank lines while they have nothing to say.
const LOOKED_INTO_AT_MOST: usize = 1 << 10;

/// How the lines of an event stream begin: its fields, and comments (HTML, 9.2.5).
const LINE_STARTS: [&[u8]; 5] = [b"event:", b"data:", b"id:", b"retry:", b":"];

/// What an answer begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// As an event stream.
    Events,
    /// As a JSON object.
    Object,
    /// As neither, or that can't be told before the answer or the part looked at is over.
    Other,
}

impl Beginning {
    /// Classifies an answer by its first bytes. `None` if more are needed.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii_start();
        let begins_with = |start: &&[u8]| text.starts_with(start);
        let may_begin_with = |start: &&[u8]| start.starts_with(text);
        if text.first() == Some(&b'{') {
            Some(Self::Object)
        } else if LINE_STARTS.iter().any(begins_with) {
            Some(Self::Events)
        } else if bytes.len() < LOOKED_INTO_AT_MOST
            && (LINE_STARTS.iter().any(may_begin_with) || BYTE_ORDER_MARK.starts_with(bytes))
        {
            None
        } else {
            Some(Self::Other)
        }
    }

    /// Whether the answer is to be read as an event stream. If its beginning does not tell, `by_label` decides: what its
    /// content type says.
    #[must_use]
    pub const fn is_event_stream(self, by_label: bool) -> bool {
        match self {
            Self::Events => true,
            Self::Object => false,
            Self::Other => by_label,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stream_begins_with_a_field_or_a_comment() {
        for stream in
            ["data: {}\n\n", "event: ping\n", "id:1\n", "retry: 3\n", ": hello\n", "\r\n\ndata:", "\u{feff}data: x"]
        {
            assert_eq!(Beginning::of(stream.as_bytes()), Some(Beginning::Events), "{stream}");
        }
    }

    #[test]
    fn an_object_begins_with_its_brace() {
        for object in ["{", "{\"data: \":1}", " \r\n\t{}", "\u{feff}{"] {
            assert_eq!(Beginning::of(object.as_bytes()), Some(Beginning::Object), "{object}");
        }
    }

    #[test]
    fn what_begins_otherwise_is_neither() {
        for other in ["<html>", "[1]", "database", "events:", "Data: x", "null", "\u{fffd}", "\u{fefe}"] {
            assert_eq!(Beginning::of(other.as_bytes()), Some(Beginning::Other), "{other}");
        }
    }

    #[test]
    fn it_is_the_same_wherever_it_is_cut() {
        for whole in ["\u{feff}\n event: a\n\n", "\n\nretry: 1\n\n", " \n{}", "\u{feff}{}", "eventful", "\u{fefe}"] {
            let told = (0..=whole.len()).find_map(|cut| Beginning::of(&whole.as_bytes()[..cut]));
            assert_eq!(told, Beginning::of(whole.as_bytes()), "{whole:?}");
            assert!(told.is_some());
        }
    }

    #[test]
    fn blank_lines_are_waited_through_only_for_so_long() {
        let blank = [b'\n'; LOOKED_INTO_AT_MOST];
        assert_eq!(Beginning::of(&blank[1..]), None);
        assert_eq!(Beginning::of(&blank), Some(Beginning::Other));
    }
}
