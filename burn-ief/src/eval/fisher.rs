//! Which Fisher matrix to judge directions by.

use burn::module::ParamGroup;
use burn::tensor::{Bool, Tensor};

use super::gamma_method::GammaMethod;
use super::loss_kind::LossKind;

/// Which Fisher matrix to judge directions by, and how to compute with it.
///
/// This is not a Burn `Config`, because the padding is a tensor of the batch.
///
/// ```
/// use burn::module::ParamGroup;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::eval::{Fisher, GammaMethod, LossKind, summed_gradient};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(2, 3).init(&device);
/// let x = Tensor::<2>::ones([4, 2], &device);
/// let delta = summed_gradient(model.forward(x.clone()).sum().backward(), &model, 1.0);
///
/// let method = GammaMethod::MonteCarlo { draws: 4, seed: 1 };
/// let fisher = Fisher::new(LossKind::LeastSquares)
///     .with_method(method)
///     .with_group(ParamGroup::from_predicate("bias"));
/// let at = fisher.at(&model, |model| model.forward_recorded(x.clone()))?;
/// assert_eq!(at.curvature(&delta)?.passes.backward, 4);
/// assert_eq!(at.product(&delta)?.len(), 1); // the bias alone
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fisher {
    pub(super) loss: LossKind,
    pub(super) method: GammaMethod,
    pub(super) padding: Option<Tensor<2, Bool>>,
    pub(super) group: Option<ParamGroup>,
}

impl Fisher {
    /// The Fisher matrix of a model that is trained with this loss, over all trainable parameters.
    pub fn new(loss: LossKind) -> Self {
        Self {
            loss,
            ..Self::default()
        }
    }

    /// Choose how γ is computed.
    pub fn with_method(self, method: GammaMethod) -> Self {
        Self { method, ..self }
    }

    /// Leave out padding: positions without a label.
    ///
    /// # Shapes
    ///
    /// - padding: `[M, T]`, true where the loss does not count, as in Burn's padding masks
    pub fn with_padding(self, padding: Tensor<2, Bool>) -> Self {
        Self {
            padding: Some(padding),
            ..self
        }
    }

    /// Restrict the matrix to the parameters of a group: entries of a direction for other
    /// parameters count as zero.
    pub fn with_group(self, group: ParamGroup) -> Self {
        Self {
            group: Some(group),
            ..self
        }
    }
}
