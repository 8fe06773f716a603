//! The retry budget: further retries are a bounded share of the requests, so that a dead pool is not hammered.
//!
//! All clients share one budget, but none can use it up while others send requests: a client gets the share that its own
//! requests earn, and at most half of the fixed minimum. So a client whose requests fail everywhere leaves the others the
//! retries that get theirs answered.

use std::collections::{HashMap, VecDeque};

use super::ids::ClientId;
use super::time::Moment;

/// The window in which requests and retries are counted, in seconds.
const WINDOW: u32 = 10;

/// How many further retries there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetPolicy {
    /// The share of the window's requests.
    pub ratio: f64,
    /// Retries per second that are allowed on top of that share.
    pub min_per_second: u32,
}

/// The client that asks; `None` where clients have no keys.
type Client = Option<ClientId>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    requests: u32,
    retries: u32,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.retries = self.retries.saturating_add(other.retries);
    }
}

/// The counts of one second.
#[derive(Clone, Debug)]
struct Second {
    /// Which one, since the clock began.
    number: u64,
    all: Counts,
    of_each: HashMap<Client, Counts>,
}

/// Requests and further retries of the last ten seconds.
#[derive(Clone, Debug, Default)]
pub struct RetryBudget {
    seconds: VecDeque<Second>,
}

impl RetryBudget {
    /// Counts a request of this client.
    pub fn request(&mut self, client: &Client, now: Moment) {
        self.count(client, Counts { requests: 1, retries: 0 }, now);
    }

    /// Takes one further retry out of the budget for this client. Returns whether there was one left for it.
    pub fn take(&mut self, client: &Client, now: Moment, policy: &BudgetPolicy) -> bool {
        self.forget_before(now);
        let (mut all, mut own) = (Counts::default(), Counts::default());
        for second in &self.seconds {
            all.add(second.all);
            own.add(second.of_each.get(client).copied().unwrap_or_default());
        }
        let share = |counts: Counts| policy.ratio * f64::from(counts.requests);
        let besides = f64::from(policy.min_per_second) * f64::from(WINDOW);
        let has_room = |counts: Counts, most: f64| f64::from(counts.retries) + 1.0 <= most;
        // Rounded up: the share of a few requests is less than one, and many such clients should each still get a turn.
        let is_allowed =
            has_room(all, share(all) + besides) && (all == own || has_room(own, share(own).ceil() + besides / 2.0));
        if is_allowed {
            self.count(client, Counts { requests: 0, retries: 1 }, now);
        }
        is_allowed
    }

    fn forget_before(&mut self, now: Moment) {
        let present = second_of(now);
        while self.seconds.front().is_some_and(|front| front.number + u64::from(WINDOW) <= present) {
            self.seconds.pop_front();
        }
    }

    fn count(&mut self, client: &Client, counts: Counts, now: Moment) {
        self.forget_before(now);
        let present = second_of(now);
        match self.seconds.back_mut() {
            Some(latest) if latest.number >= present => {
                latest.all.add(counts);
                match latest.of_each.get_mut(client) {
                    Some(own) => own.add(counts),
                    None => drop(latest.of_each.insert(client.clone(), counts)),
                }
            }
            Some(_) | None => {
                self.seconds.push_back(Second {
                    number: present,
                    all: counts,
                    of_each: HashMap::from([(client.clone(), counts)]),
                });
            }
        }
    }
}

fn second_of(now: Moment) -> u64 {
    now.since(Moment::START).as_secs()
}

#[cfg(test)]
mod tests {
    use super::super::testing::at;
    use super::*;

    fn client(name: &str) -> ClientId {
        ClientId::new(name).unwrap()
    }

    fn asked(budget: &mut RetryBudget, client: &Client, requests: usize, now: u64) {
        for _ in 0..requests {
            budget.request(client, at(now));
        }
    }

    fn taken_by(budget: &mut RetryBudget, client: &Client, now: u64, policy: &BudgetPolicy) -> usize {
        (0..10_000).take_while(|_| budget.take(client, at(now), policy)).count()
    }

    fn taken(budget: &mut RetryBudget, now: u64, policy: &BudgetPolicy) -> usize {
        taken_by(budget, &None, now, policy)
    }

    #[test]
    fn retries_are_a_share_of_the_requests_and_so_many_a_second_besides() {
        let policy = BudgetPolicy { ratio: 0.2, min_per_second: 10 };
        let mut budget = RetryBudget::default();
        assert_eq!(taken(&mut budget, 0, &policy), 100);
        asked(&mut budget, &None, 500, 1);
        assert_eq!(taken(&mut budget, 1, &policy), 100, "a fifth of 500");
        assert_eq!(taken(&mut budget, 9, &policy), 0);
        assert_eq!(taken(&mut budget, 10, &policy), 100, "those of the first second are forgotten");
    }

    #[test]
    fn a_client_that_retries_without_end_leaves_others_their_share_and_half_of_what_is_besides() {
        let policy = BudgetPolicy { ratio: 0.2, min_per_second: 10 };
        let [noisy, other, third] = ["noisy", "other", "third"].map(|name| Some(client(name)));
        let mut budget = RetryBudget::default();
        asked(&mut budget, &noisy, 500, 0);
        asked(&mut budget, &other, 50, 0);
        assert_eq!(taken_by(&mut budget, &noisy, 0, &policy), 150, "a fifth of 500, and 50");
        assert_eq!(taken_by(&mut budget, &other, 0, &policy), 60, "a fifth of 50, and 50");
        assert_eq!(taken_by(&mut budget, &third, 0, &policy), 0, "all is taken");
        assert_eq!(taken_by(&mut budget, &noisy, 10, &policy), 100, "by now nobody else has asked for ten seconds");
    }

    #[test]
    fn many_clients_of_few_requests_have_the_share_of_all_of_them() {
        let policy = BudgetPolicy { ratio: 0.2, min_per_second: 0 };
        let clients: Vec<Client> = (0..50).map(|number| Some(client(&format!("c{number}")))).collect();
        let mut budget = RetryBudget::default();
        for client in &clients {
            asked(&mut budget, client, 2, 0);
        }
        let taken: Vec<usize> = clients.iter().map(|client| taken_by(&mut budget, client, 0, &policy)).collect();
        assert_eq!(taken.iter().sum::<usize>(), 20, "a fifth of 100");
        assert!(taken.iter().all(|taken| *taken <= 1), "{taken:?}");
    }

    /// What is counted within one second is forgotten together.
    #[test]
    fn there_is_one_slot_a_second() {
        let policy = BudgetPolicy { ratio: 1.0, min_per_second: 0 };
        let mut budget = RetryBudget::default();
        for second in [0, 0, 0, 1, 1, 9] {
            asked(&mut budget, &None, 1, second);
        }
        assert_eq!(budget.seconds.len(), 3);
        assert_eq!(taken(&mut budget, 9, &policy), 6);
        asked(&mut budget, &None, 1, 11);
        let requests = budget.seconds.iter().map(|second| (second.number, second.all.requests)).collect::<Vec<_>>();
        assert_eq!(requests, [(9, 1), (11, 1)]);
    }

    #[test]
    fn without_a_budget_there_is_no_further_retry() {
        let policy = BudgetPolicy { ratio: 0.0, min_per_second: 0 };
        let mut budget = RetryBudget::default();
        asked(&mut budget, &None, 1, 0);
        assert_eq!(taken(&mut budget, 0, &policy), 0);
        asked(&mut budget, &Some(client("other")), 1, 0);
        assert_eq!(taken(&mut budget, 0, &policy), 0);
    }
}
