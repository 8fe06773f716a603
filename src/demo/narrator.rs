//! The narration on standard output.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::client::{KEY, MODEL};
use super::observer::Event;
use super::upstream::Upstream;
use super::verdict::{Promise, Seen};
use super::{HASTE, INITIAL_DELAY, OLD_BREAKER, SLOW_START};
use crate::clock::Clock;

/// Tells one line after the other, each with the seconds since the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Narrator {
    clock: Clock,
}

impl Narrator {
    /// A narrator whose seconds are those of this clock.
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
    }

    /// Prints a line with the seconds since the start.
    pub(super) fn tell(self, text: &str) {
        let elapsed = self.clock.now().since(Clock::BEGAN).as_secs_f64();
        print(&format!("[{elapsed:5.1}s] {text}"));
    }

    /// Tells a queue move or a verification; `number` is that of the verification in this cycle, `home` the home queue.
    pub(super) fn event(self, event: &Event, number: usize, home: &str) {
        let endpoint = event.endpoint.as_deref().unwrap_or("-");
        let reason = event.reason.as_deref().unwrap_or("-");
        let detail = event.detail.as_deref().unwrap_or("nothing");
        let ms = event.ms.unwrap_or_default();
        match (event.kind.as_str(), event.score) {
            ("isolated", _) => {
                self.tell(&format!(
                    "MOVE    {endpoint}: {home} queue -> failure queue, because of {reason} ({detail})"
                ));
            }
            ("recovered", _) => self.tell(&format!("MOVE    {endpoint}: failure queue -> {home} queue")),
            ("verified", Some(score)) if score > 0 => self.tell(&format!(
                "VERIFY  {endpoint}, number {number}: passed in {ms} ms with a score of {score}, the code came back"
            )),
            ("verified", _) => self.tell(&format!("VERIFY  {endpoint}, number {number}: failed ({detail})")),
            // The endpoints' first appearance is in the opening.
            ("added", _) => {}
            (kind, _) => self.tell(&format!("MOVE    {endpoint}: {kind}")),
        }
    }
}

/// Prints an id and a URL per line, for other uses of the upstreams.
pub(super) fn addresses(upstreams: &[Upstream]) {
    for upstream in upstreams {
        print(&format!("{} {}", upstream.role.name, upstream.url()));
    }
}

/// Tells what runs where.
pub(super) fn opening(upstreams: &[Upstream], listening: SocketAddr, base: &str) {
    print("qcc-gateway demo: three small upstreams, the gateway before them, and a client that asks it all the time.");
    print("No key and no network are needed: all of it is in this process.\n");
    for upstream in upstreams {
        print(&format!("  {:<8} {:<10} {}", upstream.role.name, upstream.queue(), upstream.url()));
    }
    print(&format!("  gateway             http://{listening}"));
    print(&format!("  dashboard           {base}/__qcc__/"));
    print(&format!("  stats               {base}/__qcc__/stats\n"));
    print(&format!(
        "'The old kind of breaker' opens for a fixed time, then tries itself on the users' requests: for 30 s, here for \
         {} s.",
        OLD_BREAKER.as_secs(),
    ));
    print(&format!(
        "The gateway's delays are divided by {HASTE}: the first verification comes after {} s instead of {} s, and a \
         recovered\nupstream's share grows over {} s instead of {} s. All else is as it is by default.\n",
        INITIAL_DELAY.as_secs_f64(),
        (INITIAL_DELAY * HASTE).as_secs_f64(),
        SLOW_START.as_secs_f64(),
        (SLOW_START * HASTE).as_secs_f64(),
    ));
}

/// Tells how to try it.
pub(super) fn invitation(base: &str, pause: Duration) {
    print(&format!(
        "\nThe gateway goes on serving, and the next cycle begins in {} s; Ctrl-C ends it. Try it:\n",
        pause.as_secs()
    ));
    print(&format!("  ANTHROPIC_BASE_URL={base} ANTHROPIC_AUTH_TOKEN={KEY} claude\n"));
    print(&format!(
        "  curl {base}/v1/messages -H 'x-api-key: {KEY}' -H 'content-type: application/json' \\\n    -d \
         '{{\"model\":\"{MODEL}\",\"max_tokens\":64,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
    ));
    print(&format!("  curl {base}/__qcc__/stats\n"));
}

/// Tells how the cycle went, in numbers, and whether the promises held.
pub(super) fn outcome(seen: &Seen, upstreams: &[Upstream], promises: &[Promise]) {
    if let Some(moves) = &seen.moves {
        print(&format!(
            "\nRequests of traffic, by the upstreams' own counts, around the isolation of {}:\n",
            seen.broken
        ));
        print("  upstream  queue      before  under way  isolated   after    verifications");
        for upstream in upstreams {
            let name = upstream.role.name;
            let spans = seen.spans(name, moves);
            let verifications = seen.verifications(name);
            print(&format!(
                "  {name:<8}  {:<9}  {:>6}  {:>9}  {:>8}  {:>6}    {verifications:>13}",
                upstream.queue(),
                spans.before,
                spans.under_way,
                spans.isolated,
                spans.after,
            ));
        }
    }
    print("\nThe promises:\n");
    for Promise { words, held, evidence } in promises {
        let word = if *held { "held  " } else { "BROKEN" };
        print(&format!("  {word}  {words}: {evidence}"));
    }
}

fn print(line: &str) {
    // Not by `println!`, which panics if nobody reads any more.
    let _ = writeln!(std::io::stdout(), "{line}");
}
