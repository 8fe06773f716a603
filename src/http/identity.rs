//! The names that a request goes by: the gateway's, the upstream's, the session's.

use actix_web::http::header::{HeaderMap, HeaderName};

use super::names;

/// The upstream's own id of an answer.
pub(super) fn upstream_request_id(headers: &HeaderMap) -> Option<String> {
    [names::UPSTREAM_REQUEST_ID, names::REQUEST_ID]
        .iter()
        .find_map(|name| Some(headers.get(name)?.to_str().ok()?.to_owned()))
}

/// The client's own id of a request if it is 1 to 128 printable characters, else a fresh one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let is_fit = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let own = headers.get(names::REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_fit);
    own.map_or_else(fresh_request_id, str::to_owned)
}

/// An id that no other request has.
pub(super) fn fresh_request_id() -> String {
    let mut digits = [0; 32];
    // There is room for 16 bytes exactly.
    let _ = hex::encode_to_slice(fastrand::u128(..).to_be_bytes(), &mut digits);
    ["req_", str::from_utf8(&digits).unwrap_or_default()].concat()
}

/// The session as the client names it in its headers, for the log.
pub(super) fn session(headers: &HeaderMap) -> Option<String> {
    names::SESSIONS.iter().find_map(|name| text_of(headers, name))
}

/// The session as a further header names it, if nothing else does.
pub(super) fn session_of_last_resort(headers: &HeaderMap) -> Option<String> {
    text_of(headers, &names::AFFINITY)
}

/// The text of a header; `None` if it is missing or blank.
fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (!text.trim().is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        headers
    }

    #[test]
    fn a_clients_own_id_is_kept_if_it_is_short_and_printable() {
        let longest = "x".repeat(128);
        for own in ["mine", "a b", longest.as_str()] {
            assert_eq!(request_id(&headers("x-request-id", own)), own);
        }
        for unfit in ["", "ä", &"x".repeat(129)] {
            assert!(request_id(&headers("x-request-id", unfit)).starts_with("req_"), "{unfit}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn a_session_is_named_by_either_header() {
        assert_eq!(session(&headers("x-claude-code-session-id", "s")).as_deref(), Some("s"));
        assert_eq!(session(&headers("x-conversation-id", "c")).as_deref(), Some("c"));
        for nothing in ["", " ", "\t"] {
            assert_eq!(session(&headers("x-claude-code-session-id", nothing)), None);
        }
        assert_eq!(session(&HeaderMap::new()), None);
    }
}
