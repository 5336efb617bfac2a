//! An optimizer of Burn with its state at a stage.

use burn::module::Module;
use burn::optim::{GradientsParams, OptimizerRecord};
use burn::store::RecordError;
use burn::tensor::Bytes;
use programs::optimizer::{AdamWOptions, AnyOptimizer, OptimizerConfig};

/// The settings of an optimizer of Burn, and its state after a stage of a training.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use figures::survey::Trainer;
/// use programs::optimizer::{OptimizerConfig, optimizer};
///
/// let model = LinearConfig::new(2, 3).init(&Device::flex().autodiff());
/// let config = OptimizerConfig::new(optimizer("adamw"));
/// let optim = config.init(&model)?;
/// let trainer = Trainer::of(&config, &optim)?.unwrap();
/// assert!(trainer.adamw().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Trainer {
    config: OptimizerConfig,
    state: Vec<u8>,
}

impl Trainer {
    /// An optimizer as it is now; `None` for a natural-gradient method.
    ///
    /// # Errors
    ///
    /// Burn's, for a state that cannot be written.
    pub fn of(config: &OptimizerConfig, optim: &AnyOptimizer) -> Result<Option<Self>, RecordError> {
        match optim {
            AnyOptimizer::FirstOrder(optim) => Self::new(config, optim.to_record()).map(Some),
            AnyOptimizer::Natural(_) => Ok(None),
        }
    }

    /// An optimizer with the state of a record.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn new(config: &OptimizerConfig, record: OptimizerRecord) -> Result<Self, RecordError> {
        Ok(Self {
            config: config.clone(),
            state: record.into_bytes()?.to_vec(),
        })
    }

    /// The options of AdamW, if it is AdamW.
    pub fn adamw(&self) -> Option<&AdamWOptions> {
        match &self.config {
            OptimizerConfig::AdamW(options) => Some(options),
            _ => None,
        }
    }

    /// The model after one more step with this optimizer's state and other options of AdamW.
    pub(super) fn step<M: Module>(
        &self,
        options: &AdamWOptions,
        step_size: f64,
        model: M,
        grads: GradientsParams,
    ) -> Result<M, RecordError> {
        let record = OptimizerRecord::from_bytes(Bytes::from_bytes_vec(self.state.clone()))?;
        let mut optim = options.config().init().load_record(record);
        Ok(optim.step(step_size, model, grads))
    }
}
