//! The classifiers of the cases, from Burn's own layers and their recorded calls.

mod cnn;
mod mlp;
mod transformer;

use std::ops::Range;

use burn::module::Module;
use burn::tensor::Tensor;

pub use cnn::Cnn;
pub use mlp::Mlp;
pub use transformer::Transformer;

use crate::case::Case;
use crate::error::Error;
use crate::place::Place;
use crate::weights::{Parameter, Weights};

/// A classifier with the weights and inputs of a case.
pub trait Network: Module {
    /// What it is applied to.
    type Input: Clone;

    /// Names of the case's inputs.
    const INPUTS: &'static [&'static str];

    /// Take the weights out of a case.
    ///
    /// # Errors
    ///
    /// As the layers of [`Weights`].
    fn build(weights: &mut Weights<'_>, case: &Case) -> Result<Self, Error>;

    /// The inputs of a case, for this network.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Shape`], [`Error::Dtype`], [`Error::Value`].
    fn input(&self, case: &Case, place: &Place, samples: usize) -> Result<Self::Input, Error>;

    /// The inputs of some of the samples.
    fn part(input: &Self::Input, samples: Range<usize>) -> Self::Input;

    /// Logits `[M, C]`, recorded.
    fn logits(&self, input: Self::Input) -> Tensor<2>;

    /// C.
    fn classes(&self) -> usize;
}

/// A network and its trainable parameters, in the order of the case.
///
/// # Errors
///
/// As [`Network::build`] and [`Weights::finish`].
pub fn build<N: Network>(case: &Case, place: &Place) -> Result<(N, Vec<Parameter>), Error> {
    let mut weights = Weights::new(case, place);
    let network = N::build(&mut weights, case)?;
    Ok((network, weights.finish(N::INPUTS)?))
}
