//! The end: no answer that was begun is cut off without a word.

use std::time::Duration;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::eventually::{eventually, now};
use crate::support::raw_client::{Answer, Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, never_answer, ok, sse, status};

const STREAMS: usize = 200;

fn with_grace(grace: &str) -> Setup {
    Setup::only()
        .section("server", &format!("host = \"127.0.0.1\"\nport = 0\nworkers = 2\nshutdown_grace = \"{grace}\""))
}

async fn stream(mut client: RawClient, agent: &str) -> Answer {
    let headers = [TRAFFIC, ("user-agent", agent)];
    client.send_request("POST", "/v1/messages", &headers, body(true).as_bytes()).await;
    client.answer().await
}

#[actix_web::test]
async fn open_streams_end_whole_or_in_the_error_event() {
    let (ends, hangs) = (Upstream::anthropic("ends").await, Upstream::anthropic("hangs").await);
    ends.behave(Behaviour::honest().traffic(sse(2).hold("rest").more(1).then_end()));
    hangs.behave(Behaviour::honest().traffic(sse(2).then_stall()));
    let app = with_grace("3s").primary(&ends).primary(&hangs).start().await;
    let mut clients = Vec::new();
    for _ in 0..STREAMS {
        clients.push(app.client().await);
    }
    let agents = ["claude-cli/2.1.330", "an-sdk/1.0"];
    let answers = clients.into_iter().zip(agents.iter().cycle()).map(|(client, agent)| stream(client, agent));
    let (answers, ()) = tokio::join!(futures_util::future::join_all(answers), async {
        eventually("all flow", async || ends.traffic() + hangs.traffic() == STREAMS).await;
        let began = now();
        tokio::join!(app.finish(), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            ends.gates().open("rest");
        });
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    });
    for answer in answers {
        assert_eq!((answer.status, answer.ended), (200, Ended::Whole), "{}", answer.text());
        let events = answer.events();
        let last = events.last().unwrap();
        if answer.header("x-qcc-endpoint") == Some("ends") {
            assert_eq!(last.name.as_deref(), Some("message_stop"));
        } else {
            assert_eq!(last.name.as_deref(), Some("error"));
            assert!(last.data.contains("the gateway is stopping"), "{}", last.data);
        }
    }
}

#[actix_web::test]
async fn a_request_that_was_accepted_is_answered_within_the_grace_or_told_to_come_again() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::honest().traffic(hold("g").then(ok())));
    b.behave(Behaviour::honest().traffic(never_answer()));
    let app = with_grace("2s")
        .endpoint("a", &a.base_url(), "models = [\"claude-*\"]")
        .endpoint("b", &b.base_url(), "models = [\"slow\"]")
        .start()
        .await;
    let (mut quick, mut slow) = (app.client().await, app.client().await);
    let slow_body = body(false).replace("claude-haiku-4-5", "slow");
    quick.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    slow.send_request("POST", "/v1/messages", &[TRAFFIC], slow_body.as_bytes()).await;
    eventually("both are under way", async || a.traffic() + b.traffic() == 2).await;
    let (quick, slow, ()) = tokio::join!(quick.answer(), slow.answer(), async {
        tokio::join!(app.finish(), async { a.gates().open("g") });
    });
    assert_eq!(quick.status, 200);
    assert_eq!((slow.status, slow.header("retry-after")), (503, Some("1")));
    assert!(slow.text().contains("stopping"), "{}", slow.text());
}

/// Once wrong: its connection was broken off.
#[actix_web::test]
async fn a_request_that_pauses_before_its_next_attempt_is_told_to_come_again() {
    let upstream = Upstream::anthropic("a").await;
    upstream.behave(Behaviour::honest().traffic(status(500)));
    let pauses = "backoff = \"1h\"\nbackoff_max = \"1h\"\ndeadline = \"2h\"";
    let app = with_grace("1s").section("retry", pauses).primary(&upstream).start().await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    eventually("its failure", async || app.row("a").await["consecutive_failures"] == 1).await;
    let (answer, _) = tokio::join!(client.answer(), app.finish());
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.text().contains("stopping"), "{}", answer.text());
    assert_eq!(upstream.traffic(), 1);
}

/// Found with half a body: its connection was closed when the grace was over, without a word.
#[actix_web::test]
async fn a_request_whose_body_has_not_come_by_the_end_of_the_grace_is_told_to_come_again() {
    let upstream = Upstream::anthropic("a").await;
    let app = with_grace("1s").primary(&upstream).start().await;
    let mut clients = Vec::new();
    for (target, framing) in [
        ("/v1/messages", "content-length: 100\r\n\r\n{\"model\":"),
        ("/v1/messages", "transfer-encoding: chunked\r\n\r\n9\r\n{\"model\":\r\n"),
        ("/v1/messages", "content-length: 100\r\n\r\n"),
        ("/__qcc__/login", "content-length: 100\r\n\r\ntoken="),
    ] {
        let mut client = app.client().await;
        client.send(format!("POST {target} HTTP/1.1\r\nhost: {}\r\n{framing}", app.address()).as_bytes()).await;
        clients.push(client);
    }
    let answers = futures_util::future::join_all(clients.into_iter().map(async |mut client| {
        let answer = client.answer().await;
        (answer, client.ended().await)
    }));
    // One that connects later is served later, so by then their heads have been looked at.
    assert_eq!(app.client().await.get("/__qcc__/health/ready", &[]).await.status, 200);
    let (answers, _) = tokio::join!(answers, app.finish());
    for (answer, ended) in answers {
        assert_eq!((answer.status, answer.ended, ended), (503, Ended::Whole, Ended::Truncated));
        assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
        assert!(answer.text().contains("stopping"), "{}", answer.text());
    }
    assert_eq!(upstream.total(), 0);
}
