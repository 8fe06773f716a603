//! Runs of the simulation. Which seeds are run is fixed, so that a run that passes once passes always.

use std::collections::{BTreeMap, BTreeSet};

use super::chance;
use super::steps::Step;
use super::trace::Trace;
use super::world::World;

/// As many as take some ten seconds on two cores, without optimisation.
const SEEDS: u64 = 1_000;
const STEPS: u64 = 400;
/// The seeds are shared out among so many.
const THREADS: usize = 2;

/// What the default runs must have met, each thirty times at least: else they would show nothing.
const SITUATIONS: [&str; 56] = [
    "a conversation broken off",
    "a cooldown",
    "a doubted isolation",
    "a failure of an older epoch",
    "a failure taken back",
    "a forgiven isolation",
    "a hastened verification",
    "a lease for one who left",
    "a lease for one who waited for a verdict",
    "a lease for one who was parked",
    "a parked request",
    "a place given up for another client",
    "a place given up for another endpoint",
    "a poisoned request",
    "a proof of an older epoch",
    "a proof that restores",
    "a retry beyond the budget",
    "a second opinion asked for",
    "a second opinion asked once more",
    "a session at its own endpoint",
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

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number, and is {text:?}")))
}

/// One run from its first step to the end of everything that it began. Returns what happened.
fn run(seed: u64, steps: u64) -> Trace {
    let mut world = World::new(seed);
    let mut weights = Step::ALL.map(Step::usual_weight);
    for _ in 0..world.rng.u32(..6) {
        let index = world.rng.usize(..weights.len());
        // A crowd is many steps in one.
        let most = if Step::ALL[index] == Step::Crowd { 2 } else { 4 };
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

fn joined(mut all: Met, more: &Met) -> Met {
    for (situation, times) in more {
        *all.entry(*situation).or_default() += times;
    }
    all
}

fn run_all(seeds: impl Iterator<Item = u64>, steps: u64) -> Met {
    seeds.fold(Met::new(), |all, seed| joined(all, run(seed, steps).all_met()))
}

#[test]
fn the_promises_hold_in_every_order_of_events() {
    let steps = number("QCC_SIM_STEPS").unwrap_or(STEPS);
    if let Some(seed) = number("QCC_SIM_SEED") {
        run(seed, steps);
        return;
    }
    let seeds = number("QCC_SIM_SEEDS").unwrap_or(SEEDS);
    let met = std::thread::scope(|scope| {
        let share = |first: u64| move || run_all((first..seeds).step_by(THREADS), steps);
        let threads: Vec<_> = (0..).take(THREADS).map(|first| scope.spawn(share(first))).collect();
        threads.into_iter().fold(BTreeMap::new(), |all, thread| match thread.join() {
            Ok(met) => joined(all, &met),
            Err(failure) => std::panic::resume_unwind(failure),
        })
    });
    if seeds >= SEEDS && steps >= STEPS {
        let rare: Vec<_> = SITUATIONS.iter().filter(|situation| met.get(*situation).is_none_or(|n| *n < 30)).collect();
        assert!(rare.is_empty(), "hardly ever met: {rare:?} of {met:?}");
    }
}

#[test]
fn the_same_seed_does_the_same_and_another_does_not() {
    let digests = || (0..5).map(|seed| run(seed, STEPS).digest()).collect::<Vec<u64>>();
    let first = digests();
    assert_eq!(first, digests());
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len());
}
