//! Delays that grow.

use std::time::Duration;

/// A delay that grows by a factor up to a limit, with jitter so that many callers do not act in step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// The first delay.
    pub initial: Duration,
    /// The factor from one delay to the next, at least 1.
    pub multiplier: f64,
    /// The longest delay, before jitter.
    pub limit: Duration,
    /// The share by which a delay varies to either side, 0 to 1.
    pub jitter: f64,
}

impl Growth {
    /// The delay of a step, the first being 0. `chance` is a random number from 0 to 1.
    pub fn delay(&self, step: u32, chance: f64) -> Duration {
        let limit = self.limit.max(self.initial).as_secs_f64();
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        let grown = (self.initial.as_secs_f64() * self.multiplier.powi(exponent)).min(limit);
        let wavering = 1.0 + self.jitter * (2.0 * chance.clamp(0.0, 1.0) - 1.0);
        Duration::try_from_secs_f64(grown * wavering).unwrap_or(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROWTH: Growth =
        Growth { initial: Duration::from_secs(5), multiplier: 2.0, limit: Duration::from_secs(60), jitter: 0.1 };

    #[test]
    fn grows_to_the_limit_and_stays() {
        let steady: Vec<_> = (0..6).map(|step| GROWTH.delay(step, 0.5).as_secs()).collect();
        assert_eq!(steady, [5, 10, 20, 40, 60, 60]);
        assert_eq!(GROWTH.delay(u32::MAX, 0.5), Duration::from_secs(60));
    }

    #[test]
    fn a_limit_below_the_first_delay_keeps_the_first_delay() {
        let growth = Growth { limit: Duration::from_secs(1), ..GROWTH };
        assert_eq!(growth.delay(3, 0.5), Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn wavers_by_no_more_than_its_share(step in any::<u32>(), chance in 0.0..=1.0_f64) {
            let steady = GROWTH.delay(step, 0.5).as_secs_f64();
            let wavering = GROWTH.delay(step, chance).as_secs_f64();
            prop_assert!((wavering - steady).abs() <= steady * 0.1 + 1e-6);
        }
    }
}
