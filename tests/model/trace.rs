//! What a run did: a digest of all of it, and its last steps for whoever has to find out why it failed.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

const KEPT: usize = 40;

/// The record of one run. When the test panics it tells how to replay it.
pub(crate) struct Trace {
    seed: u64,
    step: u64,
    /// Whether the steps are over.
    is_draining: bool,
    digest: DefaultHasher,
    latest: VecDeque<String>,
    /// How often each situation that a run should meet has come about.
    met: BTreeMap<&'static str, u32>,
}

impl Trace {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            step: 0,
            is_draining: false,
            digest: DefaultHasher::new(),
            latest: VecDeque::new(),
            met: BTreeMap::new(),
        }
    }

    pub(crate) fn begin_step(&mut self) {
        self.step += 1;
    }

    /// How many there were.
    pub(crate) fn steps(&self) -> u64 {
        self.step
    }

    pub(crate) fn ends(&mut self) {
        self.is_draining = true;
        self.note("no further step: what is under way arrives");
    }

    pub(crate) fn note(&mut self, what: &str) {
        what.hash(&mut self.digest);
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(format!("{:5} {what}", self.step));
    }

    pub(crate) fn met(&mut self, situation: &'static str) {
        *self.met.entry(situation).or_default() += 1;
    }

    pub(crate) fn all_met(&self) -> &BTreeMap<&'static str, u32> {
        &self.met
    }

    pub(crate) fn fold(&mut self, state: &impl Hash) {
        state.hash(&mut self.digest);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }
}

impl Drop for Trace {
    #[expect(clippy::print_stderr, reason = "a failing run tells how to replay it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, step) = (self.seed, self.step);
            let after = if self.is_draining { "after" } else { "at" };
            eprintln!(
                "the simulation failed {after} step {step} of seed {seed}; replay: QCC_SIM_SEED={seed} QCC_SIM_STEPS={step} \
                 cargo test --test model the_promises"
            );
            for line in &self.latest {
                eprintln!("{line}");
            }
        }
    }
}
