//! What answers have cost: read from whole ones and from streams, counted by endpoint, client and model, and priced.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::app::{LOCAL, Setup, TRAFFIC, TestApp, body};
use crate::support::eventually::eventually;
use crate::support::process::{Process, settings};
use crate::support::raw_client::{Answer, RawClient};
use crate::support::streaming::{PATHS, Pair, STREAM_HEAD};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Step, close, hold, ok, raw, sse, status, status_with};
use crate::support::wire::chunk;

/// A stream with these events, and with nothing behind them if it is torn.
fn stream(events: &str, end: &[u8]) -> Step {
    raw([STREAM_HEAD.as_bytes(), &chunk(events.as_bytes()), end].concat())
}

const WHOLE: &[u8] = b"0\r\n\r\n";

/// A message's stream up to its end, with running totals.
const MESSAGE: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\
    \"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":1,\"cache_read_input_tokens\":7,\
    \"cache_creation_input_tokens\":5}}}\n\n\
    event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
    event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n";
const MESSAGE_END: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
    \"usage\":{\"output_tokens\":15}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

fn tokens(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Value {
    json!({ "input": input, "output": output, "cache_read": cache_read, "cache_write": cache_write })
}

async fn usage(app: &TestApp, query: &str) -> Answer {
    app.client().await.get(&format!("/__qcc__/usage{query}"), &LOCAL).await
}

/// The row of a client in the stats.
async fn client_row(app: &TestApp, id: Value) -> Value {
    let stats = app.stats().await;
    stats["clients"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone()
}

#[actix_web::test]
async fn whole_answers_of_every_path_are_counted() {
    for path in [PATHS.as_slice(), &["/v1/embeddings"]].concat() {
        let pair = Pair::serving(path).await;
        let app = pair.strict().start().await;
        let answer = app.client().await.post(path, &[TRAFFIC], body(false)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let output = if path == "/v1/embeddings" { 0 } else { 3 };
        assert_eq!(app.row("a").await["tokens"], tokens(40, output, 0, 0), "{path}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_count_of_tokens_and_other_paths_are_nobodys_usage() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    let mut client = app.client().await;
    assert_eq!(client.post("/v1/messages/count_tokens", &[TRAFFIC], body(false)).await.status, 200);
    assert_eq!(client.get("/v1/models", &[TRAFFIC]).await.status, 200);
    assert_eq!(usage(&app, "").await.json(), json!({ "rows": [] }));
    assert_eq!(app.stats().await["tokens"], tokens(0, 0, 0, 0));
    app.finish().await;
}

#[actix_web::test]
async fn of_a_streams_running_totals_the_greatest_counts_also_where_it_breaks_off() {
    let whole = [MESSAGE, MESSAGE_END].concat();
    for (case, step, expected) in [
        ("whole", stream(&whole, WHOLE), tokens(25, 15, 7, 5)),
        ("torn", stream(MESSAGE, b"").then(close()), tokens(25, 1, 7, 5)),
        ("without the last blank line", stream(whole.trim_end(), WHOLE), tokens(25, 15, 7, 5)),
    ] {
        let a = Upstream::anthropic("a").await;
        a.script_traffic([step]);
        let app = Setup::new().primary(&a).start().await;
        let mut client = app.client().await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
        let _ = client.try_answer().await;
        eventually("the attempt is counted", async || app.row("a").await["requests"] == 1).await;
        assert_eq!(app.row("a").await["tokens"], expected, "{case}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_stream_whose_client_leaves_has_cost_what_it_has_said_by_then() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([stream(MESSAGE, b"").then(hold("for ever"))]);
    let app = Setup::new().primary(&a).start().await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    client.answer_head().await;
    client.event().await.unwrap();
    client.hang_up();
    eventually("its leaving is counted", async || app.row("a").await["cancelled"] == 1).await;
    assert_eq!(app.row("a").await["tokens"], tokens(25, 1, 7, 5));
    a.gates().open("for ever");
    app.finish().await;
}

#[actix_web::test]
async fn streams_of_the_openai_paths_tell_their_usage_in_an_event() {
    let chat = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":9,\"prompt_tokens_details\":{\"cached_tokens\":30}}}\n\n\
        data: [DONE]\n\n";
    let completions = "data: {\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":9,\"prompt_tokens_details\":{\"cached_tokens\":30}}}\n\n\
        data: [DONE]\n\n";
    let responses = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n\
        event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[],\"usage\":{\"input_tokens\":50,\
        \"input_tokens_details\":{\"cached_tokens\":30},\"output_tokens\":9}}}\n\n";
    for (path, events) in
        [("/v1/chat/completions", chat), ("/v1/completions", completions), ("/v1/responses", responses)]
    {
        let pair = Pair::serving(path).await;
        pair.a.script_traffic([stream(events, WHOLE)]);
        let app = pair.strict().start().await;
        assert_eq!(pair.ask(&mut app.client().await).await.status, 200);
        assert_eq!(app.row("a").await["tokens"], tokens(20, 9, 30, 0), "{path}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_whole_answer_to_a_streamed_request_and_a_compressed_one_are_counted_once() {
    let message = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{ "type": "text", "text": "a" }], "usage": { "input_tokens": 11, "output_tokens": 2 },
    })
    .to_string();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(message.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let json_type = ("content-type", "application/json");
    for (case, step, is_streamed) in [
        ("converted", status_with(200, &[json_type], message), true),
        ("compressed", status_with(200, &[json_type, ("content-encoding", "gzip")], packed), false),
    ] {
        let a = Upstream::anthropic("a").await;
        a.script_traffic([step]);
        let app = Setup::new().primary(&a).start().await;
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(is_streamed)).await;
        assert_eq!(answer.status, 200, "{case}");
        assert_eq!(app.row("a").await["tokens"], tokens(11, 2, 0, 0), "{case}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_answer_that_is_too_large_to_be_held_tells_its_usage_at_its_end() {
    let long = "0.25,".repeat(1 << 20);
    let large = format!(
        "{{\"object\":\"list\",\"data\":[{{\"embedding\":[{long}0]}}],\"usage\":{{\"prompt_tokens\":8,\"total_tokens\":8}}}}"
    );
    let pair = Pair::serving("/v1/embeddings").await;
    pair.a.script_traffic([status_with(200, &[("content-type", "application/json")], large.clone())]);
    let app = pair.strict().start().await;
    let answer = app.client().await.post("/v1/embeddings", &[TRAFFIC], body(false)).await;
    assert_eq!(answer.text().len(), large.len());
    assert_eq!(app.row("a").await["tokens"], tokens(8, 0, 0, 0));
    app.finish().await;
}

#[actix_web::test]
async fn usage_is_told_apart_by_what_is_asked_and_priced_as_the_settings_say() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "price_factor = 0.5")
        .section("prices.\"claude-*\"", "input = 1000.0\noutput = 10000.0")
        .section("clients.alice", "key = \"alice\"\nteam = \"core, \\\"A\\\"\"")
        .section("clients.bob", "key = \"bob\"")
        .section("clients.carol", "key = \"carol\"\nteam = \"core, \\\"A\\\"\"")
        .start()
        .await;
    let ask = async |key: &str, model: &str| {
        let body = json!({ "model": model, "max_tokens": 1, "messages": [] }).to_string();
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC, ("x-api-key", key)], body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    ask("alice", "claude-x").await;
    ask("alice", "claude-x").await;
    ask("bob", "=1+1").await;
    ask("carol", "claude-x").await;
    let row = |client: &str, model: &str, requests: u64, cost: Value| {
        json!({
            "client": client, "model": model, "requests": requests, "input": 40 * requests, "output": 3 * requests,
            "cache_read": 0, "cache_write": 0, "cost": cost,
        })
    };
    assert_eq!(
        usage(&app, "?by=client,model").await.json(),
        json!({ "rows": [
            row("alice", "claude-x", 2, json!(0.07)), row("bob", "=1+1", 1, json!(null)), row("carol", "claude-x", 1, json!(0.035)),
        ] })
    );
    let csv = usage(&app, "?by=team,endpoint,model&format=csv").await;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(
        csv.text(),
        "team,endpoint,model,requests,input,output,cache_read,cache_write,cost\r\n\
         ,a,\"'=1+1\",1,40,3,0,0,\r\n\
         \"core, \"\"A\"\"\",a,claude-x,3,120,9,0,0,0.105\r\n"
    );
    assert_eq!(usage(&app, "").await.json()["rows"].as_array().unwrap().len(), 3);
    assert_eq!(usage(&app, "?by=nobody").await.status, 400);
    let alice = client_row(&app, json!("alice")).await;
    assert_eq!(
        alice,
        json!({
            "id": "alice", "team": "core, \"A\"", "requests": 2, "successes": 2, "failures": 0, "rejected": 0,
            "cancelled": 0, "in_flight": 0, "tokens": tokens(80, 6, 0, 0), "cost": 0.07, "unpriced": 0,
        })
    );
    let stats = app.stats().await;
    assert_eq!(stats["teams"][0]["requests"], 3);
    assert_eq!((&stats["cost"], &stats["tokens"]), (&json!(0.105), &tokens(160, 12, 0, 0)));
    let row = app.row("a").await;
    assert_eq!(row["cost"], 0.105);
    assert_eq!([&stats, &row, &client_row(&app, json!("bob")).await].map(|sum| sum["unpriced"].as_u64()), [Some(1); 3]);
    app.finish().await;
}

/// Once wrong: what somebody had used was missing from the team's sum as soon as that person had left.
#[actix_web::test]
async fn what_a_client_has_used_stays_with_its_team_when_it_leaves_the_settings() {
    let a = Upstream::anthropic("a").await;
    let setup = || Setup::new().primary(&a).section("clients.bob", "key = \"bob\"\nteam = \"core\"");
    let app = setup().section("clients.alice", "key = \"alice\"\nteam = \"core\"").start().await;
    for key in ["alice", "bob"] {
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC, ("x-api-key", key)], body(false)).await;
        assert_eq!(answer.status, 200);
    }
    let team = async || {
        let rows = usage(&app, "?by=team").await.json();
        let stats = app.stats().await;
        (rows["rows"][0]["team"].clone(), rows["rows"][0]["requests"].clone(), stats["teams"][0]["requests"].clone())
    };
    assert_eq!(team().await, (json!("core"), json!(2), json!(2)));
    assert_eq!(app.reload(setup()).await.status, 200);
    assert_eq!(team().await, (json!("core"), json!(2), json!(2)));
    assert_eq!(client_row(&app, json!("alice")).await["team"], "core");
    app.finish().await;
}

#[actix_web::test]
async fn a_reload_brings_new_prices_for_what_comes_and_keeps_what_was_counted() {
    let a = Upstream::anthropic("a").await;
    let setup = |input: u32| {
        let prices = format!("input = {input}.0\noutput = 0.0");
        Setup::new().primary(&a).section("prices.\"*\"", &prices)
    };
    let app = setup(1000).start().await;
    app.message().await;
    assert_eq!(app.row("a").await["cost"], 0.04);
    assert_eq!(app.reload(setup(2000)).await.status, 200);
    app.message().await;
    assert_eq!(app.row("a").await["cost"], 0.12);
    app.finish().await;
}

#[actix_web::test]
async fn each_client_has_a_row_with_what_it_has_under_way_and_how_its_requests_ended() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([status(400), hold("gate").then(ok())]);
    let app = Setup::new().primary(&a).section("clients.alice", "key = \"alice\"").start().await;
    let headers = [TRAFFIC, ("x-api-key", "alice")];
    assert_eq!(app.client().await.post("/v1/messages", &headers, body(false)).await.status, 400);
    assert_eq!(app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await.status, 401);
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &headers, body(false).as_bytes()).await;
    a.gates().reached("gate").await;
    let row = client_row(&app, json!("alice")).await;
    assert_eq!((&row["requests"], &row["rejected"], &row["in_flight"]), (&json!(1), &json!(1), &json!(1)));
    let nobody = client_row(&app, json!(null)).await;
    assert_eq!((&nobody["requests"], &nobody["rejected"]), (&json!(1), &json!(1)), "who showed no valid key");
    a.gates().open("gate");
    assert_eq!(client.answer().await.status, 200);
    let row = client_row(&app, json!("alice")).await;
    assert_eq!((&row["requests"], &row["successes"], &row["in_flight"]), (&json!(2), &json!(1), &json!(0)));
    app.finish().await;
}

#[actix_web::test]
async fn the_last_ten_minutes_stand_in_steps_of_ten_seconds() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([status(500), sse(3).then_end()]);
    let b = Upstream::anthropic("b").await;
    let app = Setup::new().primary(&a).secondary(&b).start().await;
    let mut client = app.client().await;
    for stream in [false, true] {
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(stream).as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let stats = app.stats().await;
    let series = &stats["series"];
    assert_eq!(series["step"], 10);
    let sum = |name: &str| {
        let steps = series[name].as_array().unwrap();
        assert_eq!(steps.len(), 60, "{name}");
        steps.iter().map(|step| step.as_f64().unwrap_or_default()).sum::<f64>()
    };
    assert!((sum("requests") - 2.0).abs() < 1e-9 && sum("errors").abs() < 1e-9 && (sum("retries") - 1.0).abs() < 1e-9);
    assert!(sum("latency_ms") > 0.0);
    assert!(stats["requests_per_second"].as_f64().unwrap() > 0.0);
    app.finish().await;
}

#[actix_web::test]
async fn the_time_to_the_first_token_is_that_of_streams() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    app.message().await;
    assert_eq!(app.row("a").await["ttft_ms"]["p50"], 0.0);
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    client.answer().await;
    assert!(app.row("a").await["ttft_ms"]["p50"].as_f64().unwrap() > 0.0);
    app.finish().await;
}

/// A short answer's stream may be read whole before any of it goes out, and is settled then.
#[actix_web::test]
async fn a_stream_that_comes_all_at_once_has_a_time_to_its_first_token_too() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    a.script([stream(&format!("{MESSAGE}{MESSAGE_END}"), WHOLE)]);
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    client.answer().await;
    let row = app.row("a").await;
    assert_eq!(row["successes"], 1);
    assert!(row["ttft_ms"]["p50"].as_f64().unwrap() > 0.0, "{row}");
    app.finish().await;
}

#[actix_web::test]
async fn what_is_left_of_a_subscriptions_windows_is_shown() {
    let a = Upstream::anthropic("a").await;
    let headers = [
        ("content-type", "application/json"),
        ("anthropic-ratelimit-unified-5h-utilization", "0.58"),
        ("anthropic-ratelimit-unified-5h-reset", "4102444800"),
        ("anthropic-ratelimit-unified-5h-status", "allowed"),
    ];
    a.script_traffic([status_with(200, &headers, "{\"type\":\"message\",\"content\":[]}")]);
    let app = Setup::new().primary(&a).start().await;
    assert_eq!(app.message().await.status, 200);
    let windows = app.row("a").await["windows"].clone();
    assert!((windows["5h"]["left"].as_f64().unwrap() - 0.42).abs() < 1e-9, "{windows}");
    assert_eq!((&windows["5h"]["resets_at"], windows.get("7d")), (&json!("2100-01-01T00:00:00Z"), None));
    app.finish().await;
}

/// Found with an end in microseconds: no calendar has such a year, and whoever asked for the stats got no answer.
#[actix_web::test]
async fn a_window_that_ends_in_no_calendars_year_does_not_take_the_stats_away() {
    let a = Upstream::anthropic("a").await;
    let headers = [
        ("content-type", "application/json"),
        ("anthropic-ratelimit-unified-5h-utilization", "0.5"),
        ("anthropic-ratelimit-unified-5h-reset", "4102444800000000"),
    ];
    a.script_traffic([status_with(200, &headers, "{\"type\":\"message\",\"content\":[]}")]);
    let app = Setup::new().primary(&a).start().await;
    assert_eq!(app.message().await.status, 200);
    assert_eq!(app.row("a").await["windows"]["5h"]["resets_at"], json!(null));
    app.finish().await;
}

#[actix_web::test]
async fn verifications_have_a_cost() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new()
        .primary(&a)
        .verified_on_demand()
        .section("prices.claude-haiku-4-5", "input = 1000.0\noutput = 0.0")
        .start()
        .await;
    assert_eq!(app.admin("a", "verify").await.status, 200);
    let row = app.row("a").await;
    let input = row["verification_tokens"]["input"].as_f64().unwrap();
    assert!((row["verification_cost"].as_f64().unwrap() - input * 0.001).abs() < 1e-9, "{row}");
    assert_eq!((&row["cost"], &row["tokens"]), (&json!(null), &tokens(0, 0, 0, 0)), "they are nobody's traffic");
    app.finish().await;
}

#[actix_web::test]
async fn the_log_line_of_a_request_tells_its_tokens() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([stream(&[MESSAGE, MESSAGE_END].concat(), WHOLE)]);
    let mut gateway = Process::start(settings("", &[&a])).await;
    let mut client = RawClient::connect(gateway.address).await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    let line = gateway.logs("request id=").await;
    assert!(line.contains("tokens_in=37") && line.contains("tokens_out=15"), "{line}");
    gateway.signal("TERM").await;
    gateway.ended().await;
}
