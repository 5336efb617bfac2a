//! γ of updates at the stages of a training: what stages, batches and directions are.

mod adamw;
mod judge;
mod kfac;
mod picture;
mod stages;
mod sweep;
mod trainer;

pub use adamw::adamw;
pub use kfac::kfac;
pub use stages::stages;
pub use sweep::sweep;
pub use trainer::Trainer;

/// A model at one moment of its training.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use figures::survey::Stage;
///
/// let model = LinearConfig::new(2, 3).init(&Device::flex().autodiff());
/// let stage = Stage { epoch: 4, model, train_loss: 0.3, trainer: None };
/// # let _ = stage;
/// ```
#[derive(Debug, Clone)]
pub struct Stage<M> {
    /// Passes over the training data before.
    pub epoch: usize,
    /// The model.
    pub model: M,
    /// Mean loss over the training data.
    pub train_loss: f64,
    /// The optimizer of Burn that trained it.
    pub trainer: Option<Trainer>,
}

impl<M> Stage<M> {
    fn name(&self) -> String {
        self.epoch.to_string()
    }
}

/// Early, in the middle and at the end.
fn three<M>(stages: &[Stage<M>]) -> Vec<&Stage<M>> {
    let last = stages.len().saturating_sub(1);
    let mut chosen: Vec<usize> = vec![1.min(last), last.div_ceil(2), last];
    chosen.dedup();
    chosen
        .into_iter()
        .filter_map(|index| stages.get(index))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_stages_are_the_first_the_middle_and_the_last_epoch() {
        let epochs = |count: usize| -> Vec<usize> {
            let stages: Vec<_> = (0..count)
                .map(|epoch| Stage {
                    epoch,
                    model: (),
                    train_loss: 0.0,
                    trainer: None,
                })
                .collect();
            three(&stages).iter().map(|stage| stage.epoch).collect()
        };
        assert_eq!(epochs(9), [1, 4, 8]);
        assert_eq!(epochs(2), [1]);
        assert_eq!(epochs(1), [0]);
    }
}
