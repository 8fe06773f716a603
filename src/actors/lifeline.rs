//! Crash-only: a control actor that dies takes the process with it.
//!
//! Without a registry nobody would own the truth, and actix's supervision does not survive a panic. So each control actor
//! holds a [`Lifeline`]; dropping one that was not released ends the process.

use std::fmt;
use std::sync::Arc;

/// Called with a control actor's name when it dies.
pub type OnDeath = Arc<dyn Fn(&'static str) + Send + Sync>;

/// Held by a control actor for as long as it lives.
pub struct Lifeline {
    actor: &'static str,
    on_death: Option<OnDeath>,
}

impl Lifeline {
    /// The lifeline of the actor with this name.
    pub fn new(actor: &'static str, on_death: OnDeath) -> Self {
        Self { actor, on_death: Some(on_death) }
    }

    /// Lets the actor end: the process is stopping in good order.
    pub fn release(&mut self) {
        self.on_death = None;
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if let Some(on_death) = &self.on_death {
            on_death(self.actor);
        }
    }
}

impl fmt::Debug for Lifeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lifeline({})", self.actor)
    }
}

/// Ends the process with a non-zero status, so that its supervisor restarts it.
#[expect(clippy::disallowed_methods, reason = "without its core the gateway must not go on for a moment")]
pub fn end_the_process(actor: &'static str) {
    log::error!("the {actor} died; without it no promise holds, so the process ends");
    log::logger().flush();
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix::{Actor, Context, Handler, Message};
    use actix_rt::Arbiter;

    use super::*;

    struct Fragile {
        _lifeline: Lifeline,
    }

    impl Actor for Fragile {
        type Context = Context<Self>;
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic;

    impl Handler<Panic> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("on purpose");
        }
    }

    #[actix_web::test]
    async fn a_handler_that_panics_is_the_actors_death() {
        let (died, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let on_death: OnDeath = Arc::new(move |actor| died.send(actor).unwrap());
        let thread = Arbiter::new();
        let actor = Fragile::start_in_arbiter(&thread.handle(), move |_| Fragile {
            _lifeline: Lifeline::new("registry", on_death),
        });
        assert!(actor.send(Panic).await.is_err());
        assert_eq!(heard.recv().await, Some("registry"));
        thread.stop();
    }

    #[test]
    fn death_is_noticed_and_a_release_is_none() {
        let deaths = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&deaths);
        let on_death: OnDeath = Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        drop(Lifeline::new("registry", Arc::clone(&on_death)));
        assert_eq!(deaths.load(Ordering::Relaxed), 1);
        let mut released = Lifeline::new("registry", on_death);
        released.release();
        drop(released);
        assert_eq!(deaths.load(Ordering::Relaxed), 1);
    }
}
