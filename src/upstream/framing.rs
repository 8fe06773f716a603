//! How long an answer's body is, and whether the connection can be used again after it (RFC 9112, sections 6.3 and 9.3).

use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::{Method, StatusCode, Version};

use super::error::MalformedHead;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes; none at all for HEAD, 204 and 304.
    Length(u64),
    /// In chunks.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// Whether another request may follow on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// No.
    Never,
    /// Yes, within the time that the upstream has announced, if it has.
    Within(Option<Duration>),
}

/// Reads framing and reuse from an answer's head.
pub(super) fn framing(
    method: &Method,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<(Framing, Reuse), MalformedHead> {
    let has_no_body = method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let codings = headers.contains_key(header::TRANSFER_ENCODING);
    let lengths = headers.contains_key(header::CONTENT_LENGTH);
    let reuse = reuse(version, headers);
    if has_no_body {
        // A server that announces a body here may send it by mistake; its bytes would then be taken for the next
        // request's answer.
        let announces_body = codings || (lengths && content_length(headers) != Ok(Some(0)));
        return Ok((Framing::Length(0), if announces_body { Reuse::Never } else { reuse }));
    }
    if codings {
        // A length next to a coding, or a coding in HTTP/1.0, is what smuggled answers look like.
        let is_ambiguous = lengths || version == Version::HTTP_10;
        let reuse = if is_ambiguous { Reuse::Never } else { reuse };
        match transfer_coding(headers)? {
            TransferCoding::Chunked => return Ok((Framing::Chunked, reuse)),
            TransferCoding::Identity => {}
        }
    }
    match content_length(headers)? {
        Some(length) => Ok((Framing::Length(length), if codings { Reuse::Never } else { reuse })),
        None => Ok((Framing::UntilClose, Reuse::Never)),
    }
}

pub(super) fn reuse(version: Version, headers: &HeaderMap) -> Reuse {
    let says = |option: &str| list(headers, &header::CONNECTION).any(|member| member.eq_ignore_ascii_case(option));
    if says("close") || (version == Version::HTTP_10 && !says("keep-alive")) {
        return Reuse::Never;
    }
    let keep_alive = HeaderName::from_static("keep-alive");
    let announced = list(headers, &keep_alive).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let seconds = value.trim().parse().ok()?;
        name.trim().eq_ignore_ascii_case("timeout").then_some(Duration::from_secs(seconds))
    });
    Reuse::Within(announced)
}

/// The length that all values agree on (RFC 9110, section 8.6).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, MalformedHead> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for member in value.as_bytes().split(|&byte| byte == b',') {
            let member = plain_number(member.trim_ascii()).ok_or(MalformedHead::ContentLength)?;
            if *length.get_or_insert(member) != member {
                return Err(MalformedHead::ContentLength);
            }
        }
    }
    Ok(length)
}

fn plain_number(digits: &[u8]) -> Option<u64> {
    // The standard library's parser accepts a sign.
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

enum TransferCoding {
    /// Chunked is the last coding.
    Chunked,
    /// RFC 2616's word for no coding, which old servers still send.
    Identity,
}

fn transfer_coding(headers: &HeaderMap) -> Result<TransferCoding, MalformedHead> {
    if headers.get_all(header::TRANSFER_ENCODING).any(|value| value.to_str().is_err()) {
        return Err(MalformedHead::TransferEncoding);
    }
    let codings: Vec<&str> = list(headers, &header::TRANSFER_ENCODING).collect();
    let is = |coding: &str, name: &str| coding.eq_ignore_ascii_case(name);
    let is_known = |coding: &str| is(coding, "chunked") || is(coding, "identity");
    match codings.iter().filter(|coding| is(coding, "chunked")).count() {
        0 if codings.is_empty() => Err(MalformedHead::TransferEncoding),
        0 if codings.iter().all(|coding| is(coding, "identity")) => Ok(TransferCoding::Identity),
        1 if codings.last().is_some_and(|last| is(last, "chunked"))
            && codings.iter().all(|coding| is_known(coding)) =>
        {
            Ok(TransferCoding::Chunked)
        }
        // A body in another coding can't be passed on: the header concerns this connection only, and the client would
        // take the coded body for the content.
        _ => Err(MalformedHead::TransferEncoding),
    }
}

/// The members of a list that may be spread over several lines (RFC 9110, section 5.6.1).
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    const YES: Reuse = Reuse::Within(None);
    const NO: Reuse = Reuse::Never;

    fn read(method: &Method, version: Version, status: u16, lines: &str) -> Result<(Framing, Reuse), MalformedHead> {
        let mut headers = HeaderMap::new();
        for line in lines.split('|').filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        framing(method, version, StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn a_body_ends_as_rfc_9112_section_6_3_says() {
        use Framing::{Chunked, Length, UntilClose};
        for (lines, framing, reuse) in [
            ("", UntilClose, NO),
            ("content-length: 5", Length(5), YES),
            ("content-length: 0", Length(0), YES),
            ("content-length: 5|content-length: 5", Length(5), YES),
            ("content-length: 5, 5", Length(5), YES),
            ("content-length: 007", Length(7), YES),
            ("transfer-encoding: chunked", Chunked, YES),
            ("transfer-encoding: Chunked", Chunked, YES),
            ("transfer-encoding: identity, chunked", Chunked, YES),
            ("transfer-encoding: identity|transfer-encoding: chunked", Chunked, YES),
            ("transfer-encoding: chunked|content-length: 5", Chunked, NO),
            ("transfer-encoding: chunked|content-length: x", Chunked, NO),
            ("transfer-encoding: identity", UntilClose, NO),
            ("transfer-encoding: identity|content-length: 5", Length(5), NO),
        ] {
            assert_eq!(read(&Method::POST, Version::HTTP_11, 200, lines), Ok((framing, reuse)), "{lines}");
        }
    }

    #[test]
    fn a_length_that_is_no_plain_number_or_two_numbers_is_refused() {
        for value in ["5|content-length: 6", "5, 6", "+5", "-5", "5 5", "0x5", "", "5,", "5;6", "18446744073709551616"]
        {
            let lines = format!("content-length: {value}");
            assert_eq!(
                read(&Method::POST, Version::HTTP_11, 200, &lines),
                Err(MalformedHead::ContentLength),
                "{lines}"
            );
        }
        for value in [
            "chunked, chunked",
            "chunked|transfer-encoding: chunked",
            "gzip",
            "gzip, chunked",
            "gzip|transfer-encoding: chunked",
            "chunked, gzip",
            "chunked, identity",
            "gzip|content-length: 5",
            "xchunked",
            "",
            ",",
        ] {
            let lines = format!("transfer-encoding: {value}");
            assert_eq!(
                read(&Method::POST, Version::HTTP_11, 200, &lines),
                Err(MalformedHead::TransferEncoding),
                "{lines}"
            );
        }
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_announce() {
        for (method, status, lines, reuse) in [
            (Method::GET, 204, "", YES),
            (Method::GET, 204, "content-length: 0", YES),
            (Method::GET, 204, "content-length: 5", NO),
            (Method::GET, 204, "transfer-encoding: chunked", NO),
            (Method::GET, 304, "", YES),
            (Method::GET, 304, "content-length: 5", NO),
            (Method::HEAD, 200, "", YES),
            (Method::HEAD, 200, "content-length: 5", NO),
            (Method::HEAD, 404, "transfer-encoding: chunked", NO),
        ] {
            let read = read(&method, Version::HTTP_11, status, lines);
            assert_eq!(read, Ok((Framing::Length(0), reuse)), "{method} {status} {lines}");
        }
    }

    #[test]
    fn a_connection_is_kept_only_where_both_may_expect_it() {
        for (version, lines, reuse) in [
            (Version::HTTP_11, "connection: close", NO),
            (Version::HTTP_11, "connection: x, Close", NO),
            (Version::HTTP_11, "connection: x|connection: close", NO),
            (Version::HTTP_11, "connection: keep-alive", YES),
            (Version::HTTP_11, "keep-alive: timeout=5, max=100", Reuse::Within(Some(Duration::from_secs(5)))),
            (Version::HTTP_11, "keep-alive: timeout=soon", YES),
            (Version::HTTP_10, "", NO),
            (Version::HTTP_10, "connection: keep-alive", YES),
            (Version::HTTP_10, "connection: keep-alive, close", NO),
        ] {
            let read = read(&Method::GET, version, 200, &format!("content-length: 1|{lines}"));
            assert_eq!(read, Ok((Framing::Length(1), reuse)), "{version:?} {lines}");
        }
        let coded = read(&Method::GET, Version::HTTP_10, 200, "connection: keep-alive|transfer-encoding: chunked");
        assert_eq!(coded, Ok((Framing::Chunked, NO)));
    }
}
