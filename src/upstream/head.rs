//! The heads of requests and answers as they stand on the wire (RFC 9112, sections 2 to 5).

use std::mem::MaybeUninit;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Version};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::client::{Limits, MAX_HEADERS, Request};
use super::error::{MalformedHead, SendError};
use crate::domain::base_url::Origin;

/// A size that most requests' heads fit into, in bytes.
const LIKELY_HEAD: usize = 1024;

/// Roughly how many headers are added to an answer on its way to the client.
const LIKELY_ADDED: usize = 5;

/// The beginning of every answer that this client can read.
const PREFIX: &[u8] = b"HTTP/1.";

/// The head of an answer, interim ones included.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) version: Version,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// Whether a header concerns this connection or this exchange, so that it is the client's own to decide.
fn is_the_connections_own(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-length"
            | "transfer-encoding"
            | "connection"
            | "expect"
            | "upgrade"
            | "te"
            | "trailer"
            | "keep-alive"
            | "proxy-connection"
    )
}

/// Writes a request's head, with `room` spare bytes after it. The body's length is announced if there is a body, or one
/// could be expected.
pub(super) fn request_head(request: &Request<'_>, room: usize) -> Result<BytesMut, SendError> {
    let target = request.target.as_bytes();
    let stands_in_a_line = target.starts_with(b"/") && target.iter().all(|&byte| byte > b' ' && byte != 0x7f);
    if !stands_in_a_line {
        return Err(SendError::InvalidTarget);
    }
    let mut head = BytesMut::with_capacity(LIKELY_HEAD + room);
    head.put_slice(request.method.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(target);
    head.put_slice(b" HTTP/1.1\r\n");
    if !request.headers.contains(&header::HOST) {
        put_host(&mut head, request.origin);
    }
    for (name, value) in request.headers.iter() {
        if !is_the_connections_own(name) {
            put_header(&mut head, name.as_str(), value.as_bytes());
        }
    }
    let expects_body = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
    if expects_body || !request.body.is_empty() {
        head.put_slice(b"content-length: ");
        put_number(&mut head, request.body.len());
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
    Ok(head)
}

/// Writes the `host` line (RFC 9110, section 7.2).
fn put_host(head: &mut BytesMut, origin: &Origin) {
    let [open, host, close] = origin.bracketed_host();
    for part in ["host: ", open, host, close] {
        head.put_slice(part.as_bytes());
    }
    if let Some(port) = origin.named_port() {
        head.put_u8(b':');
        put_number(head, port);
    }
    head.put_slice(b"\r\n");
}

fn put_number(head: &mut BytesMut, number: impl itoa::Integer) {
    head.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn put_header(head: &mut BytesMut, name: &str, value: &[u8]) {
    head.put_slice(name.as_bytes());
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}

/// Takes one head off the front of what has been received; `None` if it is incomplete.
pub(super) fn take_answer_head(received: &mut BytesMut, limits: &Limits) -> Result<Option<AnswerHead>, SendError> {
    // Empty lines before it are left over from an answer that ended with one too many; they mean nothing.
    let blank = received.iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
    let begun = received.get(blank..).unwrap_or_default();
    let compared = begun.len().min(PREFIX.len());
    if begun.get(..compared) != PREFIX.get(..compared) {
        return Err(MalformedHead::NotHttp.into());
    }
    let Some(end) = end_of_head(begun) else {
        return if received.len() > limits.max_head { Err(SendError::HeadTooLarge) } else { Ok(None) };
    };
    if blank + end > limits.max_head {
        return Err(SendError::HeadTooLarge);
    }
    // A copy, which the values share: the buffer may be far larger, and should not live as long as they do.
    let head = Bytes::copy_from_slice(begun.get(..end).unwrap_or_default());
    received.advance(blank + end);
    parse(&head, limits.max_headers).map(Some).map_err(SendError::from)
}

/// The length of the head including its empty line. A line feed alone ends a line too (RFC 9112, section 2.2).
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let line_feeds = memchr::memchr_iter(b'\n', bytes);
    line_feeds.map(|at| (at, bytes.get(at + 1..).unwrap_or_default())).find_map(|(at, rest)| match rest {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Parses a head. The values share its memory.
fn parse(head: &Bytes, max_headers: usize) -> Result<AnswerHead, MalformedHead> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let lines = lines.get_mut(..max_headers.min(MAX_HEADERS)).unwrap_or_default();
    let mut answer = httparse::Response::new(&mut []);
    // Blanks between a name and its colon are to be removed by intermediaries (RFC 9112, section 5.1). A folded line is
    // refused, as section 5.2 allows: what it means depends on the reader.
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    match parser.parse_response_with_uninit_headers(&mut answer, head, lines) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(MalformedHead::Torn),
        Err(httparse::Error::TooManyHeaders) => return Err(MalformedHead::TooManyHeaders),
        Err(error) => return Err(MalformedHead::Syntax(error)),
    }
    let version = match answer.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(MalformedHead::Status)?;
    let mut headers = HeaderMap::with_capacity(answer.headers.len() + LIKELY_ADDED);
    for line in &*answer.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let name = name.map_err(|_| MalformedHead::Syntax(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value));
        headers.append(name, value.map_err(|_| MalformedHead::Syntax(httparse::Error::HeaderValue))?);
    }
    Ok(AnswerHead { version, status, headers })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::base_url::Scheme;

    fn limits() -> Limits {
        Limits { max_head: 200, max_headers: 4, ..Limits::default() }
    }

    fn take(wire: &str) -> (Result<Option<AnswerHead>, SendError>, BytesMut) {
        let mut received = BytesMut::from(wire);
        (take_answer_head(&mut received, &limits()), received)
    }

    fn refused(wire: &str, error: MalformedHead) {
        let (taken, _) = take(wire);
        assert!(matches!(taken, Err(SendError::MalformedHead(found)) if found == error), "{wire:?}: {taken:?}");
    }

    #[test]
    fn a_head_is_taken_with_its_empty_line_and_nothing_more() {
        for wire in [
            "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
            "HTTP/1.1 200\r\na : b\r\n\r\n",
            "HTTP/1.1 200 \r\na:   b  \r\n\r\n",
            "HTTP/1.1 200 OK\na: b\n\n",
            "HTTP/1.1 200 OK\na: b\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\na: b\r\n\r\n",
        ] {
            let (taken, rest) = take(&format!("{wire}\r\nrest"));
            let head = taken.unwrap().unwrap();
            assert_eq!(head.status, StatusCode::OK, "{wire:?}");
            assert_eq!(head.headers.get("a").unwrap(), "b", "{wire:?}");
            assert_eq!(&rest[..], b"\r\nrest", "{wire:?}");
        }
    }

    #[test]
    fn an_unfinished_head_takes_nothing() {
        let wire = "\r\nHTTP/1.1 200 OK\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n";
        for end in 0..wire.len() {
            let (taken, rest) = take(&wire[..end]);
            assert!(taken.unwrap().is_none(), "{end}");
            assert_eq!(rest.len(), end);
        }
        let head = take(wire).0.unwrap().unwrap();
        assert_eq!(head.headers.get_all("set-cookie").count(), 2);
    }

    #[test]
    fn what_is_no_head_is_refused_as_soon_as_it_shows() {
        refused("SSH-2.0", MalformedHead::NotHttp);
        refused("<", MalformedHead::NotHttp);
        refused("\x15\x03\x01", MalformedHead::NotHttp);
        refused("HTTP/2 200\r\n\r\n", MalformedHead::NotHttp);
        refused("http/1.1 200 OK\r\n\r\n", MalformedHead::NotHttp);
        refused("HTTP/1.1 2x0 OK\r\n\r\n", MalformedHead::Syntax(httparse::Error::Status));
        refused("HTTP/1.1 099 OK\r\n\r\n", MalformedHead::Status);
        refused("HTTP/1.7 200 OK\r\n\r\n", MalformedHead::Syntax(httparse::Error::Version));
        refused("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", MalformedHead::Syntax(httparse::Error::HeaderName));
        refused("HTTP/1.1 200 OK\r\n: x\r\n\r\n", MalformedHead::Syntax(httparse::Error::HeaderName));
        refused("HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n", MalformedHead::Syntax(httparse::Error::HeaderValue));
        refused("HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n", MalformedHead::Syntax(httparse::Error::HeaderName));
        refused(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(5)), MalformedHead::TooManyHeaders);
    }

    #[test]
    fn a_head_has_a_bound_whether_it_has_ended_or_not() {
        for wire in [
            format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(200)),
            format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(200)),
            "\r\n".repeat(101),
        ] {
            assert!(matches!(take(&wire).0, Err(SendError::HeadTooLarge)), "{wire:?}");
        }
        let (taken, rest) = take(&format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(500)));
        assert!(taken.unwrap().is_some());
        assert_eq!(rest.len(), 500);
    }

    fn head_of(method: Method, target: &str, headers: &[(&'static str, &str)], body: &'static str) -> Option<String> {
        let headers = headers
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        let request = Request {
            origin: &Origin { scheme: Scheme::Http, host: "::1".to_owned(), port: 81 },
            method,
            target: target.into(),
            headers,
            body: Bytes::from_static(body.as_bytes()).into(),
            resend_stale: false,
        };
        request_head(&request, 0).ok().map(|head| String::from_utf8(head.to_vec()).unwrap())
    }

    #[test]
    fn a_request_has_one_host_one_length_and_no_header_of_another_connection() {
        let own = [
            ("content-length", "99"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("connection", "close"),
            ("x-a", "1"),
        ];
        for (method, headers, body, head) in [
            (Method::GET, &own[4..], "", "GET /p?q HTTP/1.1\r\nhost: [::1]:81\r\nx-a: 1\r\n\r\n"),
            (Method::POST, &own[..], "", "POST /p?q HTTP/1.1\r\nhost: [::1]:81\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n"),
            (
                Method::DELETE,
                &[("host", "b")][..],
                "xyz",
                "DELETE /p?q HTTP/1.1\r\nhost: b\r\ncontent-length: 3\r\n\r\n",
            ),
        ] {
            assert_eq!(head_of(method, "/p?q", headers, body).as_deref(), Some(head));
        }
    }

    #[test]
    fn a_target_that_would_be_two_lines_is_not_sent() {
        for target in ["", "p", "/ HTTP/1.1", "/\r\nx: y", "/\n", "/\t", "/\x7f", "http://a/"] {
            assert_eq!(head_of(Method::GET, target, &[], ""), None, "{target:?}");
        }
        assert!(head_of(Method::GET, "/é/%zz{}|\"", &[], "").is_some());
    }

    #[test]
    fn limits_have_a_default_that_holds_an_idle_connection_for_less_than_its_life() {
        let limits = Limits::default();
        assert!(limits.idle < limits.lifetime && limits.idle > Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(rest in prop::collection::vec(any::<u8>(), 0..120), begins in any::<bool>()) {
            let mut received = BytesMut::from(if begins { &b"HTTP/1.1 200 OK\r\n"[..] } else { b"" });
            received.extend_from_slice(&rest);
            let before = received.len();
            if let Ok(None) = take_answer_head(&mut received, &limits()) {
                prop_assert_eq!(received.len(), before);
            }
        }
    }
}
