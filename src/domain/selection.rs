//! Which of several equal endpoints serves next: the least loaded for its weight, in quiet traffic by weighted turns.

use std::time::Duration;

/// The share of its weight with which a recovered endpoint begins.
const SLOW_START_FLOOR: f64 = 0.1;

/// One endpoint that could serve, as the choice sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<K> {
    /// Identifies it.
    pub key: K,
    /// Its attempts under way.
    pub in_flight: u32,
    /// Its effective weight, above zero.
    pub weight: f64,
    /// When its next turn is due, in turns of an endpoint of weight one.
    pub turn: f64,
}

/// The chosen candidate, and its next turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice<K> {
    /// Identifies the candidate that serves.
    pub key: K,
    /// When its next turn is due.
    pub next_turn: f64,
}

/// Chooses the least `in flight ÷ weight`; among equals the earliest turn; among those the first in order.
///
/// Turns are earliest deadline first: a candidate that serves is due again `1 ÷ weight` later, so shares follow the weights to
/// within a few requests. One that was away, or served other models meanwhile, lags behind; its lag is cut to the longest turn
/// of all, so that it doesn't get a burst to catch up.
pub fn choose<K: Copy>(candidates: &[Candidate<K>]) -> Option<Choice<K>> {
    let latest_turn = candidates.iter().map(|candidate| candidate.turn).fold(0.0, f64::max);
    let longest_turn = candidates.iter().map(|candidate| candidate.weight.recip()).fold(0.0, f64::max);
    let due = |candidate: &Candidate<K>| candidate.turn.max(latest_turn - longest_turn);
    let load = |candidate: &Candidate<K>| f64::from(candidate.in_flight) / candidate.weight;
    let chosen =
        candidates.iter().min_by(|a, b| load(a).total_cmp(&load(b)).then_with(|| due(a).total_cmp(&due(b))))?;
    Some(Choice { key: chosen.key, next_turn: due(chosen) + chosen.weight.recip() })
}

/// The share of its weight that an endpoint has `since_recovery`: it grows evenly from a tenth to the whole over `slow_start`.
pub fn slow_start_share(since_recovery: Duration, slow_start: Duration) -> f64 {
    if since_recovery >= slow_start {
        return 1.0;
    }
    let progress = since_recovery.as_secs_f64() / slow_start.as_secs_f64();
    SLOW_START_FLOOR + (1.0 - SLOW_START_FLOOR) * progress
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends `requests` one after the other, and counts those that each candidate got.
    fn quiet_traffic(weights: &[f64], requests: usize) -> Vec<usize> {
        let mut turns = vec![0.0; weights.len()];
        let mut served = vec![0; weights.len()];
        for _ in 0..requests {
            let candidates: Vec<_> = weights
                .iter()
                .zip(&turns)
                .enumerate()
                .map(|(key, (&weight, &turn))| Candidate { key, in_flight: 0, weight, turn })
                .collect();
            let choice = choose(&candidates).unwrap();
            turns[choice.key] = choice.next_turn;
            served[choice.key] += 1;
        }
        served
    }

    #[test]
    fn weights_hold_in_quiet_traffic() {
        assert_eq!(quiet_traffic(&[100.0, 300.0], 400), [100, 300]);
        assert_eq!(quiet_traffic(&[100.0, 100.0, 100.0], 300), [100, 100, 100]);
    }

    #[test]
    fn under_load_the_least_in_flight_for_its_weight_serves() {
        let candidate = |key, in_flight, weight| Candidate { key, in_flight, weight, turn: 0.0 };
        let choice = choose(&[candidate("a", 2, 100.0), candidate("b", 5, 300.0)]).unwrap();
        assert_eq!(choice.key, "b");
    }

    #[test]
    fn nobody_serves_where_nobody_can() {
        assert_eq!(choose::<u8>(&[]), None);
    }

    #[test]
    fn one_that_was_away_gets_no_burst() {
        let mut turns = [0.0, 50.0];
        let mut first_ten = [0; 2];
        for _ in 0..10 {
            let candidates = [0, 1].map(|key| Candidate { key, in_flight: 0, weight: 100.0, turn: turns[key] });
            let choice = choose(&candidates).unwrap();
            turns[choice.key] = choice.next_turn;
            first_ten[choice.key] += 1;
        }
        assert!(first_ten[0] <= 6, "{first_ten:?}");
    }

    #[test]
    fn a_recovered_endpoints_share_grows_from_a_tenth_to_its_whole() {
        let slow_start = Duration::from_secs(30);
        for (seconds, share) in [(0, 0.1), (15, 0.55), (30, 1.0), (90, 1.0)] {
            assert!((slow_start_share(Duration::from_secs(seconds), slow_start) - share).abs() < 1e-9, "{seconds}");
        }
        assert!((slow_start_share(Duration::ZERO, Duration::ZERO) - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn shares_follow_any_weights_to_within_a_few_requests(weights in prop::collection::vec(1_u16..=1000, 1..6)) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let total: f64 = weights.iter().sum();
            let served = quiet_traffic(&weights, 2000);
            for (weight, served) in weights.iter().zip(served) {
                let fair = 2000.0 * weight / total;
                prop_assert!((f64::from(u32::try_from(served).unwrap()) - fair).abs() <= 3.0, "{served} for {fair}");
            }
        }
    }
}
