//! One event of an event stream: its lines, name and data (WHATWG HTML, section 9.2.6).

use std::borrow::Cow;

use crate::domain::members::BYTE_ORDER_MARK;

/// The fields of an event that matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// The last `event` field. `None` if it is empty or `message`, which is what an event without a name is called.
    pub(super) name: Option<&'a [u8]>,
    /// All `data` fields, joined by line ends. `None` if there is none, as in a comment.
    pub(super) data: Option<Cow<'a, [u8]>>,
    /// The `error` field, which is not in the standard: llama.cpp's server writes an error object there.
    pub(super) error: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    /// Reads an event's bytes, with or without the blank line that ends it.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut event = Self::default();
        for line in lines(bytes) {
            if let Some(value) = field(line, b"event") {
                event.name = Some(value).filter(|name| !matches!(*name, b"" | b"message"));
            } else if let Some(value) = field(line, b"error") {
                event.error = Some(value).filter(|value| value.starts_with(b"{"));
            } else if let Some(value) = field(line, b"data") {
                event.data = Some(match event.data.take() {
                    None => Cow::Borrowed(value),
                    Some(before) => {
                        let mut joined = before.into_owned();
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                        Cow::Owned(joined)
                    }
                });
            }
        }
        event
    }

    /// The last data line of an event of which only these last bytes remain, so that their first line may be the rest of
    /// one.
    pub(super) fn last_data(end: &'a [u8]) -> &'a [u8] {
        let first = lines(end).next().unwrap_or_default();
        lines(end).filter_map(|line| field(line, b"data")).last().unwrap_or(first)
    }

    /// The data; empty if there is none.
    pub(super) fn text(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }
}

/// The non-empty lines of an event; the last may be incomplete.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    let next = move || {
        let (line, after) = rest.split_at(memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()));
        let is_over = rest.is_empty();
        rest = after.get(1..).unwrap_or_default();
        (!is_over).then_some(line)
    };
    std::iter::from_fn(next).filter(|line| !line.is_empty())
}

/// The value of a field's line, without the one space that may follow the colon. A stream may begin with a byte order mark.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    let value = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}
