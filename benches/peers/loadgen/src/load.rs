//! The four kinds of load.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, sleep_until, timeout};

use crate::answer::{Reader, StreamReader, WholeReader};
use crate::connection::Connection;
use crate::options::{Mode, Options};
use crate::process;
use crate::request::Request;
use crate::tally::{Tally, Usage, figures};

/// How long the last answers may take once it is over.
const LAST: Duration = Duration::from_secs(10);
/// Before what was not to be had is tried again.
const RETRY: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warming,
    Measured,
    Over,
}

/// What the connections share.
struct Load {
    options: Options,
    phase: Cell<Phase>,
    /// When the next request of the timetable is due.
    due: Cell<Instant>,
    /// Streams that are open at the moment.
    open: Cell<usize>,
    tally: RefCell<Tally>,
}

impl Load {
    fn is_measured(&self) -> bool {
        self.phase.get() == Phase::Measured
    }

    fn is_over(&self) -> bool {
        self.phase.get() == Phase::Over
    }

    /// Waits for the next request's turn, and tells from when its latency counts.
    async fn turn(&self) -> Instant {
        if self.options.mode != Mode::Open {
            return Instant::now();
        }
        let due = self.due.get();
        self.due.set(due + self.options.pace);
        if Instant::now() >= due {
            return due; // every connection was busy: the wait is the proxy's
        }
        sleep_until(due.into()).await;
        Instant::now() // the timer's grain is ours
    }

    /// One connection, from its first request to the end.
    async fn connection(self: Rc<Self>, number: usize) {
        let mut request = Request::new(&self.options, number);
        let mut kept = None;
        self.spread(number).await;
        while !self.is_over() {
            let began = self.turn().await;
            if self.is_over() {
                return;
            }
            let connection = match kept.take() {
                Some(connection) => Ok(connection),
                None => Connection::open(self.options.address).await,
            };
            match connection {
                Ok(connection) => kept = self.exchange(connection, request.next(), began).await,
                Err(error) => {
                    self.tally.borrow_mut().fault(format!("connect: {error}"));
                    sleep(RETRY).await;
                }
            }
            if self.options.mode == Mode::Held {
                return;
            }
        }
    }

    /// Streams with pauses begin one after another: over a stream's length, or over the time for warming up where they are held.
    async fn spread(&self, number: usize) {
        let over = match self.options.mode {
            Mode::Held => self.options.warm.mul_f64(0.6),
            Mode::Stream => self.options.warm.mul_f64(0.8).min(self.stream_length()),
            Mode::Closed | Mode::Open => return,
        };
        let (number, count) =
            (u32::try_from(number).unwrap_or(0), u32::try_from(self.options.connections).unwrap_or(1));
        sleep(over * number / count.max(1)).await;
    }

    fn stream_length(&self) -> Duration {
        self.options.delay * u32::try_from(self.options.events).unwrap_or(u32::MAX)
    }

    /// One request; the connection, where it can be used again.
    async fn exchange(&self, mut connection: Connection, request: &[u8], began: Instant) -> Option<Connection> {
        let script = self.options.api.script();
        let mut first = None;
        let (answer, fault) = if self.options.mode.is_streamed() {
            let mut last = None;
            let mut heard = |now: Instant, events: usize, age: Option<u64>| {
                if first.is_none() {
                    first = Some(now);
                    self.open.set(self.open.get() + 1);
                }
                if self.is_measured() {
                    let mut tally = self.tally.borrow_mut();
                    tally.events += events as u64;
                    // What one read brings has come at once: it makes no gap, however it is cut into chunks.
                    tally.gaps.extend(last.filter(|last| *last != now).map(|last| micros(now - last)));
                    tally.ages.extend(age.map(|age| u32::try_from(age).unwrap_or(u32::MAX)));
                }
                last = Some(now);
            };
            let mut reader = StreamReader::new(script, self.options.events, self.options.is_lenient, &mut heard);
            (connection.exchange(request, &mut reader).await, reader.fault())
        } else {
            let mut reader = WholeReader::new(script, self.options.is_lenient);
            (connection.exchange(request, &mut reader).await, reader.fault())
        };
        if first.is_some() {
            self.open.set(self.open.get() - 1);
        }
        let mut tally = self.tally.borrow_mut();
        match answer {
            Ok(answer) if answer.status != 200 => tally.fault(format!("status {}", answer.status)),
            Ok(answer) => {
                if let Some(fault) = fault {
                    tally.fault(fault);
                } else if self.is_measured() {
                    tally.answers += 1;
                    tally.latencies.push(micros(first.unwrap_or_else(Instant::now) - began));
                }
                return answer.keeps_open.then_some(connection);
            }
            Err(error) => tally.fault(error.to_string()),
        }
        None
    }

    /// Waits until all streams are open that are to be held. A busy machine takes its time.
    async fn all_held(&self) {
        let late = Instant::now() + LAST;
        while self.options.mode == Mode::Held && self.open.get() < self.options.connections && Instant::now() < late {
            sleep(RETRY).await;
        }
        self.look_at_held();
    }

    /// Streams that are to be open all the time, and are not.
    fn look_at_held(&self) {
        let missing = self.options.connections - self.open.get();
        if self.options.mode == Mode::Held && missing > 0 {
            self.tally.borrow_mut().fault(format!("{missing} streams are not open while they should be"));
        }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// Runs it, and tells the figures as JSON.
pub fn run(mut options: Options) -> std::io::Result<String> {
    let whole = options.warm + options.length;
    if options.mode == Mode::Held {
        // They go on a little beyond the time in which they are measured.
        let events = (whole + 2 * options.delay).as_secs_f64() / options.delay.as_secs_f64().max(0.001);
        let events = events.ceil() as usize;
        options.events = events;
    }
    let pids = options.pid.map(process::with_descendants).unwrap_or_default();
    let idle_kib = process::resident_kib(&pids);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let last = LAST + options.delay * u32::try_from(options.events).unwrap_or(u32::MAX);
    let begin = Instant::now();
    let load = Rc::new(Load {
        phase: Cell::new(Phase::Warming),
        due: Cell::new(begin),
        open: Cell::new(0),
        tally: RefCell::default(),
        options,
    });
    let usage = tasks.block_on(&runtime, async {
        let mut connections = JoinSet::new();
        for number in 0..load.options.connections {
            connections.spawn_local(load.clone().connection(number));
        }
        sleep_until((begin + load.options.warm).into()).await;
        load.all_held().await;
        let (cpu, measured) = (process::cpu_nanos(&pids), Instant::now());
        load.phase.set(Phase::Measured);
        sleep_until((measured + load.options.length).into()).await;
        let (wall, cpu) = (measured.elapsed(), process::cpu_nanos(&pids) - cpu);
        load.phase.set(Phase::Over);
        load.look_at_held();
        let loaded_kib = process::resident_kib(&pids);
        if timeout(last, async { while connections.join_next().await.is_some() {} }).await.is_err() {
            let count = connections.len();
            load.tally.borrow_mut().fault(format!("{count} connections without an end"));
            connections.shutdown().await;
        }
        Usage { wall, cpu_nanos: cpu, idle_kib, loaded_kib }
    });
    Ok(figures(&mut load.tally.borrow_mut(), &usage))
}
