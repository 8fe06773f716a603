//! What upstreams answer.

use super::answers::{
    Asked::{self, Get, Head, Message},
    Counts::{self, Failure, Nothing, Success},
    Gets::{self, Answer, Broken, Honest, Own},
    Row,
    Then::{self, Closes, Keeps, Resets},
    Upstreams::{LetGo, Reused},
};

/// An answer that leaves the upstream's connection in order.
fn kept(
    what: &'static str,
    rfc: &'static str,
    asked: Asked,
    says: impl Into<Vec<u8>>,
    gets: Gets,
    counts: Counts,
) -> Row {
    let says = says.into();
    Row { what, rfc, asked, says, then: Keeps, gets, counts, connection: Reused, note: "" }
}

/// An answer after which the connection is not used again.
fn left(
    what: &'static str,
    rfc: &'static str,
    asked: Asked,
    says: impl Into<Vec<u8>>,
    then: Then,
    gets: Gets,
    counts: Counts,
) -> Row {
    Row { what, rfc, asked, says: says.into(), then, gets, counts, connection: LetGo, note: "" }
}

fn ok(lines: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}")
}

fn chunked(body: &str) -> String {
    ok("transfer-encoding: chunked\r\n", body)
}

/// An answer that nobody has asked for, where it could be taken for the next one.
const HIDDEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhidden";

pub(super) fn rows() -> Vec<Row> {
    [sound(), interim(), framing(), surplus(), broken(), heads(), syntax()].into_iter().flatten().collect()
}

fn sound() -> Vec<Row> {
    vec![
        kept("a body of a length", "9112 6.2", Get, ok("content-length: 3\r\n", "abc"), Answer(200, "abc"), Success),
        kept("a body in chunks", "9112 7.1", Get, chunked("3\r\nabc\r\n0\r\n\r\n"), Answer(200, "abc"), Success),
        kept(
            "chunks with extensions and trailers",
            "9112 7.1",
            Get,
            chunked("3;x=\"y\"\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"),
            Answer(200, "abc"),
            Success,
        ),
        left(
            "a body up to the end of the connection",
            "9112 6.3",
            Get,
            ok("", "abc"),
            Closes,
            Answer(200, "abc"),
            Success,
        ),
        left(
            "HTTP/1.0",
            "9112 9.3",
            Get,
            "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc",
            Keeps,
            Answer(200, "abc"),
            Success,
        ),
        kept(
            "HTTP/1.0 that is kept",
            "9112 9.3",
            Get,
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nabc",
            Answer(200, "abc"),
            Success,
        ),
        left(
            "`connection: close`",
            "9112 9.6",
            Get,
            ok("connection: close\r\ncontent-length: 3\r\n", "abc"),
            Keeps,
            Answer(200, "abc"),
            Success,
        ),
        kept("204", "9110 15.3.5", Get, "HTTP/1.1 204 No Content\r\n\r\n", Answer(204, ""), Success),
        kept("304", "9110 15.4.5", Get, "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n", Answer(304, ""), Nothing),
        kept(
            "a reason of nothing",
            "9112 4",
            Get,
            "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n",
            Answer(200, ""),
            Success,
        ),
        kept(
            "a status of one's own",
            "9110 15",
            Get,
            "HTTP/1.1 299 Fine\r\ncontent-length: 3\r\n\r\nabc",
            Answer(299, "abc"),
            Success,
        ),
        kept(
            "lines that end in a bare LF",
            "9112 2.2",
            Get,
            "HTTP/1.1 200 OK\ncontent-length: 3\n\nabc",
            Answer(200, "abc"),
            Success,
        ),
        kept(
            "404 on another path",
            "9110 15.5.5",
            Get,
            "HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nabc",
            Answer(404, "abc"),
            Nothing,
        ),
        kept(
            "500 on another path",
            "9110 15.6.1",
            Get,
            "HTTP/1.1 500 Oh\r\ncontent-length: 3\r\n\r\nabc",
            Answer(500, "abc"),
            Failure,
        ),
        left(
            "HEAD with a length",
            "9110 9.3.2",
            Head,
            ok("content-length: 3\r\n", ""),
            Keeps,
            Answer(200, ""),
            Success,
        )
        .note("the connection is let go: some servers send the body all the same"),
    ]
}

fn interim() -> Vec<Row> {
    vec![
        kept(
            "103 before the answer",
            "9110 15.2",
            Get,
            format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{}", ok("content-length: 3\r\n", "abc")),
            Answer(200, "abc"),
            Success,
        )
        .note("interim answers are dropped"),
        kept(
            "100 that nobody asked for",
            "9110 15.2.1",
            Get,
            format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("content-length: 3\r\n", "abc")),
            Answer(200, "abc"),
            Success,
        ),
        kept(
            "three of them",
            "9110 15.2",
            Message,
            format!(
                "{}{}",
                "HTTP/1.1 102 Processing\r\n\r\n".repeat(3),
                ok("content-type: application/json\r\ncontent-length: 18\r\n", "{\"type\":\"message\"}")
            ),
            Answer(200, "{\"type\":\"message\"}"),
            Success,
        ),
        left(
            "101 that nobody asked for",
            "9110 15.2.2",
            Get,
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
            Keeps,
            Own(502),
            Failure,
        ),
        left("103 and then the end", "9112 8", Get, "HTTP/1.1 103 Early Hints\r\n\r\n", Closes, Own(502), Failure),
    ]
}

fn framing() -> Vec<Row> {
    vec![
        kept(
            "two equal lengths",
            "9112 6.3",
            Get,
            ok("content-length: 3\r\ncontent-length: 3\r\n", "abc"),
            Answer(200, "abc"),
            Success,
        ),
        left(
            "two lengths that differ",
            "9112 6.3",
            Get,
            ok("content-length: 3\r\ncontent-length: 5\r\n", "abcde"),
            Keeps,
            Own(502),
            Failure,
        ),
        left("a negative length", "9110 8.6", Get, ok("content-length: -1\r\n", "abc"), Keeps, Own(502), Failure),
        left(
            "a length with a plus sign",
            "9110 8.6",
            Get,
            ok("content-length: +3\r\n", "abc"),
            Keeps,
            Own(502),
            Failure,
        ),
        left(
            "a length and chunks",
            "9112 6.3",
            Get,
            ok("content-length: 3\r\ntransfer-encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
            Keeps,
            Answer(200, "abc"),
            Success,
        )
        .note("chunks win, as the RFC says, and the connection is let go"),
        left(
            "chunked twice",
            "9112 6.1",
            Get,
            ok("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n"),
            Keeps,
            Own(502),
            Failure,
        ),
        left(
            "chunks in HTTP/1.0",
            "9112 6.1",
            Get,
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            Keeps,
            Answer(200, "abc"),
            Success,
        ),
    ]
}

/// More than was asked for.
fn surplus() -> Vec<Row> {
    vec![
        left(
            "more than the length",
            "9112 6.3",
            Get,
            ok("content-length: 3\r\n", "abc") + HIDDEN,
            Keeps,
            Answer(200, "abc"),
            Success,
        ),
        left(
            "more than the last chunk",
            "9112 7.1",
            Get,
            chunked("3\r\nabc\r\n0\r\n\r\n") + HIDDEN,
            Keeps,
            Answer(200, "abc"),
            Success,
        ),
        left(
            "a body behind 204",
            "9110 15.3.5",
            Get,
            format!("HTTP/1.1 204 No Content\r\n\r\n{HIDDEN}"),
            Keeps,
            Answer(204, ""),
            Success,
        ),
        left(
            "a body behind HEAD",
            "9110 9.3.2",
            Head,
            ok("content-length: 3\r\n", "abc"),
            Keeps,
            Answer(200, ""),
            Success,
        ),
        left(
            "a body behind 304",
            "9110 15.4.5",
            Get,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\nabc",
            Keeps,
            Answer(304, ""),
            Nothing,
        ),
    ]
}

fn broken() -> Vec<Row> {
    vec![
        left(
            "less than the length, passed on",
            "9112 8",
            Get,
            ok("content-length: 9\r\n", "abc"),
            Closes,
            Broken(200, "abc"),
            Nothing,
        ),
        left(
            "less than the length, reset",
            "9112 8",
            Get,
            ok("content-length: 9\r\n", "abc"),
            Resets,
            Broken(200, "abc"),
            Nothing,
        ),
        left(
            "less than the length, held",
            "9112 8",
            Message,
            ok("content-type: application/json\r\ncontent-length: 99\r\n", "{\"type\":"),
            Closes,
            Own(502),
            Failure,
        ),
        left("no last chunk", "9112 8", Get, chunked("3\r\nabc\r\n"), Closes, Broken(200, "abc"), Nothing),
        left(
            "a chunk that is no chunk",
            "9112 7.1",
            Get,
            chunked("3\r\nabc\r\nzz\r\n"),
            Keeps,
            Broken(200, "abc"),
            Nothing,
        ),
        left(
            "a chunk that ends in a bare LF",
            "9112 7.1",
            Get,
            chunked("3\r\nabc\n0\r\n\r\n"),
            Keeps,
            Broken(200, "abc"),
            Nothing,
        ),
        left(
            "a chunk's size beyond 64 bits",
            "9112 7.1",
            Message,
            chunked("10000000000000000\r\n"),
            Keeps,
            Own(502),
            Failure,
        ),
        left("an empty answer", "", Message, ok("content-length: 0\r\n", ""), Keeps, Own(502), Failure)
            .connection_kept(),
        left(
            "a page",
            "",
            Message,
            ok("content-type: text/html\r\ncontent-length: 6\r\n", "<html>"),
            Keeps,
            Own(502),
            Failure,
        )
        .connection_kept(),
    ]
}

fn heads() -> Vec<Row> {
    vec![
        left("the end, without a byte", "9112 9.5", Message, "", Closes, Honest, Success)
            .note("on a kept connection, within a second: asked once more on a fresh one, uncounted"),
        left("half a head", "9112 8", Get, "HTTP/1.1 200 OK\r\ncontent-le", Closes, Own(502), Failure),
        left("a reset within the head", "9112 8", Get, "HTTP/1.1 200", Resets, Own(502), Failure),
        left("what is not HTTP", "9112 4", Get, "SSH-2.0-x\r\n", Keeps, Own(502), Failure),
        left("HTTP/2.0", "9112 2.3", Get, "HTTP/2.0 200 OK\r\n\r\n", Keeps, Own(502), Failure),
        left("a body without a head: HTTP/0.9", "9112 2.3", Get, "<html>", Closes, Own(502), Failure),
    ]
}

fn syntax() -> Vec<Row> {
    vec![
        left("a status of two digits", "9112 4", Get, "HTTP/1.1 20 OK\r\n\r\n", Keeps, Own(502), Failure),
        left("a status below 100", "9110 15", Get, "HTTP/1.1 099 No\r\n\r\n", Keeps, Own(502), Failure),
        left(
            "a folded line",
            "9112 5.2",
            Get,
            ok("x-a: 1\r\n 2\r\ncontent-length: 3\r\n", "abc"),
            Keeps,
            Own(502),
            Failure,
        )
        .note("the RFC would have it joined; no provider folds"),
        kept(
            "a space before the colon",
            "9112 5.1",
            Get,
            ok("content-length : 3\r\n", "abc"),
            Answer(200, "abc"),
            Success,
        )
        .note("the space is removed, as the RFC says"),
        left("a line without a colon", "9112 5", Get, ok("x-a\r\n", ""), Keeps, Own(502), Failure),
        left("a NUL in a value", "9110 5.5", Get, ok("x-a: 1\0\r\n", ""), Keeps, Own(502), Failure),
        left(
            "a head that is too large",
            "9110 5.4",
            Get,
            ok(&format!("x-a: {}\r\n", "a".repeat(1_000_000)), ""),
            Keeps,
            Own(502),
            Failure,
        ),
    ]
}
