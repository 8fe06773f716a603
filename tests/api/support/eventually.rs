//! The two allowed forms of waiting: for a future with a limit, and for something that is only seen from outside.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

/// How long a test waits for anything. Far above what any of it takes, also on a machine with as much else to do, so that only a
/// fault reaches it.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// In so many slices, so that a process that was stopped meanwhile, and finds all its timers due at once, loses one of them only.
const SLICES: u32 = 100;

/// How often [`eventually`] looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// Awaits the future, and fails the test with `what` when that takes longer than [`LIMIT`].
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    for _ in 0..SLICES {
        if let Ok(output) = timeout(LIMIT / SLICES, &mut future).await {
            return output;
        }
    }
    panic!("not within {LIMIT:?}: {what}")
}

/// What a look from outside may find: `true` or `Some` where it was what the test waits for.
pub(crate) trait Sighting {
    /// What is handed to the test once it is there.
    type Found;

    /// What was found, or nothing yet.
    fn found(self) -> Option<Self::Found>;
}

impl Sighting for bool {
    type Found = ();

    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Sighting for Option<T> {
    type Found = T;

    fn found(self) -> Self {
        self
    }
}

/// Looks again and again until `look` finds what it looks for, and fails the test with `what` after [`LIMIT`].
/// For what can only be seen from outside; where there is a gate or a notification, await that.
pub(crate) async fn eventually<S: Sighting>(what: &str, mut look: impl AsyncFnMut() -> S) -> S::Found {
    let found = async {
        loop {
            if let Some(found) = look().await.found() {
                return found;
            }
            sleep(INTERVAL).await;
        }
    };
    within(what, found).await
}

/// The present, for tests of what takes its time.
#[expect(clippy::disallowed_methods, reason = "a test measures what the gateway has let pass")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
