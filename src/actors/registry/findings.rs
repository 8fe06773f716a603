//! Handles the breakers' verdicts and the verifier's findings.

use actix::Handler;

use super::super::messages::{Concluded, Conclusion, Recovered, Verdict};
use super::{Registry, log_recovered};

impl Handler<Verdict> for Registry {
    type Result = ();

    fn handle(&mut self, Verdict { ticket, ruling }: Verdict, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.judge(&ticket, ruling, now, out));
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

impl Handler<Concluded> for Registry {
    type Result = ();

    fn handle(&mut self, Concluded { endpoint: id, epoch, conclusion }: Concluded, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| match conclusion {
            Conclusion::StillFailing(finished) => core.still_failing(&id, epoch, &finished, now, out),
            Conclusion::Fit { purpose, model } => core.fit(&id, epoch, purpose, model.as_ref(), now, out),
            Conclusion::StillExhausted { model } => core.still_exhausted(&id, epoch, model.as_ref(), now, out),
            Conclusion::Unfit(error) => core.unfit(&id, epoch, error, now, out),
            Conclusion::Undecided => core.undecided(&id, epoch, out),
            Conclusion::Proved => core.proved(&id, epoch, out),
        });
    }
}
