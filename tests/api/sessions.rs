//! Conversations that stay with their endpoint.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::app::{Setup, TRAFFIC, TestApp, body};
use crate::support::streaming::Pair;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, status, status_and, status_with};

async fn served_by(app: &TestApp, headers: &[(&str, &str)], body: String) -> String {
    let headers: Vec<_> = headers.iter().copied().chain([TRAFFIC]).collect();
    let answer = app.client().await.post("/v1/messages", &headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-qcc-endpoint").unwrap().to_owned()
}

fn with(member: &str, value: Value) -> String {
    let mut message: Value = serde_json::from_str(&body(false)).unwrap();
    message[member] = value;
    message.to_string()
}

#[actix_web::test]
async fn a_session_is_named_by_header_or_body_and_stays_with_its_endpoint() {
    let upstreams = [Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::anthropic("c").await];
    let mut setup = Setup::new();
    for upstream in &upstreams {
        setup = setup.primary(upstream);
    }
    let app = setup.start().await;
    let named: [(&[(&str, &str)], String); 6] = [
        (&[("x-claude-code-session-id", "s1")], body(false)),
        (&[("x-conversation-id", "s2")], body(false)),
        (&[], with("metadata", json!({"user_id": "s3"}))),
        (&[], with("prompt_cache_key", json!("s4"))),
        (&[], with("conversation_id", json!("s5"))),
        (&[("x-session-affinity", "s6")], body(false)),
    ];
    for (headers, body) in named {
        let mut seen = BTreeSet::new();
        for _ in 0..6 {
            seen.insert(served_by(&app, headers, body.clone()).await);
        }
        assert_eq!(seen.len(), 1, "{headers:?} {body}");
    }
    let mut without = BTreeSet::new();
    for _ in 0..6 {
        without.insert(served_by(&app, &[], body(false)).await);
    }
    assert_eq!(without.len(), 3, "without a session each takes its turn");
    app.finish().await;
}

#[actix_web::test]
async fn the_header_for_affinity_names_a_session_only_where_nothing_else_does() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new().primary(&a).primary(&b).start().await;
    let affinity = |name| ("x-session-affinity", name);
    let bound = [
        (vec![("x-conversation-id", "s1")], body(false)),
        (vec![], with("metadata", json!({"user_id": "s2"}))),
        (vec![], with("prompt_cache_key", json!("s3"))),
    ];
    for (headers, body) in bound {
        let mut seen = BTreeSet::new();
        for other in ["t1", "t2", "t3", "t4", "t5", "t6"] {
            let headers: Vec<_> = headers.iter().copied().chain([affinity(other)]).collect();
            seen.insert(served_by(&app, &headers, body.clone()).await);
        }
        assert_eq!(seen.len(), 1, "{headers:?} {body}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_bound_session_leaves_an_isolated_endpoint_and_stays_away_when_it_recovers() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::honest().traffic(status(500)));
    let app = Setup::new().isolated_by_one_failure().primary(&a).secondary(&b).verified_on_demand().start().await;
    let session = [("x-claude-code-session-id", "s")];
    assert_eq!(served_by(&app, &session, body(false)).await, "b");
    a.mend();
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    assert_eq!(app.row("a").await["standing"], "primary");
    assert_eq!(served_by(&app, &session, body(false)).await, "b", "its prompt cache is there");
    assert_eq!(served_by(&app, &[("x-claude-code-session-id", "new")], body(false)).await, "a");
    app.finish().await;
}

/// Found with Codex: its conversation stayed with the account that could not read it, though the one that could was back.
#[actix_web::test]
async fn a_session_that_another_account_can_not_go_on_with_returns_to_its_own() {
    let pair = Pair::serving("/v1/responses").await;
    let refusal = r#"{"error":{"message":"The encrypted content could not be verified.","type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}"#;
    pair.b.behave(Behaviour::honest().traffic(status_with(400, &[("content-type", "application/json")], refusal)));
    let app = pair.setup(Setup::new().verified_on_demand()).start().await;
    let body = json!({"model": "gpt-5", "input": "x", "prompt_cache_key": "s"}).to_string();
    let ask = async || app.client().await.post(pair.path, &[TRAFFIC], body.clone()).await;
    assert_eq!(ask().await.header("x-qcc-endpoint"), Some("a"));
    app.admin("a", "isolate").await;
    let refused = ask().await;
    assert_eq!((refused.status, refused.text().as_str()), (400, refusal));
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    for attempts in ["2", "1"] {
        let answer = ask().await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("a")), "{}", answer.text());
        assert_eq!(answer.header("x-qcc-attempts"), Some(attempts));
    }
    assert_eq!(app.row("b").await["failures"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn weight_zero_drains() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new().endpoint("a", &a.base_url(), "weight = 0").primary(&b).start().await;
    for number in 0..5 {
        let number = number.to_string();
        assert_eq!(served_by(&app, &[("x-claude-code-session-id", number.as_str())], body(false)).await, "b");
    }
    app.finish().await;
}

#[actix_web::test]
async fn without_affinity_sessions_take_turns() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new().section("affinity", "enabled = false").primary(&a).primary(&b).start().await;
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        seen.insert(served_by(&app, &[("x-claude-code-session-id", "s")], body(false)).await);
    }
    assert_eq!(seen.len(), 2);
    app.finish().await;
}

/// Once wrong: whoever could count took the session over.
#[actix_web::test]
async fn a_count_that_is_answered_elsewhere_does_not_move_the_session() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let session = [("x-claude-code-session-id", "s"), TRAFFIC];
    assert_eq!(served_by(&app, &session[..1], body(false)).await, "a");
    a.script_traffic([status(404)]);
    let counted = app.client().await.post("/v1/messages/count_tokens", &session, body(false)).await;
    assert_eq!((counted.status, counted.header("x-qcc-endpoint")), (200, Some("b")));
    assert_eq!(served_by(&app, &session[..1], body(false)).await, "a");
    app.finish().await;
}

/// Found under load: it waited for its own endpoint until the deadline, and was answered 503.
#[actix_web::test]
async fn a_request_that_its_sessions_endpoint_has_no_time_for_is_served_by_another() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new().primary(&a).secondary(&b).start().await;
    let session: &[(&str, &str)] = &[TRAFFIC, ("x-claude-code-session-id", "s")];
    assert_eq!(served_by(&app, session, body(false)).await, "a");
    a.script([status_and(529, &[("retry-after", "4")])]);
    let answer = app.client().await.post("/v1/messages", session, body(false)).await;
    let trail = answer.header("x-qcc-trail").unwrap_or_default();
    assert!(answer.status == 200 && trail.starts_with("a=529@") && trail.contains(",b=ok@"), "{trail}");
    app.finish().await;
}
