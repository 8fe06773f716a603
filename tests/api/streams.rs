//! Event streams: passed on as they come, and honest about their end.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::eventually::eventually;
use crate::support::process::{Process, settings};
use crate::support::raw_client::{Answer, Ended, RawClient};
use crate::support::streaming::{PATHS, Pair};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, Step, sse, status};

async fn ask(client: &mut RawClient) {
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
}

#[actix_web::test]
async fn each_event_comes_as_soon_as_the_upstream_has_sent_it() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([sse(2).hold("rest").more(2).then_end()]);
    let app = Setup::new().primary(&upstream).start().await;
    let mut client = app.client().await;
    ask(&mut client).await;
    let head = client.answer_head().await;
    assert_eq!((head.status, head.headers.get("x-accel-buffering")), (200, Some("no")));
    // Nothing more comes from the upstream until the gate opens, so whatever is read now was not held back.
    assert_eq!(client.event().await.unwrap().name.as_deref(), Some("message_start"));
    upstream.gates().reached("rest").await;
    upstream.gates().open("rest");
    let rest = client.rest().await;
    assert_eq!(rest.ended, Ended::Whole);
    assert_eq!(rest.events().last().unwrap().name.as_deref(), Some("message_stop"));
    assert!(client.is_reusable());
    let row = app.row("a").await;
    assert_eq!((&row["successes"], &row["in_flight"]), (&json!(1), &json!(0)));
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_that_fails_before_its_head_is_served_by_the_next_endpoint() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let app = Setup::new().primary(&a).secondary(&b).start().await;
    let mut client = app.client().await;
    ask(&mut client).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint"), answer.ended), (200, Some("b"), Ended::Whole));
    app.finish().await;
}

/// Found with a client that hangs up at `[DONE]` without waiting for the last chunk: its answer was whole.
#[actix_web::test]
async fn a_client_that_leaves_at_the_closing_event_has_had_its_whole_answer() {
    let upstream = Upstream::openai("o").await;
    upstream.script([sse(2).finished().bytes("data: [DONE]\n\n").hold("end").then_cut()]);
    let app = Setup::new().endpoint("o", &upstream.base_url(), "protocol = \"openai\"").start().await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/chat/completions", &[TRAFFIC], body(true).as_bytes()).await;
    client.answer_head().await;
    while client.event().await.unwrap().data != "[DONE]" {}
    drop(client);
    eventually("the request to be counted", async || app.stats().await["total_requests"] == 1).await;
    let row = app.row("o").await;
    assert_eq!((&row["successes"], &row["cancelled"], &row["proven"]), (&json!(1), &json!(0), &json!(true)));
    assert_eq!(app.stats().await["successful_requests"], 1);
    app.finish().await;
}

/// Whatever an upstream says behind its closing event, the client gets its last chunk.
#[actix_web::test]
async fn an_upstream_that_does_not_stop_behind_its_closing_event_is_left() {
    let upstream = Upstream::anthropic("a").await;
    let closing = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    upstream.script([sse(1).finished().bytes(closing).flood("flood", usize::MAX, 1000).then_end()]);
    upstream.gates().open("flood");
    let app = Setup::new().primary(&upstream).start().await;
    let mut client = app.client().await;
    ask(&mut client).await;
    let whole = tokio::time::timeout(std::time::Duration::from_secs(30), client.answer()).await.unwrap();
    assert_eq!(whole.ended, Ended::Whole);
    let row = app.row("a").await;
    assert_eq!((&row["successes"], &row["failures"]), (&json!(1), &json!(0)));
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_whose_head_does_not_come_goes_to_the_next_endpoint() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(crate::support::upstream::step::never_answer()));
    let app = Setup::new().section("timeouts", "first_event = \"500ms\"").primary(&a).secondary(&b).start().await;
    let mut client = app.client().await;
    ask(&mut client).await;
    let answer = client.answer().await;
    assert_eq!((answer.header("x-qcc-endpoint"), answer.ended), (Some("b"), Ended::Whole));
    assert!(answer.header("x-qcc-trail").unwrap().starts_with("a=timeout@"));
    app.finish().await;
}

#[actix_web::test]
async fn an_openai_stream_passes_too() {
    let upstream = Upstream::openai("o").await;
    let app = Setup::new().endpoint("o", &upstream.base_url(), "protocol = \"openai\"").start().await;
    for path in ["/v1/chat/completions", "/v1/responses"] {
        let answer = app.client().await.post(path, &[TRAFFIC], body(true)).await;
        assert_eq!((answer.status, answer.ended), (200, Ended::Whole), "{path}");
        assert!(answer.events().len() > 2);
    }
    app.finish().await;
}

/// The error event with which the gateway ends a stream: the message's sentence, and the number where there are numbers.
fn error_event(path: &str, answer: &Answer, sentence: &str, number: usize, help: &str) -> String {
    let message =
        format!("{sentence} Trying again may help. (request {}){help}", answer.header("x-qcc-request-id").unwrap());
    match path {
        "/v1/messages" => format!(
            "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":\"{message}\"}}}}\n\n"
        ),
        "/v1/responses" => format!(
            "event: error\ndata: {{\"type\":\"error\",\"code\":\"server_error\",\"message\":\"{message}\",\"param\":null,\"sequence_number\":{number},\
             \"error\":{{\"type\":\"server_error\",\"code\":\"server_error\",\"message\":\"{message}\",\"param\":null}}}}\n\n"
        ),
        _ => format!(
            "data: {{\"error\":{{\"message\":\"{message}\",\"type\":\"server_error\",\"param\":null,\"code\":null}}}}\n\n"
        ),
    }
}

const BROKE: &str = "Server error upstream: the answer broke off before its end.";
const UNFINISHED: &str = "Server error upstream: the answer ended without its closing event, so it is not whole.";
const SILENT: &str = "Server error upstream: the answer fell silent before its end.";

/// How long a silence may be: what never comes is not waited for, and all else may take its time.
const IMPATIENT: &str = "stream_idle = \"100ms\"";
const PATIENT: &str = "stream_idle = \"30s\"";

/// Every way in which a stream breaks behind its first content, what is said of it, and the patience that it takes to be seen.
fn breaks() -> [(Step, &'static str, &'static str); 4] {
    [
        (sse(3).then_close(), BROKE, PATIENT),
        (sse(3).then_reset(), BROKE, PATIENT),
        (sse(3).then_cut(), UNFINISHED, PATIENT),
        (sse(3).then_stall(), SILENT, IMPATIENT),
    ]
}

async fn check_isolated(app: &crate::support::app::TestApp, what: &str) {
    let row = app.row("a").await;
    let seen = (&row["standing"], &row["isolated_reason"]);
    assert_eq!(seen, (&json!("failure"), &json!("stream")), "before the end is seen: {what}");
    assert_eq!(app.stats().await["failed_requests"], 1);
}

#[actix_web::test]
async fn a_stream_that_breaks_ends_in_its_protocols_own_error_event() {
    for path in PATHS {
        for (step, sentence, patience) in breaks() {
            let pair = Pair::serving(path).await;
            pair.a.script_traffic([step]);
            let app = pair.strict().section("timeouts", patience).start().await;
            let answer = pair.ask(&mut app.client().await).await;
            check_isolated(&app, path).await;
            assert_eq!((answer.status, answer.ended, pair.b.traffic()), (200, Ended::Whole, 0), "{path}: {sentence}");
            // Four events open a response, and three pieces follow; the count begins at 0.
            let last = error_event(path, &answer, sentence, 7, "");
            assert!(answer.text().ends_with(&last), "{path}: {} has not {last}", answer.text());
            assert_eq!(answer.text().matches(&last).count(), 1);
            app.finish().await;
        }
    }
}

#[actix_web::test]
async fn a_stream_that_breaks_is_broken_off_where_the_operator_or_the_client_wants_it_so() {
    const CLAUDE: (&str, &str) = ("user-agent", "claude-cli/2.1.330 (external, cli)");
    const OTHER: (&str, &str) = ("user-agent", "not-claude-cli/1");
    for path in ["/v1/messages", "/v1/chat/completions"] {
        for (on_break, agent, by_event) in [
            ("auto", CLAUDE, false),
            ("auto", OTHER, true),
            ("event", CLAUDE, true),
            ("abort", CLAUDE, false),
            ("abort", OTHER, false),
        ] {
            for (step, _, patience) in breaks() {
                let pair = Pair::serving(path).await;
                pair.a.script_traffic([step]);
                let setup = pair.strict().section("timeouts", patience);
                let app = setup.section("stream", &format!("on_break = \"{on_break}\"")).start().await;
                let mut client = app.client().await;
                pair.send(&mut client, &[agent]).await;
                let answer = client.answer().await;
                check_isolated(&app, on_break).await;
                assert_eq!(answer.ended == Ended::Whole, by_event, "{on_break} {agent:?}");
                assert_eq!(answer.text().contains("error"), by_event, "{on_break} {agent:?}");
                assert_eq!(client.is_reusable(), by_event);
                app.finish().await;
            }
        }
    }
}

#[actix_web::test]
async fn the_operators_help_stands_in_the_error_event() {
    let pair = Pair::serving("/v1/messages").await;
    pair.a.script_traffic([sse(1).then_cut()]);
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nhelp = \"Ask #llm.\"";
    let app = pair.setup(Setup::only().section("server", server)).start().await;
    let answer = pair.ask(&mut app.client().await).await;
    assert!(
        answer.text().ends_with(&error_event(pair.path, &answer, UNFINISHED, 0, " Ask #llm.")),
        "{}",
        answer.text()
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_torn_event_is_withheld() {
    for torn in [
        "event: content_block_delta\ndata: {\"type\":\"content_bl",
        "data: \"torn\"",
        "event: torn\r\ndata: \"torn\"\r\n",
    ] {
        for end in [OpenEnd::Cut, OpenEnd::Close] {
            let pair = Pair::serving("/v1/messages").await;
            let stream = sse(2).bytes(torn);
            pair.a.script_traffic([match end {
                OpenEnd::Cut => stream.then_cut(),
                OpenEnd::Close => stream.then_close(),
            }]);
            let app = pair.strict().start().await;
            let answer = pair.ask(&mut app.client().await).await;
            assert_eq!(answer.ended, Ended::Whole);
            assert!(!answer.text().contains("torn") && !answer.text().contains("content_bl\"\n"), "{}", answer.text());
            let events = answer.events();
            assert_eq!((events.len(), events[5].name.as_deref()), (6, Some("error")));
            check_isolated(&app, torn).await;
            app.finish().await;
        }
    }
}

#[derive(Clone, Copy)]
enum OpenEnd {
    Cut,
    Close,
}

/// An event that is too long to be held flows; whatever were said behind its beginning would belong to it.
#[actix_web::test]
async fn a_stream_that_breaks_within_an_event_that_is_too_long_to_be_held_is_broken_off() {
    let pair = Pair::serving("/v1/messages").await;
    let begun = format!("event: content_block_delta\ndata: {{\"x\":\"{}", "x".repeat(100_000));
    pair.a.script_traffic([sse(1).bytes(begun).then_cut()]);
    let app = pair.strict().section("stream", "on_break = \"event\"").start().await;
    let answer = pair.ask(&mut app.client().await).await;
    assert_eq!(answer.ended, Ended::Truncated);
    assert!(answer.body.len() > 100_000 && !answer.text().contains("error"));
    check_isolated(&app, "long").await;
    app.finish().await;
}

#[actix_web::test]
async fn an_error_event_behind_the_first_content_is_passed_on_and_nothing_behind_it() {
    for path in PATHS {
        for (kind, counted, standing) in
            [("overloaded_error", 0, "primary"), ("api_error", 1, "failure"), ("invalid_request_error", 0, "primary")]
        {
            let pair = Pair::serving(path).await;
            pair.a.script_traffic([sse(2).then_error(kind)]);
            let app = pair.strict().section("stream", "on_break = \"abort\"").start().await;
            let answer = pair.ask(&mut app.client().await).await;
            let row = app.row("a").await;
            assert_eq!((&row["standing"], &row["failures"]), (&json!(standing), &json!(counted)), "{path} {kind}");
            assert_eq!((answer.ended, pair.b.traffic()), (Ended::Whole, 0));
            let last = answer.events().last().unwrap().clone();
            assert!(last.data.contains(&format!("scripted {kind} from a")), "{path}: {}", answer.text());
            assert!(answer.body.ends_with(&last.raw), "{}", answer.text());
            assert_eq!(app.stats().await["failed_requests"], 1);
            app.finish().await;
        }
    }
}

/// Found by an audit: it was passed on like any other, so that clients were told that their own key is wrong, or their credit used up.
#[actix_web::test]
async fn an_error_event_that_refuses_the_gateways_key_or_account_is_not_passed_on() {
    for path in PATHS {
        for (kind, reason) in [("authentication_error", "credential"), ("billing_error", "account")] {
            for (on_break, ended) in [("event", Ended::Whole), ("abort", Ended::Truncated)] {
                let pair = Pair::serving(path).await;
                pair.a.script_traffic([sse(2).then_error(kind)]);
                let app = pair.strict().section("stream", &format!("on_break = \"{on_break}\"")).start().await;
                let answer = pair.ask(&mut app.client().await).await;
                assert_eq!((answer.ended, answer.text().contains("scripted")), (ended, false), "{path} {kind}");
                let says_so = answer.text().contains("Server error upstream in the midst of the answer");
                assert_eq!(says_so, on_break == "event", "{path} {kind}: {}", answer.text());
                assert_eq!(app.row("a").await["isolated_reason"], reason, "{path}");
                app.finish().await;
            }
        }
    }
}

#[actix_web::test]
async fn what_comes_behind_an_error_event_is_thrown_away() {
    let pair = Pair::serving("/v1/messages").await;
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n";
    pair.a.script_traffic([sse(1).bytes(format!("{error}: behind\n\n")).more(1).then_stall()]);
    let app = pair.strict().start().await;
    let answer = pair.ask(&mut app.client().await).await;
    assert!(answer.text().ends_with(error), "{}", answer.text());
    pair.a.received(1).await.closed_by_peer().await;
    app.finish().await;
}

/// The SDKs of this protocol pass over data without an event's name: they would see a clean end.
#[actix_web::test]
async fn an_error_that_clients_would_not_know_for_one_is_told_in_the_protocols_way() {
    let pair = Pair::serving("/v1/messages").await;
    let error = "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n";
    pair.a.script_traffic([sse(1).bytes(error).then_end()]);
    let app = pair.strict().start().await;
    let answer = pair.ask(&mut app.client().await).await;
    assert!(answer.text().ends_with(&format!("\n\nevent: error\n{error}")), "{}", answer.text());
    assert_eq!(app.row("a").await["isolated_reason"], "upstream_status");
    app.finish().await;
}

/// By that form of the API's reference the SDKs hand it on as one event more, and programs take the answer for whole.
#[actix_web::test]
async fn an_error_of_the_responses_api_without_an_error_in_it_gets_one() {
    let pair = Pair::serving("/v1/responses").await;
    let error = "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\",\"param\":null,\"sequence_number\":7}\n\n";
    pair.a.script_traffic([sse(3).bytes(error).then_end()]);
    let app = pair.strict().start().await;
    let answer = pair.ask(&mut app.client().await).await;
    let nested =
        ",\"error\":{\"type\":\"server_error\",\"code\":\"server_error\",\"message\":\"m\",\"param\":null}}\n\n";
    let told = format!("\n\n{}{nested}", error.trim_end().trim_end_matches('}'));
    assert!(answer.text().ends_with(&told), "{}", answer.text());
    assert_eq!(app.row("a").await["isolated_reason"], "upstream_status");
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_that_lacks_nothing_but_its_closing_event_is_completed() {
    for path in ["/v1/messages", "/v1/chat/completions", "/v1/completions"] {
        let closing = match path {
            "/v1/messages" => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            _ => "data: [DONE]\n\n",
        };
        let finished = || sse(2).finished();
        for (step, patience) in [
            (finished().then_cut(), PATIENT),
            (finished().then_close(), PATIENT),
            (finished().then_reset(), PATIENT),
            (finished().then_stall(), IMPATIENT),
            (finished().bytes(&closing.as_bytes()[..closing.len() / 2]).then_close(), PATIENT),
            (finished().bytes(closing).then_close(), PATIENT),
            (finished().bytes(closing.trim_end()).then_cut(), PATIENT),
            (finished().bytes(closing).then_stall(), IMPATIENT),
        ] {
            let pair = Pair::serving(path).await;
            pair.a.script_traffic([step]);
            let app = pair.strict().section("timeouts", patience).start().await;
            let mut client = app.client().await;
            let answer = pair.ask(&mut client).await;
            assert_eq!(answer.ended, Ended::Whole, "{path}");
            assert!(answer.text().ends_with(closing), "{path}: {}", answer.text());
            assert_eq!(answer.text().matches(closing.trim_end()).count(), 1);
            assert!(client.is_reusable());
            let row = app.row("a").await;
            assert_eq!((&row["successes"], &row["failures"]), (&json!(1), &json!(0)), "{path}");
            assert_eq!(app.stats().await["successful_requests"], 1);
            app.finish().await;
        }
    }
}

/// Of several choices one may be finished while another is not.
#[actix_web::test]
async fn an_answer_of_which_a_choice_is_unfinished_is_not_completed() {
    let pair = Pair::serving("/v1/chat/completions").await;
    let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    pair.a.script_traffic([sse(1).bytes(finish).then_cut()]);
    let app = pair.strict().start().await;
    let request = r#"{"model":"m","stream":true,"n":2,"messages":[]}"#;
    let answer = app.client().await.post(pair.path, &[TRAFFIC], request).await;
    assert!(answer.text().ends_with(&error_event(pair.path, &answer, UNFINISHED, 0, "")), "{}", answer.text());
    app.finish().await;
}

/// Found by reading: one that was cut between the answers to two prompts was closed as whole.
#[actix_web::test]
async fn completions_of_which_a_prompt_is_unanswered_are_not_completed() {
    let finish = "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n";
    for (prompts, is_whole) in
        [(r#"["a","b"]"#, false), ("[[1,2],[3]]", false), (r#"["a"]"#, true), ("[1,2]", true), (r#""a""#, true)]
    {
        let pair = Pair::serving("/v1/completions").await;
        pair.a.script_traffic([sse(1).bytes(finish).then_cut()]);
        let app = pair.strict().start().await;
        let request = format!(r#"{{"model":"m","stream":true,"prompt":{prompts}}}"#);
        let answer = app.client().await.post(pair.path, &[TRAFFIC], request).await;
        assert_eq!(answer.text().ends_with("data: [DONE]\n\n"), is_whole, "{prompts}: {}", answer.text());
        if !is_whole {
            assert!(answer.text().ends_with(&error_event(pair.path, &answer, UNFINISHED, 0, "")), "{}", answer.text());
        }
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_response_has_no_state_in_which_it_could_be_completed() {
    let pair = Pair::serving("/v1/responses").await;
    pair.a.script_traffic([sse(2).finished().then_cut()]);
    let app = pair.strict().start().await;
    let answer = pair.ask(&mut app.client().await).await;
    assert!(answer.text().ends_with(&error_event(pair.path, &answer, UNFINISHED, 8, "")), "{}", answer.text());
    check_isolated(&app, "responses").await;
    app.finish().await;
}

/// With HTTP/1.0 a clean end is how a whole answer ends: a break is the error event and a reset.
#[actix_web::test]
async fn to_a_client_of_http_1_0_a_break_is_the_error_event_and_a_reset() {
    for (step, ended, last) in [
        (sse(2).then_cut(), Ended::Reset, "error"),
        (sse(2).then_error("api_error"), Ended::Reset, "error"),
        (sse(2).finished().then_close(), Ended::Whole, "message_stop"),
        (sse(2).then_end(), Ended::Whole, "message_stop"),
    ] {
        let pair = Pair::serving("/v1/messages").await;
        pair.a.script_traffic([step]);
        let app = pair.strict().start().await;
        let mut client = app.client().await;
        let body = body(true);
        let head = format!("POST {} HTTP/1.0\r\nx-traffic: 1\r\ncontent-length: {}\r\n\r\n", pair.path, body.len());
        client.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
        let answer = client.answer().await;
        let found = answer.events().last().unwrap().name.clone();
        assert_eq!((answer.ended, found.as_deref()), (ended, Some(last)));
        app.finish().await;
    }
}

/// Pings and comments are signs of life.
#[actix_web::test]
async fn a_stream_that_only_pings_is_not_silent() {
    let pair = Pair::serving("/v1/messages").await;
    let mut stream = sse(1);
    for number in 0..6 {
        stream = stream.hold(&format!("ping {number}")).bytes(": ping\n\n");
    }
    pair.a.script_traffic([stream.then_end()]);
    let app = pair.strict().section("timeouts", "stream_idle = \"1s\"").start().await;
    let mut client = app.client().await;
    pair.send(&mut client, &[]).await;
    client.answer_head().await;
    for number in 0..6 {
        // The pace is what is tested: each ping comes well within the time, all of them beyond it.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        pair.a.gates().open(&format!("ping {number}"));
        while client.event().await.unwrap().raw != ": ping\n\n" {}
    }
    assert_eq!(client.rest().await.ended, Ended::Whole);
    app.finish().await;
}

/// Found with pings behind a `stop_reason`: each of them prolonged the wait for a closing event that did not come.
#[actix_web::test]
async fn signs_of_life_do_not_prolong_the_wait_for_the_closing_event_of_a_complete_answer() {
    const PINGS: usize = 100;
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let pair = Pair::serving(path).await;
        let pings = (0..PINGS)
            .fold(sse(1).finished(), |stream, number| stream.hold(&format!("ping {number}")).bytes(": ping\n\n"));
        pair.a.script_traffic([pings.then_stall()]);
        let app = pair.strict().section("timeouts", "stream_idle = \"400ms\"").start().await;
        let mut client = app.client().await;
        pair.send(&mut client, &[]).await;
        client.answer_head().await;
        let mut pinged = 0;
        while pinged < PINGS && !matches!(&*client.event().await.unwrap().data, "[DONE]" | r#"{"type":"message_stop"}"#)
        {
            // The pace is what is tested: each ping comes well within the time, all of them beyond it.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            pair.a.gates().open(&format!("ping {pinged}"));
            pinged += 1;
        }
        assert!(pinged < PINGS, "{path}");
        assert_eq!(client.rest().await.ended, Ended::Whole);
        assert_eq!(app.row("a").await["successes"], json!(1), "{path}");
        app.finish().await;
    }
}

/// A stream that is passed on without content has not begun to answer.
#[actix_web::test]
async fn the_time_to_the_first_token_is_that_to_the_first_content() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([sse(0).hold("content").more(1).then_end()]);
    let settings = settings("[timeouts]\nfirst_content = \"1ms\"", &[&upstream]);
    let mut gateway = Process::start(settings).await;
    let mut client = RawClient::connect(gateway.address).await;
    ask(&mut client).await;
    client.answer_head().await;
    client.event().await.unwrap();
    // The pause itself is what is measured.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    upstream.gates().open("content");
    assert_eq!(client.rest().await.ended, Ended::Whole);
    let line = gateway.logs("request id=").await;
    let ttft = line.split("ttft_ms=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(ttft.parse::<u64>().unwrap() >= 300, "{line}");
}
