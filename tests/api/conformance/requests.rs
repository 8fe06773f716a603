//! Plays the rows of the clients' table.

use crate::support::app::{Setup, TestApp};
use crate::support::raw_client::Ended;
use crate::support::upstream::Upstream;
use crate::support::upstream::record::Recorded;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Another request is answered on it.
    Kept,
    /// It is closed, and nothing more comes.
    Closed,
}

/// One exchange.
pub(super) struct Row {
    pub(super) what: &'static str,
    /// Where it is written: number and section.
    pub(super) rfc: &'static str,
    pub(super) sent: Vec<u8>,
    /// The statuses that the client gets, in order.
    pub(super) gets: &'static [u16],
    /// What the upstream sees: `METHOD target` for each request; of the last one also `name: value` for each value of a
    /// header, `!name` for one that is not there, `=` and the body.
    pub(super) sees: &'static [&'static str],
    pub(super) after: After,
    pub(super) note: &'static str,
}

impl Row {
    pub(super) fn new(
        what: &'static str,
        rfc: &'static str,
        sent: impl Into<Vec<u8>>,
        gets: &'static [u16],
        sees: &'static [&'static str],
        after: After,
    ) -> Self {
        Self { what, rfc, sent: sent.into(), gets, sees, after, note: "" }
    }

    #[must_use]
    pub(super) fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    /// The requests that the upstream is to see.
    pub(super) fn requests(&self) -> impl Iterator<Item = &'static str> {
        self.sees.iter().copied().filter(|seen| Self::is_request(seen))
    }

    fn is_request(seen: &str) -> bool {
        let word = seen.split(' ').next().unwrap_or_default();
        !seen.starts_with(['!', '=']) && !word.ends_with(':')
    }
}

/// What a client sends last, to see whether anything is out of step.
const MARKED: &str = "/marked";

async fn play(row: &Row, app: &TestApp, upstream: &Upstream) -> Result<(), String> {
    let before = upstream.total();
    let mut client = app.client().await;
    client.expects_no_body(row.sent.starts_with(b"HEAD "));
    // A peer that has refused already takes no more.
    let _ = client.try_send(&row.sent).await;
    let mut got = Vec::new();
    for _ in row.gets {
        match client.try_answer().await {
            Ok(answer) if answer.ended == Ended::Whole => got.push(answer.status),
            Ok(answer) => return Err(format!("a torn answer: {answer:?}")),
            Err(ended) => return Err(format!("{got:?} and then {ended:?}")),
        }
    }
    client.expects_no_body(false);
    if got != row.gets {
        return Err(format!("the client got {got:?}"));
    }
    let marked = client.try_send(format!("GET {MARKED} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
    let answered = match marked {
        Ok(()) => client.try_answer().await,
        Err(ended) => Err(ended),
    };
    let mut seen: Vec<Recorded> = upstream.requests().into_iter().skip(before).collect();
    match (row.after, answered) {
        (After::Kept, Ok(answer)) if answer.status == 200 && answer.json()["target"] == MARKED => {
            let last = seen.pop().map(|request| request.target);
            if last.as_deref() != Some(MARKED) {
                return Err(format!("the upstream saw {last:?} instead of the marked request"));
            }
        }
        (After::Closed, Err(_)) => {}
        (_, answered) => return Err(format!("afterwards: {answered:?}")),
    }
    compare(row, &seen)
}

fn compare(row: &Row, seen: &[Recorded]) -> Result<(), String> {
    let requests: Vec<String> = seen.iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    let wanted: Vec<&str> = row.requests().collect();
    if requests != wanted {
        return Err(format!("the upstream saw {requests:?}"));
    }
    let Some(last) = seen.last() else { return Ok(()) };
    let details = row.sees.iter().copied().filter(|seen| !Row::is_request(seen));
    let mut values: Vec<(&str, Vec<&str>)> = Vec::new();
    for detail in details {
        if let Some(name) = detail.strip_prefix('!') {
            if !last.headers.all(name).is_empty() {
                return Err(format!("the upstream saw {name}: {:?}", last.headers.all(name)));
            }
        } else if let Some(body) = detail.strip_prefix('=') {
            if last.body != body.as_bytes() {
                return Err(format!("the upstream saw the body {:?}", last.body));
            }
        } else if let Some((name, value)) = detail.split_once(": ") {
            match values.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.push(value),
                None => values.push((name, vec![value])),
            }
        }
    }
    for (name, wanted) in values {
        if last.headers.all(name) != wanted {
            return Err(format!("the upstream saw {name}: {:?}", last.headers.all(name)));
        }
    }
    Ok(())
}

#[actix_web::test]
async fn whatever_a_client_sends_nothing_gets_out_of_step() {
    let upstream = Upstream::anthropic("a").await;
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nother_paths = [\"*\"]";
    let app = Setup::only().section("server", server).primary(&upstream).start().await;
    let mut failed = Vec::new();
    for (group, rows) in super::requests_data::groups() {
        for row in rows {
            if let Err(error) = play(&row, &app, &upstream).await {
                failed.push(format!("{group}: {}: {error}", row.what));
            }
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    let row = app.row("a").await;
    assert_eq!(
        (&row["failures"], &row["standing"]),
        (&0.into(), &"primary".into()),
        "clients' faults are clients' faults"
    );
    app.finish().await;
}
