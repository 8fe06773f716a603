use bytes::Bytes;
use proptest::prelude::*;

use super::super::ending::{Break, error_event};
use super::super::relay::{Ending, Failure, LONGEST_HELD, Relay};
use super::super::{Expected, Format, Progress};
use super::{any_format, any_stream, cut};

fn relay(format: Format, pieces: &[&[u8]]) -> Relay {
    let mut relay = Relay::new(Expected::one(format));
    for piece in pieces {
        relay.push(Bytes::copy_from_slice(piece));
    }
    relay
}

fn out(relay: &mut Relay) -> String {
    let pieces: Vec<u8> = std::iter::from_fn(|| relay.pop()).flatten().collect();
    String::from_utf8(pieces).unwrap()
}

const CONTENT: &str = "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n";
const STOP: &str = "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
const CLOSING: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const MORE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
const LAST: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

#[test]
fn a_torn_event_is_held_back_until_it_is_whole() {
    let mut relay = relay(Format::Messages, &[CONTENT.as_bytes(), b"event: pi"]);
    assert_eq!(out(&mut relay), CONTENT);
    relay.push(Bytes::from_static(b"ng\ndata: {}\n"));
    assert_eq!(out(&mut relay), "");
    relay.push(Bytes::from_static(b"\n: next"));
    assert_eq!(out(&mut relay), "event: ping\ndata: {}\n\n");
    assert_eq!(relay.end(true), Ending::Broken);
    assert_eq!(out(&mut relay), "");
}

/// Found with a cut between the last CR and its LF: the error went out without the end of its line.
#[test]
fn an_error_is_a_whole_event_wherever_it_is_cut() {
    let event = "event: error\r\ndata: {}\r\n\r\n";
    for cut in 1..event.len() {
        let (first, rest) = event.split_at(cut);
        let mut relay = relay(Format::Messages, &[first.as_bytes(), rest.as_bytes()]);
        assert_eq!(relay.take_failure().unwrap().event.as_deref(), Some(event.as_bytes()), "{cut}");
    }
}

#[test]
fn an_event_that_is_too_long_to_be_held_flows() {
    let long = "x".repeat(LONGEST_HELD);
    let mut relay = relay(Format::Messages, &[b"data: ", long.as_bytes()]);
    assert!(relay.is_within_event());
    assert_eq!(out(&mut relay).len(), LONGEST_HELD + 6);
    relay.push(Bytes::from_static(b"y"));
    assert_eq!((out(&mut relay).as_str(), relay.end(false)), ("y", Ending::Broken));
    relay.push(Bytes::from_static(b"\n\n: next"));
    assert!(!relay.is_within_event());
    assert_eq!(out(&mut relay), "\n\n");
}

#[test]
fn what_an_answer_lacks_but_its_closing_event_is_supplied() {
    for (format, stream, passed, in_order, ending) in [
        (
            Format::Messages,
            format!("{CONTENT}{STOP}{CLOSING}"),
            format!("{CONTENT}{STOP}{CLOSING}"),
            true,
            Ending::Whole,
        ),
        (
            Format::Messages,
            format!("{CONTENT}{STOP}"),
            format!("{CONTENT}{STOP}"),
            true,
            Ending::Supplied(CLOSING.into()),
        ),
        (
            Format::Messages,
            format!("{STOP}event: message_st"),
            STOP.to_owned(),
            false,
            Ending::Supplied(CLOSING.into()),
        ),
        (
            Format::Messages,
            format!("{STOP}{CLOSING}").trim_end().to_owned(),
            format!("{STOP}{CLOSING}"),
            true,
            Ending::Whole,
        ),
        (
            Format::Messages,
            format!("{STOP}{CLOSING}").trim_end().to_owned(),
            STOP.to_owned(),
            false,
            Ending::Supplied(CLOSING.into()),
        ),
        (Format::Messages, CONTENT.to_owned(), CONTENT.to_owned(), true, Ending::Broken),
        // A server that calls each part the last may be at the end with this one, if nothing broke.
        (
            Format::Chat,
            format!("{LAST}{LAST}"),
            format!("{LAST}{LAST}"),
            true,
            Ending::Supplied("data: [DONE]\n\n".into()),
        ),
        (Format::Chat, format!("{LAST}{LAST}"), format!("{LAST}{LAST}"), false, Ending::Broken),
        (Format::Chat, format!("{LAST}{LAST}data: {{\"ch"), format!("{LAST}{LAST}"), true, Ending::Broken),
        (Format::Chat, LAST.to_owned(), LAST.to_owned(), false, Ending::Supplied("data: [DONE]\n\n".into())),
        (Format::Chat, FINISH.to_owned(), FINISH.to_owned(), false, Ending::Supplied("data: [DONE]\n\n".into())),
        (
            Format::Chat,
            FINISH.trim_end().to_owned(),
            FINISH.to_owned(),
            true,
            Ending::Supplied("data: [DONE]\n\n".into()),
        ),
        (Format::Chat, format!("{FINISH}data: [DONE]\n"), format!("{FINISH}data: [DONE]\n\n"), true, Ending::Whole),
        (
            Format::Chat,
            FINISH.replace('\n', "\r"),
            FINISH.replace('\n', "\r"),
            true,
            Ending::Supplied("\ndata: [DONE]\n\n".into()),
        ),
        (
            Format::Responses,
            "event: response.output_text.done\ndata: {}\n\n".to_owned(),
            "event: response.output_text.done\ndata: {}\n\n".to_owned(),
            true,
            Ending::Broken,
        ),
    ] {
        ends(format, &stream, in_order, &passed, &ending);
    }
}

/// Checks how a stream of this text ends, and what of it has gone out by then.
#[track_caller]
fn ends(format: Format, stream: &str, in_order: bool, passed: &str, ending: &Ending) {
    let mut relay = relay(format, &[stream.as_bytes()]);
    let found = relay.end(in_order);
    assert_eq!((&found, out(&mut relay).as_str()), (ending, passed), "{stream}");
}

#[test]
fn an_answer_that_goes_on_behind_its_end_was_not_complete_even_if_what_follows_is_torn() {
    for (format, stream, passed, in_order, ending) in [
        (Format::Messages, format!("{STOP}{CONTENT}"), format!("{STOP}{CONTENT}"), true, Ending::Broken),
        (Format::Messages, format!("{STOP}{CONTENT}").trim_end().to_owned(), STOP.to_owned(), true, Ending::Broken),
        (Format::Messages, format!("{STOP}event: content_block_delta\nda"), STOP.to_owned(), false, Ending::Broken),
        (
            Format::Messages,
            format!("{STOP}data: {{\"type\":\"content_block_delta\",\"del"),
            STOP.to_owned(),
            false,
            Ending::Broken,
        ),
        (Format::Chat, format!("{FINISH}{MORE}"), format!("{FINISH}{MORE}"), false, Ending::Broken),
        (
            Format::Chat,
            format!("{FINISH}data: {{\"choices\":[{{\"delta\":{{\"content\":\"mo"),
            FINISH.to_owned(),
            false,
            Ending::Broken,
        ),
        // The torn event would have stated the usage.
        (
            Format::Chat,
            format!("{FINISH}data: {{\"choices\":[{{\"delta\":{{\"content\":\"\"}}}}],\"usage\":{{\"prompt_to"),
            FINISH.to_owned(),
            false,
            Ending::Supplied("data: [DONE]\n\n".into()),
        ),
        (Format::Chat, format!("{FINISH}{MORE}").trim_end().to_owned(), FINISH.to_owned(), true, Ending::Broken),
    ] {
        ends(format, &stream, in_order, &passed, &ending);
    }
}

#[test]
fn behind_an_error_nothing_comes() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n";
    let mut relay = relay(Format::Messages, &[format!("{CONTENT}{error}{CONTENT}").as_bytes(), CONTENT.as_bytes()]);
    assert_eq!(out(&mut relay), CONTENT);
    let Some(Failure { event, .. }) = relay.take_failure() else { panic!("no failure") };
    assert_eq!(event.as_deref(), Some(error.as_bytes()));
    assert_eq!((relay.take_failure(), out(&mut relay).as_str()), (None, ""));
}

#[test]
fn an_error_that_clients_would_pass_over_gets_the_name_by_which_they_know_it() {
    for (error, named) in [
        (
            "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n",
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n",
        ),
        (
            "event: oops\ndata: {\"error\":\ndata: {\"message\":\"m\"}}\n\n",
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"m\"}}\n\n",
        ),
    ] {
        let mut relay = relay(Format::Messages, &[CONTENT.as_bytes(), error.as_bytes()]);
        assert_eq!(out(&mut relay), CONTENT);
        assert_eq!(relay.take_failure().unwrap().event.as_deref(), Some(named.as_bytes()));
    }
    let error = "event: error\ndata: {\"message\":\"m\"}\n\n";
    let mut relay = relay(Format::Chat, &[error.as_bytes()]);
    assert_eq!(relay.take_failure().unwrap().event, None, "the gateway says it in its own words");
}

/// Found with a program that uses OpenAI's SDK: it took what had come before such an error for the whole answer.
#[test]
fn an_error_of_the_responses_api_without_an_error_in_it_gets_one() {
    const DELTA: &str = "event: response.output_text.delta\ndata: {\"delta\":\"a\",\"sequence_number\":7}\n\n";
    let nested = |kind: &str, code: &str, number: u64| {
        format!(
            "event: error\ndata: {{\"type\":\"error\",\"code\":{code},\"message\":\"m\",\"param\":null,\"sequence_number\":{number},\
             \"error\":{{\"type\":\"{kind}\",\"code\":{code},\"message\":\"m\",\"param\":null}}}}\n\n"
        )
    };
    let documented =
        "{\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\",\"param\":null,\"sequence_number\":9}";
    for (error, named) in [
        (format!("event: error\ndata: {documented}\n\n"), nested("server_error", "\"server_error\"", 9)),
        (format!("data: {documented}\n\n"), nested("server_error", "\"server_error\"", 9)),
        ("event: error\ndata: {\"code\":502,\"message\":\"m\"}\n\n".to_owned(), nested("error", "502", 8)),
        ("event: oops\ndata: {\"error\":{\"message\":\"m\"}}\n\n".to_owned(), nested("server_error", "null", 8)),
    ] {
        let mut relay = relay(Format::Responses, &[DELTA.as_bytes(), error.as_bytes()]);
        assert_eq!(relay.take_failure().unwrap().event.as_deref(), Some(named.as_bytes()), "{error}");
    }
    let known = "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"m\"}}\n\n";
    let mut relay = relay(Format::Responses, &[DELTA.as_bytes(), known.as_bytes()]);
    assert_eq!(relay.take_failure().unwrap().event.as_deref(), Some(known.as_bytes()));
}

/// Found with an error let out in part: its rest looked like the last of a clean end, and clients took it for the whole.
#[test]
fn a_long_error_that_clients_would_pass_over_leaves_its_event_torn() {
    let words = "x".repeat(LONGEST_HELD);
    let begins = format!("data: {{\"a\":\"{words}\",");
    let rest = "\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n";
    let mut relay = relay(Format::Messages, &[CONTENT.as_bytes(), begins.as_bytes(), rest.as_bytes()]);
    assert_eq!(out(&mut relay).len(), CONTENT.len() + begins.len());
    assert_eq!(relay.take_failure().unwrap().event, None);
    assert!(relay.is_within_event());
}

/// Found with an endpoint that repeats its key in an error of 100 KB: the beginning had gone out before it was known to be
/// one.
#[test]
fn nothing_of_an_error_goes_out_before_it_was_seen_whole() {
    for length in [0, LONGEST_HELD, 3 * LONGEST_HELD] {
        let words = format!("key {}", "x".repeat(length));
        let nested = format!("{{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":\"{words}\"}}}}");
        for (format, event) in [
            (Format::Messages, format!("event: error\ndata: {nested}\n\n")),
            (Format::Messages, format!("data: {nested}\n\n")),
            (Format::Messages, format!("event: error\ndata: {words}\n\n")),
            (Format::Chat, format!("data: {{\"id\":7,\"error\":{{\"message\":\"{words}\"}}}}\n\n")),
            (Format::Chat, format!("data: {{\"object\":\"error\",\"message\":\"{words}\"}}\n\n")),
            (Format::Completions, format!("event: error\ndata: {words}\n\n")),
            (Format::Responses, format!("event: response.failed\ndata: {{\"response\":{nested}}}\n\n")),
            (Format::Responses, format!("data: {{\"type\":\"response.failed\",\"response\":{nested}}}\n\n")),
            (Format::Responses, format!("event: error\ndata: {nested}\n\n")),
        ] {
            for size in [1000, 16 << 10, usize::MAX] {
                let pieces: Vec<&[u8]> = event.as_bytes().chunks(size).collect();
                let mut relay = relay(format, &pieces);
                assert_eq!((out(&mut relay).as_str(), relay.is_within_event()), ("", false), "{length} {size}");
                let Failure { error, .. } = relay.take_failure().unwrap();
                assert!(error.body.contains(&words), "{format:?} {length} {size}");
            }
        }
    }
}

/// Its end need not come, and neither its beginning nor its words go out.
#[test]
fn an_error_that_is_too_long_to_be_looked_into_is_told_in_other_words() {
    let words = "x".repeat(5 * LONGEST_HELD);
    let told = "The error is too long to be shown.";
    let messages = format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":\"{told}\"}}}}\n\n"
    );
    let responses = format!(
        "event: error\ndata: {{\"type\":\"error\",\"code\":null,\"message\":\"{told}\",\"param\":null,\"sequence_number\":0,\
         \"error\":{{\"type\":\"server_error\",\"code\":null,\"message\":\"{told}\",\"param\":null}}}}\n\n"
    );
    for (format, begins, event) in [
        (Format::Messages, "event: error\ndata: ", Some(&messages)),
        (
            Format::Messages,
            "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"",
            Some(&messages),
        ),
        (Format::Messages, "data: {\"error\":{\"type\":\"api_error\",\"message\":\"", Some(&messages)),
        (Format::Chat, "event: error\ndata: {\"message\":\"", None),
        (Format::Chat, "data: {\"error\":{\"message\":\"", None),
        (
            Format::Responses,
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"",
            Some(&responses),
        ),
        (Format::Responses, "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"", Some(&responses)),
    ] {
        let (torn, whole) = (format!("{begins}{words}"), format!("{begins}{words}\"}}}}\n\n"));
        for (stream, size) in [(&torn, 1000), (&torn, usize::MAX), (&whole, 1000), (&whole, usize::MAX)] {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let mut relay = relay(format, &pieces);
            let failure = relay.take_failure().unwrap();
            assert_eq!(failure.event.as_deref(), event.map(String::as_bytes), "{begins} {size}");
            assert!(failure.error.body.contains(told));
            assert_eq!((out(&mut relay).as_str(), relay.held(), relay.is_within_event()), ("", 0, false));
        }
    }
}

/// An event that only speaks of errors is held for longer, and no more than that.
#[test]
fn a_long_event_that_speaks_of_errors_is_passed_on() {
    for length in [2 * LONGEST_HELD, 5 * LONGEST_HELD] {
        let words = "x".repeat(length);
        let event =
            format!("event: response.output_item.done\ndata: {{\"item\":{{\"error\":{{\"a\":\"{words}\"}}}}}}\n\n");
        for size in [1000, usize::MAX] {
            let pieces: Vec<&[u8]> = event.as_bytes().chunks(size).collect();
            let mut relay = relay(Format::Responses, &pieces);
            assert_eq!((out(&mut relay) == event, relay.take_failure()), (true, None), "{length} {size}");
        }
    }
}

#[test]
fn a_long_last_event_may_lack_its_blank_line() {
    let words = "x".repeat(2 * LONGEST_HELD);
    let event = format!("event: response.completed\ndata: {{\"response\":{{\"text\":\"{words}\"}}}}\n\n");
    for came in [event.trim_end(), event.strip_suffix('\n').unwrap_or_default()] {
        for size in [1000, usize::MAX] {
            let pieces: Vec<&[u8]> = came.as_bytes().chunks(size).collect();
            let mut relay = relay(Format::Responses, &pieces);
            assert_eq!((relay.end(true), out(&mut relay) == event), (Ending::Whole, true));
        }
    }
}

#[test]
fn an_error_behind_the_closing_event_takes_nothing_back() {
    for error in [
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n",
        "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n",
    ] {
        let whole = format!("{CONTENT}{STOP}{CLOSING}");
        for pieces in [&[format!("{whole}{error}").as_bytes()][..], &[whole.as_bytes(), error.as_bytes()]] {
            let mut relay = relay(Format::Messages, pieces);
            assert_eq!((relay.take_failure(), relay.end(true)), (None, Ending::Whole));
            assert_eq!(out(&mut relay), whole);
        }
    }
}

#[test]
fn a_closing_event_right_behind_the_preamble_closes_no_answer() {
    for (format, stream, is_none) in [
        (Format::Messages, CLOSING.to_owned(), true),
        (Format::Messages, format!("{STOP}{CLOSING}"), false),
        (Format::Messages, format!("{CONTENT}{CLOSING}"), false),
        (Format::Chat, "data: [DONE]\n\n".to_owned(), true),
        (Format::Chat, format!("{FINISH}data: [DONE]\n\n"), false),
        (Format::Completions, "data: [DONE]\n\n".to_owned(), true),
        (Format::Responses, "event: response.completed\ndata: {}\n\n".to_owned(), false),
    ] {
        let mut relay = relay(format, &[stream.as_bytes()]);
        assert_eq!(relay.has_closed_without_answer(), is_none, "{stream}");
        assert_eq!(out(&mut relay), if is_none { "" } else { &stream });
        assert_eq!(relay.end(true) == Ending::Broken, is_none, "{stream}");
    }
}

/// Found from outside: once a stream had been passed on for want of content, an end without any passed as that of a whole
/// answer.
#[test]
fn what_closes_no_answer_is_not_let_out_behind_its_preamble() {
    const BEGUN: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n: still here\n\n";
    for pieces in [&[BEGUN, "data: [DONE]\n\n", MORE][..], &[BEGUN, "data: [D", "ONE]\n\n"], &[BEGUN, "data: [DONE]"]] {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let mut relay = relay(Format::Chat, &pieces);
        let ending = relay.end(true);
        assert_eq!((out(&mut relay).as_str(), ending), (BEGUN, Ending::Broken));
        assert!(!relay.is_within_event(), "an error event can stand behind it");
    }
}

#[test]
fn error_events_are_exact_to_the_byte() {
    for (format, event) in [
        (
            Format::Messages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"a \\\"b\\\"\"}}\n\n",
        ),
        (
            Format::Chat,
            "data: {\"error\":{\"message\":\"a \\\"b\\\"\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
        ),
        (
            Format::Responses,
            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"a \\\"b\\\"\",\"param\":null,\"sequence_number\":7,\
             \"error\":{\"type\":\"server_error\",\"code\":\"server_error\",\"message\":\"a \\\"b\\\"\",\"param\":null}}\n\n",
        ),
    ] {
        assert_eq!(error_event(format, "a \"b\"", 7), event);
    }
    let message = Break::Silent.message("req-1", " Ask #llm. ");
    assert!(message.ends_with(" (request req-1) Ask #llm."), "{message}");
}

proptest! {
    #[test]
    fn what_is_let_out_is_what_came_up_to_the_last_whole_event(
        stream in any_stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>().prop_map(|index| index.index(4096)), 0..12),
        torn in "[a-z: ]{0,9}",
        format in any_format(),
    ) {
        let whole = format!("{stream}{torn}");
        let mut relay = relay(format, &cut(whole.as_bytes(), &cuts));
        let mut passed = out(&mut relay);
        if let Some(Failure { event, .. }) = relay.take_failure() {
            prop_assert!(stream.starts_with(&passed));
            if let Some(event) = event {
                passed.push_str(std::str::from_utf8(&event).unwrap());
                // A line feed that its last carriage return lacks is supplied.
                let came = passed.strip_suffix('\n').filter(|came| came.ends_with('\r')).unwrap_or(&passed);
                prop_assert!(passed.ends_with('\n') && stream.starts_with(came));
            }
        } else if relay.progress() == Progress::Closed {
            // After the closing event, an error and what follows it are left out.
            prop_assert!(stream.starts_with(&passed));
        } else {
            prop_assert_eq!(passed, stream);
        }
    }
}
