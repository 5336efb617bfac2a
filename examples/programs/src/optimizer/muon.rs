//! Muon for matrices and kernels, and AdamW for everything else.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{
    AdamW, AdamWState, AdjustLrFn, LearningRate, ModuleOptimizer, Muon, MuonConfig, MuonState,
    Optimizer, RecordState, StateSink, StateSource,
};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::adamw::AdamWOptions;

/// Parts of the paths of embeddings and heads, which Muon's papers leave to AdamW.
const NOT_HIDDEN: [&str; 6] = ["embed", "head", "classifier", "score", "shared", "position"];

/// The options of Muon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MuonOptions {
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Nesterov's momentum, without dampening.
    pub momentum: f64,
}

impl Default for MuonOptions {
    fn default() -> Self {
        Self {
            weight_decay: 0.01,
            momentum: 0.95,
        }
    }
}

impl MuonOptions {
    /// Muon at the step sizes of AdamW (`0.2 √max(rows, columns)` of Moonshot), and AdamW for vectors, embeddings and
    /// heads.
    pub(super) fn optimizer(&self) -> ModuleOptimizer {
        let decay = self.weight_decay as f32;
        let muon = MuonConfig::new()
            .with_momentum(MomentumConfig {
                momentum: self.momentum,
                dampening: 0.0,
                nesterov: true,
            })
            .with_weight_decay(Some(WeightDecayConfig::new(decay)))
            .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
            .build();
        let rest = AdamWOptions {
            weight_decay: self.weight_decay,
            ..AdamWOptions::default()
        };
        let rest = rest.config().build();
        let hidden = ByRank {
            matrices: FlatMuon::new(muon),
            vectors: rest.clone(),
        };
        let others = ParamGroup::from_any_predicates(NOT_HIDDEN.to_vec());
        ModuleOptimizer::from(hidden).with_group(others, rest, None)
    }
}

/// Muon for matrices and kernels, AdamW for vectors.
#[derive(Clone)]
struct ByRank {
    matrices: FlatMuon,
    vectors: AdamW,
}

/// The state of one of the two.
#[derive(Clone)]
enum RankState<const D: usize> {
    Matrix(Box<FlatState<D>>),
    Vector(Box<AdamWState<D>>),
}

impl<const D: usize> RecordState for RankState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        match self {
            Self::Matrix(state) => state.state_flatten(prefix, out),
            Self::Vector(state) => state.state_flatten(prefix, out),
        }
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        if D >= 2 {
            let state = FlatState::state_unflatten(prefix, source, device);
            state.map(|state| Self::Matrix(Box::new(state)))
        } else {
            let state = AdamWState::state_unflatten(prefix, source, device);
            state.map(|state| Self::Vector(Box::new(state)))
        }
    }
}

impl Optimizer for ByRank {
    type State<const D: usize> = RankState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<RankState<D>>,
    ) -> (Tensor<D>, Option<RankState<D>>) {
        if D >= 2 {
            let state = state.and_then(|state| match state {
                RankState::Matrix(state) => Some(*state),
                RankState::Vector(_) => None,
            });
            let (tensor, state) = self.matrices.step(lr, tensor, grad, state);
            (
                tensor,
                state.map(|state| RankState::Matrix(Box::new(state))),
            )
        } else {
            let state = state.and_then(|state| match state {
                RankState::Vector(state) => Some(*state),
                RankState::Matrix(_) => None,
            });
            let (tensor, state) = self.vectors.step(lr, tensor, grad, state);
            (
                tensor,
                state.map(|state| RankState::Vector(Box::new(state))),
            )
        }
    }

    fn to_device<const D: usize>(state: RankState<D>, device: &Device) -> RankState<D> {
        match state {
            RankState::Matrix(state) => {
                RankState::Matrix(Box::new(FlatMuon::to_device(*state, device)))
            }
            RankState::Vector(state) => {
                RankState::Vector(Box::new(AdamW::to_device(*state, device)))
            }
        }
    }
}

/// Muon for tensors of any rank from 2, as matrices of their first axis by all others.
///
/// ```
/// use burn::optim::{AdamWConfig, ModuleOptimizer, MuonConfig};
/// use burn::module::ParamGroup;
/// use programs::optimizer::FlatMuon;
///
/// let rest = ModuleOptimizer::from(AdamWConfig::new().build());
/// let kernels = ParamGroup::from_predicate("conv.*weight");
/// let optim = rest.with_group(kernels, FlatMuon::new(MuonConfig::new().build()), None);
/// # let _ = optim;
/// ```
#[derive(Clone)]
pub struct FlatMuon(Muon);

impl FlatMuon {
    /// Of Burn's Muon, which takes matrices alone.
    pub fn new(muon: Muon) -> Self {
        Self(muon)
    }
}

/// The state of [`FlatMuon`]: that of the matrix.
#[derive(Clone)]
pub struct FlatState<const D: usize>(MuonState<2>);

impl<const D: usize> RecordState for FlatState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        self.0.state_flatten(prefix, out);
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        MuonState::state_unflatten(prefix, source, device).map(Self)
    }
}

impl Optimizer for FlatMuon {
    type State<const D: usize> = FlatState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<FlatState<D>>,
    ) -> (Tensor<D>, Option<FlatState<D>>) {
        let shape = tensor.dims();
        let flat = [shape[0], shape[1..].iter().product()];
        let state = state.map(|state| state.0);
        let (tensor, state) = self
            .0
            .step::<2>(lr, tensor.reshape(flat), grad.reshape(flat), state);
        (tensor.reshape(shape), state.map(FlatState))
    }

    fn to_device<const D: usize>(state: FlatState<D>, device: &Device) -> FlatState<D> {
        FlatState(Muon::to_device(state.0, device))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::{AdamWConfig, GradientsParams};
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn kernels_take_the_steps_of_their_matrix() {
        let device = Device::flex();
        device.seed(1);
        let config = MuonConfig::new().with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW);
        let (flat, plain) = (FlatMuon::new(config.build()), config.build());
        let random = || Tensor::<4>::random([3, 2, 2, 2], Distribution::Normal(0.0, 1.0), &device);
        let mut kernels = random();
        let mut matrix: Tensor<2> = kernels.clone().reshape([3, 8]);
        let (mut state, mut plain_state) = (None, None);
        for _ in 0..3 {
            let gradient = random();
            (matrix, plain_state) =
                plain.step(0.1, matrix, gradient.clone().reshape([3, 8]), plain_state);
            (kernels, state) = flat.step(0.1, kernels, gradient, state);
        }
        let difference = (kernels.reshape([3, 8]) - matrix).abs().max();
        assert_eq!(difference.into_scalar::<f32>(), 0.0);
    }

    #[derive(Module, Debug)]
    struct Net {
        hidden: Linear,
        head: Linear,
    }

    #[test]
    fn matrices_take_steps_of_muon_and_all_others_of_adamw() {
        let device = Device::flex().autodiff();
        let layer = || LinearConfig::new(4, 4).init(&device);
        let net = Net {
            hidden: layer(),
            head: layer(),
        };
        let options = MuonOptions {
            weight_decay: 0.0,
            ..MuonOptions::default()
        };
        let step = |net: &Net, mut optim: ModuleOptimizer| {
            let x = Tensor::<2>::from_data([[1.0, -2.0, 0.5, 3.0]], &device);
            let loss = net.head.forward(net.hidden.forward(x)).square().sum();
            let grads = GradientsParams::from_grads(loss.backward(), net);
            optim.step(0.1, net.clone(), grads)
        };
        let muon = step(&net, options.optimizer());
        let adamw = step(
            &net,
            AdamWConfig::new()
                .with_weight_decay(0.0)
                .with_epsilon(1e-8)
                .init(),
        );
        let same = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>() < 1e-6;
        assert!(same(muon.head.weight.val(), adamw.head.weight.val()));
        assert!(!same(muon.hidden.weight.val(), adamw.hidden.weight.val()));
        let bias = |net: &Net| net.hidden.bias.as_ref().unwrap().val().unsqueeze();
        assert!(same(bias(&muon), bias(&adamw)));
        // A gradient of rank 1 becomes one with a singular value about 1: of this norm, times 0.2 √4.
        let moved = (muon.hidden.weight.val() - net.hidden.weight.val())
            .square()
            .sum();
        let moved = moved.into_scalar::<f32>().sqrt();
        assert!((0.6..1.3).contains(&(moved / (0.1 * 0.2 * 2.0))), "{moved}");
    }
}
