use actix_http::HttpMessage as _;
use actix_http::h1::{Codec, Message, MessageType};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio_util::codec::Decoder as _;

use super::*;

/// A request, and how its body ends.
#[derive(Clone, Debug)]
struct Sent {
    bytes: Vec<u8>,
    end: BodyEnd,
}

fn sent(head: &str, end: BodyEnd, body: &str) -> Sent {
    Sent { bytes: format!("{head}{body}").into_bytes(), end }
}

fn get() -> Sent {
    sent("GET / HTTP/1.1\r\nhost: x\r\n\r\n", BodyEnd::Length(0), "")
}

fn post(body: &str) -> Sent {
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nContent-Length: {length}\r\n\r\n");
    sent(&head, BodyEnd::Length(length as u64), body)
}

fn chunked(body: &str) -> Sent {
    sent("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", BodyEnd::Chunked, body)
}

/// A connection's reader: what it is handed, and when it reads heads.
struct Reader {
    framing: Framing,
    handed: Vec<u8>,
}

impl Reader {
    fn new() -> Self {
        Self { framing: Framing::new(), handed: Vec::new() }
    }

    fn come(&mut self, came: &[u8]) {
        self.hand_on_kept();
        let own = self.framing.take(came);
        self.handed.extend_from_slice(&came[..own]);
        self.hand_on_kept();
    }

    fn hand_on_kept(&mut self) {
        while let Some(kept) = self.framing.next_kept(7) {
            assert!(kept.len() <= 7);
            self.handed.extend_from_slice(&kept);
        }
    }

    fn begin(&mut self, end: BodyEnd) {
        self.framing.begin(end);
        self.hand_on_kept();
    }

    fn end(&mut self) {
        self.framing.end();
        self.hand_on_kept();
    }

    fn handed(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.handed)).unwrap()
    }
}

#[test]
fn a_request_that_comes_with_others_behind_it_is_handed_on_alone() {
    let mut reader = Reader::new();
    reader.come(b"\r\nPOST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabcHEAD /2 HTTP/1.0\r\n\r\nGET");
    assert!(reader.handed().ends_with("\r\n\r\nabc"), "with its body, in one go");
    reader.begin(BodyEnd::Length(3));
    assert!(!reader.framing.is_torn() && reader.framing.has_more());
    reader.come(b" /3 HTTP/1.1\r\n\r\n");
    assert_eq!(reader.handed(), "");
    reader.end();
    assert_eq!(reader.handed(), "HEAD /2 HTTP/1.0\r\n\r\n");
    reader.begin(BodyEnd::Length(0));
    assert_eq!(reader.handed(), "");
    reader.end();
    assert_eq!(reader.handed(), "GET /3 HTTP/1.1\r\n\r\n");
    assert!(!reader.framing.has_more());
}

#[test]
fn where_the_length_is_not_told_beyond_doubt_a_head_is_handed_on_alone() {
    for lines in [
        "content-length: 3\r\ncontent-length: 3\r\n",
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "content-length: 3\r\nupgrade: websocket\r\n",
        "content-length: +3\r\n",
        "content-length: 3, 3\r\n",
        "content-length: 0x3\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length:\r\n",
        "content-length : 3\r\n",
        " content-length: 3\r\n",
        "x: content-length: 3\r\n",
        "x-content-length: 3\r\n",
        "x: y\rcontent-length: 3\r\n",
        "",
    ] {
        let mut reader = Reader::new();
        reader.come(format!("POST / HTTP/1.1\r\n{lines}\r\nabc").as_bytes());
        assert_eq!(reader.handed(), format!("POST / HTTP/1.1\r\n{lines}\r\n"), "{lines:?}");
    }
    let mut torn = Reader::new();
    torn.come(b"POST / HTTP/1.1\r\ncontent-le");
    torn.come(b"ngth: 3\r\n\r\nabc");
    assert_eq!(torn.handed(), "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n");
    torn.begin(BodyEnd::Length(3));
    assert_eq!(torn.handed(), "abc");
}

#[test]
fn a_body_goes_on_to_its_end_also_where_the_request_has_been_answered_before() {
    let mut reader = Reader::new();
    let Sent { bytes, end } = chunked("");
    reader.come(&bytes);
    reader.begin(end);
    reader.handed();
    reader.end();
    reader.come(b"3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    assert_eq!(reader.handed(), "3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
}

/// A reader that takes a line feed for a line's end takes what follows these for the next request.
#[test]
fn trailers_with_bare_line_feeds_are_made_unreadable() {
    for trailers in ["\n", "x\n", "x: y\nz: 1\r\n\r\n", "x: y\r\n\n", "x: y\r\nz\n\r\n"] {
        let Sent { bytes, end } = chunked(&format!("3\r\nabc\r\n0\r\n{trailers}GET / HTTP/1.1\r\n\r\n"));
        let mut reader = Reader::new();
        reader.come(&bytes);
        reader.begin(end);
        let handed = reader.handed();
        let (_, behind) = handed.split_once("abc\r\n0\r\n").unwrap();
        let (line, refused) = behind.split_at(behind.find("\r\r").unwrap());
        assert!(trailers.starts_with(line) && line.ends_with('\n'), "{line:?}");
        assert!(refused.starts_with("\r\r"), "{refused:?}");
    }
}

#[test]
fn no_more_is_read_once_much_is_kept() {
    let mut reader = Reader::new();
    reader.come(&get().bytes);
    reader.begin(BodyEnd::Length(0));
    assert!(!reader.framing.is_full());
    reader.come(&vec![b'x'; KEPT]);
    assert!(reader.framing.is_full());
    reader.end();
    assert!(!reader.framing.is_full() && !reader.framing.has_more());
}

fn requests() -> impl Strategy<Value = Vec<Sent>> {
    let chunk = ("[a-z\r\n]{1,30}", "(;[a-z]{1,5}(=[a-z0-9]{1,5})?)?")
        .prop_map(|(data, extension)| format!("{:X}{extension}\r\n{data}\r\n", data.len()));
    let trailer = "[a-z]{1,8}: [a-z0-9 ]{0,12}\r\n";
    let in_chunks = (prop::collection::vec(chunk, 0..4), prop::collection::vec(trailer, 0..3))
        .prop_map(|(chunks, trailers)| chunked(&format!("{}0\r\n{}\r\n", chunks.concat(), trailers.concat())));
    let bare =
        "[a-z]{0,9}".prop_map(|path| sent(&format!("GET /{path} HTTP/1.1\nhost: x\n\n"), BodyEnd::Length(0), ""));
    let request = prop_oneof![Just(get()), bare, "[a-z\r\n]{1,40}".prop_map(|body| post(&body)), in_chunks];
    prop::collection::vec(request, 1..6)
}

proptest! {
    /// However they are cut, and whether a head is read before more comes or after it.
    #[test]
    fn each_request_is_handed_on_whole_and_alone(
        requests in requests(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        is_hasty in any::<bool>(),
    ) {
        let all: Vec<u8> = requests.iter().flat_map(|request| request.bytes.clone()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(all.len())).collect();
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        let mut pieces = cuts.windows(2).map(|pair| &all[pair[0]..pair[1]]).peekable();
        let mut reader = Reader::new();
        for request in &requests {
            let (length, mut has_begun) = (request.bytes.len(), false);
            let body = request.bytes.windows(2).position(|pair| pair == b"\n\n");
            let head = body.map_or_else(|| request.bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4, |at| at + 2);
            while reader.framing.is_torn() || reader.handed.len() < length {
                if !has_begun && reader.handed.len() >= head && (is_hasty || pieces.peek().is_none()) {
                    reader.begin(request.end);
                    has_begun = true;
                } else if let Some(piece) = pieces.next() {
                    reader.come(piece);
                } else {
                    break;
                }
                prop_assert!(request.bytes.starts_with(&reader.handed), "{:?}", reader.handed());
            }
            if !has_begun {
                reader.begin(request.end);
            }
            prop_assert_eq!(&reader.handed, &request.bytes);
            prop_assert!(!reader.framing.is_torn());
            reader.handed.clear();
            reader.end();
        }
        prop_assert!(!reader.framing.has_more());
    }

    #[test]
    fn no_bytes_are_lost_or_make_it_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
        let mut reader = Reader::new();
        for piece in &pieces {
            reader.come(piece);
            reader.begin(BodyEnd::Close);
            reader.end();
        }
        prop_assert_eq!(reader.handed, pieces.concat());
    }
}

/// What actix takes for the end of a request, or refuses, is the end here too, however the lines end. Needs a runtime, as
/// actix keeps its clock there.
#[actix_web::test]
async fn actix_ends_each_request_where_it_is_ended_here() {
    let wires = prop::collection::vec(any_request(), 1..4).prop_map(|requests| requests.concat());
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let ended = std::cell::Cell::new(0_u32);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let tested = runner.run(&(wires, cuts), |(wire, cuts)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let (mut reader, mut codec, mut unread) = (Reader::new(), Codec::default(), BytesMut::new());
        for pair in cuts.windows(2) {
            reader.come(&wire.as_bytes()[pair[0]..pair[1]]);
            loop {
                unread.extend_from_slice(&std::mem::take(&mut reader.handed));
                let has_ended = match codec.decode(&mut unread) {
                    Ok(Some(Message::Item(request))) => {
                        prop_assert!(!reader.framing.is_under_way(), "a second one");
                        let has_body = codec.message_type() != MessageType::None;
                        reader.begin(BodyEnd::told_by(request.headers(), has_body));
                        !has_body
                    }
                    Ok(Some(Message::Chunk(piece))) => piece.is_none(),
                    Ok(None) => {
                        let is_whole = reader.framing.is_under_way() && !reader.framing.is_torn();
                        prop_assert!(!is_whole, "actix waits for more");
                        break;
                    }
                    Err(_) => return Ok(()),
                };
                if has_ended {
                    ended.set(ended.get() + 1);
                    prop_assert!(unread.is_empty() && !reader.framing.is_torn(), "it ends before");
                    reader.end();
                }
            }
        }
        Ok(())
    });
    tested.unwrap();
    assert!(ended.get() > Config::default().cases / 4, "{} requests only have come to their end", ended.get());
}

/// A request whose parts are mostly as they should be.
fn any_request() -> impl Strategy<Value = String> {
    let line_end =
        || prop_oneof![30 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n"), 1 => Just("\n\r\n")];
    let header = prop_oneof![
        6 => Just("x-a: b"),
        4 => Just("content-length: 3"),
        1 => Just("Content-Length:0"),
        1 => Just("content-length: +3"),
        1 => Just("content-length : 3"),
        1 => Just(" content-length: 3"),
        4 => Just("Transfer-Encoding: chunked"),
        1 => Just("transfer-encoding: identity"),
        1 => Just("upgrade: websocket"),
        1 => Just("connection: close"),
    ];
    let body = prop_oneof![
        1 => Just(vec![]),
        4 => Just(vec!["abc"]),
        4 => Just(vec!["3", "abc", "0", ""]),
        2 => Just(vec!["2;x=y", "ab", "A ", "0123456789", "0;x", "x-sum: 1", ""]),
        1 => Just(vec!["0", "x", "y: z", ""]),
        1 => Just(vec!["3", "abcd", "0", ""]),
    ];
    let start = prop_oneof![Just("POST / HTTP/1.1"), Just("GET / HTTP/1.1"), Just("HEAD / HTTP/1.0")];
    let ends = prop::collection::vec(line_end(), 16);
    (start, prop::collection::vec(header, 0..3), body, ends, any::<bool>()).prop_map(
        |(start, headers, body, ends, has_last)| {
            let mut ends = ends.into_iter();
            let mut wire = String::new();
            let lines = [vec![start, "host: x"], headers, vec![""]].concat();
            for line in lines.iter().chain(&body) {
                wire += line;
                wire += ends.next().unwrap_or_default();
            }
            let is_of_length = body.len() == 1;
            let end = if is_of_length || !has_last { wire.trim_end().len() } else { wire.len() };
            wire[..if body.is_empty() { wire.len() } else { end }].to_owned()
        },
    )
}
