//! Runs of the simulation. The seeds come one after the other from 0, so that whatever fails once fails always. So many are
//! run however long they take, and must between them meet every situation; then as many more as the time box has room for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use super::chance;
use super::steps::Step;
use super::trace::Trace;
use super::world::World;

/// The seeds that every run goes through.
const SEEDS: u64 = 500;
/// How long it goes on with further seeds, from its beginning.
const SECONDS: u64 = 60;
const STEPS: u64 = 400;

/// What the default runs must have met, each ten times at least: else they would show nothing.
const SITUATIONS: [&str; 74] = [
    "a client that leaves its attempt",
    "a conversation broken off",
    "a conversation broken off that would never have ended",
    "a conversation that hung until its time-out",
    "a cooldown",
    "a doubted isolation",
    "a failure of an older epoch",
    "a failure taken back",
    "a forgiven isolation",
    "a hastened verification",
    "a lease for one who left",
    "a lease for one who waited for a verdict",
    "a lease for one who was parked",
    "a lease that is never settled",
    "a parked request",
    "a place given up for another client",
    "a place given up for another endpoint",
    "a poisoned request",
    "a request that waits for who is in doubt",
    "a proof of an older epoch",
    "a proof that restores",
    "a request in vain",
    "a request served after a failure",
    "a request served at once",
    "a request that awaits the verdict on its failure",
    "a request that breaks off in its answer",
    "a request that fails and doubts",
    "a request that pauses and asks the same endpoint again",
    "a request that was its client's fault",
    "a request without an attempt",
    "a restart while some are isolated",
    "a retry beyond a client's part of the budget",
    "a retry beyond the budget",
    "a second opinion asked for",
    "a second opinion asked once more",
    "a session at its own endpoint",
    "a session with its models at two endpoints",
    "a used-up window",
    "a verdict of an older epoch",
    "a verdict that isolates",
    "a verdict that keeps",
    "a wait for a verdict",
    "a waiter refused",
    "a waiter refused because it stops",
    "a waiter told what it has waited for until its deadline",
    "a waiter too late",
    "a window that is still used up",
    "an admin's isolation",
    "an alarm for those who wait",
    "an attempt withdrawn at the gate",
    "an early return",
    "an isolated one is said to be fit",
    "an unfit one of an older epoch",
    "news that comes again",
    "nothing to isolate",
    "one that is fit",
    "one that is unfit",
    "one that still fails",
    "one that was isolated when it was removed",
    "one that was isolated when it was switched off",
    "one that was overloaded for too long",
    "one who left while it waited",
    "other thresholds while reports are under way",
    "refused after all were tried",
    "refused at once",
    "refused because it stops",
    "refused until the operator acts",
    "refused what nobody serves",
    "refused while all are full",
    "refused while all are isolated",
    "refused while all are switched off",
    "refused while all rest",
    "refused while all windows are used up",
    "refused with a client's share of the places taken",
];

/// One run from its first step to the end of everything that it began. Returns what happened.
fn run(seed: u64, steps: u64) -> Trace {
    let mut world = World::new(seed);
    let mut weights = Step::ALL.map(Step::usual_weight);
    for _ in 0..world.rng.u32(..6) {
        let index = world.rng.usize(..weights.len());
        // A crowd is many steps in one, and with too many restarts nothing grows old.
        let most = if matches!(Step::ALL[index], Step::Crowd | Step::Restart) { 2 } else { 4 };
        weights[index] = [0, 1, 20, 60][world.rng.usize(..most)];
    }
    let total: u32 = weights.iter().sum();
    // Some gateways are stopped, near the end of an uncut run.
    let stops_at = chance::one_in(&mut world.rng, 4).then(|| STEPS - world.rng.u64(..STEPS / 8));
    for step in 0..steps {
        world.trace.begin_step();
        if Some(step) == stops_at {
            world.stop_parking();
            world.check();
        }
        let mut lot = world.rng.u32(..total);
        let chosen = weights.iter().position(|weight| {
            let hit = lot < *weight;
            lot = lot.saturating_sub(*weight);
            hit
        });
        world.step(Step::ALL[chosen.unwrap()]);
        world.check();
    }
    world.drain();
    world.trace
}

/// How often which situation was met.
type Met = BTreeMap<&'static str, u32>;

/// What some seeds came to.
#[derive(Default)]
struct Tally {
    seeds: u64,
    steps: u64,
    /// What the seeds that every run goes through have met.
    met: Met,
    /// What the others have met besides.
    met_later: Met,
}

impl Tally {
    fn add(&mut self, seed: u64, trace: &Trace) {
        self.seeds += 1;
        self.steps += trace.steps();
        join(if seed < SEEDS { &mut self.met } else { &mut self.met_later }, trace.all_met());
    }

    fn joined(mut self, more: &Self) -> Self {
        self.seeds += more.seeds;
        self.steps += more.steps;
        join(&mut self.met, &more.met);
        join(&mut self.met_later, &more.met_later);
        self
    }
}

fn join(all: &mut Met, more: &Met) {
    for (situation, times) in more {
        *all.entry(situation).or_default() += times;
    }
}

#[expect(clippy::disallowed_methods, reason = "a time box is time that really passes")]
fn now() -> Instant {
    Instant::now()
}

/// How many seeds there are.
#[derive(Clone, Copy)]
enum Bound {
    /// So many.
    Seeds(u64),
    /// Those that every run goes through, and as many more as begin before then.
    Until(Instant),
}

impl Bound {
    fn is_within(self, seed: u64) -> bool {
        match self {
            Self::Seeds(seeds) => seed < seeds,
            Self::Until(end) => seed < SEEDS || now() < end,
        }
    }
}

/// No seed is as high as this.
const FAILED: u64 = u64::MAX / 2;

/// Where the next seed is taken from. When one fails there is none any more.
struct Source<'a>(&'a AtomicU64);

impl Drop for Source<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(FAILED, Ordering::Relaxed);
        }
    }
}

/// Takes one seed after the other, as one of several that do so.
fn run_seeds(next: &AtomicU64, bound: Bound, steps: u64) -> Tally {
    let mut tally = Tally::default();
    let next = Source(next);
    loop {
        let seed = next.0.fetch_add(1, Ordering::Relaxed);
        if seed >= FAILED || !bound.is_within(seed) {
            return tally;
        }
        tally.add(seed, &run(seed, steps));
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "how far it went")]
fn the_promises_hold_in_every_order_of_events() {
    let steps = number("QCC_SIM_STEPS").unwrap_or(STEPS);
    if let Some(seed) = number("QCC_SIM_SEED") {
        run(seed, steps);
        return;
    }
    let began = now();
    let seconds = Duration::from_secs(number("QCC_SIM_SECONDS").unwrap_or(SECONDS));
    let bound = number("QCC_SIM_SEEDS").map_or(Bound::Until(began + seconds), Bound::Seeds);
    let next = AtomicU64::new(0);
    let threads = available_parallelism().map_or(1, usize::from);
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| run_seeds(&next, bound, steps))).collect();
        threads.into_iter().fold(Tally::default(), |all, thread| match thread.join() {
            Ok(tally) => all.joined(&tally),
            Err(failure) => std::panic::resume_unwind(failure),
        })
    });
    println!("{} steps of {} seeds in {:.1} s", all.steps, all.seeds, began.elapsed().as_secs_f64());
    if all.seeds >= SEEDS && steps >= STEPS {
        let is_rare = |situation: &&&str| all.met.get(*situation).is_none_or(|times| *times < 10);
        let rare: Vec<_> = SITUATIONS.iter().filter(is_rare).collect();
        assert!(rare.is_empty(), "hardly ever met: {rare:?} of {:?}", all.met);
    }
    let mut met = all.met;
    join(&mut met, &all.met_later);
    for (situation, times) in met {
        println!("{times:10} {situation}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number, and is {text:?}")))
}

#[test]
fn the_same_seed_does_the_same_and_another_does_not() {
    let digests = || (0..5).map(|seed| run(seed, STEPS).digest()).collect::<Vec<u64>>();
    let first = digests();
    assert_eq!(first, digests());
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len());
}
