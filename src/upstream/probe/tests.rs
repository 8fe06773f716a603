//! Streamed conversations with upstreams that say what a test says.

use std::io::Write;
use std::sync::Arc;

use serde_json::json;

use super::super::testing::{Peer, Received, Upstream, client, within};
use super::*;
use crate::domain::base_url::BaseUrl;
use crate::domain::conversation::Manner;
use crate::domain::endpoint::{Home, ModelFilter};
use crate::domain::ids::Epoch;
use crate::domain::schedule::{Subject, Suffices};
use crate::domain::testing::endpoint;

const EVENT_STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn settings(timeout: Duration) -> ProbeSettings {
    ProbeSettings {
        timeout,
        connect_timeout: Duration::from_secs(5),
        model: None,
        anthropic_model: "a".to_owned(),
        openai_model: "o".to_owned(),
        max_tokens: 64,
        words: Words::Left,
        rules: Rules::none(),
    }
}

fn subject(upstream: &Upstream, protocol: Protocol, manner: Manner) -> Subject {
    let mut endpoint = endpoint("main", Home::Primary);
    endpoint.base_url = BaseUrl::parse(&format!("http://127.0.0.1:{}", upstream.origin.port)).unwrap();
    endpoint.protocol = protocol;
    Subject { manner, model: Some("failed".into()), ..Subject::new(Arc::new(endpoint), Epoch::from_raw(1)) }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn anthropic(text: &str) -> String {
    [
        r#"{"type":"message_start","message":{"usage":{"input_tokens":40,"output_tokens":1}}}"#.to_owned(),
        format!(r#"{{"type":"content_block_delta","delta":{{"type":"text_delta","text":"{text}"}}}}"#),
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#.to_owned(),
        r#"{"type":"message_stop"}"#.to_owned(),
    ]
    .map(|data| format!("data: {data}\n\n"))
    .concat()
}

/// The text up to the event of this type.
fn without_end(text: &str, kind: &str) -> String {
    let events = anthropic(text);
    let (before, _) = events.split_once(&format!("data: {{\"type\":\"{kind}\"")).unwrap();
    before.to_owned()
}

fn openai(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\ndata: [DONE]\n\n")
}

/// The answer to a question for this code, in the pieces in which it is sent.
type Say<'a> = &'a dyn Fn(&str) -> Vec<Vec<u8>>;

/// How a conversation ended, what it cost, and the requests that it took.
struct Held {
    verdict: Verdict,
    cost: Tokens,
    asked: Vec<Received>,
}

impl Held {
    fn error(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Proven(_) => None,
            Verdict::Unproven(unproven) => Some(unproven.error.as_str()),
        }
    }
}

/// Holds a conversation in which each request gets the next of the answers, made of the code, piece by piece; then the
/// upstream closes.
async fn held(protocol: Protocol, manner: Manner, answers: &[Say<'_>]) -> Held {
    held_where(Suffices::ThatModel, protocol, manner, answers).await
}

async fn held_where(suffices: Suffices, protocol: Protocol, manner: Manner, answers: &[Say<'_>]) -> Held {
    within(async {
        let upstream = Upstream::bind().await;
        let probe = Probe::new(client(), settings(Duration::from_secs(20)));
        let subject = Subject { suffices, ..subject(&upstream, protocol, manner) };
        let (code, bill) = (Code::from_random(7), Bill::default());
        let serve = async {
            let mut asked = Vec::new();
            for answer in answers {
                let mut peer: Peer<_> = upstream.accept().await;
                asked.push(peer.request().await);
                for piece in answer(&code.to_string()) {
                    peer.say(piece).await;
                    // So that the pieces are read one by one, as far as the socket lets them.
                    tokio::task::yield_now().await;
                }
            }
            asked
        };
        let (verdict, asked) = tokio::join!(probe.converse(&subject, code, Clock::start(), &bill), serve);
        Held { verdict, cost: bill.total(), asked }
    })
    .await
}

async fn streamed(protocol: Protocol, answer: impl Fn(&str) -> Vec<Vec<u8>>) -> Held {
    held(protocol, Manner::Streamed, &[&answer]).await
}

fn body_of(asked: &Received) -> serde_json::Value {
    serde_json::from_slice(&asked.body).unwrap()
}

#[actix_web::test]
async fn an_endpoint_whose_streams_failed_is_asked_for_a_stream_and_passes_with_a_whole_one() {
    for (protocol, events, cost) in [
        (Protocol::Anthropic, anthropic as fn(&str) -> String, Tokens { input: 40, output: 3 }),
        (Protocol::OpenAi, openai, Tokens::default()),
    ] {
        let whole = |code: &str| vec![EVENT_STREAM.into(), chunk(events(code).as_bytes()), b"0\r\n\r\n".to_vec()];
        let held = streamed(protocol, whole).await;
        assert_eq!((held.error(), held.cost), (None, cost), "{protocol:?}");
        assert_eq!(body_of(&held.asked[0])["stream"], true);
    }
}

/// As traffic: else it could never come back.
#[actix_web::test]
async fn what_an_answer_is_called_does_not_matter() {
    for head in ["", "content-type: text/plain\r\n", "content-type: application/json\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\n{head}transfer-encoding: chunked\r\n\r\n");
        let stream = |code: &str| {
            let events = anthropic(code);
            let (first, rest) = events.as_bytes().split_at(3);
            vec![head.clone().into(), chunk(first), chunk(rest), b"0\r\n\r\n".to_vec()]
        };
        let held = streamed(Protocol::Anthropic, stream).await;
        assert_eq!((held.error(), held.cost), (None, Tokens { input: 40, output: 3 }), "{head}");
    }
    let message = |code: &str| {
        let body = format!(r#"{{"content":[{{"type":"text","text":"{code}"}}]}}"#);
        vec![EVENT_STREAM.into(), chunk(body.as_bytes()), b"0\r\n\r\n".to_vec()]
    };
    assert_eq!(held(Protocol::Anthropic, Manner::Whole, &[&message]).await.error(), None);
}

#[actix_web::test]
async fn any_other_reason_is_asked_for_an_answer_in_one_piece() {
    let message = |code: &str| {
        let body = format!(
            r#"{{"content":[{{"type":"text","text":"{code}"}}],"usage":{{"input_tokens":9,"output_tokens":2}}}}"#
        );
        vec![format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()]
    };
    let held = held(Protocol::Anthropic, Manner::Whole, &[&message]).await;
    assert_eq!((held.error(), held.cost), (None, Tokens { input: 9, output: 2 }));
    assert_eq!(body_of(&held.asked[0]).get("stream"), None);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// As in traffic: an endpoint that always compresses would otherwise never come back.
#[actix_web::test]
async fn an_answer_that_is_compressed_all_the_same_is_decoded() {
    let head = |kind: &str| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\n");
        format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes()
    };
    let last = || b"0\r\n\r\n".to_vec();
    let whole = |code: &str| {
        let body = format!(r#"{{"content":[{{"type":"text","text":"{code}"}}]}}"#);
        vec![head("application/json"), chunk(&gzip(&body)), last()]
    };
    let events = |code: &str| vec![head("text/event-stream"), chunk(&gzip(&anthropic(code))), last()];
    assert_eq!(held(Protocol::Anthropic, Manner::Whole, &[&whole]).await.error(), None);
    assert_eq!(held(Protocol::Anthropic, Manner::Streamed, &[&events]).await.error(), None);

    let bomb = gzip(&" ".repeat(2 * MAX_ANSWER));
    assert!(bomb.len() < MAX_ANSWER / 100);
    let bomb = |_: &str| vec![head("application/json"), chunk(&bomb), last()];
    let held = held(Protocol::Anthropic, Manner::Whole, &[&bomb]).await;
    assert_eq!(held.error(), Some("the answer is longer than 1048576 bytes"));
}

#[actix_web::test]
async fn a_stream_may_be_split_anywhere_and_have_any_line_ends() {
    for line_end in ["\n", "\r\n", "\r"] {
        for size in [1, 7, 64] {
            let split = |code: &str| {
                let events = anthropic(code).replace('\n', line_end);
                let pieces = events.as_bytes().chunks(size).map(chunk);
                [EVENT_STREAM.as_bytes().to_vec()].into_iter().chain(pieces).collect()
            };
            assert_eq!(streamed(Protocol::Anthropic, split).await.error(), None, "{line_end:?} {size}");
        }
    }
}

#[actix_web::test]
async fn what_is_no_whole_stream_proves_nothing_even_with_the_code_in_it() {
    let last = || b"0\r\n\r\n".to_vec();
    let cut = |code: &str| without_end(code, "message_delta");
    let json = |code: &str| format!(r#"{{"content":[{{"type":"text","text":"{code}"}}]}}"#);
    let cases: [(&str, Say<'_>); 11] = [
        ("the stream ended without its closing event", &|code| {
            vec![EVENT_STREAM.into(), chunk(cut(code).as_bytes()), last()]
        }),
        ("the upstream's answer was cut short", &|code| vec![EVENT_STREAM.into(), chunk(cut(code).as_bytes())]),
        ("HTTP 200 overloaded_error", &|code| {
            let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
            let events = format!("{}event: error\ndata: {error}\n\n", cut(code));
            vec![EVENT_STREAM.into(), chunk(events.as_bytes()), last()]
        }),
        ("an event of the stream is no JSON", &|code| {
            vec![EVENT_STREAM.into(), chunk(format!("{}data: {{\n\n", cut(code)).as_bytes()), last()]
        }),
        ("HTTP 200 with no event stream, though one was asked for", &|code| {
            let body = json(code);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
            vec![format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()]
        }),
        ("HTTP 502", &|code| {
            let body = anthropic(code);
            let head = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/event-stream\r\ncontent-length:";
            vec![format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()]
        }),
        ("the code is missing", &|_| vec![EVENT_STREAM.into(), chunk(anthropic("ZZZZZZ").as_bytes()), last()]),
        ("the answer is compressed, though identity was asked, in a way that the gateway does not know", &|_| {
            vec![b"HTTP/1.1 200 OK\r\ncontent-encoding: compress\r\ncontent-length: 1\r\n\r\n?".to_vec()]
        }),
        ("the upstream's answer can't be decompressed", &|_| {
            vec![b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\n?".to_vec()]
        }),
        ("HTTP 401", &|_| vec![b"HTTP/1.1 401 No\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\n?".to_vec()]),
        ("HTTP 402", &|_| {
            vec![b"HTTP/1.1 402 No\r\ncontent-encoding: compress\r\ncontent-length: 1\r\n\r\n?".to_vec()]
        }),
    ];
    for (error, say) in cases {
        let held = held(Protocol::Anthropic, Manner::Streamed, &[say]).await;
        assert_eq!(held.error(), Some(error));
    }
}

/// As in traffic: an endpoint that always leaves it out would otherwise never come back.
#[actix_web::test]
async fn a_complete_answer_passes_without_its_closing_event_however_the_stream_ends() {
    let complete = |code: &str| without_end(code, "message_stop");
    let ends: [Say<'_>; 3] = [
        &|code| vec![EVENT_STREAM.into(), chunk(complete(code).as_bytes()), b"0\r\n\r\n".to_vec()],
        &|code| vec![EVENT_STREAM.into(), chunk(complete(code).as_bytes())],
        &|code| {
            let torn = format!("{}data: {{\"type\":\"mess", complete(code));
            vec![EVENT_STREAM.into(), chunk(torn.as_bytes()), b"0\r\n\r\n".to_vec()]
        },
    ];
    for say in ends {
        let held = held(Protocol::Anthropic, Manner::Streamed, &[say]).await;
        assert_eq!((held.error(), held.cost), (None, Tokens { input: 40, output: 3 }));
    }
}

#[actix_web::test]
async fn a_stream_is_read_to_its_closing_event_and_no_further() {
    within(async {
        let upstream = Upstream::bind().await;
        let probe = Probe::new(client(), settings(Duration::from_secs(20)));
        let (subject, code) = (subject(&upstream, Protocol::Anthropic, Manner::Streamed), Code::from_random(7));
        let serve = async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say(EVENT_STREAM).await;
            peer.say(chunk(anthropic(&code.to_string()).as_bytes())).await;
            peer.closed().await
        };
        let bill = Bill::default();
        let (verdict, _) = tokio::join!(probe.converse(&subject, code, Clock::start(), &bill), serve);
        assert!(matches!(verdict, Verdict::Proven(_)), "{verdict:?}");
    })
    .await;
}

#[actix_web::test]
async fn a_stream_that_falls_silent_costs_what_it_said_and_fails() {
    within(async {
        let upstream = Upstream::bind().await;
        let probe = Probe::new(client(), settings(Duration::from_millis(100)));
        let (subject, bill) = (subject(&upstream, Protocol::Anthropic, Manner::Streamed), Bill::default());
        let serve = async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say(EVENT_STREAM).await;
            let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":40}}}"#;
            peer.say(chunk(format!("data: {start}\n\n").as_bytes())).await;
            peer.closed().await
        };
        let (verdict, _) = tokio::join!(probe.converse(&subject, Code::from_random(7), Clock::start(), &bill), serve);
        let Verdict::Unproven(unproven) = verdict else { panic!("it has said nothing") };
        assert_eq!(unproven.error.as_str(), "no answer within the verifier's time-out");
        assert_eq!(unproven.finding, Finding::Unanswered(Unanswered::Timeout));
        assert_eq!(bill.total(), Tokens { input: 40, output: 0 });
    })
    .await;
}

/// Once wrong: a process that was paused during a conversation took its own pause for the endpoint's.
#[actix_web::test]
async fn a_probe_that_was_held_up_looks_at_what_came_before_it_calls_an_endpoint_late() {
    within(async {
        let upstream = Upstream::bind().await;
        let probe = Probe::new(client(), settings(Duration::from_millis(100)));
        let (subject, code) = (subject(&upstream, Protocol::Anthropic, Manner::Whole), Code::from_random(7));
        let serve = async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            std::thread::park_timeout(Duration::from_millis(700));
            // By then the time is up, and nothing has come that the runtime knows of.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let body = json!({ "content": [{ "type": "text", "text": code.to_string() }] }).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            peer.say(head).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            peer.say(body).await;
        };
        let bill = Bill::default();
        let (verdict, ()) = tokio::join!(probe.converse(&subject, code, Clock::start(), &bill), serve);
        assert!(matches!(verdict, Verdict::Proven(_)), "{verdict:?}");
    })
    .await;
}

/// Once wrong: a request for a model that worked nowhere took each endpoint from all others, for as long as the model failed.
#[actix_web::test]
async fn where_any_models_answer_suffices_the_next_one_is_asked_also_after_a_failure() {
    let answer = |status: &str, body: String| {
        vec![format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()]
    };
    let failed = |_: &str| answer("500 Internal Server Error", String::new());
    let lacking = |_: &str| answer("404 Not Found", String::new());
    let closed = |_: &str| Vec::new();
    let code = |code: &str| answer("200 OK", json!({ "content": [{ "type": "text", "text": code }] }).to_string());
    let (any, that) = (Suffices::AnyModel, Suffices::ThatModel);
    let cases: [(_, &[Say<'_>], _, &[&str]); 5] = [
        (any, &[&failed, &code], None, &["failed", "a"]),
        (any, &[&closed, &code], None, &["failed", "a"]),
        (any, &[&failed, &failed], Some("HTTP 500"), &["failed", "a"]),
        (any, &[&failed, &lacking], Some("HTTP 500"), &["failed", "a"]),
        (that, &[&failed], Some("HTTP 500"), &["failed"]),
    ];
    for (suffices, answers, error, models) in cases {
        let held = held_where(suffices, Protocol::Anthropic, Manner::Whole, answers).await;
        assert_eq!(held.error(), error, "{suffices:?} {models:?}");
        let asked: Vec<_> = held.asked.iter().map(|asked| body_of(asked)["model"].clone()).collect();
        assert_eq!(asked, models, "{suffices:?} {error:?}");
    }
}

/// Found by reading: one model's used-up window was ended by the answer of the model that the settings name.
#[actix_web::test]
async fn where_a_models_own_answer_alone_suffices_no_other_is_asked() {
    let upstream = Upstream::bind().await;
    let models = |suffices, model: Option<&str>| -> Vec<String> {
        let subject = subject(&upstream, Protocol::Anthropic, Manner::Whole);
        let subject = Subject { model: model.map(Arc::from), suffices, ..subject };
        let settings = ProbeSettings { model: Some("named".to_owned()), ..settings(Duration::from_secs(20)) };
        Probe::new(client(), settings).models(&subject).collect()
    };
    assert_eq!(models(Suffices::ItAlone, Some("used-up")), ["used-up"]);
    assert_eq!(models(Suffices::ThatModel, Some("used-up")), ["named", "used-up", "a"]);
    assert_eq!(models(Suffices::ItAlone, None), ["named", "a"], "no model in particular");
}

/// Found by reading: if no failed model was known, an endpoint whose vendor has only its own models stayed isolated
/// forever.
#[actix_web::test]
async fn an_endpoint_that_lacks_the_default_is_asked_for_a_model_that_its_settings_name() {
    within(async {
        let upstream = Upstream::bind().await;
        let probe = Probe::new(client(), settings(Duration::from_secs(20)));
        let mut subject = Subject { model: None, ..subject(&upstream, Protocol::Anthropic, Manner::Whole) };
        let listed = ["opus-*", "opus-x"].map(str::to_owned);
        Arc::make_mut(&mut subject.endpoint).models = ModelFilter::new(&listed).unwrap();
        let (code, bill) = (Code::from_random(7), Bill::default());
        let serve = async {
            let mut asked = Vec::new();
            for (status, body) in [
                ("404 Not Found", String::new()),
                ("200 OK", json!({ "content": [{ "type": "text", "text": code.to_string() }] }).to_string()),
            ] {
                let mut peer: Peer<_> = upstream.accept().await;
                asked.push(body_of(&peer.request().await)["model"].clone());
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                peer.say(head + &body).await;
            }
            asked
        };
        let (verdict, asked) = tokio::join!(probe.converse(&subject, code, Clock::start(), &bill), serve);
        assert!(matches!(verdict, Verdict::Proven(_)));
        assert_eq!(asked, ["a", "opus-x"]);
    })
    .await;
}

/// Found by reading: OpenAI streams some models only to organisations that it has verified. If `verify_model` named one
/// of those, an endpoint stayed isolated forever whose clients get another model's streams.
#[actix_web::test]
async fn where_a_models_streams_are_refused_another_model_or_a_whole_answer_will_do() {
    let whole = |status: &str, body: String| {
        vec![format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()]
    };
    let refused = |_: &str| {
        let said = r#""message":"Your organization must be verified to stream this model.","param":"stream""#;
        whole("400 Bad Request", format!(r#"{{"error":{{{said},"code":"unsupported_value"}}}}"#))
    };
    let in_one_piece = |code: &str| whole("200 OK", format!(r#"{{"choices":[{{"message":{{"content":"{code}"}}}}]}}"#));
    let stream = |code: &str| vec![EVENT_STREAM.into(), chunk(openai(code).as_bytes()), b"0\r\n\r\n".to_vec()];
    for (manner, second, model, streams) in [
        (Manner::Streamed, &stream as Say<'_>, "o", json!(true)),
        (Manner::Either, &in_one_piece, "failed", json!(null)),
    ] {
        let held = held(Protocol::OpenAi, manner, &[&refused, second]).await;
        assert_eq!(held.error(), None, "{manner:?}");
        let asked: Vec<_> = held.asked.iter().map(body_of).collect();
        assert_eq!((&asked[0]["model"], &asked[0]["stream"]), (&json!("failed"), &json!(true)));
        assert_eq!((&asked[1]["model"], &asked[1]["stream"]), (&json!(model), &streams));
    }
}

#[actix_web::test]
async fn every_exchange_of_a_conversation_is_on_the_bill() {
    let whole = |status: &str, body: String| {
        vec![format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()]
    };
    let lacking = |_: &str| {
        let said = r#""content":[],"usage":{"input_tokens":5,"output_tokens":1}"#;
        whole("404 Not Found", format!(r#"{{{said},"error":{{"type":"not_found_error","message":"model: x"}}}}"#))
    };
    let good = |code: &str| {
        let said = format!(r#""content":[{{"type":"text","text":"{code}"}}]"#);
        whole("200 OK", format!(r#"{{{said},"usage":{{"input_tokens":40,"output_tokens":3}}}}"#))
    };
    let held = held(Protocol::Anthropic, Manner::Whole, &[&lacking, &good]).await;
    assert_eq!((held.error(), held.cost), (None, Tokens { input: 45, output: 4 }));
    assert_eq!((&body_of(&held.asked[0])["model"], &body_of(&held.asked[1])["model"]), (&"failed".into(), &"a".into()));
}
