//! The lanes choose the endpoint that a look at each endpoint would choose, in every order of events.

use proptest::prelude::*;

use super::super::super::endpoint::ModelFilter;
use super::super::super::throttle::Throttle;
use super::super::lanes::Seat;
use super::super::pick::Hosts;
use super::super::pool::Served;
use super::*;

const ENDPOINTS: u64 = 12;

/// Endpoints in several lanes of each rank; `kind` varies them.
fn some_endpoint(number: u64, kind: u64) -> Endpoint {
    let home = if number % 4 == 3 { Home::Secondary } else { Home::Primary };
    let models: &[&str] = [&[][..], &["opus-*"], &["haiku"]][usize::try_from(kind % 3).unwrap()];
    Endpoint {
        weight: [100, 10, 0, 300][usize::try_from(kind % 4).unwrap()],
        models: ModelFilter::new(&models.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap(),
        max_in_flight: NonZeroU32::new(u32::try_from(kind % 5).unwrap()),
        priority: u8::try_from(kind % 2).unwrap(),
        ..endpoint(&format!("e{number:02}"), home)
    }
}

fn model(number: u64) -> Option<Arc<str>> {
    [None, Some("opus-4"), Some("haiku"), Some("made-up")][usize::try_from(number % 4).unwrap()].map(Arc::from)
}

impl Desk {
    /// An ask for some model by a request that has tried some of the endpoints.
    fn some_ask(&self, number: u64) -> Ask {
        let epoch = self.core.epochs().newest();
        let tried = (0..number % 3).map(|nth| tried(&format!("e{:02}", (number + 5 * nth) % ENDPOINTS), epoch));
        Ask { model: model(number / 3), tried: tried.collect(), turn: Turn::Paced, ..ask() }
    }

    /// Compares all that the lanes say with a look at each endpoint.
    fn compare(&self) {
        let now = at(self.now);
        for number in 0..12 {
            let ask = self.some_ask(number);
            let pool = &self.core.pools[&ask.profile];
            for (rank, served) in pool.served(ask.model.as_deref()) {
                let looked = self.core.pick_by_looking(rank, Hosts::All, &ask, now);
                for served in [served, Served::Unknown(&rank.lanes)] {
                    assert_eq!(self.core.pick_by_lanes(rank, served, &ask, now), looked);
                }
            }
        }
    }

    fn step(&mut self, open: &mut Vec<Grant>, what: u64, number: u64) {
        let name = format!("e{:02}", number % ENDPOINTS);
        match what {
            0..=7 => {
                if let Acquired::Granted(grant) = self.ask(self.some_ask(number)) {
                    open.push(grant);
                }
            }
            8..=13 if !open.is_empty() => {
                let index = usize::try_from(number).unwrap() % open.len();
                let grant = open.swap_remove(index);
                match what {
                    8..=10 => self.settle(&grant, Outcome::Success),
                    11 => self.settle(&grant, FAILED),
                    12 => self.settle(&grant, Outcome::Neutral),
                    _ => {
                        let throttle = Some(Throttle::Named(Duration::from_secs(number % 9)));
                        let report = Report { throttle, ..Report::of(Outcome::Neutral) };
                        self.report(&grant, report, model(number).as_deref());
                    }
                }
                if what == 11 && !number.is_multiple_of(3) {
                    self.judge(&grant, if number % 3 == 1 { TRIP } else { Ruling::Keep });
                }
            }
            14 => self.now += number % 20,
            15 => {
                self.recover(&name);
            }
            16 => {
                let _ = self.core.isolate_by_admin(&id(&name), ADMIN, at(self.now), &mut self.out);
            }
            17 => {
                let enabled = !number.is_multiple_of(3);
                let _ = self.core.set_enabled(&id(&name), enabled, ADMIN, at(self.now), &mut self.out);
            }
            18 => {
                let slow_start = Duration::from_secs(number % 60);
                self.core.set_policy(RegistryPolicy { slow_start, ..registry_policy() });
            }
            19 => self.apply((0..ENDPOINTS).map(|other| some_endpoint(other, other + number % 3))),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_lanes_choose_whom_a_look_at_each_endpoint_chooses(steps in prop::collection::vec((0_u64..20, 0_u64..1000), 1..150)) {
        let mut desk = Desk::new((0..ENDPOINTS).map(|number| some_endpoint(number, number)));
        let mut open = Vec::new();
        for (what, number) in steps {
            desk.step(&mut open, what, number);
            desk.compare();
        }
    }
}

#[test]
fn an_endpoint_need_not_be_looked_at_any_more_once_its_cooldown_and_its_slow_start_are_over() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let grant = desk.lease();
    let name = grant.endpoint.id.to_string();
    let seat = |desk: &Desk| desk.core.lanes.seat(desk.core.queues.slot(&id(&name)).unwrap()).unwrap();
    let is_free = |desk: &Desk| matches!(seat(desk), Seat::Free(_));
    assert!(is_free(&desk));
    let report = Report { throttle: Some(Throttle::Named(Duration::from_secs(7))), ..Report::of(Outcome::Neutral) };
    desk.report(&grant, report, None);
    assert_eq!(seat(&desk), Seat::Watched);
    desk.now = 8;
    for _ in 0..2 {
        desk.leased();
    }
    assert!(is_free(&desk));
    desk.fail(&name);
    assert_eq!(seat(&desk), Seat::Out);
    desk.recover(&name);
    assert_eq!(seat(&desk), Seat::Watched);
    desk.now = 40;
    for _ in 0..2 {
        desk.leased();
    }
    assert!(is_free(&desk));
}

#[test]
fn another_slow_start_holds_for_whoever_has_recovered_before_too() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    desk.recover("a");
    let is_slow = |desk: &Desk| desk.core.view(at(40)).endpoints[0].slow_start;
    assert!(!is_slow(&desk));
    desk.core.set_policy(RegistryPolicy { slow_start: Duration::from_secs(60), ..registry_policy() });
    assert!(is_slow(&desk));
}
