//! Whose credential was refused: the client's own is the client's affair.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, error, status, status_with};

const PASSTHROUGH: &str = "auth = \"passthrough\"\n";
const OWN: (&str, &str) = ("authorization", "Bearer theirs");

#[actix_web::test]
async fn what_is_said_of_the_clients_own_credential_is_passed_on_and_counts_as_nothing() {
    for (path, protocol) in [("/v1/messages", ""), ("/v1/chat/completions", "protocol = \"openai\"\n")] {
        for (step, expected) in [
            (status(401), 401),
            (status_with(401, &[], "go away"), 401),
            (status(403), 403),
            (status_with(403, &[("content-type", "text/html")], "<h1>403</h1>"), 403),
            (status(402), 402),
            (error(402, "billing_error", "pay"), 402),
            (error(429, "insufficient_quota", "You exceeded your current quota"), 429),
            (error(400, "invalid_request_error", "Your credit balance is too low to go on"), 400),
        ] {
            let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
            a.behave(Behaviour::honest().traffic(step.clone()));
            let app = Setup::new()
                .isolated_by_one_failure()
                .endpoint("a", &a.base_url(), &format!("{PASSTHROUGH}{protocol}"))
                .endpoint("b", &b.base_url(), &format!("{protocol}queue = \"secondary\""))
                .verified_on_demand()
                .start()
                .await;
            let answer = app.client().await.post(path, &[TRAFFIC, OWN], body(false)).await;
            assert_eq!(answer.status, expected, "{path} {step:?}: {}", answer.text());
            let row = app.row("a").await;
            assert_eq!((&row["failures"], &row["standing"]), (&json!(0), &json!("primary")), "{path} {step:?}");
            assert_eq!(b.total(), 0, "{path} {step:?}");
            app.finish().await;
        }
    }
}

#[actix_web::test]
async fn each_endpoint_gets_the_credential_that_is_meant_for_it() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::honest().traffic(status(500)));
    let app = Setup::new()
        .endpoint("a", &a.base_url(), PASSTHROUGH)
        .endpoint("b", &b.base_url(), "queue = \"secondary\"\napi_key = \"ours\"")
        .verified_on_demand()
        .start()
        .await;
    let headers = [TRAFFIC, OWN, ("x-api-key", "theirs-too"), ("x-qcc-key", "for-the-gateway")];
    let answer = app.client().await.post("/v1/messages", &headers, body(false)).await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")));
    let (to_a, to_b) = (a.traffic_requests().swap_remove(0), b.traffic_requests().swap_remove(0));
    assert_eq!(to_a.keys(), ["theirs-too", "theirs"], "the client's own, and never the operator's");
    assert_eq!(to_b.keys(), ["ours"], "the operator's own, and never the client's");
    for request in [to_a, to_b] {
        assert_eq!(request.header("x-qcc-key"), None, "what is for the gateway stays here");
    }
    app.finish().await;
}

#[actix_web::test]
async fn an_endpoint_that_passes_credentials_through_still_fails_for_faults_of_its_own() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::honest().traffic(status(500)));
    let app = Setup::new()
        .isolated_by_one_failure()
        .endpoint("a", &a.base_url(), PASSTHROUGH)
        .secondary(&b)
        .verified_on_demand()
        .start()
        .await;
    assert_eq!(app.client().await.post("/v1/messages", &[TRAFFIC, OWN], body(false)).await.status, 200);
    assert_eq!(app.row("a").await["isolated_reason"], "upstream_status");
    app.finish().await;
}
