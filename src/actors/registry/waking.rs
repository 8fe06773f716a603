//! When the core looks at the clock: at each tick, and when the next waiter is due.

use actix::{AsyncContext, Context, Handler};

use super::super::messages::Tick;
use super::{Registry, TICK};
use crate::domain::registry::RegistryCore;

impl Registry {
    /// Sets the alarm for when the next waiter is due.
    pub(super) fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let next = self.core.next_wake();
        if self.alarm.map(|(wake, _)| wake) == next {
            return;
        }
        if let Some((_, alarm)) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        self.alarm = next.map(|wake| {
            let alarm = ctx.run_later(wake.since(self.clock.now()), |registry, ctx| {
                registry.alarm = None;
                registry.forget_who_left();
                registry.step(ctx, RegistryCore::wake);
            });
            (wake, alarm)
        });
    }
}

impl Handler<Tick> for Registry {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        let now = self.clock.now();
        self.clock.follow(now.before(TICK));
        self.forget_who_left();
        self.step(ctx, RegistryCore::tick);
        self.publish_failures();
        self.keep(|keeping, image| {
            keeping.catch_up(image);
            keeping.look_at_the_clock(now);
        });
    }
}
