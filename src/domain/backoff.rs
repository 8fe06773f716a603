//! Delays that grow.

use std::time::Duration;

/// A delay that grows by a factor up to a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// The first delay.
    pub initial: Duration,
    /// The factor from one delay to the next, at least 1.
    pub multiplier: f64,
    /// The longest delay; never less than the first.
    pub limit: Duration,
}

impl Growth {
    /// The delay of a step, the first being 0.
    pub fn delay(&self, step: u32) -> Duration {
        let limit = self.limit.max(self.initial).as_secs_f64();
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        let grown = (self.initial.as_secs_f64() * self.multiplier.powi(exponent)).min(limit);
        Duration::try_from_secs_f64(grown).unwrap_or(self.limit)
    }
}

/// Varies a delay by up to this share of it (0 to 1), longer or shorter, so that many callers that began together do
/// not stay in step. `chance` is a random number from 0 to 1.
pub fn jittered(delay: Duration, share: f64, chance: f64) -> Duration {
    let factor = 1.0 + share * (2.0 * chance.clamp(0.0, 1.0) - 1.0);
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(delay)
}

/// Replaces a delay by anything from zero to all of it. `chance` is a random number from 0 to 1. (Marc Brooker,
/// "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.)
pub fn full_jitter(delay: Duration, chance: f64) -> Duration {
    delay.mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROWTH: Growth = Growth { initial: Duration::from_secs(5), multiplier: 2.0, limit: Duration::from_secs(60) };

    #[test]
    fn grows_to_the_limit_and_stays() {
        let steady: Vec<_> = (0..6).map(|step| GROWTH.delay(step).as_secs()).collect();
        assert_eq!(steady, [5, 10, 20, 40, 60, 60]);
        assert_eq!(GROWTH.delay(u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn a_limit_below_the_first_delay_keeps_the_first_delay() {
        let growth = Growth { limit: Duration::from_secs(1), ..GROWTH };
        assert_eq!(growth.delay(3), Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn jitter_is_no_more_than_its_share(step in any::<u32>(), chance in 0.0..=1.0_f64) {
            let delay = GROWTH.delay(step);
            let off = (jittered(delay, 0.1, chance).as_secs_f64() - delay.as_secs_f64()).abs();
            prop_assert!(off <= delay.as_secs_f64() * 0.1 + 1e-6);
            prop_assert!(full_jitter(delay, chance) <= delay);
        }
    }

    #[test]
    fn chance_decides_between_the_bounds() {
        let delay = Duration::from_secs(10);
        let of = |chance| (jittered(delay, 0.1, chance).as_secs(), full_jitter(delay, chance).as_secs());
        assert_eq!([of(-1.0), of(0.0), of(0.5), of(1.0), of(2.0)], [(9, 0), (9, 0), (10, 5), (11, 10), (11, 10)]);
    }
}
