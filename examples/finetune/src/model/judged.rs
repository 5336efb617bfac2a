//! What `burn_ief::eval` needs of a model.

use burn::module::Module;
use burn::tensor::{Bool, Tensor};
use burn_ief::eval::LossKind;

/// A fine-tuned model whose updates can be judged with [`burn_ief::eval`].
///
/// γ of the update that a method makes of a batch:
///
/// ```
/// use burn_ief::eval::{Fisher, Quality, summed_gradient};
/// use burn_ief::prelude::*;
/// use finetune::model::Judged;
///
/// fn quality<M: Judged>(model: &M, batch: &M::Batch) -> Result<Quality, burn_ief::Error> {
///     let mut ief = IefConfig::new().init(model);
///     let tape = ief.start();
///     let update = ief.gradients(tape, model.loss(batch).backward(), model)?;
///
///     let scale = LossScale::Mean.factor(M::samples(batch));
///     let sgd = summed_gradient(model.loss(batch).backward(), model, scale);
///     let mut fisher = Fisher::new(model.loss_kind());
///     if let Some(padding) = M::padding(batch) {
///         fisher = fisher.with_padding(padding);
///     }
///     fisher.at(model, |model| model.outputs(batch))?.quality(&update, &sgd)
/// }
/// ```
pub trait Judged: Module + 'static {
    /// M samples with their labels.
    type Batch: Clone + Send + 'static;

    /// Logits, by recorded calls.
    ///
    /// # Shapes
    ///
    /// - output: `[M, T, C]`; a classifier has one position, T = 1
    ///
    /// # Panics
    ///
    /// Panics if the batch was made for another model.
    fn outputs(&self, batch: &Self::Batch) -> Tensor<3>;

    /// The mean over the samples of their losses (each the sum over its positions), `[1]`, with the
    /// output and the loss marked.
    ///
    /// # Panics
    ///
    /// Panics if the batch was made for another model.
    fn loss(&self, batch: &Self::Batch) -> Tensor<1>;

    /// The loss as a likelihood of the outputs.
    fn loss_kind(&self) -> LossKind {
        LossKind::CrossEntropy
    }

    /// Positions without a label, `[M, T]`; `None` if all have one.
    fn padding(batch: &Self::Batch) -> Option<Tensor<2, Bool>> {
        let _ = batch;
        None
    }

    /// M.
    fn samples(batch: &Self::Batch) -> usize;
}
