//! What two states have in common that can't be told apart by anything that may follow: their canonical form.
//!
//! It is made of what the cores themselves show (`Debug`), so that no part of them can be forgotten. What has no influence in
//! this world is left out, by the lists below. Epochs, leases and waiters are numbered by their rank among those that are still spoken of,
//! since all that is ever asked of a number is whether it equals another or is older; moments are only those that have come
//! and those to come; and of two workers it makes no difference which is which.

use std::fmt::Write;

use memchr::memmem::find_iter;
use qcc_gateway::domain::endpoint::Home;
use qcc_gateway::domain::schedule::{Recovery, Subject, Task, VerifyJob};
use sha2::{Digest, Sha256};

use super::ranks::{Names, Text, Weight, number};
use super::scope::{NAMES, id};
use super::words::{between, without, without_all, without_each};
use super::worker::{Stage, Worker};
use super::world::{News, World};

/// From where to where the registry's own words are left out, in the order in which they come.
const OF_THE_REGISTRY: [(&str, &str); 10] = [
    // The same throughout a search.
    ("RegistryCore { policy: ", ", queues: "),
    // Both names have their slots from the beginning, and keep them while the settings do not have them.
    ("slots: ", ", by_slot: "),
    // What the members show too.
    ("present: ", ", departed: "),
    // The clock's next epoch and lease are fresh, whatever they are. Open leases are those that workers hold, which is
    // checked. Of isolations that are over the audit could only find a leak in a request that was written during one, and
    // that is found when it is written.
    ("clock: ", ", pools: "),
    // What the lanes know follows from the members, the leases and the turns: the registry checks that after each input, and
    // each choice against a look at each endpoint. The rest is put into words by `turns` and `pending`, below.
    ("lanes: Lanes { ", ", cooling: "),
    // No session, and a budget that never ends.
    ("sessions: ", ", opinions: "),
    // One that has passed a moment ago is asked again all the same.
    (" passed: ", ", poisoned: "),
    // When a verification is due: at once. What is hastened is checked to be nothing.
    ("verifications: ", ", waiters: "),
    // The next waiter is a fresh one.
    ("], newest: ", ", stopping: "),
    // For stats alone.
    ("last_served: ", " }"),
];

/// The same of the schedule: its delays, which are none, and what it remembers for them.
const OF_THE_SCHEDULE: [(&str, &str); 2] = [("Schedule { policy: ", ", entries: "), ("reached: ", " }")];

/// The same of a request's plan.
const OF_A_PLAN: [(&str, &str); 1] = [("Plan { policy: ", ", attempts: ")];

/// What is told to people and decides nothing.
const FOR_PEOPLE: [&str; 4] = ["proven: ", "reported_excluded: ", " failures: ", "step: "];

/// Longer than what a registry says of itself.
const LENGTH: usize = 8 * 1024;

/// The name of a state: the same for all that have the same canonical form.
pub(crate) fn name(world: &World) -> u128 {
    let digest = Sha256::digest(canonical(world).as_bytes());
    digest.iter().take(16).fold(0, |name, byte| name << 8 | u128::from(*byte))
}

/// The canonical form itself.
pub(crate) fn canonical(world: &World) -> String {
    let shared = Text::of(shared(world), Weight::Counts);
    let workers: Vec<Text> =
        world.workers.iter().map(|worker| Text::of(of_worker(world, worker), Weight::Follows)).collect();
    let names = Names::of(world, std::iter::once(&shared).chain(&workers));
    let mut workers: Vec<String> = workers.iter().map(|text| names.render(world, text)).collect();
    workers.sort_unstable();
    let mut form = names.render(world, &shared);
    for worker in workers {
        form.push('\n');
        form.push_str(&worker);
    }
    form
}

/// All but the workers.
fn shared(world: &World) -> String {
    let mut core = String::with_capacity(LENGTH);
    write!(core, "{:?}", world.core).unwrap();
    let mut text = without(&core, &OF_THE_REGISTRY);
    turns(world, &core, &mut text);
    pending(&core, &mut text);
    core.clear();
    write!(core, "{:?}", world.schedule).unwrap();
    text.push_str(&without(&core, &OF_THE_SCHEDULE));
    // Which service an endpoint is is told by its URL.
    text = without_all(&text, ", protocol: ", &["}, epoch: "]);
    for field in FOR_PEOPLE {
        text = without_each(&text, field);
    }
    if !world.scope.doubts {
        // Whose fault an isolation was, and which epoch it has ended, is asked by doubts alone.
        text = without_all(&text, "fault: ", &[", urgency: "]);
        text = without_all(&text, "recovered: ", &[", holds: ", ", beneath: "]);
    }
    breakers(world, &mut text);
    let World { to_breakers, resets, verdicts, settings, left, promises, .. } = world;
    write!(text, "{to_breakers:?}{resets:?}{verdicts:?}{settings:?}{left:?}{:?}", promises.traces()).unwrap();
    for list in &world.lists {
        for job in list {
            of_job(job, &mut text);
        }
        text.push('|');
    }
    for news in &world.news {
        match news {
            // How often it has failed decides on delays, and they are none.
            News::StillFailing(id, epoch, _) => write!(text, "still failing {id} {epoch:?};").unwrap(),
            News::Recovered(..) | News::Fit(..) | News::Unfit(..) => write!(text, "{news:?};").unwrap(),
        }
    }
    for grant in &world.dropped {
        write!(text, "{:?}", grant.ticket).unwrap();
    }
    write!(text, "{:?}", (world.requests_left, world.leavers_left, world.switches_left, world.reloads_left)).unwrap();
    text
}

fn of_job(job: &VerifyJob, text: &mut String) {
    let VerifyJob { subject: Subject { endpoint, epoch, manner, model, suffices }, task } = job;
    let url = &endpoint.base_url;
    write!(text, "{}={url} {epoch:?} {manner:?} {model:?} {suffices:?} ", endpoint.id).unwrap();
    match task {
        Task::Recovery(Recovery { reason, isolated_at: _, relapse, resume, urgency }) => {
            write!(text, "recovery {reason:?} {relapse} {resume:?} {urgency:?};").unwrap();
        }
        Task::Opinion { reason } => write!(text, "opinion {reason:?};").unwrap(),
        Task::EarlyReturn { since: _ } => text.push_str("early return;"),
    }
}

/// How far the turns of endpoints of one rank are apart. Alone in its rank, none has to wait for its turn.
fn turns(world: &World, core: &str, text: &mut String) {
    if world.scope.homes != [Home::Primary; 2] {
        return;
    }
    let shown = between(core, "turns: BySlot([", "])");
    let mut turns = [0.0; NAMES.len()];
    // By slot, which is the order of the names. Who has had no turn has none here, or is beyond the last.
    for (turn, shown) in turns.iter_mut().zip(shown.split(", ")) {
        if let Some(shown) = shown.strip_prefix("Some(") {
            *turn = shown.trim_end_matches(')').parse::<f64>().unwrap();
        }
    }
    write!(text, "turns {}", turns[0] - turns[1]).unwrap();
}

/// The breakers that have something to remember. One that has counted nothing in the present epoch is like a new one, unless
/// it will hear of an older one.
fn breakers(world: &World, text: &mut String) {
    for (endpoint, name) in NAMES.iter().enumerate() {
        let Some(breaker) = world.bank.get(&id(endpoint)) else { continue };
        let is_present = world.promises.is_present(&id(endpoint), breaker.epoch());
        let is_new = breaker.consecutive_failures() == 0 || !is_present;
        if !is_new || world.will_hear_of_the_past(endpoint) {
            write!(text, "{name}: {breaker:?}").unwrap();
        }
    }
}

/// The failures whose verdict is awaited. The registry shows them in no order.
fn pending(core: &str, text: &mut String) {
    let shown = between(core, "pending: {", ", cooling: ");
    let mut serials: Vec<u64> = find_iter(shown.as_bytes(), "Serial(").map(|at| number(&shown[at + 7..]).0).collect();
    serials.sort_unstable();
    for serial in serials {
        write!(text, "pending Serial({serial})").unwrap();
    }
}

fn of_worker(world: &World, worker: &Worker) -> String {
    let mut text = match &worker.stage {
        Stage::Idle => "idle".to_owned(),
        Stage::Asks(way) => format!("asks {way:?}"),
        // What it asks is what its plan says, and the registry shows it.
        Stage::Waits { waiter, way, since, ask: _ } => format!("waits {waiter:?} {way:?} {}", *since < world.now),
        Stage::Granted(grant) => format!("granted {:?} {}", grant.ticket, grant.gate.is_at(grant.ticket.epoch)),
        Stage::Sent(grant, _) => format!("sent {:?}", grant.ticket),
        Stage::Failed { ticket, verdict } => format!("failed {ticket:?} {verdict:?}"),
        Stage::Over => "over".to_owned(),
    };
    let Some(plan) = &worker.plan else { return text };
    let plan = without(&format!("{plan:?}"), &OF_A_PLAN);
    if world.scope.doubts {
        write!(text, "{plan}{:?}", worker.doubted).unwrap();
    } else {
        // What has failed is of use to doubts alone.
        text.push_str(&without(&plan, &[("failures: ", ", next_turn")]));
    }
    text
}
