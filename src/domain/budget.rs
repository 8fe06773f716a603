//! The retry budget: further retries are a bounded share of the requests, so that a dead pool is not hammered.

use std::collections::VecDeque;

use super::time::Moment;

/// Over how many seconds requests and retries are counted.
const WINDOW: u32 = 10;

/// How many further retries there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetPolicy {
    /// The share of the window's requests.
    pub ratio: f64,
    /// So many a second besides.
    pub min_per_second: u32,
}

/// One second's counts.
#[derive(Clone, Copy, Debug)]
struct Slot {
    second: u64,
    requests: u32,
    retries: u32,
}

/// Requests and further retries of the last ten seconds.
#[derive(Clone, Debug, Default)]
pub struct RetryBudget {
    slots: VecDeque<Slot>,
}

impl RetryBudget {
    /// Counts a request.
    pub fn request(&mut self, now: Moment) {
        self.count(now, 1, 0);
    }

    /// Takes one further retry out of the budget, if there is one left.
    pub fn take(&mut self, now: Moment, policy: &BudgetPolicy) -> bool {
        self.count(now, 0, 0);
        let (requests, retries) = self.slots.iter().fold((0_u32, 0_u32), |(requests, retries), slot| {
            (requests.saturating_add(slot.requests), retries.saturating_add(slot.retries))
        });
        let allowed = policy.ratio * f64::from(requests) + f64::from(policy.min_per_second) * f64::from(WINDOW);
        let is_allowed = f64::from(retries) + 1.0 <= allowed;
        if is_allowed {
            self.count(now, 0, 1);
        }
        is_allowed
    }

    fn count(&mut self, now: Moment, requests: u32, retries: u32) {
        let second = now.since(Moment::START).as_secs();
        while self.slots.front().is_some_and(|slot| slot.second + u64::from(WINDOW) <= second) {
            self.slots.pop_front();
        }
        match self.slots.back_mut() {
            Some(slot) if slot.second >= second => {
                slot.requests = slot.requests.saturating_add(requests);
                slot.retries = slot.retries.saturating_add(retries);
            }
            Some(_) | None => self.slots.push_back(Slot { second, requests, retries }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::at;
    use super::*;

    fn taken(budget: &mut RetryBudget, now: u64, policy: &BudgetPolicy) -> usize {
        (0..10_000).take_while(|_| budget.take(at(now), policy)).count()
    }

    #[test]
    fn retries_are_a_share_of_the_requests_and_so_many_a_second_besides() {
        let policy = BudgetPolicy { ratio: 0.2, min_per_second: 10 };
        let mut budget = RetryBudget::default();
        assert_eq!(taken(&mut budget, 0, &policy), 100);
        for _ in 0..500 {
            budget.request(at(1));
        }
        assert_eq!(taken(&mut budget, 1, &policy), 100, "a fifth of 500");
        assert_eq!(taken(&mut budget, 9, &policy), 0);
        assert_eq!(taken(&mut budget, 10, &policy), 100, "those of the first second are forgotten");
    }

    /// Once a second they are counted together, and no sooner than that they are forgotten together.
    #[test]
    fn there_is_one_slot_a_second() {
        let policy = BudgetPolicy { ratio: 1.0, min_per_second: 0 };
        let mut budget = RetryBudget::default();
        for second in [0, 0, 0, 1, 1, 9] {
            budget.request(at(second));
        }
        assert_eq!(budget.slots.len(), 3);
        assert_eq!(taken(&mut budget, 9, &policy), 6);
        budget.request(at(11));
        assert_eq!(budget.slots.iter().map(|slot| (slot.second, slot.requests)).collect::<Vec<_>>(), [(9, 1), (11, 1)]);
    }

    #[test]
    fn without_a_budget_there_is_no_further_retry() {
        let mut budget = RetryBudget::default();
        budget.request(at(0));
        assert_eq!(taken(&mut budget, 0, &BudgetPolicy { ratio: 0.0, min_per_second: 0 }), 0);
    }
}
