//! The rows of the table, each on every path for which it holds.

use serde_json::Value;

use super::ONE_TURN;
use crate::support::app::{Setup, TRAFFIC, TestApp, body};
use crate::support::raw_client::Answer;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{
    Behaviour, Step, accept_and_close, close, empty, error, html, never_answer, ok, raw, reset, sse, status,
    status_and, status_with, truncate,
};

/// What an attempt's end counts as.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Counts {
    Success,
    Failure,
    Nothing,
    Isolates,
}

/// What a client gets when this came back from the first of two endpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It, as it is.
    PassedOn(u16),
    /// The answer of the next endpoint.
    Next,
}

struct Row {
    name: &'static str,
    step: Step,
    counts: Counts,
    then: Then,
    /// With a single endpoint, asked once.
    alone: u16,
}

fn row(name: &'static str, step: Step, counts: Counts, then: Then, alone: u16) -> Row {
    Row { name, step, counts, then, alone }
}

/// An error as Mistral, vLLM and `SGLang` word it.
const FLAT: &str = r#"{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}"#;
const JSON: (&str, &str) = ("content-type", "application/json");
const HTML: (&str, &str) = ("content-type", "text/html");

fn json(status: u16, body: &str) -> Step {
    status_with(status, &[JSON], body.to_owned())
}

fn page(status: u16) -> Step {
    status_with(status, &[HTML], format!("<!doctype html><h1>{status}</h1>"))
}

fn wire(text: &str) -> Step {
    raw(text.to_owned()).then(close())
}

/// Refusals that are the same whoever speaks, with the path's own error object or without one.
fn refusals_of_both_protocols() -> Vec<Row> {
    use Counts::{Failure, Isolates, Nothing, Success};
    use Then::{Next, PassedOn};
    vec![
        row("whole answer", ok(), Success, PassedOn(200), 200),
        row("bad request", status(400), Nothing, PassedOn(400), 400),
        row("conflict", error(409, "conflict_error", "no"), Nothing, PassedOn(409), 409),
        row("unprocessable", error(422, "invalid_request_error", "no"), Nothing, PassedOn(422), 422),
        row("teapot, in the error shape", error(418, "odd_error", "no"), Nothing, PassedOn(418), 418),
        row("too large", status(413), Nothing, PassedOn(413), 413),
        row("too large, from an edge", status_with(413, &[], "too large"), Nothing, PassedOn(413), 413),
        row("too long a target", page(414), Nothing, PassedOn(414), 414),
        row("too large a head", status_with(431, &[], ""), Nothing, PassedOn(431), 431),
        row("bad request, not in the error shape", page(400), Failure, Next, 400),
        row("method not allowed", status_with(405, &[], ""), Failure, Next, 405),
        row("wrong key", status(401), Isolates, Next, 502),
        row("wrong key, not in the error shape", status_with(401, &[], "go away"), Failure, Next, 401),
        row("payment required", status(402), Isolates, Next, 502),
        row("payment required, not in the error shape", page(402), Failure, Next, 402),
        row(
            "credit used up",
            error(400, "invalid_request_error", "Your credit balance is too low to access the API."),
            Isolates,
            Next,
            502,
        ),
        row(
            "usage limits reached",
            error(400, "invalid_request_error", "You have reached your specified API usage limits. You"),
            Isolates,
            Next,
            502,
        ),
        row("quota used up", error(429, "insufficient_quota", "You exceeded your current quota"), Isolates, Next, 502),
        row(
            "words of the client about credit",
            error(400, "invalid_request_error", "messages.0: 'Your credit balance is too low' is no role"),
            Nothing,
            PassedOn(400),
            400,
        ),
        row("forbidden", status(403), Nothing, Next, 403),
        row("forbidden by a firewall", page(403), Nothing, Next, 403),
        row("lacks the model", error(404, "not_found_error", "model: claude-haiku-4-5"), Nothing, Next, 404),
        row("not found, whatever it may be", error(404, "not_found_error", "Not found"), Nothing, PassedOn(404), 404),
        row("wrong base URL", page(404), Failure, Next, 404),
        row("wrong base URL, JSON", json(404, r#"{"detail":"Not Found"}"#), Failure, Next, 404),
        row("a relay lacks the model", error(503, "model_not_found", "no channel"), Nothing, Next, 503),
        row("moved", status_with(302, &[("location", "/login")], ""), Failure, Next, 302),
        row("moved for good", status_with(308, &[("location", "/v2")], ""), Failure, Next, 308),
    ]
}

/// Faults of the endpoint, whoever speaks: statuses, pages, what is no answer, and nothing.
fn faults_of_both_protocols() -> Vec<Row> {
    use Counts::{Failure, Nothing, Success};
    use Then::{Next, PassedOn};
    vec![
        row("request time-out", status(408), Failure, Next, 408),
        row("request time-out, a page", page(408), Failure, Next, 408),
        row("rate limit with seconds", status_and(429, &[("retry-after", "7")]), Nothing, Next, 429),
        row("rate limit that names no time", status(429), Nothing, Next, 429),
        row("rate limit, a page", page(429), Nothing, Next, 429),
        row("overloaded", status(529), Nothing, Next, 503),
        row("overloaded by name", error(503, "overloaded_error", "Overloaded"), Nothing, Next, 503),
        row("server error", status(500), Failure, Next, 500),
        row("not implemented", status(501), Failure, Next, 501),
        row("bad gateway, HTML", page(502), Failure, Next, 502),
        row("unavailable", status(503), Failure, Next, 503),
        row("gateway time-out", status(504), Failure, Next, 504),
        row("a CDN's own", page(522), Failure, Next, 522),
        row("HTML in a 200", html(), Failure, Next, 502),
        row("nothing in a 200", empty(), Failure, Next, 502),
        row("no content", wire("HTTP/1.1 204 No Content\r\n\r\n"), Failure, Next, 502),
        row("JSON that is no object", json(200, "[]"), Failure, Next, 502),
        row("half an object", json(200, "{\"id\":"), Failure, Next, 502),
        row("an event stream that was not asked for", sse(2).then_end(), Failure, Next, 502),
        row("shorter than its length", truncate(), Failure, Next, 502),
        row(
            "chunks that are none",
            wire("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}"),
            Failure,
            Next,
            502,
        ),
        row(
            "without the last chunk",
            wire("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"),
            Failure,
            Next,
            502,
        ),
        row(
            "up to the end of the connection, cut",
            wire("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"id\":\"x\""),
            Failure,
            Next,
            502,
        ),
        row(
            "up to the end of the connection, whole",
            wire("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"id\":\"x\"}"),
            Success,
            PassedOn(200),
            200,
        ),
        row("closed before the head", accept_and_close(), Failure, Next, 502),
        row("closed within the head", wire("HTTP/1.1 200 OK\r\ncontent-ty"), Failure, Next, 502),
        row("reset before the head", reset(), Failure, Next, 502),
        row("no HTTP", wire("SSH-2.0-OpenSSH_9.6\r\n"), Failure, Next, 502),
        row("silence", never_answer(), Failure, Next, 504),
    ]
}

/// What only Anthropic says, or a relay in its words.
fn rows_of_anthropic() -> Vec<Row> {
    use Counts::{Failure, Isolates, Nothing};
    use Then::{Next, PassedOn};
    let in_200 = |kind: &str| json(200, &format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"x"}}}}"#));
    vec![
        row("billing by name", error(403, "billing_error", "pay"), Isolates, Next, 502),
        row("server error in a 200", in_200("api_error"), Failure, Next, 500),
        row("time-out in a 200", in_200("timeout_error"), Failure, Next, 504),
        row("overload in a 200", in_200("overloaded_error"), Nothing, Next, 503),
        row("rate limit in a 200", in_200("rate_limit_error"), Nothing, Next, 429),
        row("wrong key in a 200", in_200("authentication_error"), Isolates, Next, 502),
        row("forbidden in a 200", in_200("permission_error"), Nothing, Next, 403),
        row("client's error in a 200", in_200("invalid_request_error"), Nothing, PassedOn(400), 400),
        row("never heard of in a 200", in_200("odd_error"), Failure, Next, 500),
    ]
}

/// What only OpenAI says, or a relay in its words.
fn rows_of_openai() -> Vec<Row> {
    use Counts::{Failure, Isolates, Nothing};
    use Then::{Next, PassedOn};
    let said = |status: u16, kind: &str, code: &str, message: &str| {
        let body = format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":"{code}"}}}}"#);
        json(status, &body)
    };
    let invalid = "invalid_request_error";
    vec![
        row("quota by code", said(429, "x", "insufficient_quota", "You exceeded"), Isolates, Next, 502),
        row("inactive account", said(429, "x", "billing_not_active", "x"), Isolates, Next, 502),
        row("lacks the model", said(404, invalid, "model_not_found", "The model does not exist"), Nothing, Next, 404),
        row("not found, whatever it may be", said(404, invalid, "", "No such thing"), Nothing, PassedOn(404), 404),
        row("thoughts of another account", said(400, invalid, "invalid_encrypted_content", "x"), Nothing, Next, 400),
        row("an answer kept elsewhere", said(400, invalid, "previous_response_not_found", "x"), Nothing, Next, 400),
        row("an item kept elsewhere", said(404, invalid, "", "Item with id 'rs_1' not found."), Nothing, Next, 404),
        row("too long, in flat words", json(400, FLAT), Nothing, PassedOn(400), 400),
        row("too long", said(400, invalid, "context_length_exceeded", "too long"), Nothing, PassedOn(400), 400),
        row(
            "a relay's quota",
            said(403, "new_api_error", "insufficient_user_quota", "用户额度不足"),
            Isolates,
            Next,
            502,
        ),
        row("a relay's wrong key", said(401, "new_api_error", "", "无效的令牌 (request id: 1)"), Isolates, Next, 502),
        row(
            "a relay's key without a database",
            said(400, "no_db_connection", "400", "No connected db."),
            Isolates,
            Next,
            502,
        ),
        row("a relay's budget", said(422, "budget_exceeded", "422", "Budget has been exceeded!"), Isolates, Next, 502),
        row(
            "a quota in a relay's words",
            said(429, "x", "429", "litellm.RateLimitError: OpenAIException - You exceeded your current quota, please"),
            Isolates,
            Next,
            502,
        ),
        row(
            "a model that a relay's key may not use",
            said(403, "key_model_access_denied", "403", "x"),
            Nothing,
            Next,
            403,
        ),
        row("a relay without a channel", said(503, "new_api_error", "", "分组 x 下无可用渠道"), Nothing, Next, 503),
        row("server error in a 200", said(200, "server_error", "", "x"), Failure, Next, 500),
        row("rate limit in a 200", said(200, "tokens", "rate_limit_exceeded", "x"), Nothing, Next, 429),
        row("quota in a 200", said(200, "insufficient_quota", "insufficient_quota", "x"), Isolates, Next, 502),
        row("lacks the model in a 200", said(200, invalid, "model_not_found", "x"), Nothing, Next, 404),
        row("client's error in a 200", said(200, invalid, "", "x"), Nothing, PassedOn(400), 400),
        row(
            "thoughts of another account in a 200",
            said(200, "", "invalid_encrypted_content", "x"),
            Nothing,
            Next,
            400,
        ),
        row("wrong key in a 200", said(200, invalid, "invalid_api_key", "x"), Isolates, Next, 502),
    ]
}

fn counted(before: &Value, after: &Value) -> Counts {
    let grown = |name: &str| after[name].as_u64().unwrap() - before[name].as_u64().unwrap();
    match (grown("successes"), grown("failures"), after["standing"].as_str().unwrap()) {
        (0, 1, "failure") => Counts::Isolates,
        (1, 0, "primary") => Counts::Success,
        (0, 1, "primary") => Counts::Failure,
        (0, 0, "primary") => Counts::Nothing,
        other => panic!("counted {other:?}"),
    }
}

async fn ask(app: &TestApp, path: &str) -> Answer {
    app.client().await.post(path, &[TRAFFIC], body(false)).await
}

async fn check(path: &str, row: Row) {
    let Row { name, step, counts, then, alone } = row;
    let protocol = if path == "/v1/messages" { "" } else { "protocol = \"openai\"\n" };
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let setup = || {
        Setup::new()
            .section("timeouts", "response = \"300ms\"")
            .section("retry", ONE_TURN)
            .endpoint("a", &a.base_url(), protocol)
            .verified_on_demand()
    };

    a.script_traffic([step.clone()]);
    let app = setup().endpoint("b", &b.base_url(), &format!("{protocol}queue = \"secondary\"")).start().await;
    let before = app.row("a").await;
    let answer = ask(&app, path).await;
    let expected = match then {
        Then::PassedOn(status) => (status, "a"),
        Then::Next => (200, "b"),
    };
    let got = (answer.status, answer.header("x-qcc-endpoint").unwrap_or_default());
    assert_eq!(got, expected, "{path} {name}: {}", answer.text());
    assert_eq!(counted(&before, &app.row("a").await), counts, "{path} {name}");
    app.finish().await;

    a.behave(Behaviour::honest().traffic(step));
    let app = setup().start().await;
    let answer = ask(&app, path).await;
    assert_eq!(answer.status, alone, "{path} {name} alone: {}", answer.text());
    app.finish().await;
}

#[actix_web::test]
async fn each_row_holds_for_messages() {
    for row in refusals_of_both_protocols().into_iter().chain(faults_of_both_protocols()) {
        check("/v1/messages", row).await;
    }
}

#[actix_web::test]
async fn each_row_holds_for_chat_completions() {
    for row in refusals_of_both_protocols().into_iter().chain(faults_of_both_protocols()) {
        check("/v1/chat/completions", row).await;
    }
}

#[actix_web::test]
async fn each_row_of_anthropics_words_holds() {
    for row in rows_of_anthropic() {
        check("/v1/messages", row).await;
    }
}

#[actix_web::test]
async fn each_row_of_openais_words_holds_on_each_of_its_paths() {
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions"] {
        for row in rows_of_openai() {
            check(path, row).await;
        }
    }
}
