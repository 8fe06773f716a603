//! A value as it was given: with a TOML type in a file, as text in a variable.

use config::{Value, ValueKind};

use super::fault::quoted;
use super::layers::origin_of;
use super::origin::Origin;

/// A value as it was given.
pub(super) enum Given<'value> {
    /// In a file.
    Typed(&'value ValueKind),
    /// In a variable: its key's type decides how the text is read.
    Text(&'value str),
}

impl<'value> Given<'value> {
    pub(super) fn new(value: &'value Value) -> Self {
        match (&value.kind, origin_of(value)) {
            (ValueKind::String(text), Some(Origin::Variable { .. })) => Self::Text(text),
            (kind, _) => Self::Typed(kind),
        }
    }

    pub(super) fn text(&self) -> Option<&'value str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Typed(ValueKind::String(text)) => Some(text),
            Self::Typed(_) => None,
        }
    }

    /// An integer; from a text only in its usual spelling, so that `0123` is not taken for 123.
    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Self::Typed(ValueKind::I128(number)) => Some(*number),
            Self::Typed(ValueKind::I64(number)) => Some(i128::from(*number)),
            Self::Typed(ValueKind::U64(number)) => Some(i128::from(*number)),
            Self::Typed(_) => None,
            Self::Text(text) => {
                let number: i128 = text.parse().ok()?;
                (number.to_string() == *text).then_some(number)
            }
        }
    }

    /// A number; a whole one needs no decimal point.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Typed(ValueKind::Float(number)) => Some(*number),
            Self::Typed(_) => self.integer().and_then(|whole| i32::try_from(whole).ok()).map(f64::from),
            Self::Text(text) if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => text.parse().ok(),
            Self::Text(_) => None,
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self {
            Self::Typed(ValueKind::Boolean(flag)) => Some(*flag),
            Self::Typed(_) => None,
            Self::Text(text) => text.parse().ok(),
        }
    }

    pub(super) fn texts(&self) -> Option<Vec<String>> {
        match self {
            Self::Typed(ValueKind::Array(items)) => {
                items.iter().map(|item| Self::Typed(&item.kind).text().map(ToOwned::to_owned)).collect()
            }
            Self::Typed(_) => None,
            Self::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Self::Text(text) if is_in_brackets(text) => None,
            Self::Text(text) => Some(text.split(',').map(|item| item.trim().to_owned()).collect()),
        }
    }

    /// How a list has to be written, for a fault, if a variable writes it as files do.
    pub(super) fn form_of_list(&self) -> &'static str {
        match self {
            Self::Text(text) if is_in_brackets(text) => {
                ", in a variable separated by commas, without brackets and quotes"
            }
            Self::Text(_) | Self::Typed(_) => "",
        }
    }

    /// The value as a fault shows it.
    pub(super) fn shown(&self) -> String {
        if self.text().is_some_and(|text| text.contains('@') && text.contains("://")) {
            return "a URL with an '@', not shown".to_owned();
        }
        match self {
            Self::Text(text) => quoted(text),
            Self::Typed(kind) => match kind {
                ValueKind::Nil => "nothing".to_owned(),
                ValueKind::Boolean(flag) => flag.to_string(),
                ValueKind::I64(number) => number.to_string(),
                ValueKind::I128(number) => number.to_string(),
                ValueKind::U64(number) => number.to_string(),
                ValueKind::U128(number) => number.to_string(),
                ValueKind::Float(number) => format!("{number:?}"),
                ValueKind::String(text) => format!("the text {}", quoted(text)),
                ValueKind::Table(_) => "a table".to_owned(),
                ValueKind::Array(_) => "a list".to_owned(),
            },
        }
    }

    /// The kind of value, for when the value itself must not be shown.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Typed(ValueKind::String(_)) => "a text, not shown",
            Self::Typed(kind) => match kind {
                ValueKind::Nil => "nothing",
                ValueKind::Boolean(_) => "true or false",
                ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
                    "an integer, not shown"
                }
                ValueKind::Float(_) => "a number, not shown",
                ValueKind::String(_) => "a text, not shown",
                ValueKind::Table(_) => "a table",
                ValueKind::Array(_) => "a list",
            },
        }
    }
}

/// Whether a variable's text is a list as a file writes it, with its quotes or without them, as a shell removes them.
/// Such a text is hardly meant as a glob: it would be a set of single characters.
fn is_in_brackets(text: &str) -> bool {
    let inner = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.trim_start().starts_with(['"', '\'']) || !inner.contains(['[', ']']))
}
