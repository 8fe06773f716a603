//! `check --live`: verifies each endpoint once and reports the results. It moves no endpoint.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::StreamExt;

use crate::clock::Clock;
use crate::domain::advice::next_step;
use crate::domain::challenge::{Code, Verdict};
use crate::domain::classify::Words;
use crate::domain::endpoint::SharedEndpoint;
use crate::domain::ids::Epoch;
use crate::domain::schedule::Subject;
use crate::policies::probe_settings;
use crate::settings::Loaded;
use crate::upstream::tls::{TlsConfigError, client_config};
use crate::upstream::{Bill, Client, Limits, Probe};

/// The results of the conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// A line for each endpoint, and for those that failed the next step.
    pub text: String,
    /// Whether every enabled endpoint passed.
    pub all_passed: bool,
}

/// Verifies every enabled endpoint, `verifier.concurrency` at a time.
///
/// # Errors
///
/// [`TlsConfigError`] if TLS can't be set up.
pub async fn verify_all(loaded: &Loaded) -> Result<Verdicts, TlsConfigError> {
    let tls = client_config(&loaded.settings.upstream.authorities)?;
    let probe = Probe::new(Client::new(tls, Limits::default()), probe_settings(&loaded.settings));
    let clock = Clock::start();
    let converse = async |endpoint: &SharedEndpoint| {
        if !endpoint.enabled {
            return (Arc::clone(endpoint), None);
        }
        let code = Code::from_random(fastrand::u64(..));
        (
            Arc::clone(endpoint),
            Some(probe.converse(&Subject::new(Arc::clone(endpoint), Epoch::NONE), code, clock, &Bill::default()).await),
        )
    };
    let conversations = futures_util::stream::iter(loaded.topology.iter().map(converse));
    let verdicts: Vec<_> = conversations.buffered(loaded.settings.verifier.concurrency).collect().await;
    Ok(told(&verdicts, loaded.settings.log.words()))
}

fn told(verdicts: &[(SharedEndpoint, Option<Verdict>)], words: Words) -> Verdicts {
    let mut text = String::from("verified:\n");
    let mut all_passed = true;
    for (endpoint, verdict) in verdicts {
        let id = &endpoint.id;
        // Writing to a String can't fail.
        let _ = match verdict {
            None => writeln!(text, "  {id}  not asked: it is disabled"),
            Some(Verdict::Proven(proof)) => {
                writeln!(text, "  {id}  passed ms={} score={}", proof.elapsed().as_millis(), proof.score())
            }
            Some(Verdict::Unproven(unproven)) => {
                all_passed = false;
                let ms = unproven.elapsed.as_millis();
                writeln!(text, "  {id}  FAILED ms={ms} error={:?}", unproven.error.as_str())
                    .and_then(|()| writeln!(text, "      next: {}", next_step(unproven, endpoint, words)))
            }
        };
    }
    Verdicts { text, all_passed }
}
