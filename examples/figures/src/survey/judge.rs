//! One model on one batch: recordings and γ.

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::GradientsParams;
use burn_ief::eval::{Fisher, FisherAt, Loss, Quality, Survey, Sweep, SweepRule, imbalance};
use burn_ief::jacobian::Recorded;
use burn_ief::kfac::Kfac;
use burn_ief::update::Amount;
use burn_ief::{LabelDraw, Tape};

use super::{Classifier, Labelled, Stage};
use crate::error::Error;

/// Judges the updates of one batch.
pub(super) struct Judge<'a, M: Classifier> {
    stage: &'a Stage<M>,
    name: String,
    batch: &'a Labelled<M::Input>,
    at: FisherAt<'a, M>,
    sweep: Sweep,
    imbalance: f64,
    sgd: Quality,
}

impl<'a, M: Classifier> Judge<'a, M> {
    /// Record the batch, with drawn labels that depend on the seed.
    pub fn new(
        stage: &'a Stage<M>,
        batch: &'a Labelled<M::Input>,
        seed: u64,
    ) -> Result<Self, Error> {
        let what = || format!("epoch {}, batch {seed}", stage.epoch);
        let fail = |error| Error::method(what())(error);
        let model = &stage.model;
        let tape = Tape::with_drawn_labels(LabelDraw::sample(1, seed, 0));
        let recorded = Recorded::collect(tape, grads(model, batch), model, None).map_err(fail)?;
        let at = Fisher::new(Loss::CrossEntropy)
            .at(model, |model: &M| model.logits(batch.input.clone()))
            .map_err(fail)?;
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
        amounts: &[Amount],
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
        mut method: Kfac,
    ) -> Result<(), Error> {
        let model = &self.stage.model;
        let tape = method.start();
        let update = method.gradients(tape, grads(model, self.batch), model);
        let update: GradientsParams = update.map_err(self.fail(direction))?;
        let quality = self.at.quality(&update, self.sweep.gradient());
        let quality = quality.map_err(self.fail(direction))?;
        survey.push(&self.name, direction, &quality, &self.sgd);
        Ok(())
    }

    fn fail(&self, what: &str) -> impl FnOnce(burn_ief::Error) -> Error {
        Error::method(format!("{what} at epoch {}", self.stage.epoch))
    }
}

/// Of the mean cross-entropy, with output and loss marked.
fn grads<M: Classifier>(model: &M, batch: &Labelled<M::Input>) -> burn::tensor::Gradients {
    let logits = burn_ief::output(model.logits(batch.input.clone()));
    let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
    let loss = cross_entropy.forward(logits, batch.labels.clone());
    burn_ief::loss(loss).backward()
}
