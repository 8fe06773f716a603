//! What two states have in common that can't be told apart by anything that may follow: their canonical form.
//!
//! It is made of what the cores themselves show (`Debug`), so that no part of them can be forgotten. What has no influence in
//! this world is left out, by the lists below. Epochs, leases and waiters are numbered by their rank among those that are still spoken of,
//! since all that is ever asked of a number is whether it equals another or is older; moments are only those that have come
//! and those to come; and of two workers it makes no difference which is which.

use std::collections::BTreeMap;
use std::fmt::Write;

use memchr::memchr_iter;
use memchr::memmem::{find, find_iter};
use qcc_gateway::domain::endpoint::Home;
use qcc_gateway::domain::ids::Epoch;
use qcc_gateway::domain::schedule::VerifyJob;
use sha2::{Digest, Sha256};

use super::scope::{HOUR, NAMES, id};
use super::worker::{Stage, Worker};
use super::world::{News, World};

/// From where to where the registry's own words are left out, in the order in which they come.
const OF_THE_REGISTRY: [(&str, &str); 9] = [
    // The same throughout a search.
    ("RegistryCore { policy: ", ", queues: "),
    // What the members show too.
    ("topology: ", ", departed: "),
    // The clock's next epoch and lease are fresh, whatever they are. Open leases are those that workers hold, which is
    // checked. Of isolations that are over the audit could only find a leak in a request that was written during one, and
    // that is found when it is written.
    ("clock: ", ", pools: "),
    // Put into words by `turns` and `pending`, below.
    ("turns: ", ", cooling: "),
    // No session, and a budget that never ends.
    ("sessions: ", ", opinions: "),
    // One that has passed a moment ago is asked again all the same.
    (" passed: ", ", poisoned: "),
    // When a verification is due: at once. What is hastened is checked to be nothing.
    ("expected: ", ", waiters: "),
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
    text = without_all(&text, ", protocol: ", ["}, epoch: ", "}, purpose: "]);
    for field in FOR_PEOPLE {
        text = without_each(&text, field);
    }
    if !world.scope.doubts {
        // Which epoch an isolation has ended, and which one a recovery, is asked by doubts alone.
        text = without_each(&text, "ended: ");
        text = without_all(&text, "recovered: ", [", holds: ", ", beneath: "]);
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
    let VerifyJob { endpoint, purpose, epoch, reason, model, isolated_at: _, relapse, resume, at_once } = job;
    let url = &endpoint.base_url;
    write!(text, "{}={url} {purpose:?} {epoch:?} {reason:?} {model:?} {relapse} {resume:?} {at_once};", endpoint.id)
        .unwrap();
}

/// How far the turns of endpoints of one rank are apart. Alone in its rank, none has to wait for its turn.
fn turns(world: &World, core: &str, text: &mut String) {
    if world.scope.homes != [Home::Primary; 2] {
        return;
    }
    let shown = between(core, "turns: {", "}");
    let turn = |name: &str| {
        let shown = shown.split(", ").find_map(|turn| turn.strip_prefix(&format!("{name:?}: ")));
        shown.map_or(0.0, |turn| turn.parse::<f64>().unwrap())
    };
    write!(text, "turns {}", turn(NAMES[0]) - turn(NAMES[1])).unwrap();
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

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = at(text, 0, from) + from.len();
    &text[start..at(text, start, to)]
}

/// Where this comes next. A core that shows itself in other words than these lists know is none that they are right for.
fn at(text: &str, from: usize, words: &str) -> usize {
    let found = find(&text.as_bytes()[from..], words.as_bytes());
    from + found.unwrap_or_else(|| panic!("{words:?} is not in {:?}", &text[from..]))
}

fn without(text: &str, left_out: &[(&str, &str)]) -> String {
    let (mut kept, mut next) = (String::with_capacity(text.len()), 0);
    for (from, to) in left_out {
        let end = at(text, next, from) + from.len();
        kept.push_str(&text[next..end]);
        next = at(text, end, to);
    }
    kept.push_str(&text[next..]);
    kept
}

/// Leaves out the value of a field wherever it comes: a word or a number.
fn without_each(text: &str, field: &str) -> String {
    let (mut kept, mut next) = (String::with_capacity(text.len()), 0);
    for start in find_iter(text.as_bytes(), field) {
        kept.push_str(&text[next..start]);
        let value = memchr::memchr2(b',', b'}', &text.as_bytes()[start..]);
        next = value.map_or(text.len(), |length| start + length);
    }
    kept.push_str(&text[next..]);
    kept
}

/// Leaves out everything from these words to one of those, wherever they come.
fn without_all(text: &str, from: &str, to: [&str; 2]) -> String {
    let (mut kept, mut next) = (String::with_capacity(text.len()), 0);
    for start in find_iter(text.as_bytes(), from) {
        kept.push_str(&text[next..start]);
        let ends = to.iter().filter_map(|to| find(&text.as_bytes()[start..], to.as_bytes()));
        next = ends.min().map_or(text.len(), |length| start + length);
    }
    kept.push_str(&text[next..]);
    kept
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
        text.push_str(&without(&plan, &[("failures: ", ", latest_was_overload")]));
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Epoch,
    Lease,
    Waiter,
    Moment,
}

/// A number within a text.
struct Token {
    start: usize,
    end: usize,
    kind: Kind,
    value: u64,
}

/// Whether it matters that a number is spoken of here: a worker's own numbers matter only where somebody else knows them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Counts,
    Follows,
}

struct Text {
    words: String,
    weight: Weight,
    tokens: Vec<Token>,
}

/// The number that a text begins with, and its length.
fn number(text: &str) -> (u64, usize) {
    let digits = text.bytes().take_while(u8::is_ascii_digit);
    digits.fold((0, 0), |(value, length), digit| (value * 10 + u64::from(digit - b'0'), length + 1))
}

impl Text {
    fn of(text: String, weight: Weight) -> Self {
        let token = |paren: usize| {
            let before = &text.as_bytes()[..paren];
            let kind = match before.last()? {
                b'h' if before.ends_with(b"Epoch") => Kind::Epoch,
                b'e' if before.ends_with(b"EpochGate") => Kind::Epoch,
                b'l' if before.ends_with(b"Serial") => Kind::Lease,
                b'd' if before.ends_with(b"WaiterId") => Kind::Waiter,
                b't' if before.ends_with(b"Moment") => Kind::Moment,
                _ => return None,
            };
            let (value, length) = number(&text[paren + 1..]);
            Some(Token { start: paren + 1, end: paren + 1 + length, kind, value })
        };
        let tokens = memchr_iter(b'(', text.as_bytes()).filter_map(token).collect();
        Self { words: text, weight, tokens }
    }
}

/// How a number is spoken of.
#[derive(Clone, Copy, Default)]
struct Mentions {
    times: usize,
    counts: bool,
    rank: usize,
}

/// The ranks of all numbers.
struct Names {
    /// Of epochs also whose they are: those of different endpoints are never compared.
    mentions: BTreeMap<(Kind, usize, u64), Mentions>,
}

impl Names {
    fn of<'a>(world: &World, texts: impl Iterator<Item = &'a Text>) -> Self {
        let mut mentions: BTreeMap<(Kind, usize, u64), Mentions> = BTreeMap::new();
        for text in texts {
            for token in text.tokens.iter().filter(|token| token.kind != Kind::Moment) {
                let mention = mentions.entry(key(world, token)).or_default();
                mention.times += 1;
                mention.counts |= text.weight == Weight::Counts;
            }
        }
        let mut latest = None;
        let mut rank = 0;
        for ((kind, owner, _), mention) in mentions.iter_mut().rev() {
            if latest.replace((*kind, *owner)) != Some((*kind, *owner)) {
                rank = 0;
            }
            if is_named(*kind, *mention) {
                mention.rank = rank;
                rank += 1;
            }
        }
        Self { mentions }
    }

    fn render(&self, world: &World, text: &Text) -> String {
        let (mut rendered, mut next) = (String::with_capacity(text.words.len()), 0);
        for token in &text.tokens {
            rendered.push_str(&text.words[next..token.start]);
            next = token.end;
            if token.kind == Kind::Moment {
                rendered.push_str(moment(world, token.value));
                continue;
            }
            let mention = self.mentions.get(&key(world, token)).copied().unwrap_or_default();
            if is_named(token.kind, mention) {
                write!(rendered, "{}", mention.rank).unwrap();
            }
        }
        rendered.push_str(&text.words[next..]);
        rendered
    }
}

fn key(world: &World, token: &Token) -> (Kind, usize, u64) {
    let owner = if token.kind == Kind::Epoch { world.promises.owner(Epoch::from_raw(token.value)) } else { 0 };
    (token.kind, owner, token.value)
}

/// Whether a number may still meet its like: one that only workers speak of meets nothing, nor does a lease that is spoken
/// of once.
fn is_named(kind: Kind, mention: Mentions) -> bool {
    mention.counts && (kind != Kind::Lease || mention.times > 1)
}

/// Nothing lasts any time in this world but a park, which an hour ends, and what never ends.
fn moment(world: &World, seconds: u64) -> &'static str {
    let now = world.now.since_start().as_secs();
    match seconds.saturating_sub(now) {
        0 => "past",
        left if left < HOUR.as_secs() => "soon",
        _ => "never",
    }
}
