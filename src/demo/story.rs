//! The phases of one cycle: what is done to an upstream, what is waited for, and what is told about it.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::UnboundedReceiver;

use super::client::{CONNECTIONS, Traffic};
use super::narrator::{Narrator, outcome};
use super::observer::{Event, Observer, Unobservable};
use super::upstream::{Occasion, Report, Upstream};
use super::verdict::{Isolation, Moves, Promise, Seen, Spans, is, judge, spans};
use super::{OLD_BREAKER, SLOW_START};
use crate::clock::Clock;
use crate::domain::endpoint::Home;

/// The time between two looks at the gateway.
const BEAT: Duration = Duration::from_millis(40);
/// How long an isolation may take.
const ISOLATION_LIMIT: Duration = Duration::from_secs(10);
/// How long a broken upstream stays broken after its isolation.
const BROKEN_FOR: Duration = Duration::from_secs(10);
/// How long after its isolation it must be back. The verification that follows the mending comes well before.
const RECOVERY_LIMIT: Duration = Duration::from_secs(28);
/// How long its traffic is watched after the recovery, second by second: the slow start, and two seconds at its full share.
const WATCHED_SECONDS: u32 = 5;
const SECOND: Duration = Duration::from_secs(1);

/// Everything that is watched during the cycles.
pub(super) struct Stage {
    observer: Observer,
    incoming: UnboundedReceiver<Report>,
    clock: Clock,
    /// This cycle's reports seen so far.
    reports: Vec<Report>,
    /// This cycle's events seen so far.
    events: Vec<Event>,
}

impl Stage {
    pub(super) fn new(observer: Observer, incoming: UnboundedReceiver<Report>, clock: Clock) -> Self {
        Self { observer, incoming, clock, reports: Vec::new(), events: Vec::new() }
    }

    fn narrator(&self) -> Narrator {
        Narrator::new(self.clock)
    }

    /// One cycle under traffic: an upstream breaks, is isolated, is mended, recovers, and has its whole share again.
    pub(super) async fn cycle(
        &mut self,
        upstreams: &[Upstream],
        victim: &Upstream,
        client: &awc::Client,
        base: &str,
    ) -> Result<Vec<Promise>, Unobservable> {
        // What happened during a pause belongs to no cycle.
        self.look(upstreams).await?;
        self.reports.clear();
        self.events.clear();
        let narrator = self.narrator();
        victim.break_down();
        narrator.tell(&format!("{} is broken: it answers HTTP 500 to everything", victim.role.name));
        narrator.tell(&format!("traffic begins: up to {CONNECTIONS} requests at a time, every second one streamed"));
        let traffic = Traffic::default();
        let phases = async {
            let moves = self.phases(upstreams, victim).await;
            traffic.end();
            moves
        };
        let (moves, ()) = tokio::join!(phases, traffic.run(client, base));
        let moves = moves?;
        victim.mend();
        self.look(upstreams).await?;
        let stats = self.observer.stats().await?;
        let secondary = upstreams.iter().find(|upstream| upstream.role.home == Home::Secondary);
        let seen = Seen {
            broken: victim.role.name,
            secondary: secondary.map_or("-", |upstream| upstream.role.name),
            moves,
            reports: self.reports.clone(),
            tally: traffic.tally(),
            stats,
        };
        let promises = judge(&seen);
        narrator.tell("traffic ends");
        outcome(&seen, upstreams, &promises);
        Ok(promises)
    }

    async fn phases(&mut self, upstreams: &[Upstream], victim: &Upstream) -> Result<Option<Moves>, Unobservable> {
        let Some(isolated) = self.isolation(upstreams, victim).await? else { return Ok(None) };
        let Some(isolation) = self.drain(victim, isolated).await? else { return Ok(None) };
        let name = victim.role.name;
        let Spans { before, under_way, .. } = spans(&self.reports, name, &isolation, None);
        self.narrator().tell(&format!(
            "{name} got {before} requests before that and {under_way} that were under way; other upstreams answered them"
        ));
        let Some(moves) = self.recovery(upstreams, victim, isolation).await? else { return Ok(None) };
        let times = moves.isolated_for().as_millis() / OLD_BREAKER.as_millis();
        self.narrator().tell(&format!(
            "{name} was isolated for {:.1} s, in which {} requests of traffic reached it; the old kind of breaker would have \
             let traffic through {times} times",
            moves.isolated_for().as_secs_f64(),
            spans(&self.reports, name, &isolation, Some(moves.proof)).isolated,
        ));
        self.growth(upstreams, victim, moves.recovered).await?;
        Ok(Some(moves))
    }

    async fn isolation(
        &mut self,
        upstreams: &[Upstream],
        victim: &Upstream,
    ) -> Result<Option<SystemTime>, Unobservable> {
        let limit = self.clock.now() + ISOLATION_LIMIT;
        loop {
            self.beat(upstreams).await?;
            if let Some(at) = self.when("isolated", victim) {
                return Ok(Some(at));
            }
            if self.clock.now() > limit {
                self.narrator().tell(&format!("{} was not isolated in time", victim.role.name));
                return Ok(None);
            }
        }
    }

    /// Waits until the gateway has no attempt left that had begun before the isolation.
    async fn drain(&mut self, victim: &Upstream, at: SystemTime) -> Result<Option<Isolation>, Unobservable> {
        let limit = self.clock.now() + ISOLATION_LIMIT;
        loop {
            let stats = self.observer.stats().await?;
            let row = stats.row(victim.role.name);
            if row.is_some_and(|row| row.standing == "failure" && row.in_flight == 0) {
                // An upstream reports a request before it answers it, so all of those that are over have been reported.
                self.collect();
                let draining = self.now().duration_since(at).unwrap_or_default();
                return Ok(Some(Isolation { at, drained: self.reports.len(), draining }));
            }
            if self.clock.now() > limit {
                self.narrator().tell(&format!("{} still had attempts under way", victim.role.name));
                return Ok(None);
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    async fn recovery(
        &mut self,
        upstreams: &[Upstream],
        victim: &Upstream,
        isolation: Isolation,
    ) -> Result<Option<Moves>, Unobservable> {
        let narrator = self.narrator();
        let name = victim.role.name;
        let (mut half_opened, mut is_mended) = (0, false);
        loop {
            self.beat(upstreams).await?;
            if let Some(recovered) = self.when("recovered", victim) {
                // Without a proof nothing can have brought it back.
                let proof = self.reports.iter().rposition(|report| is(report, name, Occasion::Proof));
                return Ok(proof.map(|proof| Moves { isolation, proof, recovered }));
            }
            let since = self.now().duration_since(isolation.at).unwrap_or_default();
            if since >= OLD_BREAKER * (half_opened + 1) {
                half_opened += 1;
                let got = |name| spans(&self.reports, name, &isolation, None).isolated;
                let shares: Vec<String> =
                    upstreams.iter().map(|one| format!("{} {}", one.role.name, got(one.role.name))).collect();
                narrator.tell(&format!(
                    "the old kind of breaker would let traffic through to {name} now ({half_opened}); here, since the isolation: {}",
                    shares.join(", "),
                ));
            }
            if since >= BROKEN_FOR && !is_mended {
                is_mended = true;
                victim.mend();
                narrator.tell(&format!("{name} is mended; nothing but a verification that passes brings it back"));
            }
            if since > RECOVERY_LIMIT {
                narrator.tell(&format!("{name} has not recovered in time"));
                return Ok(None);
            }
        }
    }

    /// Tells the recovered upstream's share of the primaries' traffic, second by second.
    async fn growth(
        &mut self,
        upstreams: &[Upstream],
        victim: &Upstream,
        recovered: SystemTime,
    ) -> Result<(), Unobservable> {
        let primaries = || upstreams.iter().filter(|one| one.role.home == Home::Primary);
        for second in 1..=WATCHED_SECONDS {
            let (from, until) = (recovered + SECOND * (second - 1), recovered + SECOND * second);
            while self.now() < until {
                self.beat(upstreams).await?;
            }
            self.collect();
            let own = self.traffic(victim.role.name, from, until);
            let all: u64 = primaries().map(|one| self.traffic(one.role.name, from, until)).sum();
            let percent = (own * 100).checked_div(all).unwrap_or_default();
            let phase = if SECOND * second <= SLOW_START { "slow start" } else { "whole share" };
            self.narrator().tell(&format!(
                "{}, second {second} after its recovery ({phase}): {own} of the primaries' {all} requests, {percent} %",
                victim.role.name,
            ));
        }
        Ok(())
    }

    async fn beat(&mut self, upstreams: &[Upstream]) -> Result<(), Unobservable> {
        tokio::time::sleep(BEAT).await;
        self.look(upstreams).await
    }

    /// Tells the new events, and takes in the new reports.
    async fn look(&mut self, upstreams: &[Upstream]) -> Result<(), Unobservable> {
        let narrator = self.narrator();
        for event in self.observer.new_events().await? {
            let endpoint = event.endpoint.clone();
            let own = upstreams.iter().find(|upstream| Some(upstream.role.name) == endpoint.as_deref());
            let is_verification = |known: &&Event| known.kind == "verified" && known.endpoint == endpoint;
            let number = self.events.iter().filter(is_verification).count() + 1;
            narrator.event(&event, number, own.map_or("home", Upstream::queue));
            self.events.push(event);
        }
        self.collect();
        Ok(())
    }

    /// Takes in what the upstreams have reported.
    fn collect(&mut self) {
        while let Ok(report) = self.incoming.try_recv() {
            self.reports.push(report);
        }
    }

    /// How many requests of traffic reached an upstream from one moment to right before another.
    fn traffic(&self, upstream: &str, from: SystemTime, until: SystemTime) -> u64 {
        let counts = |report: &&Report| is(report, upstream, Occasion::Traffic) && (from..until).contains(&report.at);
        self.reports.iter().filter(counts).map(|_| 1_u64).sum()
    }

    fn when(&self, kind: &str, victim: &Upstream) -> Option<SystemTime> {
        let is_it = |event: &&Event| event.kind == kind && event.endpoint.as_deref() == Some(victim.role.name);
        self.events.iter().find(is_it)?.time()
    }

    fn now(&self) -> SystemTime {
        self.clock.time_of_day(self.clock.now())
    }
}
