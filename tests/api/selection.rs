//! Who serves.

use crate::support::app::{Setup, TRAFFIC, body, message};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{hold, ok};

#[actix_web::test]
async fn weights_hold_in_quiet_traffic() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "weight = 100")
        .endpoint("b", &b.base_url(), "weight = 300")
        .start()
        .await;
    let mut client = app.client().await;
    for number in 0..400 {
        assert_eq!(message(&mut client, number).await.status, 200);
    }
    assert!(a.traffic().abs_diff(100) <= 4 && b.traffic().abs_diff(300) <= 4, "{} to {}", a.traffic(), b.traffic());
    app.finish().await;
}

#[actix_web::test]
async fn lower_priority_numbers_come_first_and_weight_zero_takes_nothing_new() {
    let (a, b, c) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::anthropic("c").await);
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "weight = 0")
        .endpoint("b", &b.base_url(), "priority = 1")
        .endpoint("c", &c.base_url(), "priority = 2")
        .start()
        .await;
    for _ in 0..10 {
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    }
    assert_eq!((a.total(), c.total()), (0, 0));
    app.finish().await;
}

#[actix_web::test]
async fn a_full_endpoint_is_passed_over() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script([hold("busy").then(ok())]);
    let app = Setup::new().endpoint("a", &a.base_url(), "max_in_flight = 1").secondary(&b).start().await;
    let mut busy = app.client().await;
    busy.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    a.gates().reached("busy").await;
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    a.gates().open("busy");
    assert_eq!(busy.answer().await.header("x-qcc-endpoint"), Some("a"));
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("a"));
    app.finish().await;
}
