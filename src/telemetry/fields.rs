//! The fields of a log record: behind its message for people, beside it in JSON.

use std::fmt::{self, Write as _};

use log::Record;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use serde_json::{Map, Number};

/// The longest text in a field, in characters.
const LONGEST_TEXT: usize = 200;

/// The fields of a record, in their order. A text is cut, for a client may have made it up.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, serde_json::Value)>);

impl Fields {
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut fields = Self::default();
        // It fails only where a visitor does, and this one never does.
        let _ = record.key_values().visit(&mut fields);
        fields
    }

    /// The message with the fields behind it: `request id=r1 client=-`.
    pub(super) fn behind(&self, message: &fmt::Arguments<'_>) -> String {
        let mut text = message.to_string();
        for (key, value) in &self.0 {
            // Writing to a String can't fail.
            let _ = write!(text, " {key}={}", Shown(value));
        }
        text
    }

    /// The fields as the beginning of an object.
    pub(super) fn into_object(self) -> Map<String, serde_json::Value> {
        self.0.into_iter().collect()
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut read = Read(serde_json::Value::Null);
        value.visit(&mut read)?;
        self.0.push((key.to_string(), read.0));
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
        let end = value.char_indices().nth(LONGEST_TEXT).map_or(value.len(), |(end, _)| end);
        self.0 = value.get(..end).unwrap_or_default().into();
        Ok(())
    }
}

/// A field's value for people: `-` where there is none, and quoted where a text could be taken for more than one field.
struct Shown<'a>(&'a serde_json::Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            serde_json::Value::Null => f.write_str("-"),
            serde_json::Value::String(text) if is_plain(text) => f.write_str(text),
            serde_json::Value::String(text) => write!(f, "{text:?}"),
            other => write!(f, "{other}"),
        }
    }
}

/// Whether a text is one word that can't be taken for anything else. One that was cut is quoted, so that it can be told.
fn is_plain(text: &str) -> bool {
    (1..LONGEST_TEXT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

#[cfg(test)]
mod tests {
    use log::kv::ToValue;

    use super::*;

    fn fields(pairs: &[(&str, Value<'_>)]) -> Fields {
        let mut fields = Fields::default();
        for (key, value) in pairs {
            fields.visit_pair(Key::from(*key), value.clone()).unwrap();
        }
        fields
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
            let fields = fields(&[("model", value.to_value())]);
            assert_eq!(fields.behind(&format_args!("request")), format!("request model={shown}"));
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = "ä".repeat(5000);
        let fields = fields(&[("model", long.as_str().to_value())]);
        assert_eq!(fields.behind(&format_args!("m")).chars().count(), "m model=".len() + LONGEST_TEXT + 2);
        assert_eq!(fields.into_object()["model"].as_str().unwrap().chars().count(), LONGEST_TEXT);
    }

    #[test]
    fn numbers_stay_numbers_and_the_rest_becomes_text() {
        let fields = fields(&[
            ("ms", 43_u128.to_value()),
            ("status", 200_u16.to_value()),
            ("score", (-1_i64).to_value()),
            ("kept", true.to_value()),
            ("ttft_ms", None::<u64>.to_value()),
            ("at", Value::from_display(&format_args!("{}@{}", "main", 4))),
        ]);
        assert_eq!(fields.behind(&format_args!("m")), "m ms=43 status=200 score=-1 kept=true ttft_ms=- at=main@4");
        let object = serde_json::Value::Object(fields.into_object());
        let expected = serde_json::json!({
            "ms": 43, "status": 200, "score": -1, "kept": true, "ttft_ms": null, "at": "main@4",
        });
        assert_eq!(object, expected);
    }
}
