//! A scripted upstream on raw sockets. It runs on the test's own single-threaded runtime, records every request, and does
//! what the test's script says; without a script it is an honest LLM service. Dropping the handle closes its sockets.
//!
//! Two sorts of requests are told apart: *verifications* (see [`is_verification`]) and *traffic*, which is all the
//! rest. A test marks its own requests with the header `x-traffic`, so that they are never taken for verifications.

mod connection;
pub(crate) mod dialect;
mod player;
pub(crate) mod record;
pub(crate) mod step;
mod stream;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) use self::dialect::Protocol;
use self::record::Recorded;
use self::step::{Behaviour, Step};
use super::eventually::within;
use super::gates::Gates;

/// Connections that may wait to be accepted: more than any test opens at once.
const BACKLOG: u32 = 1024;

/// A scripted upstream.
pub(crate) struct Upstream {
    shared: Rc<Shared>,
    address: SocketAddr,
    /// Bound but never listening: it keeps the port from everyone else while the upstream is down.
    _reservation: TcpSocket,
    listening: RefCell<Option<Listening>>,
}

struct Listening {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What the handle and the connections share.
struct Shared {
    name: String,
    protocol: Protocol,
    gates: Gates,
    arrived: watch::Sender<usize>,
    state: RefCell<State>,
}

type Predicate = Rc<dyn Fn(&Recorded) -> bool>;

struct State {
    /// When which sort of request came. It is short, and kept however many there are.
    arrivals: Vec<Arrival>,
    /// Empty where there are too many to keep.
    requests: Vec<(Recorded, Sort)>,
    keeps_requests: bool,
    connections: usize,
    faults: Vec<String>,
    scripts: Scripts,
    behaviour: Behaviour,
    /// What requests of other traffic get whose body holds these words.
    answers: Vec<(String, Step)>,
    required_key: Option<String>,
    is_verification: Predicate,
}

/// Steps for requests to come; each is used once, in the order of arrival.
#[derive(Default)]
struct Scripts {
    any: VecDeque<Step>,
    traffic: VecDeque<Step>,
    verifications: VecDeque<Step>,
    before_body: VecDeque<Step>,
}

/// A line of the upstream's own log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) sort: Sort,
    /// When the head had come.
    pub(crate) at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Traffic,
    Verification,
}

/// Whether a request looks like a verification: it lacks the header `x-traffic`, and what the user wrote holds two words
/// of three capitals and digits, the halves of a code.
pub(crate) fn is_verification(request: &Recorded) -> bool {
    request.header("x-traffic").is_none() && dialect::joined_code(&dialect::question(&request.json())).is_some()
}

impl Upstream {
    /// One that speaks anthropic where the path leaves it open, with gates of its own.
    pub(crate) async fn anthropic(name: &str) -> Self {
        Self::start(name, Protocol::Anthropic, &Gates::default()).await
    }

    /// One that speaks openai where the path leaves it open, with gates of its own.
    pub(crate) async fn openai(name: &str) -> Self {
        Self::start(name, Protocol::OpenAi, &Gates::default()).await
    }

    /// One whose gates are shared with others.
    #[expect(clippy::unused_async, reason = "only callable on the runtime, and awaited like its counterpart `down`")]
    pub(crate) async fn start(name: &str, protocol: Protocol, gates: &Gates) -> Self {
        let reservation = TcpSocket::new_v4().unwrap();
        reservation.set_reuseaddr(true).unwrap();
        reservation.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = reservation.local_addr().unwrap();
        let state = State {
            arrivals: Vec::new(),
            requests: Vec::new(),
            keeps_requests: true,
            connections: 0,
            faults: Vec::new(),
            scripts: Scripts::default(),
            behaviour: Behaviour::honest(),
            answers: Vec::new(),
            required_key: None,
            is_verification: Rc::new(is_verification),
        };
        let shared = Rc::new(Shared {
            name: name.to_owned(),
            protocol,
            gates: gates.clone(),
            arrived: watch::Sender::new(0),
            state: RefCell::new(state),
        });
        let upstream = Self { shared, address, _reservation: reservation, listening: RefCell::new(None) };
        upstream.up();
        upstream
    }

    /// What goes into the settings as this endpoint's URL, without a slash at the end.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) fn gates(&self) -> &Gates {
        &self.shared.gates
    }

    // What it does.

    /// From now on, where no script says otherwise.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.shared.state.borrow_mut().behaviour = behaviour;
    }

    /// For all traffic whose body holds these words; comes before every script.
    pub(crate) fn answers_to(&self, words: &str, step: Step) {
        self.shared.state.borrow_mut().answers.push((words.to_owned(), step));
    }

    /// For the next requests of either sort, one step each.
    pub(crate) fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.shared.state.borrow_mut().scripts.any.extend(steps);
    }

    /// For the next requests that are no verifications; comes before [`Upstream::script`].
    pub(crate) fn script_traffic(&self, steps: impl IntoIterator<Item = Step>) {
        self.shared.state.borrow_mut().scripts.traffic.extend(steps);
    }

    /// For the next verifications; comes before [`Upstream::script`].
    pub(crate) fn script_verifications(&self, steps: impl IntoIterator<Item = Step>) {
        self.shared.state.borrow_mut().scripts.verifications.extend(steps);
    }

    /// For the next requests of either sort, played as soon as the head is there; the body is never read, and the
    /// connection, if the step keeps it, stays open in silence. Comes before all other scripts.
    pub(crate) fn script_before_body(&self, steps: impl IntoIterator<Item = Step>) {
        self.shared.state.borrow_mut().scripts.before_body.extend(steps);
    }

    /// Honest answers only for requests with this key, be it as `x-api-key` or as a bearer token, and 401 for others.
    pub(crate) fn requires_key(&self, key: &str) {
        self.shared.state.borrow_mut().required_key = Some(key.to_owned());
    }

    /// Honest again, to everyone: no script, no required key, and listening.
    pub(crate) fn mend(&self) {
        {
            let mut state = self.shared.state.borrow_mut();
            state.scripts = Scripts::default();
            state.behaviour = Behaviour::honest();
            state.answers.clear();
            state.required_key = None;
        }
        self.up();
    }

    /// Keeps no more of requests to come than when they came: for so many that there would be no room for all.
    pub(crate) fn keeps_arrivals_only(&self) {
        self.shared.state.borrow_mut().keeps_requests = false;
    }

    /// Another way of telling verifications from traffic, for requests to come.
    pub(crate) fn recognise_verifications(&self, predicate: impl Fn(&Recorded) -> bool + 'static) {
        self.shared.state.borrow_mut().is_verification = Rc::new(predicate);
    }

    /// Closes the listener and every connection, so that a new one is refused. The port stays this upstream's.
    pub(crate) async fn down(&self) {
        let Some(Listening { stop, task }) = self.listening.borrow_mut().take() else { return };
        // If the task has ended by itself there is nobody to tell.
        let _told = stop.send(());
        within("the upstream is down", task).await.unwrap();
    }

    /// Listens again on the same port, if it does not.
    pub(crate) fn up(&self) {
        let mut listening = self.listening.borrow_mut();
        if listening.is_some() {
            return;
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(BACKLOG).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::task::spawn_local(listen(listener, stopped, Rc::clone(&self.shared)));
        *listening = Some(Listening { stop, task });
    }

    // What it has seen.

    /// How many requests came.
    pub(crate) fn total(&self) -> usize {
        self.shared.state.borrow().arrivals.len()
    }

    /// How many requests came that were no verifications.
    pub(crate) fn traffic(&self) -> usize {
        self.count(Sort::Traffic)
    }

    /// How many verifications came.
    pub(crate) fn verifications(&self) -> usize {
        self.count(Sort::Verification)
    }

    /// When what came, in the order of arrival.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.shared.state.borrow().arrivals.clone()
    }

    /// Every request, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.state.borrow().requests.iter().map(|(request, _)| request.clone()).collect()
    }

    /// Every request that was no verification, in the order of arrival.
    pub(crate) fn traffic_requests(&self) -> Vec<Recorded> {
        self.of_sort(Sort::Traffic)
    }

    /// Every verification, in the order of arrival.
    pub(crate) fn verification_requests(&self) -> Vec<Recorded> {
        self.of_sort(Sort::Verification)
    }

    /// Waits until this many requests have come, and returns the last of these.
    pub(crate) async fn received(&self, count: usize) -> Recorded {
        let what = format!("{count} requests at {}", self.shared.name);
        let mut arrived = self.shared.arrived.subscribe();
        assert!(within(&what, arrived.wait_for(|arrived| *arrived >= count)).await.is_ok());
        self.requests().swap_remove(count - 1)
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state.borrow().connections
    }

    /// What was wrong with requests that could not be read, and forgets it: a fault that is left when the upstream is
    /// dropped fails the test.
    pub(crate) fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state.borrow_mut().faults)
    }

    fn count(&self, sort: Sort) -> usize {
        self.shared.state.borrow().arrivals.iter().filter(|arrival| arrival.sort == sort).count()
    }

    fn of_sort(&self, sort: Sort) -> Vec<Recorded> {
        let state = self.shared.state.borrow();
        let chosen = state.requests.iter().filter(|(_, its)| *its == sort);
        chosen.map(|(request, _)| request.clone()).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(Listening { task, .. }) = self.listening.borrow_mut().take() {
            task.abort();
        }
        let faults = self.take_faults();
        assert!(faults.is_empty() || std::thread::panicking(), "unread requests at {}: {faults:?}", self.name());
    }
}

impl Shared {
    fn fault(&self, what: String) {
        self.state.borrow_mut().faults.push(what);
    }

    /// Counts a new connection. None where the script closes it at once.
    fn accepted(&self) -> Option<usize> {
        let mut state = self.state.borrow_mut();
        let number = state.connections;
        state.connections += 1;
        let scripted = state.scripts.any.front().unwrap_or(&state.behaviour.traffic);
        if !scripted.closes_at_accept() {
            return Some(number);
        }
        state.scripts.any.pop_front();
        None
    }

    /// The step for a request whose body is not to be read, if there is one.
    fn step_before_body(&self) -> Option<Step> {
        self.state.borrow_mut().scripts.before_body.pop_front()
    }

    /// Records a request, whose head came then, under its number and returns the step for it: this one, or what the scripts
    /// say.
    fn record(
        &self,
        head_came: Instant,
        request: impl FnOnce(usize) -> Recorded,
        step: Option<Step>,
    ) -> (Recorded, Step) {
        let predicate = Rc::clone(&self.state.borrow().is_verification);
        let request = request(self.state.borrow().arrivals.len());
        let sort = if predicate(&request) { Sort::Verification } else { Sort::Traffic };
        let mut state = self.state.borrow_mut();
        state.arrivals.push(Arrival { sort, at: head_came });
        if state.keeps_requests {
            state.requests.push((request.clone(), sort));
        }
        let arrived = state.arrivals.len();
        let state = &mut *state;
        let (own, usual) = match sort {
            Sort::Traffic => (&mut state.scripts.traffic, &state.behaviour.traffic),
            Sort::Verification => (&mut state.scripts.verifications, &state.behaviour.verifications),
        };
        let holds = |words: &str| {
            sort == Sort::Traffic && request.body.windows(words.len()).any(|part| part == words.as_bytes())
        };
        let answer = state.answers.iter().find(|(words, _)| holds(words)).map(|(_, step)| step.clone());
        let scripted = step.or(answer).or_else(|| own.pop_front()).or_else(|| state.scripts.any.pop_front());
        let step = scripted.unwrap_or_else(|| usual.clone());
        self.arrived.send_replace(arrived);
        (request, step)
    }

    fn accepts_keys_of(&self, request: &Recorded) -> bool {
        let state = self.state.borrow();
        let Some(required) = &state.required_key else { return true };
        let keys = request.keys();
        !keys.is_empty() && keys.iter().all(|key| key == required)
    }
}

/// Accepts connections until told to stop; then closes them all.
async fn listen(listener: TcpListener, mut stopped: oneshot::Receiver<()>, shared: Rc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _told = &mut stopped => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    shared.fault(format!("the scripted upstream itself failed: {error}"));
                }
            }
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                if let Some(number) = shared.accepted() {
                    connections.spawn_local(connection::serve(stream, number, Rc::clone(&shared)));
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}
