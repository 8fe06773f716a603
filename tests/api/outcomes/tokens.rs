//! `count_tokens`: an endpoint counts where one can, and else the gateway guesses; it never counts against an endpoint.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, TestApp};
use crate::support::raw_client::Answer;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{
    Behaviour, Step, accept_and_close, empty, error, html, never_answer, reset, status, status_and, status_with,
};

const PATH: &str = "/v1/messages/count_tokens";

/// A hundred words or so.
fn question() -> String {
    question_of(20)
}

fn question_of(sentences: usize) -> String {
    let words = "Tell me of the sea. ".repeat(sentences);
    json!({ "model": "claude-haiku-4-5", "messages": [{ "role": "user", "content": words }] }).to_string()
}

async fn count(app: &TestApp) -> Answer {
    app.client().await.post(PATH, &[TRAFFIC], question()).await
}

fn setup() -> Setup {
    Setup::new().isolated_by_one_failure().verified_on_demand()
}

fn check_estimated(answer: &Answer, case: &str) {
    assert_eq!((answer.status, answer.header("x-qcc-estimated")), (200, Some("true")), "{case}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("x-qcc-request-id").is_some());
    let counted = answer.json();
    assert_eq!(counted.as_object().unwrap().len(), 1);
    let tokens = counted["input_tokens"].as_u64().unwrap();
    assert!((80..=150).contains(&tokens), "{tokens} tokens");
}

#[actix_web::test]
async fn an_endpoint_that_can_count_does() {
    let a = Upstream::anthropic("a").await;
    let app = setup().primary(&a).start().await;
    let answer = count(&app).await;
    assert_eq!((answer.status, answer.header("x-qcc-estimated")), (200, None));
    assert_eq!(answer.json()["input_tokens"], 400, "what the upstream said");
    app.finish().await;
}

#[actix_web::test]
async fn where_one_endpoint_can_not_count_the_next_is_asked_and_then_the_gateway_guesses() {
    let page = |status: u16| status_with(status, &[("content-type", "text/html")], "<h1>no</h1>");
    let cases: Vec<(&str, Step)> = vec![
        ("no such route", page(404)),
        ("not found", error(404, "not_found_error", "Not found")),
        ("lacks the model", error(404, "not_found_error", "model: claude-haiku-4-5")),
        ("wrong method", page(405)),
        ("not implemented", status(501)),
        ("wrong key", status(401)),
        ("no credit", status(402)),
        ("forbidden", status(403)),
        ("rate limit", status_and(429, &[("retry-after", "60")])),
        ("overloaded", status(529)),
        ("server error", status(500)),
        ("moved", status_with(302, &[("location", "/")], "")),
        ("a portal", html()),
        ("nothing", empty()),
        ("closed", accept_and_close()),
        ("reset", reset()),
        ("silence", never_answer()),
    ];
    for (case, step) in cases {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        a.behave(Behaviour::honest().traffic(step.clone()));
        let patience = if case == "silence" { "400ms" } else { "30s" };
        let setup = setup().section("timeouts", &format!("response = {patience:?}"));
        let app = setup.primary(&a).secondary(&b).start().await;
        let answer = count(&app).await;
        let got = (answer.status, answer.header("x-qcc-endpoint"), answer.header("x-qcc-estimated"));
        assert_eq!(got, (200, Some("b"), None), "{case}");
        b.behave(Behaviour::honest().traffic(step));
        for _ in 0..2 {
            check_estimated(&count(&app).await, case);
        }
        let stats = app.stats().await;
        assert_eq!((&stats["queues"]["failure"], &stats["successful_requests"]), (&json!([]), &json!(3)), "{case}");
        for id in ["a", "b"] {
            assert_eq!(app.row(id).await["failures"], 0, "{case}");
        }
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_request_that_is_wrong_is_told_so() {
    let a = Upstream::anthropic("a").await;
    a.script([error(400, "invalid_request_error", "messages: roles must alternate")]);
    let app = setup().primary(&a).start().await;
    let answer = count(&app).await;
    assert_eq!((answer.status, answer.header("x-qcc-estimated")), (400, None));
    assert!(answer.text().contains("roles must alternate"));
    app.finish().await;
}

#[actix_web::test]
async fn with_no_endpoint_usable_the_gateway_guesses_at_once() {
    let a = Upstream::anthropic("a").await;
    let app = setup().primary(&a).start().await;
    assert_eq!(app.admin("a", "isolate").await.status, 200);
    let answer = count(&app).await;
    check_estimated(&answer, "isolated");
    assert_eq!(answer.header("x-qcc-endpoint"), None);
    assert_eq!(a.traffic(), 0, "an isolated endpoint is not asked to count either");
    app.finish().await;
}

/// It is weighed beside the thread, and by the same measure.
#[actix_web::test]
async fn a_long_request_is_guessed_at_as_a_short_one_is() {
    let a = Upstream::anthropic("a").await;
    let app = setup().primary(&a).start().await;
    assert_eq!(app.admin("a", "isolate").await.status, 200);
    let answer = app.client().await.post(PATH, &[TRAFFIC], question_of(50_000)).await;
    assert_eq!((answer.status, answer.header("x-qcc-estimated")), (200, Some("true")), "{}", answer.text());
    let tokens = answer.json()["input_tokens"].as_u64().unwrap();
    assert!((200_000..=375_000).contains(&tokens), "{tokens} tokens");
    app.finish().await;
}

#[actix_web::test]
async fn a_model_or_a_path_that_nobody_serves_is_not_guessed_at() {
    let a = Upstream::anthropic("a").await;
    let app = setup().endpoint("a", &a.base_url(), "models = [\"other-*\"]").start().await;
    assert_eq!(count(&app).await.status, 404);
    app.finish().await;
    let app = setup().endpoint("a", &a.base_url(), "protocol = \"openai\"").start().await;
    assert_eq!(count(&app).await.status, 404);
    app.finish().await;
}
