//! A guess at how many tokens a request has, for when no endpoint can count them.
//!
//! Accurate to about a quarter for prose and code in any script; for images and documents only to the order of magnitude.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The weight of a token. Weights are hundredths of a token, so that a character can be less than one.
const TOKEN: u64 = 100;
/// An ASCII character: four are a token.
const ASCII: u64 = TOKEN / 4;
/// A space that follows a space: tokenizers join the indentation of code.
const FURTHER_BLANK: u64 = TOKEN / 16;
/// A letter with an accent, or of Greek, Cyrillic, Hebrew or Arabic.
const ALPHABET: u64 = TOKEN * 6 / 10;
/// A character of most other scripts, many of which are words.
const IDEOGRAM: u64 = TOKEN * 12 / 10;
/// A character outside Unicode's first plane: emoji and rare signs.
const RARE: u64 = TOKEN * 5 / 2;
/// What every request has before its first word.
const REQUEST: u64 = 3 * TOKEN;
/// What separates a turn from the next.
const TURN: u64 = 4 * TOKEN;
/// What providers add if there are tools.
const TOOLS: u64 = 346 * TOKEN;
/// An image, whatever its size: providers shrink the large ones.
const IMAGE: u64 = 1_600 * TOKEN;
/// How many characters of a document in Base64 count as one token: a page of some 30 KB is text and image together.
const DOCUMENT_CHARACTERS: u64 = 16;

/// Guesses the number of input tokens of a request to `/v1/messages`. Any other body is taken for plain text. Nesting is followed
/// without recursion.
#[must_use]
pub fn estimate_tokens(body: &[u8]) -> u64 {
    let Ok(parts) = serde_json::from_slice::<Parts<'_>>(body) else {
        return tokens(REQUEST + text_weight(body));
    };
    let system: u64 = parts.system.iter().map(|part| conversation_weight(part.get().as_bytes())).sum();
    let messages: u64 = parts.messages.iter().map(|part| conversation_weight(part.get().as_bytes())).sum();
    let tools: u64 = parts.tools.iter().map(|part| tools_weight(part.get())).sum();
    tokens(REQUEST + system + messages + tools)
}

const fn tokens(weight: u64) -> u64 {
    weight.div_ceil(TOKEN)
}

/// The weight of the tools. A model sees them as they are written, names and types included.
fn tools_weight(written: &str) -> u64 {
    let is_empty = written.bytes().all(|b| b.is_ascii_whitespace() || matches!(b, b'[' | b']'));
    if is_empty || written == "null" { 0 } else { TOOLS + text_weight(written.as_bytes()) }
}

/// The weight of a text, or of the inside of a JSON string.
fn text_weight(text: &[u8]) -> u64 {
    let mut weight = 0;
    let mut rest = text;
    let mut after_blank = false;
    while let Some((&first, after)) = rest.split_first() {
        let (length, own) = match (first, after.first()) {
            (b' ', _) if after_blank => (1, FURTHER_BLANK),
            (b'\\', Some(b'u')) => (6, escaped_weight(after.get(1..5).unwrap_or_default())),
            (b'\\', Some(_)) => (2, ASCII),
            (0..=0x7F, _) => (1, ASCII),
            (0x80..=0xDF, _) => (2, ALPHABET),
            (0xE0..=0xEF, _) => (3, IDEOGRAM),
            (0xF0..=0xFF, _) => (4, RARE),
        };
        after_blank = first == b' ';
        weight += own;
        rest = rest.get(length..).unwrap_or_default();
    }
    weight
}

/// The weight of a character that is escaped as its number. The two halves of a surrogate pair are one rare character.
fn escaped_weight(digits: &[u8]) -> u64 {
    let number = str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match number {
        Some(0..=0x7F) => ASCII,
        Some(0x80..=0x7FF) => ALPHABET,
        Some(0xD800..=0xDFFF) => RARE / 2,
        Some(_) | None => IDEOGRAM,
    }
}

/// The parts of a request that a model reads. If several have the same name, all are counted.
#[derive(Default)]
struct Parts<'a> {
    system: Vec<&'a RawValue>,
    messages: Vec<&'a RawValue>,
    tools: Vec<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopLevel;
        impl<'de> Visitor<'de> for TopLevel {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut parts = Parts::default();
                while let Some(name) = map.next_key::<String>()? {
                    let list = match name.as_str() {
                        "system" => &mut parts.system,
                        "messages" => &mut parts.messages,
                        "tools" => &mut parts.tools,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    list.push(map.next_value()?);
                }
                Ok(parts)
            }
        }
        deserializer.deserialize_map(TopLevel)
    }
}

/// What a member's value is to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Text, or something that contains text.
    Text,
    /// The name of a turn's speaker. Each stands for one turn.
    Speaker,
    /// The input of a tool, which a model sees as it is written.
    Written,
    /// An image or a document.
    Source,
    /// Nothing that a model sees: ids, types, signatures, marks for caches.
    Unseen,
}

fn role_of(name: &[u8]) -> Role {
    match name {
        b"role" => Role::Speaker,
        b"input" => Role::Written,
        b"source" => Role::Source,
        b"type" | b"id" | b"tool_use_id" | b"signature" | b"cache_control" | b"data" | b"is_error"
        | b"encrypted_content" | b"encrypted_index" => Role::Unseen,
        _ => Role::Text,
    }
}

/// The weight of system or messages, given as valid JSON. Strings are weighed by the name before them, an input as it is written,
/// and a source by its kind.
fn conversation_weight(json: &[u8]) -> u64 {
    let mut weight = 0;
    let mut role = Role::Text;
    let mut rest = json;
    while let Some((&first, after)) = rest.split_first() {
        rest = match first {
            b'"' => {
                let (inside, behind) = split_string(after);
                if is_name(behind) {
                    role = role_of(inside);
                } else {
                    weight += match role {
                        Role::Text | Role::Written => text_weight(inside),
                        Role::Speaker => TURN,
                        Role::Source => IMAGE,
                        Role::Unseen => 0,
                    };
                }
                behind
            }
            b'{' | b'[' if matches!(role, Role::Written | Role::Source | Role::Unseen) => {
                let (whole, behind) = split_compound(rest);
                weight += match role {
                    Role::Written => text_weight(whole),
                    Role::Source => source_weight(whole),
                    Role::Unseen | Role::Text | Role::Speaker => 0,
                };
                role = Role::Text;
                behind
            }
            // The next member has a name that says what it is. Within a list, the name before the list stays in force.
            b'}' => {
                role = Role::Text;
                after
            }
            _ => after,
        };
    }
    weight
}

/// Whether a string is a member's name, judged by what follows it.
fn is_name(behind: &[u8]) -> bool {
    behind.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':')
}

/// Splits the rest of a string, which begins after its opening quotation mark, from what follows the closing one.
fn split_string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (text, &[])
}

/// Splits after the end of the object or list that begins here.
fn split_compound(text: &[u8]) -> (&[u8], &[u8]) {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => at += text.get(at..).map_or(0, |rest| rest.len() - split_string(rest).1.len()),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    text.split_at_checked(at).unwrap_or((text, &[]))
}

/// The weight of an image or a document: text and content blocks are weighed as text, a PDF by its size, all else as an image.
fn source_weight(source: &[u8]) -> u64 {
    let fields: SourceFields<'_> = serde_json::from_slice(source).unwrap_or_default();
    let written = |field: Option<&RawValue>| field.map(RawValue::get).unwrap_or_default().to_owned();
    let (kind, media_type, data) = (written(fields.kind), written(fields.media_type), written(fields.data));
    match (kind.as_str(), media_type.as_str()) {
        (r#""text""#, _) => text_weight(data.as_bytes()),
        (r#""content""#, _) => fields.content.map_or(0, |content| text_weight(content.get().as_bytes())),
        (_, r#""application/pdf""#) => {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            IMAGE.max(length.saturating_mul(TOKEN) / DOCUMENT_CHARACTERS)
        }
        _ => IMAGE,
    }
}

#[derive(Default, serde::Deserialize)]
struct SourceFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    media_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests;
