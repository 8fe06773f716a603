//! The fields of a log record: after its message for people, next to it in JSON.

use std::fmt::Write as _;

use log::Record;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use serde_json::{Map, Number};

/// The longest text in a field, in characters.
const LONGEST_TEXT: usize = 200;

/// A request's status: a number or, if there is none, a word for people. In JSON it is null then, because programs want
/// one type per field.
const STATUS: &str = "status";

/// How a request ended, in the words of `qcc_requests_total`: only in JSON. People see it by the status and the trail.
const OUTCOME: &str = "outcome";

/// A record's message followed by its fields: `request id=r1 client=-`.
pub(super) fn message(record: &Record<'_>) -> String {
    let mut text = String::with_capacity(USUAL_LENGTH);
    // Writing to a String can't fail, and so visiting can't.
    let _ = match record.args().as_str() {
        Some(plain) => text.write_str(plain),
        None => text.write_fmt(*record.args()),
    };
    let _ = record.key_values().visit(&mut Behind(&mut text));
    text
}

/// A record's fields and its message, as an object.
pub(super) fn object(record: &Record<'_>) -> Map<String, serde_json::Value> {
    let mut fields = Fields(Map::new());
    let _ = record.key_values().visit(&mut fields);
    let Fields(mut object) = fields;
    // Last, so that no field can take its place.
    object.insert("message".to_owned(), record.args().to_string().into());
    object
}

/// The usual length of a request's line, in bytes.
const USUAL_LENGTH: usize = 320;

/// Writes fields after a message.
struct Behind<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Behind<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if key.as_str() == OUTCOME {
            return Ok(());
        }
        for part in [" ", key.as_str(), "="] {
            self.0.push_str(part);
        }
        value.visit(&mut Shown(self.0))
    }
}

/// Writes a value for people: `-` if there is none, and quoted if a text could be taken for more than one field. A text
/// is cut, as a client may have made it up.
struct Shown<'a>(&'a mut String);

impl VisitValue<'_> for Shown<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.visit_str(&value.to_string())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        self.0.push('-');
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        Ok(write!(self.0, "{value}")?)
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0.push_str(itoa::Buffer::new().format(value));
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        Ok(write!(self.0, "{value}")?)
    }

    fn visit_u128(&mut self, value: u128) -> Result<(), Error> {
        Ok(write!(self.0, "{value}")?)
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        Ok(write!(self.0, "{value}")?)
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        if is_plain(value) {
            self.0.push_str(value);
            return Ok(());
        }
        Ok(write!(self.0, "{:?}", cut(value))?)
    }
}

/// The beginning of a text.
fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(LONGEST_TEXT).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default()
}

/// Whether a text is one word that can't be taken for anything else. A text that was cut is quoted, so that this can be
/// seen.
fn is_plain(text: &str) -> bool {
    (1..LONGEST_TEXT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

/// Fields as they are in JSON.
struct Fields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut read = Read(serde_json::Value::Null);
        value.visit(&mut read)?;
        let is_word = key.as_str() == STATUS && read.0.is_string();
        self.0.insert(key.to_string(), if is_word { serde_json::Value::Null } else { read.0 });
        Ok(())
    }
}

/// A value on its way to JSON.
struct Read(serde_json::Value);

impl VisitValue<'_> for Read {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.visit_str(&value.to_string())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        self.0 = serde_json::Value::Null;
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_u128(&mut self, value: u128) -> Result<(), Error> {
        self.0 = Number::from_u128(value).map_or_else(|| value.to_string().into(), serde_json::Value::Number);
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        self.0 = cut(value).into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::kv::ToValue;

    use super::*;

    fn recorded<T>(pairs: &[(&str, Value<'_>)], read: impl FnOnce(&Record<'_>) -> T) -> T {
        read(&Record::builder().args(format_args!("m")).key_values(&pairs).build())
    }

    #[test]
    fn a_field_can_not_be_taken_for_two() {
        for (value, shown) in [
            (None, "-"),
            (Some("claude-opus-4-5"), "claude-opus-4-5"),
            (Some("-"), "-"),
            (Some(""), r#""""#),
            (Some("x status=500"), r#""x status=500""#),
            (Some("a\nb"), r#""a\nb""#),
            (Some("a\"b"), r#""a\"b""#),
            (Some("ä"), r#""ä""#),
        ] {
            assert_eq!(recorded(&[("model", value.to_value())], message), format!("m model={shown}"));
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = "ä".repeat(5000);
        let fields = [("model", long.as_str().to_value())];
        assert_eq!(recorded(&fields, message).chars().count(), "m model=".len() + LONGEST_TEXT + 2);
        assert_eq!(recorded(&fields, object)["model"].as_str().unwrap().chars().count(), LONGEST_TEXT);
    }

    /// Found by an operator: an index with a number for the status refused the lines of requests whose clients had left.
    #[test]
    fn a_status_is_a_number_or_null_in_json_and_the_end_is_a_field_there_alone() {
        let fields =
            [("status", "cancelled".to_value()), ("outcome", "cancelled".to_value()), ("ms", 3_u64.to_value())];
        assert_eq!(recorded(&fields, message), "m status=cancelled ms=3");
        let expected = serde_json::json!({ "status": null, "outcome": "cancelled", "ms": 3, "message": "m" });
        assert_eq!(serde_json::Value::Object(recorded(&fields, object)), expected);
    }

    #[test]
    fn numbers_stay_numbers_and_the_rest_becomes_text() {
        let at = format_args!("{}@{}", "main", 4);
        let fields = [
            ("ms", 43_u128.to_value()),
            ("status", 200_u16.to_value()),
            ("score", (-1_i64).to_value()),
            ("kept", true.to_value()),
            ("ttft_ms", None::<u64>.to_value()),
            ("at", Value::from_display(&at)),
        ];
        assert_eq!(recorded(&fields, message), "m ms=43 status=200 score=-1 kept=true ttft_ms=- at=main@4");
        let expected = serde_json::json!({
            "ms": 43, "status": 200, "score": -1, "kept": true, "ttft_ms": null, "at": "main@4", "message": "m",
        });
        assert_eq!(serde_json::Value::Object(recorded(&fields, object)), expected);
    }
}
