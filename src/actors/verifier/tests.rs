//! The verifier's actor between a registry that only listens and upstreams that say what a test says.

use std::cell::RefCell;
use std::sync::Arc;

use actix::Addr;
use serde_json::json;
use tokio::net::TcpStream;

use super::*;
use crate::domain::base_url::BaseUrl;
use crate::domain::classify::Words;
use crate::domain::endpoint::Home;
use crate::domain::ids::Epoch;
use crate::domain::outcome::Reason;
use crate::domain::rules::Rules;
use crate::domain::schedule::{Recovery, Suffices, Urgency, VerifyJob};
use crate::domain::testing::{endpoint, id};
use crate::upstream::ProbeSettings;
use crate::upstream::testing::{Peer, Received, Upstream, client, within};

/// The verification of an endpoint that is isolated, at once.
const RECOVERY: Recovery = Recovery {
    reason: Reason::Timeout,
    isolated_at: Clock::BEGAN,
    relapse: false,
    resume: None,
    urgency: Urgency::AtOnce,
};
const OPINION: Task = Task::Opinion { reason: Reason::Timeout };

/// What the peers were told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Recovered(Epoch, u32),
    StillFailing(Epoch),
    Fit(Epoch, AtHome),
    StillExhausted(Epoch, Option<Arc<str>>),
    Proved(Epoch),
    Unfit(Epoch, String),
    Undecided(Epoch),
    Event(EventKind, Option<Reason>),
}

/// All peers in one, which answers nothing.
struct Silent(Rc<RefCell<Vec<Told>>>);

impl Actor for Silent {
    type Context = Context<Self>;
}

impl Handler<Recovered> for Silent {
    type Result = ();
    fn handle(&mut self, Recovered { proof, verifications, step: _ }: Recovered, _: &mut Self::Context) {
        self.0.borrow_mut().push(Told::Recovered(proof.epoch(), verifications));
    }
}

impl Handler<Concluded> for Silent {
    type Result = ();
    fn handle(&mut self, Concluded { epoch, conclusion, .. }: Concluded, _: &mut Self::Context) {
        if let Conclusion::StillFailing(finished) = &conclusion {
            assert!(finished.began < finished.next);
        }
        self.0.borrow_mut().push(match conclusion {
            Conclusion::StillFailing(_) => Told::StillFailing(epoch),
            Conclusion::Fit { purpose, .. } => Told::Fit(epoch, purpose),
            Conclusion::StillExhausted { model } => Told::StillExhausted(epoch, model),
            Conclusion::Unfit(error) => Told::Unfit(epoch, error.to_string()),
            Conclusion::Undecided => Told::Undecided(epoch),
            Conclusion::Proved => Told::Proved(epoch),
        });
    }
}

impl Handler<Notify> for Silent {
    type Result = ();
    fn handle(&mut self, _: Notify, _: &mut Self::Context) {}
}

impl Handler<Note> for Silent {
    type Result = ();
    fn handle(&mut self, note: Note, _: &mut Self::Context) {
        match note {
            Note::Event(event) => self.0.borrow_mut().push(Told::Event(event.kind, event.reason)),
            Note::Verification(_) => {}
            Note::Request(..)
            | Note::Attempt(_)
            | Note::Allowances(_)
            | Note::Reload(_)
            | Note::StateFile(_)
            | Note::NoticesLost(_)
            | Note::SpansLost(_) => {
                panic!("the verifier tells of nothing else: {note:?}")
            }
        }
    }
}

struct World {
    verifier: Addr<Verifier>,
    told: Rc<RefCell<Vec<Told>>>,
    upstream: Upstream,
}

impl World {
    async fn new(initial_delay: Duration) -> Self {
        let told = Rc::new(RefCell::new(Vec::new()));
        let silent = Silent(Rc::clone(&told)).start();
        let peers = Peers {
            recovered: silent.clone().recipient(),
            concluded: silent.clone().recipient(),
            stats: silent.clone().recipient(),
            notices: silent.recipient(),
        };
        let policy = SchedulePolicy {
            initial_delay,
            multiplier: 1.0,
            interval: initial_delay,
            interval_account: Duration::from_secs(3600),
            jitter: 0.0,
            concurrency: 2,
        };
        let settings = ProbeSettings {
            timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(5),
            model: None,
            anthropic_model: "m".to_owned(),
            openai_model: "m".to_owned(),
            max_tokens: 64,
            words: Words::Left,
            rules: Rules::none(),
        };
        let probe = Probe::new(client(), settings);
        let line = Lifeline::new("verifier", Arc::new(|_| ()));
        let verifier = Verifier::new(policy, Clock::start(), probe, peers, line).start();
        Self { verifier, told, upstream: Upstream::bind().await }
    }

    /// A setup whose verifications come at once or, after a failure, not within the test.
    async fn patient() -> Self {
        Self::new(Duration::from_secs(3600)).await
    }

    fn subject(&self, epoch: u64) -> Subject {
        let mut endpoint = endpoint("a", Home::Primary);
        endpoint.base_url = BaseUrl::parse(&format!("http://127.0.0.1:{}", self.upstream.origin.port)).unwrap();
        Subject::new(Arc::new(endpoint), Epoch::from_raw(epoch))
    }

    fn job(&self, task: Task, epoch: u64) -> VerifyJob {
        VerifyJob { subject: self.subject(epoch), task }
    }

    async fn list(&self, jobs: &[VerifyJob]) {
        self.verifier.send(FailureList(jobs.into())).await.unwrap();
    }

    /// The next conversation, as far as its question.
    async fn asked(&self) -> Asked {
        let mut peer = self.upstream.accept().await;
        let question = peer.request().await;
        Asked { peer, question }
    }

    async fn view(&self) -> VerifierView {
        self.verifier.send(ViewVerifier).await.unwrap()
    }

    /// Waits until the peers have been told `count` things, and returns them.
    async fn told(&self, count: usize) -> Vec<Told> {
        while self.told.borrow().len() < count {
            tokio::task::yield_now().await;
        }
        self.told.borrow().clone()
    }

    fn admin_wants(&self, epoch: u64) -> oneshot::Receiver<Verification> {
        let (reply, answer) = oneshot::channel();
        let (subject, by) = (self.subject(epoch), IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        self.verifier.do_send(Converse { subject, by, reply });
        answer
    }
}

struct Asked {
    peer: Peer<TcpStream>,
    question: Received,
}

impl Asked {
    fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.question.body).unwrap();
        let prompt = body["messages"][0]["content"].as_str().unwrap();
        let is_half = |word: &&str| word.len() == 3 && word.contains(|c: char| c.is_ascii_digit());
        prompt.split(' ').filter(is_half).collect()
    }

    async fn says(mut self, text: &str) {
        let body = json!({
            "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 40, "output_tokens": 3},
        })
        .to_string();
        let length = body.len();
        self.peer.say(format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")).await;
    }

    async fn passes(self) {
        let code = self.code();
        self.says(&code).await;
    }

    async fn fails(self) {
        self.says("no").await;
    }
}

const MISSING: &str = "the code is missing";

fn epoch(raw: u64) -> Epoch {
    Epoch::from_raw(raw)
}

#[actix_web::test]
async fn an_isolated_endpoint_is_reported_as_still_failing_until_it_recovers() {
    within(async {
        let world = World::new(Duration::from_millis(1)).await;
        world.list(&[world.job(Task::Recovery(RECOVERY), 4)]).await;
        world.asked().await.fails().await;
        world.asked().await.passes().await;
        let verified = Told::Event(EventKind::Verified, None);
        let expected = [verified.clone(), Told::StillFailing(epoch(4)), verified, Told::Recovered(epoch(4), 2)];
        assert_eq!(world.told(4).await, expected);
        let view = world.view().await;
        let count = view.counts[&id("a")].about(&world.subject(4).endpoint);
        assert_eq!((count, view.spent[&id("a")]), (Some(2), Tokens { input: 80, output: 6 }));
    })
    .await;
}

#[actix_web::test]
async fn a_second_opinion_that_passes_is_fit_and_two_that_fail_are_unfit() {
    within(async {
        let world = World::patient().await;
        let opinion = Told::Event(EventKind::SecondOpinion, Some(Reason::Timeout));
        world.list(&[world.job(OPINION, 1)]).await;
        world.asked().await.fails().await;
        world.asked().await.passes().await;
        assert_eq!(world.told(3).await, [opinion.clone(), opinion.clone(), Told::Fit(epoch(1), AtHome::Opinion)]);
        world.told.borrow_mut().clear();

        world.list(&[world.job(OPINION, 2)]).await;
        world.asked().await.fails().await;
        world.asked().await.fails().await;
        assert_eq!(world.told(3).await, [opinion.clone(), opinion, Told::Unfit(epoch(2), MISSING.to_owned())]);
        let view = world.view().await;
        assert!(view.counts.is_empty(), "a second opinion is no verification since an isolation");
        assert!(view.progress[&id("a")].next.is_some(), "it rests, though it is still on the list");
        assert!(world.upstream.has_no_more_connections().await);
    })
    .await;
}

#[actix_web::test]
async fn the_registry_learns_whose_used_up_window_is_so_still() {
    within(async {
        let world = World::patient().await;
        let mut early = world.job(Task::EarlyReturn { since: Clock::BEGAN }, 3);
        early.subject = Subject { model: Some(Arc::from("opus")), suffices: Suffices::ItAlone, ..early.subject };
        world.list(&[early]).await;
        let verdict = world.admin_wants(3);
        world.asked().await.fails().await;
        assert!(!verdict.await.unwrap().ok);
        let verified = Told::Event(EventKind::Verified, None);
        assert_eq!(world.told(2).await, [verified, Told::StillExhausted(epoch(3), Some(Arc::from("opus")))]);
    })
    .await;
}

#[actix_web::test]
async fn an_admins_verification_counts_for_the_entry() {
    within(async {
        let world = World::patient().await;
        let early = world.job(Task::EarlyReturn { since: Clock::BEGAN }, 3);
        world.list(std::slice::from_ref(&early)).await;
        let verdict = world.admin_wants(3);
        world.asked().await.passes().await;
        assert!(verdict.await.unwrap().ok);
        let verified = Told::Event(EventKind::Verified, None);
        assert_eq!(world.told(2).await, [verified, Told::Fit(epoch(3), AtHome::EarlyReturn)]);
    })
    .await;
}

#[actix_web::test]
async fn an_admins_verification_of_any_other_endpoint_tells_the_verdict_and_that_it_works() {
    within(async {
        let world = World::patient().await;
        let first = world.admin_wants(3);
        let asked = world.asked().await;
        let second = world.admin_wants(3);
        asked.passes().await;
        let verdict = first.await.unwrap();
        assert_eq!((verdict.ok, verdict.tokens), (true, Tokens { input: 40, output: 3 }));
        assert_eq!(second.await.unwrap(), verdict, "both have heard of the one conversation");
        assert_eq!(world.told(2).await, [Told::Event(EventKind::Verified, None), Told::Proved(epoch(3))]);
        assert_eq!(world.view().await.progress.len(), 0);
        assert!(world.upstream.has_no_more_connections().await);
    })
    .await;
}

#[actix_web::test]
async fn an_isolation_while_an_admins_conversation_is_under_way_leaves_one_conversation() {
    within(async {
        let world = World::patient().await;
        let verdict = world.admin_wants(1);
        let mut void = world.asked().await;
        world.list(&[world.job(Task::Recovery(RECOVERY), 2)]).await;
        void.peer.closed().await;
        assert!(verdict.await.is_err(), "whoever asked learns that the endpoint has moved");
        world.asked().await.passes().await;
        let recovered = Told::Recovered(epoch(2), 1);
        assert_eq!(world.told(2).await, [Told::Event(EventKind::Verified, None), recovered]);
    })
    .await;
}

/// Once wrong: an admin was told that the endpoint had moved, which it had not.
#[actix_web::test]
async fn an_admin_gets_the_verdict_of_the_conversation_that_takes_the_place_of_a_void_one() {
    within(async {
        let world = World::patient().await;
        let job = world.job(Task::Recovery(RECOVERY), 2);
        world.list(std::slice::from_ref(&job)).await;
        let mut void = world.asked().await;
        let verdict = world.admin_wants(2);
        // A doubt: any model's answer will do now.
        let subject = Subject { suffices: Suffices::AnyModel, ..job.subject };
        world.list(&[VerifyJob { subject, ..job }]).await;
        void.peer.closed().await;
        world.asked().await.passes().await;
        assert!(verdict.await.unwrap().ok);
        assert_eq!(world.told(2).await, [Told::Event(EventKind::Verified, None), Told::Recovered(epoch(2), 1)]);
    })
    .await;
}

/// Once wrong, likewise: the window that the endpoint was also asked about had ended.
#[actix_web::test]
async fn an_admin_gets_a_verdict_though_the_window_that_the_conversation_was_about_has_ended() {
    within(async {
        let world = World::patient().await;
        let subject = Subject { suffices: Suffices::ItAlone, ..world.subject(2) };
        world.list(&[VerifyJob { subject, task: Task::EarlyReturn { since: Clock::BEGAN } }]).await;
        let verdict = world.admin_wants(2);
        let mut void = world.asked().await;
        world.list(&[]).await;
        void.peer.closed().await;
        world.asked().await.passes().await;
        assert!(verdict.await.unwrap().ok);
        assert_eq!(world.told(2).await, [Told::Event(EventKind::Verified, None), Told::Proved(epoch(2))]);
    })
    .await;
}

#[actix_web::test]
async fn a_newer_epochs_conversation_breaks_the_older_ones_off() {
    within(async {
        let world = World::patient().await;
        world.list(&[world.job(Task::Recovery(RECOVERY), 1)]).await;
        let mut void = world.asked().await;
        let verdict = world.admin_wants(2);
        void.peer.closed().await;
        world.asked().await.passes().await;
        assert!(verdict.await.unwrap().ok);
        let told = [Told::Event(EventKind::Verified, None), Told::Proved(epoch(2))];
        assert_eq!(world.told(2).await, told, "its epoch is on no list yet");
    })
    .await;
}

#[actix_web::test]
async fn news_of_an_older_epoch_starts_no_conversation() {
    within(async {
        let world = World::patient().await;
        world.list(&[world.job(Task::Recovery(RECOVERY), 2)]).await;
        let asked = world.asked().await;
        assert!(world.admin_wants(1).await.is_err());
        assert!(world.upstream.has_no_more_connections().await);
        asked.passes().await;
        assert_eq!(world.told(2).await[1], Told::Recovered(epoch(2), 1));
    })
    .await;
}

#[actix_web::test]
async fn what_left_the_list_is_broken_off() {
    within(async {
        let world = World::patient().await;
        world.list(&[world.job(Task::Recovery(RECOVERY), 2)]).await;
        let mut asked = world.asked().await;
        world.list(&[]).await;
        asked.peer.closed().await;
        assert_eq!(world.view().await.progress.len(), 0);
        assert!(world.told.borrow().is_empty());
    })
    .await;
}

#[actix_web::test]
async fn a_request_that_waits_hastens_the_verification() {
    within(async {
        let world = World::patient().await;
        let job = world.job(Task::Recovery(Recovery { urgency: Urgency::Delayed, ..RECOVERY }), 2);
        world.list(std::slice::from_ref(&job)).await;
        assert!(world.upstream.has_no_more_connections().await);
        world.verifier.do_send(Hasten([(id("a"), epoch(2))].into()));
        world.asked().await.fails().await;
        world.told(2).await;
        world.verifier.send(Hasten([(id("a"), epoch(2))].into())).await.unwrap();
        assert!(world.view().await.progress[&id("a")].next.is_some(), "but not within the first delay of the latest");
    })
    .await;
}

/// A regression: the latest conversation and the total cost were once kept for every endpoint that ever existed.
#[actix_web::test]
async fn of_an_endpoint_that_is_gone_nothing_is_kept() {
    within(async {
        let world = World::patient().await;
        world.list(&[world.job(Task::Recovery(RECOVERY), 4)]).await;
        world.asked().await.fails().await;
        world.told(2).await;
        for (known, kept) in [(vec![id("a"), id("b")], 1), (vec![id("b")], 0)] {
            world.list(&[]).await;
            world.verifier.send(ForgetOthers(Arc::new(known.into_iter().collect()))).await.unwrap();
            let view = world.view().await;
            assert_eq!([view.last.len(), view.spent.len(), view.counts.len()], [kept; 3]);
        }
    })
    .await;
}
