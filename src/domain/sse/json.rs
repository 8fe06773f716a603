//! Reads JSON only as far as it matters, and writes it again with its members in order.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members in order, each value as it was written. Values are not read, however deep they are.
#[derive(Clone, Debug, Default)]
pub(super) struct ObjectMembers<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for ObjectMembers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = ObjectMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = ObjectMembers::default();
                while let Some(member) = map.next_entry()? {
                    members.0.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl<'a> ObjectMembers<'a> {
    /// Reads an object.
    pub(super) fn read(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Reads a value that must be an object.
    pub(super) fn of(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// The value of this name, as it was written; if there are several, the last, as most parsers do.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// The value of this name, unless it is null or empty.
    pub(super) fn filled(&self, name: &str) -> Option<&'a RawValue> {
        self.get(name).filter(|value| !is_empty(value))
    }

    /// The text of this name; `None` if it is not a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The objects in the list of this name.
    pub(super) fn objects(&self, name: &str) -> Option<Vec<ObjectMembers<'a>>> {
        elements(self.get(name)?)
    }

    /// Whether any member except these has a value that is not empty.
    pub(super) fn say_something_besides(&self, names: &[&str]) -> bool {
        self.0.iter().any(|(name, value)| !names.contains(&name.as_str()) && !is_empty(value))
    }
}

/// The most elements that a list in an answer may have.
const MAX_ELEMENTS: usize = 10_000;

/// The elements of a list; `None` if there are too many: a parsed element takes far more room than its text.
pub(super) fn elements<'a, T: Deserialize<'a>>(list: &'a RawValue) -> Option<Vec<T>> {
    struct ElementsVisitor<T>(Vec<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for ElementsVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX_ELEMENTS} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
            while let Some(element) = list.next_element()? {
                if self.0.len() == MAX_ELEMENTS {
                    return Err(A::Error::invalid_length(MAX_ELEMENTS + 1, &self));
                }
                self.0.push(element);
            }
            Ok(self.0)
        }
    }
    serde_json::Deserializer::from_str(list.get()).deserialize_seq(ElementsVisitor(Vec::new())).ok()
}

/// Whether a value is null, or a text, list or object with nothing in it.
pub(super) fn is_empty(raw: &RawValue) -> bool {
    let text = raw.get();
    let inner = text.strip_prefix(['[', '{']).and_then(|text| text.strip_suffix([']', '}']));
    matches!(text, "null" | "\"\"") || inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

/// An object under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct ObjectText(String);

impl ObjectText {
    /// Adds a member whose value is already JSON.
    pub(super) fn member(mut self, name: &str, json: &str) -> Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// Adds a member that is text.
    pub(super) fn text(self, name: &str, text: &str) -> Self {
        let json = quoted(text);
        self.member(name, &json)
    }

    /// Adds these members except the ones with these names.
    pub(super) fn all_but(self, members: &ObjectMembers<'_>, names: &[&str]) -> Self {
        let kept = members.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        kept.fold(self, |object, (name, value)| object.member(name, value.get()))
    }

    /// Adds the members of these names whose values are not empty.
    pub(super) fn filled(self, members: &ObjectMembers<'_>, names: &[&str]) -> Self {
        let filled = names.iter().filter_map(|name| Some((name, members.filled(name)?)));
        filled.fold(self, |object, (name, value)| object.member(name, value.get()))
    }

    /// The object's text.
    pub(super) fn finish(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether a member of this name, at any depth, has a value other than null. For nearly all events the answer is no, and
/// they need not be parsed. Within a text a quotation mark is escaped by a backslash, so only a member's name can match.
pub(super) fn has_value(json: &[u8], quoted_name: &[u8]) -> bool {
    has_value_besides(json, quoted_name, b"null")
}

/// Whether a member of this name, at any depth, has a value that does not begin with `usual`.
pub(super) fn has_value_besides(json: &[u8], quoted_name: &[u8], usual: &[u8]) -> bool {
    memchr::memmem::find_iter(json, quoted_name).any(|at| {
        let after = json.get(at + quoted_name.len()..).unwrap_or_default().trim_ascii_start();
        after.strip_prefix(b":").is_some_and(|value| !value.trim_ascii_start().starts_with(usual))
    })
}
