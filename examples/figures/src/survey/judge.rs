//! One model on one batch: recordings and γ.

use burn::optim::GradientsParams;
use burn_ief::LabelDraw;
use burn_ief::eval::{
    Fisher, FisherAt, Quality, Survey, Sweep, SweepRule, displacement, imbalance,
};
use burn_ief::jacobian::RecordedBatch;
use burn_ief::methods::AnyConfig;
use burn_ief::prelude::*;
use burn_ief::solve::DampingAmount;
use finetune::model::Judged;
use programs::optimizer::AdamWOptions;

use super::{Stage, Trainer};
use crate::error::Error;

/// Of AdamW's step. Its length has no influence on γ; the step must be small next to no parameter's precision.
const STEP_SIZE: f64 = 1e-2;

/// Judges the updates of one batch.
pub(super) struct Judge<'a, M: Judged> {
    stage: &'a Stage<M>,
    name: String,
    batch: &'a M::Batch,
    at: FisherAt<'a, M>,
    sweep: Sweep,
    imbalance: f64,
    sgd: Quality,
}

impl<'a, M: Judged> Judge<'a, M> {
    /// Record the batch, with drawn labels that depend on the seed.
    pub fn new(stage: &'a Stage<M>, batch: &'a M::Batch, seed: u64) -> Result<Self, Error> {
        let what = || format!("epoch {}, batch {seed}", stage.epoch);
        let fail = |error| Error::method(what())(error);
        let model = &stage.model;
        let tape = Tape::with_drawn_labels(LabelDraw::sample(1, seed, 0));
        let recorded = RecordedBatch::collect(tape, model.loss(batch).backward(), model, None)
            .map_err(fail)?;
        let mut fisher = Fisher::new(model.loss_kind());
        if let Some(padding) = M::padding(batch) {
            fisher = fisher.with_padding(padding);
        }
        let at = fisher.at(model, |model: &M| model.outputs(batch));
        let at = at.map_err(fail)?;
        let sweep = Sweep::new(&recorded).map_err(fail)?;
        let sgd = at.quality(sweep.gradient(), sweep.gradient());
        Ok(Self {
            name: stage.name(),
            imbalance: imbalance(&recorded.jacobian()).map_err(fail)?,
            sgd: sgd.map_err(fail)?,
            stage,
            batch,
            at,
            sweep,
        })
    }

    /// The largest gradient norm of a sample over the smallest.
    pub fn imbalance(&self) -> f64 {
        self.imbalance
    }

    /// γ of rules at dampings, into a survey.
    pub fn push(
        &self,
        survey: &mut Survey,
        rules: &[SweepRule],
        amounts: &[DampingAmount],
    ) -> Result<(), Error> {
        let points = self.sweep.qualities(&self.at, rules, amounts);
        let points = points.map_err(self.fail("a sweep"))?;
        survey.push_sweep(&self.name, &points, &self.sgd);
        Ok(())
    }

    /// γ of SGD, into a survey.
    pub fn push_sgd(&self, survey: &mut Survey) {
        survey.push(&self.name, "sgd", &self.sgd, &self.sgd);
    }

    /// γ of a member of the K-FAC family, made of this batch alone, into a survey.
    pub fn push_kfac(
        &self,
        survey: &mut Survey,
        direction: &str,
        config: &AnyConfig,
    ) -> Result<(), Error> {
        let model = &self.stage.model;
        let optim = config.try_init(model);
        let mut optim = optim.map_err(self.fail(direction))?;
        let tape = optim.start();
        let update = optim.gradients(tape, model.loss(self.batch).backward(), model);
        let update: GradientsParams = update.map_err(self.fail(direction))?;
        let quality = self.at.quality(&update, self.sweep.gradient());
        let quality = quality.map_err(self.fail(direction))?;
        survey.push(&self.name, direction, &quality, &self.sgd);
        Ok(())
    }

    /// γ of a step of AdamW with these options, from the state that it has in the training, into a survey.
    pub fn push_adamw(
        &self,
        survey: &mut Survey,
        direction: &str,
        trainer: &Trainer,
        options: &AdamWOptions,
    ) -> Result<(), Error> {
        let model = &self.stage.model;
        let grads = GradientsParams::from_grads(model.loss(self.batch).backward(), model);
        let after = trainer.step(options, STEP_SIZE, model.clone(), grads);
        let after = after.map_err(|source| Error::State {
            what: format!("{direction} at epoch {}", self.stage.epoch),
            source,
        })?;
        let update = displacement(model, &after).map_err(self.fail(direction))?;
        let quality = self.at.quality(&update, self.sweep.gradient());
        let quality = quality.map_err(self.fail(direction))?;
        survey.push(&self.name, direction, &quality, &self.sgd);
        Ok(())
    }

    fn fail(&self, what: &str) -> impl FnOnce(burn_ief::Error) -> Error {
        Error::method(format!("{what} at epoch {}", self.stage.epoch))
    }
}
