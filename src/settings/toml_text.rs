//! Parses the text of one TOML file into values that know their line.

use config::{Map, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::origin::Origin;

/// Why a text is not TOML. It repeats nothing of the text, which may hold secrets.
pub(super) struct SyntaxError {
    /// Counted from 1; `None` if the parser names no place.
    pub(super) line: Option<usize>,
    /// What the parser says.
    pub(super) message: String,
}

/// Reads the text of the layer with the number `layer`.
pub(super) fn parse(text: &str, layer: usize) -> Result<Map<String, Value>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::of(text, layer);
    match DeTable::parse(text) {
        Ok(table) => Ok(lines.table(table.get_ref())),
        Err(error) => Err(SyntaxError {
            line: error.span().map(|span| lines.line_at(span.start)),
            message: error.message().to_owned(),
        }),
    }
}

struct Lines {
    /// Where each line ends. Every value looks its line up, so a large file must not be scanned for each.
    ends: Vec<usize>,
    layer: usize,
}

impl Lines {
    fn of(text: &str, layer: usize) -> Self {
        Self { ends: memchr::memchr_iter(b'\n', text.as_bytes()).collect(), layer }
    }

    fn line_at(&self, offset: usize) -> usize {
        self.ends.partition_point(|end| *end < offset) + 1
    }

    fn table(&self, table: &DeTable<'_>) -> Map<String, Value> {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            (key.to_string(), self.value(value))
        };
        table.iter().map(entry).collect()
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        let kind = match value.get_ref() {
            DeValue::String(text) => ValueKind::String(text.to_string()),
            DeValue::Integer(number) => integer(number.as_str(), number.radix()),
            DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
            // Times are texts elsewhere in the settings, so a bare one is taken for its text.
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Array(items) => ValueKind::Array(items.iter().map(|item| self.value(item)).collect()),
            DeValue::Table(table) => ValueKind::Table(self.table(table)),
        };
        let origin = Origin::Line { layer: self.layer, line: self.line_at(value.span().start) };
        Value::new(Some(&origin.encode()), kind)
    }
}

/// A number too large for any key is still a number, so that its own key's check names it.
fn integer(digits: &str, radix: u32) -> ValueKind {
    i128::from_str_radix(digits, radix).map_or(ValueKind::Float(f64::INFINITY), ValueKind::I128)
}
