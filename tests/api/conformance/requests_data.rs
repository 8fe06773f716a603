//! What clients send.

use super::requests::{
    After::{Closed, Kept},
    Row,
};

/// A request line and `host`, with what else belongs into the head.
fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\n{lines}\r\n")
}

fn post(lines: &str, body: &str) -> String {
    format!("POST /up HTTP/1.1\r\nhost: x\r\n{lines}\r\n{body}")
}

/// A request that must never be seen, where a body or the rest of one could be taken for it.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n";

fn refused(what: &'static str, rfc: &'static str, sent: impl Into<Vec<u8>>) -> Row {
    Row::new(what, rfc, sent, &[400], &[], Closed)
}

fn passed(what: &'static str, rfc: &'static str, sent: impl Into<Vec<u8>>, seen: &'static [&'static str]) -> Row {
    Row::new(what, rfc, sent, &[200], seen, Kept)
}

/// All groups with their titles.
pub(super) fn groups() -> Vec<(&'static str, Vec<Row>)> {
    vec![
        ("The request line", request_lines()),
        ("Targets", targets()),
        ("Header lines", header_lines()),
        ("Hop-by-hop", hop_by_hop()),
        ("Bodies by length", lengths()),
        ("Bodies in chunks", chunks()),
        ("Two readings of one body", smuggling()),
        ("The connection", connections()),
    ]
}

fn request_lines() -> Vec<Row> {
    vec![
        passed("an ordinary request", "9112 3", get("/a", ""), &["GET /a"]),
        passed("an empty line before it", "9112 2.2", format!("\r\n{}", get("/a", "")), &["GET /a"]),
        passed("lines that end in a bare LF", "9112 2.2", "GET /a HTTP/1.1\nhost: x\n\n", &["GET /a"]),
        refused("a bare CR within a line", "9112 2.2", "GET /a HTTP/1.1\r\nhost: x\r\nx-a: 1\rx-b: 2\r\n\r\n"),
        refused("a space before the method", "9112 3", format!(" {}", get("/a", ""))),
        refused("two spaces in the request line", "9112 3", "GET  /a HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("a tab in the request line", "9112 3", "GET\t/a\tHTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("a space within the target", "9112 3.2", "GET /a b HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("no version: HTTP/0.9", "9112 2.3", "GET /a\r\n"),
        refused("no target", "9112 3", "GET HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("the preface of HTTP/2", "9113 3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        refused("version 2.0", "9112 2.3", "GET /a HTTP/2.0\r\nhost: x\r\n\r\n"),
        refused("version 1.2", "9110 6.2", "GET /a HTTP/1.2\r\nhost: x\r\n\r\n")
            .note("a server may take it for 1.1; 400 is the safe answer"),
        refused("a version in lower case", "9112 2.3", "GET /a http/1.1\r\nhost: x\r\n\r\n"),
        refused("a version with a leading zero", "9112 2.3", "GET /a HTTP/01.1\r\nhost: x\r\n\r\n"),
        refused("a method that is no token", "9110 9.1", "G(T /a HTTP/1.1\r\nhost: x\r\n\r\n"),
        passed("a method of one's own", "9110 9.1", "PURGE /a HTTP/1.1\r\nhost: x\r\n\r\n", &["PURGE /a"]),
        passed(
            "a method in lower case is another method",
            "9110 9.1",
            "get /a HTTP/1.1\r\nhost: x\r\n\r\n",
            &["get /a"],
        ),
        refused("the beginning of TLS", "9112 3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        Row::new("TRACE", "9110 9.3.8", "TRACE /a HTTP/1.1\r\nhost: x\r\n\r\n", &[405], &[], Closed)
            .note("an upstream would show the operator's credential"),
        Row::new("CONNECT", "9110 9.3.6", "CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n", &[501], &[], Closed),
        Row::new(
            "a head of more than 128 KiB",
            "9110 5.4",
            get("/a", &format!("x-a: {}\r\n", "a".repeat(140_000))),
            &[431],
            &[],
            Closed,
        ),
        Row::new("97 header lines", "9110 5.4", get("/a", &"x-a: 1\r\n".repeat(96)), &[431], &[], Closed),
        passed("96 header lines", "9110 5.4", get("/a", &"x-a: 1\r\n".repeat(95)), &["GET /a"]),
    ]
}

fn targets() -> Vec<Row> {
    vec![
        passed(
            "slashes, dots and escapes, to the byte",
            "9112 3.2.1",
            get("//a/%2e./%zz?b?c={}|", ""),
            &["GET //a/%2e./%zz?b?c={}|"],
        ),
        passed("the absolute form", "9112 3.2.2", get("http://other.example/a?b", ""), &["GET /a?b"])
            .note("the host that it names is not asked"),
        Row::new("the absolute form without a path", "9112 3.2.2", get("http://x", ""), &[200], &[], Kept)
            .note("`GET /`: what this is"),
        Row::new("the authority form without CONNECT", "9112 3.2.3", get("x:80", ""), &[400], &[], Closed),
        Row::new("the asterisk form", "9112 3.2.4", "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", &[400], &[], Closed)
            .note("the gateway has no options of its own to tell"),
        Row::new("no slash at the beginning", "9112 3.2", get("a", ""), &[400], &[], Closed),
        passed("a fragment", "9112 3.2", get("/a#b", ""), &["GET /a"]).note("no target has one; actix cuts it off"),
        refused("a target with `<`", "3986 2", get("/a<b", "")),
        refused("a NUL in the target", "9112 3.2", b"GET /a\0b HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        refused("a DEL in the target", "9112 3.2", b"GET /a\x7fb HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        refused("a target in UTF-8", "3986 2", get("/ä", "")),
        Row::new(
            "a target that leads to the gateway's own routes",
            "",
            get("/a/..;/%5F_qcc__/stats", ""),
            &[404],
            &[],
            Kept,
        ),
        Row::new(
            "the absolute form of an own route",
            "9112 3.2.2",
            get("http://x/__qcc__/nothing", ""),
            &[404],
            &[],
            Kept,
        ),
    ]
}

fn header_lines() -> Vec<Row> {
    let long = "a".repeat(60_000);
    vec![
        refused("no `host`", "9112 3.2", "GET /a HTTP/1.1\r\n\r\n"),
        refused("two `host` lines", "9112 3.2", "GET /a HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n"),
        refused("a `host` that is none", "9112 3.2", "GET /a HTTP/1.1\r\nhost: a/b\r\n\r\n"),
        refused("a `host` with a user", "9110 4.2.4", "GET /a HTTP/1.1\r\nhost: me@x\r\n\r\n"),
        passed("an empty `host`", "9112 3.2", "GET /a HTTP/1.1\r\nhost:\r\n\r\n", &["GET /a"]),
        passed("`host` as an address", "9110 7.2", "GET /a HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", &["GET /a"]),
        refused("a space before the colon", "9112 5.1", get("/a", "x-a : 1\r\n")),
        refused("a line folded onto the next", "9112 5.2", get("/a", "x-a: 1\r\n 2\r\n")),
        refused("a folded line as the first", "9112 2.2", "GET /a HTTP/1.1\r\n host: x\r\n\r\n"),
        refused("a line without a colon", "9112 5", get("/a", "x-a\r\n")),
        refused("a name that is empty", "9112 5", get("/a", ": 1\r\n")),
        refused("a name with a space", "9110 5.1", get("/a", "x a: 1\r\n")),
        refused("a NUL in a value", "9110 5.5", get("/a", "x-a: 1\0\r\n")),
        refused("a control character in a value", "9110 5.5", get("/a", "x-a: 1\x0b2\r\n")),
        passed(
            "a value with tabs and bytes beyond ASCII",
            "9110 5.5",
            get("/a", "x-a: a\tä\r\n"),
            &["GET /a", "x-a: a\tä"],
        ),
        passed("blanks around a value", "9112 5.1", get("/a", "x-a: \t 1 \t\r\n"), &["GET /a", "x-a: 1"]),
        passed("an empty value", "9110 5.5", get("/a", "x-a:\r\n"), &["GET /a", "x-a: "]),
        passed(
            "a repeated name, in its order",
            "9110 5.3",
            get("/a", "x-a: 1\r\nx-b: 0\r\nX-A: 2\r\nx-a: 3, 4\r\n"),
            &["GET /a", "x-a: 1", "x-a: 2", "x-a: 3, 4"],
        ),
        passed("a value of 60 KB", "9110 5.4", get("/a", &format!("x-a: {long}\r\n")), &["GET /a"]),
        passed("an underscore in a name", "9110 5.1", get("/a", "x_a: 1\r\n"), &["GET /a", "x_a: 1"]),
    ]
}

fn hop_by_hop() -> Vec<Row> {
    vec![
        passed(
            "headers that `connection` names",
            "9110 7.6.1",
            get("/a", "connection: x-a, keep-alive\r\nx-a: 1\r\nx-b: 2\r\n"),
            &["GET /a", "!x-a", "!connection", "x-b: 2"],
        ),
        passed(
            "`connection` over several lines",
            "9110 7.6.1",
            get("/a", "connection: x-a\r\nconnection: x-b\r\nx-a: 1\r\nx-b: 2\r\n"),
            &["GET /a", "!x-a", "!x-b"],
        ),
        passed(
            "`te`, `trailer`, `keep-alive`",
            "9110 7.6.1",
            get("/a", "te: trailers\r\ntrailer: x-sum\r\nkeep-alive: timeout=9\r\n"),
            &["GET /a", "!te", "!trailer", "!keep-alive"],
        ),
        passed(
            "`proxy-authorization`, `proxy-connection`",
            "9110 11.7.2",
            get("/a", "proxy-authorization: Basic eA==\r\nproxy-connection: keep-alive\r\n"),
            &["GET /a", "!proxy-authorization", "!proxy-connection"],
        ),
        passed("`connection` that names `host`", "9110 7.6.1", get("/a", "connection: host\r\n"), &["GET /a"])
            .note("the upstream gets its own `host`"),
        passed(
            "`connection` that names `content-length`",
            "9110 7.6.1",
            post("connection: content-length\r\ncontent-length: 3\r\n", "abc"),
            &["POST /up", "content-length: 3", "=abc"],
        ),
        passed(
            "no `x-forwarded-for` is added",
            "7239",
            get("/a", ""),
            &["GET /a", "!x-forwarded-for", "!forwarded", "!via"],
        ),
        passed(
            "`x-forwarded-for` of the client's",
            "7239",
            get("/a", "x-forwarded-for: 1.2.3.4\r\n"),
            &["GET /a", "x-forwarded-for: 1.2.3.4"],
        ),
        passed(
            "`expect: 100-continue`",
            "9110 10.1.1",
            post("expect: 100-continue\r\ncontent-length: 3\r\n", "abc"),
            &["POST /up", "!expect", "=abc"],
        )
        .note("100 comes from the gateway itself"),
        passed("another `expect`", "9110 10.1.1", get("/a", "expect: miracles\r\n"), &["GET /a", "!expect"]),
        Row::new(
            "`upgrade: websocket`",
            "9110 7.8",
            get("/a", "connection: upgrade\r\nupgrade: websocket\r\n") + HIDDEN,
            &[501],
            &[],
            Closed,
        ),
        Row::new(
            "`upgrade: h2c`",
            "9110 7.8",
            get("/a", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"),
            &[501],
            &[],
            Closed,
        ),
    ]
}

fn lengths() -> Vec<Row> {
    vec![
        passed(
            "a body of a length",
            "9112 6.2",
            post("content-length: 3\r\n", "abc"),
            &["POST /up", "content-length: 3", "=abc"],
        ),
        passed(
            "a length of nothing",
            "9112 6.2",
            post("content-length: 0\r\n", ""),
            &["POST /up", "content-length: 0", "="],
        ),
        passed("no length and no body", "9112 6.3", post("", ""), &["POST /up", "content-length: 0", "="]),
        passed(
            "leading zeros",
            "9110 8.6",
            post("content-length: 003\r\n", "abc"),
            &["POST /up", "content-length: 3", "=abc"],
        ),
        passed(
            "a body behind GET",
            "9110 9.3.1",
            get("/a", "content-length: 3\r\n") + "abc",
            &["GET /a", "content-length: 3", "=abc"],
        ),
        refused("two equal lengths", "9112 6.3", post("content-length: 3\r\ncontent-length: 3\r\n", "abc"))
            .note("they may be taken for one; refusing them is the safe reading"),
        refused("two lengths that differ", "9112 6.3", post("content-length: 3\r\ncontent-length: 0\r\n", HIDDEN)),
        refused("a list of equal lengths", "9110 8.6", post("content-length: 3, 3\r\n", "abc")),
        refused("a negative length", "9110 8.6", post("content-length: -1\r\n", HIDDEN)),
        refused("a length with a plus sign", "9110 8.6", post("content-length: +3\r\n", "abc")),
        refused("a hexadecimal length", "9110 8.6", post("content-length: 0x3\r\n", "abc")),
        refused("a length with a blank within", "9110 8.6", post("content-length: 3 3\r\n", HIDDEN)),
        refused("an empty length", "9110 8.6", post("content-length:\r\n", HIDDEN)),
        refused("a length beyond 64 bits", "9110 8.6", post("content-length: 18446744073709551616\r\n", "")),
        Row::new(
            "a length beyond `server.max_body`",
            "9110 15.5.14",
            post("content-length: 33554433\r\n", ""),
            &[413],
            &[],
            Closed,
        ),
        refused("a space before the colon of a length", "9112 5.1", post("content-length : 3\r\n", "abc")),
        Row::new(
            "more body than announced",
            "9112 6.3",
            post("content-length: 3\r\n", "abcXYZ /hidden\r\n\r\n"),
            &[200, 400],
            &["POST /up", "=abc"],
            Closed,
        )
        .note("the rest is a request that can't be read"),
    ]
}

fn chunks() -> Vec<Row> {
    let chunked = |body: &str| post("transfer-encoding: chunked\r\n", body);
    vec![
        passed(
            "a body in chunks",
            "9112 7.1",
            chunked("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
            &["POST /up", "content-length: 5", "!transfer-encoding", "=abcde"],
        ),
        passed("no chunk but the last", "9112 7.1", chunked("0\r\n\r\n"), &["POST /up", "="]),
        passed(
            "sizes with letters and leading zeros",
            "9112 7.1",
            chunked("00A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n"),
            &["POST /up", "content-length: 20"],
        ),
        passed("extensions", "9112 7.1.1", chunked("3;a=b;c=\"d\"\r\nabc\r\n0;last\r\n\r\n"), &["POST /up", "=abc"]),
        passed(
            "trailers",
            "9112 7.1.2",
            chunked("3\r\nabc\r\n0\r\nx-sum: 1\r\nhost: y\r\n\r\n"),
            &["POST /up", "!x-sum", "=abc"],
        )
        .note("they are dropped"),
        passed(
            "`Chunked` in capitals",
            "9112 7",
            post("Transfer-Encoding: CHUNKED\r\n", "3\r\nabc\r\n0\r\n\r\n"),
            &["POST /up", "=abc"],
        ),
        passed(
            "chunks behind GET",
            "9112 6.1",
            get("/a", "transfer-encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n",
            &["GET /a", "=abc"],
        ),
        refused("a size that is no number", "9112 7.1", chunked("zz\r\nabc\r\n0\r\n\r\n")),
        refused("a size with a sign", "9112 7.1", chunked("-3\r\nabc\r\n0\r\n\r\n")),
        refused("a size with `0x`", "9112 7.1", chunked("0x3\r\nabc\r\n0\r\n\r\n")),
        refused("a size beyond 64 bits", "9112 7.1", chunked("10000000000000003\r\nabc\r\n0\r\n\r\n")),
        refused("an empty size", "9112 7.1", chunked("\r\nabc\r\n0\r\n\r\n")),
        refused("a size line that ends in a bare LF", "9112 7.1", chunked("3\nabc\r\n0\r\n\r\n")),
        refused("a chunk longer than its size", "9112 7.1", chunked("3\r\nabcd\r\n0\r\n\r\n")),
        refused("a chunk that ends in a bare LF", "9112 7.1", chunked("3\r\nabc\n0\r\n\r\n")),
        refused("a line of trailers that ends in a bare LF", "9112 7.1.2", chunked("3\r\nabc\r\n0\r\nx-sum: 1\n\r\n")),
        refused("a bare LF behind the last chunk", "9112 7.1", chunked("3\r\nabc\r\n0\r\n\n")),
        refused("a control character in an extension", "9112 7.1.1", chunked("3;a\nb\r\nabc\r\n0\r\n\r\n")),
    ]
}

fn smuggling() -> Vec<Row> {
    let hidden = |lines: &str| post(lines, &format!("0\r\n\r\n{HIDDEN}"));
    vec![
        refused(
            "CL.TE: a length and chunks",
            "9112 6.3",
            hidden("content-length: 40\r\ntransfer-encoding: chunked\r\n"),
        ),
        refused(
            "TE.CL: chunks and a length",
            "9112 6.3",
            hidden("transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        ),
        refused(
            "TE.TE: chunked twice",
            "9112 6.1",
            hidden("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        ),
        refused(
            "TE.TE: chunked and another",
            "9112 6.1",
            hidden("transfer-encoding: chunked\r\ntransfer-encoding: x\r\n"),
        ),
        refused(
            "TE.TE: chunked and then identity",
            "9112 6.1",
            hidden("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"),
        ),
        refused("`chunked, chunked`", "9112 6.1", hidden("transfer-encoding: chunked, chunked\r\n")),
        refused("`gzip, chunked`", "9112 6.1", hidden("transfer-encoding: gzip, chunked\r\n"))
            .note("501 would be as good"),
        refused("`chunked, gzip`", "9112 6.3", hidden("transfer-encoding: chunked, gzip\r\n")),
        refused("`xchunked`", "9112 6.1", hidden("transfer-encoding: xchunked\r\n")),
        refused("`chunked` in quotes", "9112 7", hidden("transfer-encoding: \"chunked\"\r\n")),
        refused("`chunked;q=1`", "9112 7", hidden("transfer-encoding: chunked;q=1\r\n")),
        refused("`identity` and a length", "9112 6.3", hidden("transfer-encoding: identity\r\ncontent-length: 5\r\n")),
        refused("an empty coding", "9112 7", hidden("transfer-encoding:\r\n")),
        refused("a vertical tab before `chunked`", "9110 5.5", hidden("transfer-encoding: \x0bchunked\r\n")),
        refused("a space before the colon", "9112 5.1", hidden("transfer-encoding : chunked\r\n")),
        refused("a coding on a folded line", "9112 5.2", hidden("transfer-encoding:\r\n chunked\r\n")),
        refused("a coding behind a bare CR", "9112 2.2", hidden("x-a: 1\rtransfer-encoding: chunked\r\n")),
        Row::new(
            "an underscore in the coding's name",
            "9110 5.1",
            post("transfer_encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
            &[200],
            &["POST /up", "content-length: 5", "=0\r\n\r\n"],
            Kept,
        ),
        refused("chunks in HTTP/1.0", "9112 6.1", "POST /up HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        refused("POST in HTTP/1.0 without a length", "1945 7.2.2", "POST /up HTTP/1.0\r\n\r\nabc"),
        passed(
            "a whole request as a body",
            "9112 6.2",
            post(&format!("content-length: {}\r\n", HIDDEN.len()), HIDDEN),
            &["POST /up"],
        ),
        passed(
            "a whole request in a chunk",
            "9112 7.1",
            post("transfer-encoding: chunked\r\n", &format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len())),
            &["POST /up"],
        ),
        Row::new(
            "a whole request behind `upgrade` and a length",
            "9110 7.8",
            post(&format!("connection: upgrade\r\nupgrade: websocket\r\ncontent-length: {}\r\n", HIDDEN.len()), HIDDEN),
            &[501],
            &[],
            Closed,
        ),
    ]
}

fn connections() -> Vec<Row> {
    vec![
        passed("HTTP/1.1 keeps the connection", "9112 9.3", get("/a", ""), &["GET /a"]),
        Row::new("`connection: close`", "9112 9.6", get("/a", "connection: close\r\n"), &[200], &["GET /a"], Closed),
        Row::new(
            "a request behind `connection: close`",
            "9112 9.6",
            get("/a", "connection: close\r\n") + HIDDEN,
            &[200],
            &["GET /a"],
            Closed,
        ),
        Row::new(
            "`connection: x, Close`",
            "9112 9.6",
            get("/a", "connection: x, Close\r\n"),
            &[200],
            &["GET /a"],
            Closed,
        ),
        Row::new("HTTP/1.0", "9112 9.3", "GET /a HTTP/1.0\r\n\r\n", &[200], &["GET /a"], Closed),
        Row::new(
            "HTTP/1.0 that asks to be kept",
            "9112 9.3",
            "GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
            &[200],
            &["GET /a"],
            Closed,
        )
        .note("allowed; the gateway does not keep it"),
        Row::new(
            "two requests at once",
            "9112 9.3.2",
            get("/a", "") + &get("/b", ""),
            &[200, 200],
            &["GET /a", "GET /b"],
            Kept,
        ),
        Row::new(
            "a good request and one that can't be read",
            "9112 9.3.2",
            get("/a", "") + "x\r\n\r\n",
            &[200, 400],
            &["GET /a"],
            Closed,
        ),
        Row::new("HEAD", "9110 9.3.2", "HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n", &[200], &["HEAD /a"], Kept),
        Row::new(
            "HEAD with a body",
            "9110 9.3.2",
            "HEAD /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc",
            &[200],
            &["HEAD /a", "=abc"],
            Kept,
        ),
        Row::new(
            "HEAD of what the gateway answers",
            "9110 9.3.2",
            "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n",
            &[200],
            &[],
            Kept,
        )
        .note("a client's warm-up"),
        passed("OPTIONS", "9110 9.3.7", "OPTIONS /a HTTP/1.1\r\nhost: x\r\n\r\n", &["OPTIONS /a"]),
        passed(
            "DELETE with a body",
            "9110 9.3.5",
            "DELETE /a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nz",
            &["DELETE /a", "content-length: 1", "=z"],
        ),
    ]
}
