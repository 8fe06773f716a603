//! `[[rules]]`: relays' dialects, as the operator puts them.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Step, error, status_with};

async fn check(rules: &[&str], relay_says: &Step, status: u16, by: &str, becomes: &str) {
    for (path, protocol) in [("/v1/messages", ""), ("/v1/chat/completions", "protocol = \"openai\"\n")] {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        a.script_traffic([relay_says.clone()]);
        let setup = rules.iter().fold(Setup::new(), |setup, rule| setup.section("[rules]", rule));
        let app = setup
            .endpoint("a", &a.base_url(), protocol)
            .endpoint("b", &b.base_url(), &format!("{protocol}queue = \"secondary\""))
            .verified_on_demand()
            .start()
            .await;
        let answer = app.client().await.post(path, &[TRAFFIC], body(false)).await;
        let got = (answer.status, answer.header("x-qcc-endpoint").unwrap());
        assert_eq!(got, (status, by), "{path} {rules:?}: {}", answer.text());
        let row = app.row("a").await;
        let is = match (&row["isolated_reason"], &row["failures"]) {
            (reason, _) if reason.is_string() => reason.as_str().unwrap(),
            (_, failures) if *failures == json!(0) => "nothing",
            (_, _) => "failure",
        };
        assert_eq!(is, becomes, "{path} {rules:?}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_rule_says_what_a_relays_words_mean() {
    let said = error(400, "relay_error", "the pool is dry: 7");
    let rule =
        |meaning: &str| format!("status = 400\ntype = \"relay_error\"\ncontains = \"pool is dry\"\nas = \"{meaning}\"");
    for (meaning, status, by, becomes) in [
        ("account", 200, "b", "account"),
        ("credential", 200, "b", "credential"),
        ("model", 200, "b", "nothing"),
        ("client", 400, "a", "nothing"),
        ("overloaded", 200, "b", "nothing"),
        ("failure", 200, "b", "failure"),
    ] {
        check(&[&rule(meaning)], &said, status, by, becomes).await;
    }
    check(&[], &said, 400, "a", "nothing").await;
}

#[actix_web::test]
async fn every_condition_counts_the_first_rule_wins_and_built_in_dialects_come_last() {
    let said = status_with(
        403,
        &[("content-type", "application/json")],
        r#"{"type":"error","error":{"type":"new_api_error","code":"insufficient_user_quota","message":"no quota"}}"#,
    );
    for (rules, status, by, becomes) in [
        (vec![], 200, "b", "account"),
        (vec!["code = \"insufficient_user_quota\"\nas = \"client\""], 403, "a", "nothing"),
        (vec!["status = 400\ncode = \"insufficient_user_quota\"\nas = \"client\""], 200, "b", "account"),
        (vec!["code = \"insufficient_user_quota\"\ncontains = \"quota!\"\nas = \"client\""], 200, "b", "account"),
        (vec!["status = 403\nas = \"failure\"", "contains = \"quota\"\nas = \"client\""], 200, "b", "failure"),
        (vec!["status = 404\nas = \"failure\"", "contains = \"quota\"\nas = \"client\""], 403, "a", "nothing"),
    ] {
        check(&rules, &said, status, by, becomes).await;
    }
}

#[actix_web::test]
async fn a_rule_holds_for_errors_that_come_with_a_200_and_for_pages() {
    let in_200 = status_with(
        200,
        &[("content-type", "application/json")],
        r#"{"error":{"message":"too many words","type":"relay_error","code":1113}}"#,
    );
    check(&[], &in_200, 200, "b", "failure").await;
    check(&["code = \"1113\"\nas = \"client\""], &in_200, 400, "a", "nothing").await;
    let page = status_with(403, &[("content-type", "text/html")], "<h1>blocked</h1>");
    check(&["status = 403\nas = \"client\""], &page, 403, "a", "nothing").await;
    check(&["status = 403\ncontains = \"blocked\"\nas = \"client\""], &page, 200, "b", "nothing").await;
}
