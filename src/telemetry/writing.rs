//! Log entries, and how they are written.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use log::Level;
use serde_json::{Map, Value};

use super::ring::shown;

/// A log entry on its way to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: SystemTime,
    pub(super) level: Level,
    pub(super) target: Cow<'static, str>,
    /// The message, followed by its fields.
    pub(super) message: String,
    /// The fields and the bare message, if the log's format is JSON.
    pub(super) object: Option<Map<String, Value>>,
}

/// The time of day at the beginning of a line. All of it but the milliseconds is the same for a second.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: u64,
    /// The text up to that second; empty before the first.
    text: String,
}

impl Stamp {
    fn write(&mut self, at: SystemTime, text: &mut Vec<u8>) -> io::Result<()> {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.text.is_empty() || self.second != since.as_secs() {
            self.second = since.as_secs();
            self.text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
            self.text.truncate(self.text.trim_end_matches('Z').len());
        }
        text.extend_from_slice(self.text.as_bytes());
        write!(text, ".{:03}Z", since.subsec_millis())
    }
}

/// Writes an entry as a line: for people, or as an object in which each field is a member.
pub(super) fn written(entry: &Entry, stamp: &mut Stamp, text: &mut Vec<u8>) {
    let Entry { at, level, target, message, object } = entry;
    // Writing to a vector can't fail.
    let _ = match object {
        None => stamp.write(*at, text).and_then(|()| write!(text, " {level:<5} ")).map(|()| {
            text.extend_from_slice(message.as_bytes());
            text.push(b'\n');
        }),
        Some(object) => {
            let mut object = object.clone();
            // Last, so that no field can take their place.
            for (name, value) in [("at", &*shown(*at).to_string()), ("level", level.as_str()), ("target", target)] {
                object.insert(name.to_owned(), value.into());
            }
            writeln!(text, "{}", Value::Object(object))
        }
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lines_time_is_its_own_though_most_of_it_is_written_once_a_second() {
        let mut stamp = Stamp::default();
        for milliseconds in [0, 7, 999, 1000, 1_764_384_339_042, 1_764_384_339_999, 1_764_384_340_000, 59_999] {
            let at = UNIX_EPOCH + Duration::from_millis(milliseconds);
            let mut text = Vec::new();
            stamp.write(at, &mut text).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), shown(at).to_string());
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_no_reason_to_panic() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        let mut text = Vec::new();
        Stamp::default().write(before, &mut text).unwrap();
        let expected = "1970-01-01T00:00:00.000Z";
        assert_eq!((str::from_utf8(&text).unwrap(), &*shown(before).to_string()), (expected, expected));
    }

    #[test]
    fn in_json_each_field_is_one_and_takes_no_others_place() {
        let mut object = Map::new();
        for (name, value) in [("id", "r1"), ("level", "ERROR"), ("message", "request")] {
            object.insert(name.to_owned(), value.into());
        }
        let (target, message) = ("gateway".into(), "request id=r1".to_owned());
        let entry = Entry { at: UNIX_EPOCH, level: Level::Info, target, message, object: Some(object) };
        let mut text = Vec::new();
        written(&entry, &mut Stamp::default(), &mut text);
        let object: Value = serde_json::from_slice(&text).unwrap();
        let expected = serde_json::json!({ "at": "1970-01-01T00:00:00.000Z", "level": "INFO", "target": "gateway", "message": "request", "id": "r1" });
        assert_eq!(object, expected);
    }
}
