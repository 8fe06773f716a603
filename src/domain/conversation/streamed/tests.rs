use proptest::prelude::*;

use super::super::super::endpoint::{Auth, AuthStyle, Home};
use super::super::super::secret::Secret;
use super::super::super::testing::endpoint;
use super::*;

const ANTHROPIC: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":40,\"output_tokens\":1}}}\n\n",
    ": a comment\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\ndata: \"delta\":{\"type\":\"text_delta\",\"text\":\"é2\"}}\n\n",
    "event: content_block_delta\ndata:{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"B3\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

const OPENAI: &str = concat!(
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"é2\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"B3\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":3}}\n\n",
    "data: [DONE]\n\n",
);

fn answer_of(protocol: Protocol) -> StreamedAnswer {
    let key = Secret::new("sk-of-the-operator");
    let auth = Auth::Own { style: AuthStyle::Bearer, key };
    StreamedAnswer::new(Arc::new(Endpoint { protocol, auth, ..endpoint("main", Home::Primary) }))
}

fn read(protocol: Protocol, stream: &str) -> StreamedAnswer {
    let mut answer = answer_of(protocol);
    answer.push(stream.as_bytes());
    answer
}

#[test]
fn text_cost_and_end_are_read_in_both_protocols() {
    for (protocol, stream) in [(Protocol::Anthropic, ANTHROPIC), (Protocol::OpenAi, OPENAI)] {
        let answer = read(protocol, stream);
        assert_eq!((answer.text(), answer.end()), ("é2B3", &StreamEnd::Closed), "{stream}");
        assert_eq!(answer.tokens(), Tokens { input: 40, output: 3 }, "{stream}");
        assert!(!format!("{answer:?}").contains("B3"), "what was said is in no print");
    }
}

#[test]
fn a_streams_end_is_what_it_says_itself() {
    use Protocol::{Anthropic, OpenAi};
    use StreamEnd::{Closed, Complete, Garbled, Open};
    for (protocol, stream, end) in [
        (Anthropic, "", Open),
        (Anthropic, "event: message_stop\n\n", Open),
        (Anthropic, "event: message_stop\ndata: {}\n\n", Closed),
        (Anthropic, "data: {\"type\":\"message_stop\"}\n\n", Closed),
        (Anthropic, "data: {\"type\":\"message_stop\"}\n", Open),
        (Anthropic, "data: [DONE]\n\n", Open),
        (Anthropic, "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n", Complete),
        (Anthropic, "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":null}}\n\n", Open),
        (Anthropic, "data: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"mess\n\n", Complete),
        (Anthropic, "data: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\nevent: message_stop\ndata: {}\n\n", Closed),
        (
            Anthropic,
            "data: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\nevent: error\ndata: {}\n\n",
            StreamEnd::Failed(None),
        ),
        (Anthropic, "data: {\"type\":\"mess\n\n", Garbled),
        (Anthropic, "data: {\"type\":\"message_stop\"}\n\nevent: error\ndata: {}\n\n", Closed),
        (Anthropic, "event: error\ndata: {}\n\n", StreamEnd::Failed(None)),
        (Anthropic, "data: {\"type\":\"error\"}\n\n", StreamEnd::Failed(None)),
        (Anthropic, ": event: message_stop\ndata\nid: 3\n\n", Open),
        (Anthropic, "\u{feff}event: message_stop\ndata: {}\n\n", Closed),
        (OpenAi, "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n", Complete),
        (OpenAi, "data: {\"choices\":[{\"finish_reason\":\"\"}]}\n\n", Open),
        (OpenAi, "data: {\"type\":\"message_stop\"}\n\n", Open),
        (OpenAi, "data:[DONE]\r\n\r\n", Closed),
        (OpenAi, "data: null\n\ndata: []\n\ndata: 3\n\ndata: {\"choices\":null}\n\n", Open),
    ] {
        assert_eq!(read(protocol, stream).end(), &end, "{stream}");
    }
}

#[test]
fn an_error_in_the_stream_keeps_its_type() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for (protocol, stream) in [
        (Protocol::Anthropic, format!("event: error\ndata: {error}\n\n")),
        (Protocol::OpenAi, format!("data: {error}\n\ndata: [DONE]\n\n")),
    ] {
        let answer = read(protocol, &stream);
        let StreamEnd::Failed(Some(error)) = answer.end() else { panic!("{answer:?}") };
        assert_eq!(error.type_word(), Some("overloaded_error"));
    }
}

#[test]
fn a_last_event_without_its_blank_line_counts_where_the_body_ended_in_order() {
    for stream in ["data: [DONE]", "data: [DONE]\n"] {
        let mut answer = read(Protocol::OpenAi, stream);
        assert_eq!(answer.end(), &StreamEnd::Open);
        answer.finish();
        assert_eq!(answer.end(), &StreamEnd::Closed);
    }
    let mut torn = read(Protocol::OpenAi, "data: {\"choices\":[");
    torn.finish();
    assert_eq!(torn.end(), &StreamEnd::Garbled);
}

#[test]
fn a_secret_is_hidden_wherever_the_pieces_of_its_event_end() {
    let stream = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"sk-of-the-operator\",\"message\":\"no sk-of-the-operator\"}}\n\n";
    for cut in 0..=stream.len() {
        let mut answer = answer_of(Protocol::Anthropic);
        let (first, second) = stream.split_at(cut);
        answer.push(first.as_bytes());
        answer.push(second.as_bytes());
        let StreamEnd::Failed(Some(error)) = answer.end() else { panic!("{cut}: {answer:?}") };
        assert_eq!((error.type_word(), error.message()), (None, "no ******************"), "{cut}");
    }
}

proptest! {
    #[test]
    fn any_split_and_any_line_end_give_the_same(
        cuts in prop::collection::vec(0_usize..1200, 0..20),
        line_end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        openai in any::<bool>(),
    ) {
        let (protocol, stream) = if openai { (Protocol::OpenAi, OPENAI) } else { (Protocol::Anthropic, ANTHROPIC) };
        let stream = stream.replace('\n', line_end);
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        let mut answer = answer_of(protocol);
        let mut from = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            answer.push(&bytes[from..cut]);
            from = cut;
        }
        prop_assert_eq!((answer.text(), answer.end()), ("é2B3", &StreamEnd::Closed));
        prop_assert_eq!(answer.tokens(), Tokens { input: 40, output: 3 });
    }

    #[test]
    fn no_stream_that_was_cut_is_closed(cut in 0_usize..1200, openai in any::<bool>()) {
        let (protocol, stream) = if openai { (Protocol::OpenAi, OPENAI) } else { (Protocol::Anthropic, ANTHROPIC) };
        // Without its last line end, the closing event is not dispatched.
        let cut = cut.min(stream.len() - 1);
        let mut answer = answer_of(protocol);
        answer.push(&stream.as_bytes()[..cut]);
        prop_assert!(matches!(answer.end(), StreamEnd::Open | StreamEnd::Complete));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut answer = answer_of(Protocol::Anthropic);
        answer.push(&bytes);
        answer.finish();
        prop_assert_ne!(answer.end(), &StreamEnd::Closed);
    }
}
