//! The outcome table on real sockets: what came back, what it counts as, and what the client gets.

use serde_json::{Value, json};

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::raw_client::Answer;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{
    Step, accept_and_close, empty, error, html, never_answer, ok, raw, reset, sse, status, status_and, status_with,
    truncate,
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
    /// With a single endpoint.
    alone: u16,
}

fn row(name: &'static str, step: Step, counts: Counts, then: Then, alone: u16) -> Row {
    Row { name, step, counts, then, alone }
}

fn rows() -> Vec<Row> {
    use Counts::{Failure, Isolates, Nothing, Success};
    use Then::{Next, PassedOn};
    let json_type = [("content-type", "application/json")];
    let ok_with = |text: &str| status_with(200, &json_type, text.to_owned());
    vec![
        row("whole answer", ok(), Success, PassedOn(200), 200),
        row("bad request", status(400), Nothing, PassedOn(400), 400),
        row("too large", status(413), Nothing, PassedOn(413), 413),
        row("too large, from an edge", status_with(413, &[], "too large"), Nothing, PassedOn(413), 413),
        row("unprocessable", error(422, "invalid_request_error", "no"), Nothing, PassedOn(422), 422),
        row("wrong key", status(401), Isolates, Next, 502),
        row("wrong key, not in the error shape", status_with(401, &[], "go away"), Failure, Next, 401),
        row("billing", status(402), Isolates, Next, 502),
        row(
            "credit used up",
            error(400, "invalid_request_error", "Your credit balance is too low to access the API."),
            Isolates,
            Next,
            502,
        ),
        row(
            "words of the client about credit",
            error(400, "invalid_request_error", "messages.0: 'Your credit balance is too low' is no role"),
            Nothing,
            PassedOn(400),
            400,
        ),
        row("forbidden", status(403), Nothing, Next, 403),
        row(
            "forbidden by a firewall",
            status_with(403, &[("content-type", "text/html")], "<h1>403</h1>"),
            Nothing,
            Next,
            403,
        ),
        row("lacks the model", error(404, "not_found_error", "model: claude-haiku-4-5"), Nothing, Next, 404),
        row("wrong base URL", status_with(404, &[("content-type", "text/html")], "<h1>404</h1>"), Failure, Next, 404),
        row("moved", status_with(302, &[("location", "/login")], ""), Failure, Next, 302),
        row("request time-out", status(408), Failure, Next, 408),
        row("rate limit", status_and(429, &[("retry-after", "7")]), Nothing, Next, 429),
        row("overloaded", status(529), Nothing, Next, 503),
        row("server error", status(500), Failure, Next, 500),
        row(
            "bad gateway, HTML",
            status_with(502, &[("content-type", "text/html")], "<h1>502</h1>"),
            Failure,
            Next,
            502,
        ),
        row(
            "error object in a 200",
            ok_with(r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#),
            Failure,
            Next,
            500,
        ),
        row(
            "client's error in a 200",
            ok_with(r#"{"type":"error","error":{"type":"invalid_request_error","message":"x"}}"#),
            Nothing,
            PassedOn(400),
            400,
        ),
        row("HTML in a 200", html(), Failure, Next, 502),
        row("nothing in a 200", empty(), Failure, Next, 502),
        row("an event stream that was not asked for", sse(2).then_end(), Failure, Next, 502),
        row("shorter than its length", truncate(), Failure, Next, 502),
        row("closed before the head", accept_and_close(), Failure, Next, 502),
        row("reset before the head", reset(), Failure, Next, 502),
        row(
            "no HTTP",
            raw("SSH-2.0-OpenSSH_9.6\r\n").then(crate::support::upstream::step::close()),
            Failure,
            Next,
            502,
        ),
        row("silence", never_answer(), Failure, Next, 504),
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

async fn check(row: Row) {
    let Row { name, step, counts, then, alone } = row;
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let setup = || Setup::new().section("timeouts", "response = \"300ms\"").primary(&a).verified_on_demand();
    let post = async |app: &crate::support::app::TestApp| -> Answer {
        app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await
    };

    a.script_traffic([step.clone()]);
    let app = setup().secondary(&b).start().await;
    let before = app.row("a").await;
    let answer = post(&app).await;
    let expected = match then {
        Then::PassedOn(status) => (status, "a"),
        Then::Next => (200, "b"),
    };
    assert_eq!((answer.status, answer.header("x-qcc-endpoint").unwrap()), expected, "{name}: {}", answer.text());
    assert_eq!(counted(&before, &app.row("a").await), counts, "{name}");
    app.finish().await;

    a.script_traffic([step]);
    let app = setup().start().await;
    let answer = post(&app).await;
    assert_eq!(answer.status, alone, "{name} alone: {}", answer.text());
    app.finish().await;
}

#[actix_web::test]
async fn each_row_of_the_table_holds() {
    for row in rows() {
        check(row).await;
    }
}

#[actix_web::test]
async fn an_upstreams_error_is_passed_on_to_the_byte() {
    let upstream = Upstream::anthropic("a").await;
    let words = r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"},"request_id":"req_1"}"#;
    upstream.script([status_with(400, &[("content-type", "application/json"), ("request-id", "req_1")], words)]);
    let app = Setup::new().primary(&upstream).start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.text().as_str(), answer.header("request-id")), (400, words, Some("req_1")));
    assert_eq!(app.stats().await["rejected_requests"], 1);
    app.finish().await;
}

#[actix_web::test]
async fn a_long_retry_after_is_passed_on_as_one_that_clients_wait_for() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([status_and(429, &[("retry-after", "124633")])]);
    let app = Setup::new().primary(&upstream).start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("59")));
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_that_isolates_for_its_credential_is_never_passed_on() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script([error(401, "authentication_error", "invalid x-api-key")]);
    b.script([status(500)]);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let answer = app.message().await;
    assert_eq!(answer.status, 500);
    assert!(!answer.text().contains("x-api-key"));
    app.finish().await;
}

#[actix_web::test]
async fn the_best_answer_is_passed_on_when_no_endpoint_does_better() {
    for (first, second, expected) in [
        (status(500), status(403), 403),
        (status(403), status(500), 403),
        (status_and(429, &[("retry-after", "3")]), status(500), 500),
        (accept_and_close(), status(503), 503),
        (accept_and_close(), status(401), 502),
    ] {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        a.script([first]);
        b.script([second]);
        let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
        let answer = app.message().await;
        assert_eq!(answer.status, expected, "{}", answer.text());
        assert_eq!(answer.header("x-qcc-attempts"), Some("2"));
        app.finish().await;
    }
}

#[actix_web::test]
async fn no_more_attempts_are_made_than_allowed() {
    let mut upstreams = Vec::new();
    let mut setup = Setup::new().section("retry", "max_attempts = 3").verified_on_demand();
    for name in ["a", "b", "c", "d", "e"] {
        let upstream = Upstream::anthropic(name).await;
        upstream.behave(crate::support::upstream::step::Behaviour::always(status(500)));
        setup = setup.primary(&upstream);
        upstreams.push(upstream);
    }
    let app = setup.start().await;
    assert_eq!(app.message().await.status, 500);
    assert_eq!(upstreams.iter().map(Upstream::traffic).sum::<usize>(), 3);
    assert_eq!(app.stats().await["retries"], 2);
    app.finish().await;
}

#[actix_web::test]
async fn on_other_paths_client_errors_count_as_nothing_and_a_written_post_is_not_repeated() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::only()
        .section("server", "other_paths = [\"/v1/*\"]\nhost = \"127.0.0.1\"\nport = 0\nworkers = 1")
        .primary(&a)
        .secondary(&b)
        .verified_on_demand();
    let app = app.start().await;
    let mut client = app.client().await;
    a.script([status(401)]);
    assert_eq!(client.get("/v1/models", &[TRAFFIC]).await.status, 401);
    assert_eq!(app.row("a").await["failures"], 0);
    a.script([status(500)]);
    assert_eq!(client.get("/v1/models", &[TRAFFIC]).await.header("x-qcc-endpoint"), Some("b"));
    a.script([status(500)]);
    assert_eq!(client.post("/v1/files", &[TRAFFIC], "x").await.status, 500, "it may have done its work");
    assert_eq!(app.row("a").await["consecutive_failures"], json!(2));
    assert_eq!(b.traffic(), 1);
    app.finish().await;
}

/// How long a client waits is its own choice: an endpoint that takes longer than that is not at fault.
#[actix_web::test]
async fn a_clients_short_time_out_counts_against_nobody() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    for upstream in [&a, &b] {
        upstream.behave(crate::support::upstream::step::Behaviour::always(never_answer()));
    }
    let app = Setup::new()
        .section("breaker", "failure_threshold = 1")
        .primary(&a)
        .primary(&b)
        .verified_on_demand()
        .start()
        .await;
    for _ in 0..3 {
        let answer =
            app.client().await.post("/v1/messages", &[TRAFFIC, ("x-stainless-timeout", "0.2")], body(false)).await;
        assert_eq!(
            (answer.status, answer.header("x-qcc-attempts")),
            (504, Some("1")),
            "told before the client gives up"
        );
    }
    let stats = app.stats().await;
    assert_eq!(stats["queues"]["failure"], json!([]));
    assert_eq!((app.row("a").await["failures"].as_u64(), app.row("b").await["failures"].as_u64()), (Some(0), Some(0)));
    app.finish().await;
}

#[actix_web::test]
async fn a_model_that_is_no_name_is_neither_kept_nor_shown() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([status(401)]);
    let app = Setup::new().primary(&upstream).verified_on_demand().start().await;
    let endless = json!({ "model": "x".repeat(100_000) }).to_string();
    app.client().await.post("/v1/messages", &[TRAFFIC], endless).await;
    let isolated = app.events().await.pop().unwrap();
    assert_eq!((&isolated["kind"], &isolated["model"]), (&json!("isolated"), &json!(null)));
    app.finish().await;
}
