//! What the breakers judge and the verifier finds.

use actix::Handler;

use super::super::messages::{Fit, Proved, Recovered, StillExhausted, StillFailing, Undecided, Unfit, Verdict};
use super::{Registry, log_recovered};

impl Handler<Verdict> for Registry {
    type Result = ();

    fn handle(&mut self, Verdict { ticket, judgement }: Verdict, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.judge(&ticket, judgement, now, out));
    }
}

impl Handler<Recovered> for Registry {
    type Result = ();

    fn handle(&mut self, Recovered { proof, verifications, step }: Recovered, ctx: &mut Self::Context) {
        let (id, ms, score) = (proof.endpoint().clone(), proof.elapsed().as_millis(), proof.score());
        self.step(ctx, |core, now, out| {
            core.passed(&id, proof.epoch(), step);
            if core.restore(proof, now, out).is_some() {
                log_recovered(&id, ms, score, verifications);
            }
        });
    }
}

impl Handler<StillFailing> for Registry {
    type Result = ();

    fn handle(&mut self, news: StillFailing, ctx: &mut Self::Context) {
        let StillFailing { endpoint, epoch, finished } = news;
        self.step(ctx, |core, now, out| core.still_failing(&endpoint, epoch, &finished, now, out));
    }
}

impl Handler<Proved> for Registry {
    type Result = ();

    fn handle(&mut self, Proved { endpoint, epoch }: Proved, ctx: &mut Self::Context) {
        self.step(ctx, |core, _, out| core.proved(&endpoint, epoch, out));
    }
}

impl Handler<Fit> for Registry {
    type Result = ();

    fn handle(&mut self, Fit { endpoint, epoch, purpose, model }: Fit, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.fit(&endpoint, epoch, purpose, model.as_ref(), now, out));
    }
}

impl Handler<StillExhausted> for Registry {
    type Result = ();

    fn handle(&mut self, StillExhausted { endpoint, epoch, model }: StillExhausted, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.still_exhausted(&endpoint, epoch, model.as_ref(), now, out));
    }
}

impl Handler<Unfit> for Registry {
    type Result = ();

    fn handle(&mut self, Unfit { endpoint, epoch, error }: Unfit, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.unfit(&endpoint, epoch, error, now, out));
    }
}

impl Handler<Undecided> for Registry {
    type Result = ();

    fn handle(&mut self, Undecided { endpoint, epoch }: Undecided, ctx: &mut Self::Context) {
        self.step(ctx, |core, _, out| core.undecided(&endpoint, epoch, out));
    }
}
