//! One step of any optimizer.

use burn::module::{Module, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use burn_ief::methods::{AnyConfig, Reduction};
use burn_ief::optim::{InitOptimizer, NaturalOptimizer};
use faer::Mat;
use programs::optimizer::AnyOptimizer;

use crate::parameters::{LoraPair, matrices, to_matrix};

/// The factors of an adapter, or their gradients: A `[inputs, r]` and B `[r, outputs]`.
#[derive(Debug, Clone)]
pub struct Pair {
    /// At the input.
    pub a: Mat<f64>,
    /// At the output.
    pub b: Mat<f64>,
}

/// Turns the gradients of adapters into other ones, on the host and in f64.
pub trait PairRule {
    /// What takes the place of the gradients. All adapters come at once, in the same order in every step.
    fn change(&mut self, factors: &[Pair], gradients: &[Pair]) -> Vec<Pair>;
}

/// What an optimizer is made of, before it is given a model.
pub enum Recipe {
    /// An optimizer of Burn.
    FirstOrder(ModuleOptimizer),
    /// An optimizer of Burn that gets other gradients for the adapters.
    Pairs {
        /// The adapters.
        pairs: Vec<LoraPair>,
        /// What becomes of their gradients.
        rule: Box<dyn PairRule>,
        /// What takes the steps.
        optim: ModuleOptimizer,
    },
    /// A natural-gradient method.
    Natural(Box<AnyConfig>),
    /// A natural-gradient method that measures each batch in parts, as several devices would.
    Parts {
        /// The method.
        config: Box<AnyConfig>,
        /// Parts of a batch.
        parts: usize,
        /// How they become one update.
        reduction: Reduction,
    },
}

/// An optimizer with its state.
pub enum Stepper {
    /// Without anything before it.
    Plain(AnyOptimizer),
    /// With other gradients for the adapters.
    Pairs {
        /// A and B of each adapter, one after the other.
        ids: Vec<ParamId>,
        /// What becomes of their gradients.
        rule: Box<dyn PairRule>,
        /// What takes the steps.
        optim: ModuleOptimizer,
    },
    /// In parts of each batch.
    Parts {
        /// The method and its state.
        optim: Box<NaturalOptimizer>,
        /// Parts of a batch.
        parts: usize,
    },
}

impl Recipe {
    /// The optimizer of a model.
    ///
    /// # Errors
    ///
    /// [`burn_ief::Error::Config`] naming the first field that is out of range.
    pub fn init<M: Module>(self, model: &M) -> Result<Stepper, burn_ief::Error> {
        Ok(match self {
            Self::FirstOrder(optim) => Stepper::Plain(optim.into()),
            Self::Natural(config) => Stepper::Plain(config.try_init(model)?.into()),
            Self::Parts {
                config,
                parts,
                reduction,
            } => Stepper::Parts {
                optim: Box::new(config.try_init(model)?.with_reduction(reduction)),
                parts,
            },
            Self::Pairs { pairs, rule, optim } => Stepper::Pairs {
                ids: pairs
                    .iter()
                    .flat_map(|pair| [pair.a.id, pair.b.id])
                    .collect(),
                rule,
                optim,
            },
        })
    }
}

impl Stepper {
    /// The number of parts in which it takes a batch.
    pub fn parts(&self) -> usize {
        match self {
            Self::Plain(_) | Self::Pairs { .. } => 1,
            Self::Parts { parts, .. } => *parts,
        }
    }

    /// One step: `loss` gives the mean loss of a part of the batch, by its number.
    ///
    /// # Errors
    ///
    /// Those of the natural-gradient methods; the model is lost then.
    pub fn step<M: Module>(
        &mut self,
        step_size: f64,
        model: M,
        mut loss: impl FnMut(&M, usize) -> Tensor<1>,
    ) -> Result<M, burn_ief::Error> {
        match self {
            Self::Plain(optim) => optim.step_closure(step_size, model, |model| loss(model, 0)),
            Self::Parts { optim, parts } => {
                for part in 0..*parts {
                    let tape = optim.start();
                    let grads = loss(&model, part).backward();
                    optim.accumulate(tape, grads, &model)?;
                }
                optim.step_accumulated(step_size, model)
            }
            Self::Pairs { ids, rule, optim } => {
                let loss = loss(&model, 0);
                let device = loss.device().inner();
                let mut gradients = GradientsParams::from_grads(loss.backward(), &model);
                let factors = paired(matrices(&model, ids));
                let own = ids.iter().map(|id| {
                    let gradient = gradients.get::<2>(*id).expect("a gradient of each factor");
                    to_matrix(gradient)
                });
                let own = paired(own.collect());
                let changed = rule.change(&factors, &own);
                for (ids, pair) in ids.chunks(2).zip(changed) {
                    gradients.register(ids[0], to_tensor(&pair.a, &device));
                    gradients.register(ids[1], to_tensor(&pair.b, &device));
                }
                Ok(optim.step(step_size, model, gradients))
            }
        }
    }
}

fn paired(matrices: Vec<Mat<f64>>) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(matrices.len() / 2);
    let mut matrices = matrices.into_iter();
    while let (Some(a), Some(b)) = (matrices.next(), matrices.next()) {
        pairs.push(Pair { a, b });
    }
    pairs
}

fn to_tensor(matrix: &Mat<f64>, device: &Device) -> Tensor<2> {
    let (rows, columns) = (matrix.nrows(), matrix.ncols());
    let values = (0..rows * columns).map(|k| matrix[(k / columns, k % columns)] as f32);
    let values: Vec<f32> = values.collect();
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::optim::SgdConfig;
    use burn_peft::{LoraConfig, LoraLinear};

    use super::*;
    use crate::parameters::{lora_pairs, trained};

    /// Replaces the gradient of A by three times A, and that of B by ones.
    struct Known;

    impl PairRule for Known {
        fn change(&mut self, factors: &[Pair], _gradients: &[Pair]) -> Vec<Pair> {
            let change = |pair: &Pair| Pair {
                a: &pair.a * faer::Scale(3.0),
                b: Mat::full(pair.b.nrows(), pair.b.ncols(), 1.0),
            };
            factors.iter().map(change).collect()
        }
    }

    #[test]
    fn changed_gradients_reach_the_factors() {
        let device = Device::flex().autodiff();
        let layer = LoraConfig::new()
            .with_r(2)
            .init(LinearConfig::new(3, 4).init(&device));
        let pairs = lora_pairs(&trained(&layer));
        let recipe = Recipe::Pairs {
            pairs,
            rule: Box::new(Known),
            optim: SgdConfig::new().init(),
        };
        let mut stepper = recipe.init(&layer).unwrap();
        let before = layer.adapter.a.val().inner();
        let loss =
            |layer: &LoraLinear, _part| layer.forward(Tensor::<2>::ones([5, 3], &device)).sum();
        let layer = stepper.step(0.1, layer, loss).unwrap();
        let expected = before * 0.7;
        let difference = (layer.adapter.a.val().inner() - expected).abs().max();
        assert!(difference.into_scalar::<f32>() < 1e-6);
        let b = layer.adapter.b.val().inner();
        assert!((b + 0.1).abs().max().into_scalar::<f32>() < 1e-6);
    }
}
