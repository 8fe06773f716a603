//! The operator's own additional headers: `headers`, `verify_headers`.

use config::ValueKind;

use super::given::Given;
use super::reading::Table;
use crate::domain::endpoint::ExtraHeader;
use crate::domain::secret::Secret;

/// Headers that belong to one connection or message (RFC 9110, sections 7.2, 7.6.1 and 8.6): the gateway writes them.
const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Table<'_, '_> {
    /// Reads a table of headers, sorted by name, the names in lower case. Values are never shown.
    pub(super) fn headers(&mut self, key: &'static str) -> Vec<ExtraHeader> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let entries = match &value.kind {
            ValueKind::Table(entries) => entries,
            kind => {
                self.fault(key, Given::Typed(kind).kind(), "a table of header names and values");
                return Vec::new();
            }
        };
        let mut headers: Vec<ExtraHeader> = Vec::new();
        let mut names: Vec<&String> = entries.keys().collect();
        names.sort();
        for name in names {
            let Some(value) = entries.get(name) else { continue };
            let given = Given::Typed(&value.kind);
            let lower = name.to_ascii_lowercase();
            if !is_header_name(name) {
                self.fault(
                    key,
                    "a name, not shown, that no header can have",
                    "names of letters, digits and -_.!#$%&'*+^`|~",
                );
            } else if RESERVED.contains(&lower.as_str()) {
                self.fault(
                    key,
                    format!("the header {lower}"),
                    "headers that belong to no single connection or message",
                );
            } else if headers.iter().any(|(other, _)| *other == lower) {
                self.fault(
                    key,
                    format!("the header {lower} twice"),
                    "each header once: names are the same in any case",
                );
            } else {
                if let Some(text) = given.text().filter(|text| is_header_value(text)) {
                    headers.push((lower, Secret::new(text)));
                    continue;
                }
                let found = format!("for {lower} {}, that no header can hold", given.kind());
                self.fault(key, found, "a text of visible ASCII characters and spaces between them");
            }
        }
        headers
    }
}

/// Whether a name is a token (RFC 9110, section 5.6.2).
fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_header_value(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b)) && text.trim() == text
}
