//! The fault schedule: five upstreams, of which at any moment some are in trouble and two at least are sound, in traffic and
//! in no cooldown. Faults of every row come in bursts under steady mixed traffic, and no client notices but those whose
//! stream breaks half-way. And none gets a request while it is out: neither by the gateway's own audit nor by what the upstreams
//! have noted themselves.
//!
//! A request outlasts a moment, though: while a time-out runs the trouble can move on, until each endpoint has been in it. With
//! a 4xx of a row with 'next' in hand the contract has the gateway answer that and wait for nobody. A client that is told so is
//! counted apart, and only where no endpoint was sound from the request's beginning to its end.
//!
//! `QCC_CHAOS_SECONDS` says how long it lasts, `QCC_CHAOS_CLIENTS` how many clients there are, `QCC_CHAOS_SEED` replays one
//! schedule.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::app::{Setup, TRAFFIC, TestApp, body};
use crate::support::eventually::{eventually, now};
use crate::support::raw_client::{Answer, Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{
    Behaviour, Step, close, empty, error, html, never_answer, raw, reset, sse, status, status_and, status_with,
    truncate,
};
use crate::support::witness::{Clocks, Span, heart, inspect, judged, outages, without};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const CLIENTS: u64 = 12;
/// One in so many requests comes on a connection of its own.
const ON_ITS_OWN: u32 = 8;
/// How much longer than its trouble a cooldown keeps an endpoint out of traffic: the longest one, and the way of the last answer.
const COOLS: Duration = Duration::from_millis(250);
/// The statuses of rows with 'next' that the contract has passed on with no endpoint left to ask.
const CLIENT_ERRORS: [u16; 3] = [403, 404, 408];
/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(1_000_000);
/// How long a burst lasts, and how long an upstream is sound before the next one, in milliseconds.
const BURST: std::ops::Range<u64> = 150..500;
/// So many upstreams are sound when another one gets into trouble, that one included.
const SOUND: usize = 3;

/// How much longer it may last until enough is judged.
const EXTENDED: Duration = Duration::from_secs(30);
/// How long it may take until all is as it should be after the whole process has stood still: then all time-outs end at once.
const AFTERMATH: Duration = Duration::from_secs(3);

/// When a fault shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// Before anything of an answer is passed on: no client may notice.
    Early,
    /// In the middle of a stream: its client sees that it broke.
    Late,
}

fn faults() -> Vec<(&'static str, Step, Shows)> {
    let json = [("content-type", "application/json")];
    let page = [("content-type", "text/html")];
    vec![
        ("500", status(500), Shows::Early),
        ("502 HTML", status_with(502, &page, "<h1>Bad gateway</h1>"), Shows::Early),
        ("408", status(408), Shows::Early),
        ("401", status(401), Shows::Early),
        ("403", status(403), Shows::Early),
        ("billing", error(400, "invalid_request_error", "Your credit balance is too low to go on"), Shows::Early),
        ("no model", error(404, "not_found_error", "model: claude-haiku-4-5"), Shows::Early),
        ("portal", status_with(302, &[("location", "https://portal.test/")], ""), Shows::Early),
        ("wrong URL", status_with(404, &page, "<h1>Not found</h1>"), Shows::Early),
        ("429", status_and(429, &[("retry-after-ms", "200")]), Shows::Early),
        ("429 bare", status(429), Shows::Early),
        ("529", status(529), Shows::Early),
        (
            "error in a 200",
            status_with(200, &json, r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#),
            Shows::Early,
        ),
        ("HTML in a 200", html(), Shows::Early),
        ("nothing in a 200", empty(), Shows::Early),
        ("truncated", truncate(), Shows::Early),
        ("closed", close(), Shows::Early),
        ("reset", reset(), Shows::Early),
        ("no HTTP", raw("SSH-2.0-OpenSSH_9.6\r\n").then(close()), Shows::Early),
        ("silent", never_answer(), Shows::Early),
        ("overloaded in a stream", sse(0).then_error("overloaded_error"), Shows::Early),
        ("error first in a stream", sse(0).then_error("api_error"), Shows::Early),
        ("only a preamble", sse(0).then_close(), Shows::Early),
        ("cut stream", sse(2).then_reset(), Shows::Late),
        ("error in a stream", sse(2).then_error("api_error"), Shows::Late),
        ("stalled stream", sse(2).then_stall(), Shows::Late),
    ]
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    served: u32,
    broken: u32,
    failures: Vec<Failure>,
}

/// What a client noticed.
struct Failure {
    span: Span,
    /// None where no answer came.
    status: Option<u16>,
    what: String,
}

impl Seen {
    fn take_in(&mut self, answer: &Answer, streamed: bool, span: Span, spells: &[Spell]) {
        let is_whole = answer.status == 200
            && answer.ended == Ended::Whole
            && if streamed {
                answer.events().last().is_some_and(|event| event.name.as_deref() == Some("message_stop"))
            } else {
                answer.text().contains("end_turn")
            };
        if is_whole {
            let starts = answer.events().iter().filter(|event| event.name.as_deref() == Some("message_start")).count();
            assert_eq!(starts, usize::from(streamed), "one answer, and one only: {}", answer.text());
            self.served += 1;
            return;
        }
        let told = answer.ended != Ended::Whole
            || answer.events().last().is_some_and(|event| event.name.as_deref() == Some("error"));
        let by_late_fault = answer.header("x-qcc-endpoint").is_some_and(|endpoint| {
            let mut its = spells.iter().filter(|spell| spell.shows == Shows::Late && NAMES[spell.victim] == endpoint);
            its.any(|spell| spell.span.overlaps(&span))
        });
        if streamed && answer.status == 200 && told && by_late_fault {
            self.broken += 1;
        } else {
            let trail = answer.header("x-qcc-trail").unwrap_or_default();
            let what = format!("{} {:?} {trail}: {}", answer.status, answer.ended, answer.text());
            self.failures.push(Failure { span, status: Some(answer.status), what });
        }
    }
}

/// An upstream's time in trouble.
#[derive(Clone, Copy)]
struct Spell {
    victim: usize,
    shows: Shows,
    span: Span,
}

/// Who is in trouble until when, and everybody's spells.
#[derive(Default)]
struct Trouble {
    now: BTreeMap<usize, Instant>,
    spells: Vec<Spell>,
    had: BTreeMap<&'static str, u32>,
    is_over: bool,
}

impl Trouble {
    /// From now on it is in no trouble.
    fn no_longer(&mut self, victim: usize) {
        for spell in self.spells.iter_mut().filter(|spell| spell.victim == victim) {
            spell.span.until = spell.span.until.min(now());
        }
    }
}

/// Whether there was an endpoint that was neither in trouble, nor resting from it, nor isolated, the whole time.
fn any_was_sound(span: &Span, spells: &[Spell], outages: &[Vec<Span>]) -> bool {
    outages.iter().enumerate().any(|(index, outages)| {
        let mut its = spells.iter().filter(|spell| spell.victim == index);
        let in_trouble = its.any(|spell| Span { until: spell.span.until + COOLS, ..spell.span }.overlaps(span));
        !in_trouble && !outages.iter().any(|outage| outage.overlaps(span))
    })
}

/// Whether so many are out of trouble, in traffic and in no cooldown.
async fn enough_are_sound(app: &TestApp, trouble: &RefCell<Trouble>) -> bool {
    let stats = app.stats().await;
    let rows = stats["endpoints"].as_array().unwrap();
    let in_traffic = |row: &Value| row["isolated_at"].is_null() && row["cooldowns"] == json!([]);
    let trouble = trouble.borrow();
    let sound = rows.iter().zip(0..).filter(|(row, index)| in_traffic(row) && !trouble.now.contains_key(index));
    sound.count() >= SOUND
}

/// What a stall upsets: it, and a while behind it.
fn upset(stood_still: &[Span]) -> Vec<Span> {
    stood_still.iter().map(|still| Span { from: still.from, until: still.until + AFTERMATH }).collect()
}

async fn schedule(
    app: &TestApp,
    rng: &mut Rng,
    upstreams: &[Upstream],
    trouble: &RefCell<Trouble>,
    until: impl Fn() -> Instant,
    is_enough: impl AsyncFn() -> bool,
) {
    let mut rows = faults();
    let mut next_row = 0;
    let mut next_victim = 0;
    while now() < until() || (now() < until() + EXTENDED && !is_enough().await) {
        let over: Vec<usize> = {
            let mut trouble = trouble.borrow_mut();
            let over = trouble.now.iter().filter(|(_, end)| **end <= now()).map(|(index, _)| *index).collect();
            for index in &over {
                trouble.now.remove(index);
            }
            over
        };
        for index in over {
            upstreams[index].behave(Behaviour::honest());
            trouble.borrow_mut().no_longer(index);
        }
        if enough_are_sound(app, trouble).await {
            if next_row == 0 {
                rng.shuffle(&mut rows);
            }
            let (name, step, shows) = rows[next_row].clone();
            next_row = (next_row + 1) % rows.len();
            let victim = next_victim % upstreams.len();
            next_victim += 1;
            let mut trouble = trouble.borrow_mut();
            if let std::collections::btree_map::Entry::Vacant(place) = trouble.now.entry(victim) {
                place.insert(now() + Duration::from_millis(rng.u64(BURST)));
                *trouble.had.entry(name).or_default() += 1;
                let span = Span { from: now(), until: now() + FOREVER };
                trouble.spells.push(Spell { victim, shows, span });
                upstreams[victim].behave(Behaviour::always(step));
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(20..80))).await;
    }
    for upstream in upstreams {
        upstream.behave(Behaviour::honest());
    }
    trouble.borrow_mut().is_over = true;
}

async fn traffic(app: &TestApp, seed: u64, trouble: &RefCell<Trouble>, witness: &RefCell<Seen>) {
    let mut rng = Rng::with_seed(seed);
    let session = format!("session-{seed}");
    let mut kept: Option<RawClient> = None;
    let mut number = 0;
    while !trouble.borrow().is_over {
        let streamed = rng.bool();
        let mut headers = vec![TRAFFIC];
        if rng.bool() {
            headers.push(("x-claude-code-session-id", session.as_str()));
        }
        let from = now();
        let mut client = match kept.take() {
            Some(client) if rng.u32(..ON_ITS_OWN) > 0 => client,
            Some(_) | None => app.client().await,
        };
        // Each is another conversation: one that is found to be the cause of its failures gets a single attempt.
        number += 1;
        let asked = body(streamed).replace("hello", &format!("hello, {session} {number}"));
        let answer = client.try_post("/v1/messages", &headers, asked).await;
        let span = Span { from, until: now() };
        match answer {
            Ok(answer) => {
                witness.borrow_mut().take_in(&answer, streamed, span, &trouble.borrow().spells);
                kept = (answer.ended == Ended::Whole && client.is_reusable()).then_some(client);
            }
            Err(ended) => {
                let what = format!("no answer: {ended:?}");
                witness.borrow_mut().failures.push(Failure { span, status: None, what });
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(1..20))).await;
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

#[actix_web::test]
#[expect(clippy::print_stdout, reason = "the seed that replays it, and what it came to")]
async fn while_any_endpoint_is_sound_no_client_notices_an_outage() {
    let lasts = Duration::from_secs(number("QCC_CHAOS_SECONDS", 8));
    let seed = number("QCC_CHAOS_SEED", fastrand::u64(..));
    println!("QCC_CHAOS_SEED={seed}");
    let mut upstreams = Vec::new();
    let mut setup = Setup::new()
        .section("timeouts", "first_event = \"400ms\"\nfirst_content = \"400ms\"\nresponse = \"400ms\"\nstream_idle = \"400ms\"")
        .section("breaker", "failure_threshold = 2")
        .section("stats", "events = 1000000")
        .section("overload", "cooldown = \"50ms\"\ncooldown_max = \"200ms\"\nisolate_after = \"2s\"")
        .section("rate_limit", "default_cooldown = \"100ms\"")
        .section("retry", "backoff = \"10ms\"\nbackoff_max = \"50ms\"")
        .section(
            "verifier",
            "initial_delay = \"200ms\"\ninterval = \"200ms\"\ninterval_account = \"200ms\"\ntimeout = \"500ms\"\nslow_start = \"200ms\"\nconcurrency = 5",
        );
    for (index, name) in NAMES.into_iter().enumerate() {
        let upstream = Upstream::anthropic(name).await;
        upstream.keeps_arrivals_only();
        setup = if index < 3 { setup.primary(&upstream) } else { setup.secondary(&upstream) };
        upstreams.push(upstream);
    }
    let clocks = Clocks::read();
    let app = setup.start().await;
    let stood_still = RefCell::new(Vec::new());
    let (trouble, seen) = (RefCell::new(Trouble::default()), RefCell::new(Seen::default()));
    let began = now();
    // While the process stands still nothing is tried.
    let until = || began + lasts + stood_still.borrow().iter().map(Span::length).sum::<Duration>();
    // What happens near a stall is not judged: of the time half has to be, and of each upstream an outage.
    let in_stride = || without(&Span { from: began, until: now() }, &upset(&stood_still.borrow()));
    let is_enough = async || {
        let events = app.events().await;
        let mut outages = NAMES.iter().map(|name| outages(&events, name, &clocks));
        in_stride() >= lasts / 2 && outages.all(|outages| judged(&outages, &stood_still.borrow()) > Duration::ZERO)
    };
    let mut rng = Rng::with_seed(seed);
    let clients = number("QCC_CHAOS_CLIENTS", CLIENTS);
    let clients = (0..clients).map(|client| traffic(&app, seed ^ client, &trouble, &seen));
    tokio::join!(
        schedule(&app, &mut rng, &upstreams, &trouble, until, is_enough),
        futures_util::future::join_all(clients),
        heart(&stood_still, || trouble.borrow().is_over),
    );

    let still: Duration = stood_still.borrow().iter().map(Span::length).sum::<Duration>();
    let (lasted, in_stride) = (began.elapsed().saturating_sub(still), in_stride());
    let Seen { served, broken, failures } = seen.into_inner();
    let Trouble { had, spells, .. } = trouble.into_inner();
    let stood_still = stood_still.into_inner();
    let upset = upset(&stood_still);
    let events = app.events().await;
    let was_out = NAMES.map(|name| outages(&events, name, &clocks));
    let (failures, standing): (Vec<_>, Vec<_>) =
        failures.into_iter().partition(|failure| !upset.iter().any(|upset| upset.overlaps(&failure.span)));
    let (told, failures): (Vec<_>, Vec<_>) = failures.into_iter().partition(|Failure { span, status, .. }| {
        status.is_some_and(|status| CLIENT_ERRORS.contains(&status)) && !any_was_sound(span, &spells, &was_out)
    });
    let rate = f64::from(served + broken) / lasted.as_secs_f64();
    println!("{} s, {rate:.0} requests/s: served {served}, broken half-way {broken}", lasted.as_secs());
    println!(
        "the process stood still {} times, {still:.1?} in all; {} failed in that",
        stood_still.len(),
        standing.len()
    );
    assert!(in_stride >= lasts / 2, "of {lasted:?} no more than {in_stride:?} can be judged");
    println!("with a client's error in hand, and no endpoint sound throughout: {}", told.len());
    for Failure { what, .. } in &told {
        println!("  {what}");
    }
    println!("faults {had:?}");
    assert!(failures.is_empty(), "{} clients noticed, of {served}; the first: {}", failures.len(), failures[0].what);
    assert!(served > 500, "only {served} were served");

    eventually("all are back", async || app.stats().await["failure_queue_size"] == 0).await;
    let events = app.events().await;
    assert_eq!(app.stats().await["leaks"], 0, "by the gateway's audit");
    for upstream in &upstreams {
        let outages = outages(&events, upstream.name(), &clocks);
        let findings = inspect(&upstream.arrivals(), &outages, &stood_still);
        println!("{} by its own log: {findings:?}", upstream.name());
        assert!(findings.judged > Duration::ZERO, "no outage of {} can be judged", upstream.name());
        assert!(findings.leaks.is_empty(), "{} got traffic while it was out", upstream.name());
    }
    for name in NAMES {
        for kind in ["isolated", "recovered"] {
            let was = events.iter().any(|event| event["kind"] == kind && event["endpoint"] == name);
            assert!(was, "{name} was never {kind}");
        }
    }
    app.finish().await;
}

#[test]
fn an_endpoint_was_sound_only_where_nothing_ailed_it_from_beginning_to_end() {
    let base = now();
    let span = |from: u64, until: u64| Span {
        from: base + Duration::from_millis(from),
        until: base + Duration::from_millis(until),
    };
    let spell = |victim, from, until| Spell { victim, shows: Shows::Early, span: span(from, until) };
    let request = span(1_000, 1_400);
    let in_trouble = [spell(0, 900, 1_100), spell(1, 500, 800), spell(2, 1_399, 9_000)];
    assert!(!any_was_sound(&request, &in_trouble, &[vec![], vec![], vec![]]), "the second still rested");
    assert!(any_was_sound(&request, &[in_trouble[0], spell(1, 500, 700), in_trouble[2]], &[vec![], vec![], vec![]]));
    assert!(
        !any_was_sound(&request, &in_trouble[..1], &[vec![], vec![span(200, 1_001)]]),
        "the second was out at first"
    );
    assert!(any_was_sound(&request, &in_trouble[..1], &[vec![], vec![span(200, 999)]]));
}
