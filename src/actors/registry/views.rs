//! The registry's state as others see it: copies, and a count.

use actix::{Handler, MessageResult};

use super::super::messages::{CountUsable, ViewJournal, ViewRegistry};
use super::Registry;

impl Handler<ViewRegistry> for Registry {
    type Result = MessageResult<ViewRegistry>;

    fn handle(&mut self, _: ViewRegistry, _: &mut Self::Context) -> Self::Result {
        self.forget_who_left();
        MessageResult(self.core.view(self.clock.now()))
    }
}

impl Handler<CountUsable> for Registry {
    type Result = usize;

    fn handle(&mut self, _: CountUsable, _: &mut Self::Context) -> Self::Result {
        self.core.usable()
    }
}

impl Handler<ViewJournal> for Registry {
    type Result = MessageResult<ViewJournal>;

    fn handle(&mut self, _: ViewJournal, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.core.journal().clone())
    }
}
