//! Plays the rows of the upstreams' table.

use crate::support::app::{Setup, TestApp, body};
use crate::support::raw_client::{Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{close, raw, reset};

/// What the upstream does after its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Keeps,
    Closes,
    Resets,
}

/// What the client is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `GET /a`, which is passed on as it comes.
    Get,
    /// `HEAD /a`
    Head,
    /// A message, whose answer is held whole and judged.
    Message,
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gets {
    /// This status and body.
    Answer(u16, &'static str),
    /// The gateway's own answer.
    Own(u16),
    /// The answer of the upstream's to a second sending.
    Honest,
    /// This status, this much of a body, and then the end of the connection.
    Broken(u16, &'static str),
}

/// What the endpoint is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Success,
    Failure,
    Nothing,
}

/// What becomes of the connection to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upstreams {
    /// The next request goes over it.
    Reused,
    /// The next request goes over another one.
    LetGo,
}

/// One exchange.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) rfc: &'static str,
    pub(super) asked: Asked,
    pub(super) says: Vec<u8>,
    pub(super) then: Then,
    pub(super) gets: Gets,
    pub(super) counts: Counts,
    pub(super) connection: Upstreams,
    pub(super) note: &'static str,
}

impl Row {
    /// The connection stays in order though the answer counts as a failure.
    #[must_use]
    pub(super) fn connection_kept(mut self) -> Self {
        self.connection = Upstreams::Reused;
        self
    }

    #[must_use]
    pub(super) fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }
}

/// Asks with the marked request, and looks whether its answer is its own. Returns the number of the upstream's connection.
async fn marked(client: &mut RawClient, upstream: &Upstream) -> Result<usize, String> {
    let answer = client.get("/marked", &[("x-traffic", "1")]).await;
    if answer.status != 200 || answer.json()["target"] != "/marked" {
        return Err(format!("the marked request got {}: {}", answer.status, answer.text()));
    }
    let last = upstream.traffic_requests().pop().filter(|request| request.target == "/marked");
    last.map(|request| request.connection).ok_or_else(|| "the marked request did not arrive".to_owned())
}

async fn counts(app: &TestApp) -> (u64, u64) {
    let row = app.row("a").await;
    (row["successes"].as_u64().unwrap(), row["failures"].as_u64().unwrap())
}

async fn play(row: &Row, app: &TestApp, upstream: &Upstream) -> Result<(), String> {
    let mut client = app.client().await;
    let connection = marked(&mut client, upstream).await?;
    let before = counts(app).await;
    let says = raw(row.says.clone());
    upstream.script_traffic([match row.then {
        Then::Keeps => says,
        Then::Closes => says.then(close()),
        Then::Resets => says.then(reset()),
    }]);
    let traffic = [("x-traffic", "1")];
    let answer = match row.asked {
        Asked::Get => client.get("/a", &traffic).await,
        Asked::Head => client.head("/a", &traffic).await,
        Asked::Message => client.post("/v1/messages", &traffic, body(false)).await,
    };
    let text = answer.text();
    let is_honest = answer.header("request-id").is_some_and(|id| id.starts_with("req_a_")) && text.contains("end_turn");
    let own = answer.header("content-type") == Some("application/json") && text.contains("\"request_id\":\"");
    let gets = match answer.ended {
        Ended::Whole if row.gets == Gets::Honest && is_honest => format!("{} honest", answer.status),
        Ended::Whole => format!("{} {}", answer.status, if own { "own" } else { &text }),
        Ended::Reset | Ended::Truncated => format!("{} {text} broken", answer.status),
    };
    let wanted = match row.gets {
        Gets::Answer(status, text) => format!("{status} {text}"),
        Gets::Own(status) => format!("{status} own"),
        Gets::Honest => "200 honest".to_owned(),
        Gets::Broken(status, text) => format!("{status} {text} broken"),
    };
    if gets != wanted {
        return Err(format!("the client got {gets:?}, not {wanted:?}"));
    }
    if !answer.interim.is_empty() {
        return Err(format!("the client got {:?} before", answer.interim));
    }
    let after = counts(app).await;
    let counted = match (after.0 - before.0, after.1 - before.1) {
        (1, 0) => Counts::Success,
        (0, 1) => Counts::Failure,
        (0, 0) => Counts::Nothing,
        more => return Err(format!("counted as {more:?}")),
    };
    if counted != row.counts {
        return Err(format!("counted as {counted:?}: {}", app.row("a").await["last_error"]));
    }
    if answer.ended != Ended::Whole {
        client = app.client().await;
    }
    let next = marked(&mut client, upstream).await?;
    let used = if next == connection { Upstreams::Reused } else { Upstreams::LetGo };
    if used != row.connection {
        return Err(format!("the upstream's connection: {used:?}"));
    }
    Ok(())
}

#[actix_web::test]
async fn whatever_an_upstream_answers_no_client_gets_anothers_answer() {
    let upstream = Upstream::anthropic("a").await;
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nother_paths = [\"*\"]";
    let app = Setup::only()
        .section("server", server)
        .section("retry", "max_attempts = 1")
        .section("breaker", "failure_threshold = 1000\nmin_requests = 1000")
        .primary(&upstream)
        .start()
        .await;
    let mut failed = Vec::new();
    for row in super::answers_data::rows() {
        if let Err(error) = play(&row, &app, &upstream).await {
            failed.push(format!("{}: {error}", row.what));
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    app.finish().await;
}
