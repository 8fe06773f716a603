//! How attempts end, as chance has it.

use std::time::Duration;

use fastrand::Rng;
use qcc_gateway::domain::classify::Judgement;
use qcc_gateway::domain::conversation::Manner;
use qcc_gateway::domain::ids::Ticket;
use qcc_gateway::domain::opinions::FailedAttempt;
use qcc_gateway::domain::outcome::{ErrorNote, FailureKind, Fatal, Outcome, Reason, Report};
use qcc_gateway::domain::outcome_table::Class;
use qcc_gateway::domain::throttle::Throttle;

use super::chance::{one_in, pick};

/// Of a hundred attempts, how many fail, and how many find an endpoint overloaded.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) faults: u32,
    pub(crate) overloads: u32,
}

/// What the end of an attempt is reported as.
pub(crate) fn report(rng: &mut Rng, Weather { faults, overloads }: Weather) -> Report {
    if rng.u32(..100) < overloads {
        let throttle = Some(if one_in(rng, 4) { throttle(rng) } else { Throttle::Overload(None) });
        return Report { throttle, ..Report::of(Outcome::Neutral) };
    }
    let outcome = outcome(rng, faults);
    let manner = match outcome {
        Outcome::Failure(FailureKind::Timeout) => Manner::Streamed,
        Outcome::Failure(FailureKind::Body) => Manner::Either,
        _ => Manner::Whole,
    };
    let mut report = Report { error: Some(note(manner)), ..Report::of(outcome) };
    if report.outcome == Outcome::Neutral {
        report.throttle = (!one_in(rng, 4)).then(|| throttle(rng));
        report.opinion = one_in(rng, 4).then_some(Reason::Credential);
    }
    if report.outcome == Outcome::Cancelled {
        report.opinion = one_in(rng, 4).then_some(Reason::Timeout);
    }
    report
}

fn named(rng: &mut Rng) -> Duration {
    match rng.u32(..6) {
        0 => Duration::ZERO,
        1..3 => Duration::from_secs(rng.u64(30..4_000)),
        _ => Duration::from_millis(rng.u64(..12_000)),
    }
}

/// How long an answer says that its endpoint is to be left alone.
pub(crate) fn throttle(rng: &mut Rng) -> Throttle {
    match rng.u32(..6) {
        0..2 => Throttle::Named(named(rng)),
        2 => Throttle::Unnamed,
        3 => Throttle::Overload(Some(named(rng))),
        _ => Throttle::Overload(None),
    }
}

/// How an attempt of a request's journey ends: what was never written can't be answered.
pub(crate) fn judgement(rng: &mut Rng, Weather { faults, overloads }: Weather, is_written: bool) -> Judgement {
    use Class::{
        Account, Body, Cancelled, ClientCredential, ClientError, Connect, Credential, Forbidden, ModelMissing,
        NotTheApi, OutOfFiles, OutOfPorts, Overloaded, RateLimited, Redirected, RelayModelMissing, RequestTimeout,
        Stream, Success, Timeout, Unsupported, UpstreamStatus,
    };
    let class = if !is_written {
        [Connect, Connect, Connect, Timeout, OutOfFiles, OutOfPorts, Cancelled][rng.usize(..7)]
    } else if rng.u32(..100) < overloads {
        Overloaded
    } else if rng.u32(..100) < faults {
        let kinds = [
            UpstreamStatus,
            UpstreamStatus,
            UpstreamStatus,
            Timeout,
            Timeout,
            Stream,
            Stream,
            Body,
            Body,
            Connect,
            RequestTimeout,
            NotTheApi,
            Redirected,
        ];
        // What isolates at once is rarer.
        if one_in(rng, 10) { [Credential, Account][rng.usize(..2)] } else { kinds[rng.usize(..kinds.len())] }
    } else {
        let kinds = [
            ClientError,
            ClientCredential,
            Forbidden,
            ModelMissing,
            RelayModelMissing,
            Unsupported,
            RateLimited,
            RateLimited,
            Overloaded,
            Cancelled,
        ];
        if rng.bool() { Success } else { kinds[rng.usize(..kinds.len())] }
    };
    let status = match class {
        Success => Some(200),
        Redirected => Some(302),
        ClientError => Some(400),
        ClientCredential | Credential => Some(401),
        Account => Some(402),
        Forbidden => Some(403),
        ModelMissing | NotTheApi | Unsupported => Some(404),
        RequestTimeout => Some(408),
        RateLimited => Some(429),
        UpstreamStatus => Some(if one_in(rng, 4) { 502 } else { 500 }),
        RelayModelMissing => Some(503),
        Overloaded => Some(529),
        Body | Connect | OutOfFiles | OutOfPorts | Timeout | Stream | Cancelled => None,
    };
    let throttle = match class {
        RateLimited if one_in(rng, 3) => Some(Throttle::Unnamed),
        RateLimited => Some(Throttle::Named(named(rng))),
        Overloaded => Some(Throttle::Overload(one_in(rng, 4).then(|| named(rng)))),
        _ => None,
    };
    let manner = match class {
        Timeout => Manner::Streamed,
        Body => Manner::Either,
        _ => Manner::Whole,
    };
    let error = (class != Success).then(|| note(manner));
    Judgement { class, status, error, throttle }
}

/// What was seen of an end.
fn note(manner: Manner) -> ErrorNote {
    ErrorNote::new("said so").seen_in(manner)
}

/// How some attempt ends; `faults` of a hundred are the endpoint's.
fn outcome(rng: &mut Rng, faults: u32) -> Outcome {
    use FailureKind::{Body, Connect, Stream, Timeout, UpstreamStatus};
    if rng.u32(..100) < faults {
        return match rng.u32(..24) {
            0 => Outcome::Fatal(Fatal::Credential),
            1 => Outcome::Fatal(Fatal::Account),
            _ => Outcome::Failure([Connect, Timeout, UpstreamStatus, Body, Stream][rng.usize(..5)]),
        };
    }
    match rng.u32(..8) {
        0..5 => Outcome::Neutral,
        5 => Outcome::Cancelled,
        _ => Outcome::Success,
    }
}

/// Some failures of one request, of those that there were: fresh or stale, and all alike or any.
pub(crate) fn failures(rng: &mut Rng, of: &[(Ticket, FailureKind)]) -> Vec<FailedAttempt> {
    let (are_alike, many) = (rng.bool(), rng.usize(1..6));
    let mut failures = Vec::new();
    for _ in 0..many {
        if let Some((ticket, kind)) = pick(rng, of)
            && failures.iter().all(|failed: &FailedAttempt| failed.ticket != ticket)
        {
            let kind = if !are_alike && one_in(rng, 3) { kind } else { FailureKind::UpstreamStatus };
            let is_other = !are_alike && one_in(rng, 4);
            let status = (kind == FailureKind::UpstreamStatus).then_some(if is_other { 502 } else { 500 });
            failures.push(FailedAttempt {
                ticket,
                kind,
                status,
                error: Some(note(if is_other { Manner::Streamed } else { Manner::Either })),
            });
        }
    }
    failures
}
