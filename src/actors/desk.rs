//! The actor that owns the dashboard's logins. If it is gone, nobody can log in, and nothing else suffers.

use actix::{Actor, Context, Handler, MessageResult};

use super::messages::{LogIn, LogOut, TokenOfSession};
use crate::clock::Clock;
use crate::domain::logins::{LoginRefused, Logins};

/// Lets people log in, within limits, and knows their sessions.
#[derive(Debug)]
pub struct Desk {
    clock: Clock,
    logins: Logins,
}

impl Desk {
    /// A desk at which nobody is logged in.
    pub fn new(clock: Clock) -> Self {
        Self { clock, logins: Logins::default() }
    }
}

impl Actor for Desk {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX_CAPACITY);
    }
}

impl Handler<LogIn> for Desk {
    type Result = Result<(), LoginRefused>;

    fn handle(&mut self, LogIn { peer, shown, accepted, value }: LogIn, _: &mut Self::Context) -> Self::Result {
        self.logins.open(peer, shown, &accepted, value, self.clock.now())
    }
}

impl Handler<TokenOfSession> for Desk {
    type Result = MessageResult<TokenOfSession>;

    fn handle(&mut self, TokenOfSession(value): TokenOfSession, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.logins.token(&value, self.clock.now()))
    }
}

impl Handler<LogOut> for Desk {
    type Result = ();

    fn handle(&mut self, LogOut(value): LogOut, _: &mut Self::Context) {
        self.logins.close(&value);
    }
}
