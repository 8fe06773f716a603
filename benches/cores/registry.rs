//! Acquire and settle, through the registry's core, with as many leases open as a busy gateway has.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::ids::{ClientId, ProfileId};
use qcc_gateway::domain::outcome::{Outcome, Report};
use qcc_gateway::domain::registry::{Acquired, Ask, Grant, Outputs, Reach, RegistryCore, Service, Settlement, Turn};
use qcc_gateway::domain::sessions::{Origin, SessionKey};
use qcc_gateway::domain::time::Moment;
use qcc_gateway::policies::policies;
use qcc_gateway::settings::{self, Source};

/// Leases that are open at a time.
const OPEN: usize = 64;
/// Sessions that take turns.
const SESSIONS: usize = 512;
/// From one request to the next.
const PACE: Duration = Duration::from_micros(50);

/// A registry under the default settings, with requests to it.
struct Desk {
    core: RegistryCore,
    out: Outputs,
    open: VecDeque<Grant>,
    now: Moment,
    asks: Vec<Ask>,
    next: usize,
}

impl Desk {
    fn new(endpoints: usize, has_sessions: bool) -> Self {
        let mut text = String::new();
        for number in 1..=endpoints {
            let _ = write!(
                text,
                "[endpoints.ep-{number}]\nbase_url = \"http://127.0.0.1:{number}\"\napi_key = \"k\"\nmodels = [\"claude-*\"]\n"
            );
        }
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file for the settings");
        file.write_all(text.as_bytes()).expect("the settings are written");
        let source = Source { place: Some(file.path().to_owned()), ..Source::default() };
        let loaded = settings::load(&source).expect("sound settings");
        let mut core = RegistryCore::new(policies(&loaded.settings, 0).registry);
        let (mut out, now) = (Outputs::new(), Moment::START);
        core.apply(Arc::new(loaded.topology), now, &mut out);
        let asks = (0..SESSIONS).map(|number| ask(number, has_sessions)).collect();
        let mut desk = Self { core, out, open: VecDeque::new(), now, asks, next: 0 };
        // Every session is bound, and as many leases are open as shall be.
        for _ in 0..SESSIONS {
            desk.turn();
        }
        desk
    }

    /// A request begins, and the oldest one ends.
    fn turn(&mut self) {
        self.now = Moment::after_start(self.now.since_start() + PACE);
        let ask = self.asks[self.next].clone();
        self.next = (self.next + 1) % self.asks.len();
        match self.core.acquire(ask, self.now, &mut self.out) {
            Acquired::Granted(grant) => self.open.push_back(grant),
            Acquired::Waiting(_) | Acquired::Refused(_) => panic!("every request is to get an endpoint"),
        }
        if self.open.len() > OPEN
            && let Some(grant) = self.open.pop_front()
        {
            let settlement = Settlement {
                ticket: grant.ticket,
                report: Report::of(Outcome::Success),
                model: None,
                written_at: Some(self.core.epochs().newest()),
            };
            self.core.settle(settlement, self.now, &mut self.out);
        }
        self.out.clear();
    }
}

fn ask(number: usize, has_session: bool) -> Ask {
    let client = ClientId::new("bench").ok();
    let number_of_its_own = u64::try_from(number).unwrap_or_default();
    let origin = if has_session {
        let hashes = BuildHasherDefault::<DefaultHasher>::default();
        Origin::Session(SessionKey::new(&hashes, client.as_ref(), Protocol::Anthropic, &number.to_string()))
    } else {
        Origin::Request(number_of_its_own)
    };
    Ask {
        profile: ProfileId::default(),
        service: Service::Llm(Protocol::Anthropic),
        model: Some(Arc::from("claude-sonnet-4-5")),
        client,
        origin,
        fingerprint: None,
        tried: Vec::new(),
        turn: Turn::First,
        reach: Reach::Fresh,
        is_last: false,
        deadline: Moment::after_start(Duration::from_hours(24 * 365)),
    }
}

pub(super) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acquire and settle");
    group.throughput(Throughput::Elements(1));
    for (endpoints, has_sessions, name) in [
        (3, false, "3 endpoints"),
        (3, true, "3 endpoints, bound sessions"),
        (1000, false, "1,000 endpoints"),
        (1000, true, "1,000 endpoints, bound sessions"),
    ] {
        group.bench_function(name, |bencher| {
            let mut desk = Desk::new(endpoints, has_sessions);
            bencher.iter(|| desk.turn());
        });
    }
    group.finish();
}
