//! How each example is trained: its data, its optimizer, and how long.

use std::path::Path;

use burn::grad_clipping::GradientClippingConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer, RmsPropConfig, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor};

use super::data::{self, Split};
use crate::batch::Labelled;
use crate::error::Error;
use crate::port::{Form, Port};
use crate::wgan::{Generator, LATENT, Pairs};
use crate::{
    CustomImageDataset, CustomTrainingLoop, Guide, Mnist, ModernLstm, SimpleRegression,
    TextClassification, TextGeneration, Wgan, guide, text_classification, text_generation,
};

/// Tokens of a question: the longest has 43, and 99 of 100 have fewer than this.
const QUESTION: usize = 32;
/// Tokens of a review.
const REVIEW: usize = 64;
/// Tokens of MiniLM's tokenizer.
const VOCABULARY: usize = 30_522;

/// How the step size changes over the steps of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// It falls linearly to zero.
    Linear,
    /// It stays, and falls linearly to zero over the last 40 % of the steps.
    Late,
    /// It rises for a tenth of the steps, and then falls with the square root of the step, as Noam's schedule
    /// does.
    Noam,
}

impl Schedule {
    /// The factor of a step.
    pub fn factor(self, step: usize, steps: usize) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - step as f64 / steps.max(1) as f64,
            Self::Late => {
                let left = steps.saturating_sub(step) as f64;
                (left / (0.4 * steps.max(1) as f64)).min(1.0)
            }
            Self::Noam => {
                let warm_up = (steps / 10).max(1) as f64;
                let step = (step + 1) as f64;
                (step / warm_up).min((warm_up / step).sqrt())
            }
        }
    }
}

/// Burn's own optimizer for an example.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Its name.
    pub name: &'static str,
    /// The largest step size.
    pub step_size: f64,
    /// What becomes of it.
    pub schedule: Schedule,
}

/// A port with data to train it on.
pub trait Recipe: Port {
    /// Passes over the training data.
    const EPOCHS: usize;
    /// The example's optimizer.
    const OWN: Own;
    /// A step size of plain SGD, a round number that was not searched.
    const SGD: f64;
    /// The first step size of iEF: the recommended one.
    const IEF: f64 = 1.0;
    /// Folders of data that it needs.
    const FOLDERS: &'static str = "";

    /// A new model for the data.
    fn untrained(form: Form, device: &Device) -> Self::Model {
        Self::model(form, device)
    }

    /// The example's optimizer.
    fn optimizer() -> ModuleOptimizer;

    /// The data, from a folder of what `scripts/fetch-data` makes.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] naming the file.
    fn data(folder: &Path, device: &Device) -> Result<Split<Self::Batch>, Error>;
}

impl Recipe for Guide {
    const EPOCHS: usize = 3;
    const OWN: Own = ADAM_OF_GUIDE;
    const SGD: f64 = 0.1;
    const FOLDERS: &'static str = "mnist10k";

    fn optimizer() -> ModuleOptimizer {
        AdamConfig::new().init()
    }

    fn data(folder: &Path, device: &Device) -> Result<Split<Labelled<3>>, Error> {
        data::digits(folder, device)
    }
}

const ADAM_OF_GUIDE: Own = Own {
    name: "Adam",
    step_size: 1e-4,
    schedule: Schedule::Constant,
};

impl Recipe for CustomTrainingLoop {
    const EPOCHS: usize = 3;
    const OWN: Own = ADAM_OF_GUIDE;
    const SGD: f64 = 0.1;
    const FOLDERS: &'static str = "mnist10k";

    fn untrained(_form: Form, device: &Device) -> guide::Model {
        Self::model(Form::Recorded, device)
    }

    fn optimizer() -> ModuleOptimizer {
        AdamConfig::new().init()
    }

    fn data(folder: &Path, device: &Device) -> Result<Split<Labelled<3>>, Error> {
        data::digits(folder, device)
    }
}

impl Recipe for Mnist {
    const EPOCHS: usize = 2;
    const OWN: Own = Own {
        name: "AdamW",
        // The example's schedule warms up for 2,000 steps, which is more than this run has.
        step_size: 1e-3,
        schedule: Schedule::Linear,
    };
    const SGD: f64 = 0.1;
    const FOLDERS: &'static str = "mnist10k";

    fn optimizer() -> ModuleOptimizer {
        AdamWConfig::new()
            .with_cautious_weight_decay(true)
            .with_weight_decay(5e-5)
            .init()
    }

    fn data(folder: &Path, device: &Device) -> Result<Split<Labelled<3>>, Error> {
        data::digits(folder, device)
    }
}

impl Recipe for SimpleRegression {
    const EPOCHS: usize = 100;
    const OWN: Own = Own {
        name: "Adam",
        step_size: 1e-3,
        schedule: Schedule::Constant,
    };
    const SGD: f64 = 0.3;

    fn optimizer() -> ModuleOptimizer {
        AdamConfig::new().init()
    }

    fn data(_folder: &Path, device: &Device) -> Result<Split<Self::Batch>, Error> {
        Ok(data::diamonds(device))
    }
}

impl Recipe for TextClassification {
    const EPOCHS: usize = 2;
    const OWN: Own = Own {
        name: "Adam",
        // The largest that the example's schedule reaches is 2.8e-5, after 1,000 steps.
        step_size: 1e-3,
        schedule: Schedule::Noam,
    };
    const SGD: f64 = 0.1;
    const FOLDERS: &'static str = "trec minilm";

    fn untrained(_form: Form, device: &Device) -> Self::Model {
        let encoder = text_classification::encoder();
        text_classification::ModelConfig::new(encoder, 6, VOCABULARY, QUESTION).init(device)
    }

    fn optimizer() -> ModuleOptimizer {
        AdamConfig::new()
            .with_weight_decay(Some(WeightDecayConfig::new(5e-5)))
            .init()
    }

    fn data(folder: &Path, device: &Device) -> Result<Split<Self::Batch>, Error> {
        data::questions(folder, QUESTION, device)
    }
}

impl Recipe for TextGeneration {
    const EPOCHS: usize = 1;
    const OWN: Own = Own {
        name: "Adam",
        // The example's schedule is at 1.1e-6 at most, after 6,000 steps of six batches.
        step_size: 1e-4,
        schedule: Schedule::Noam,
    };
    const SGD: f64 = 0.1;
    const FOLDERS: &'static str = "sentiment minilm";

    fn untrained(_form: Form, device: &Device) -> Self::Model {
        let encoder = text_generation::encoder();
        text_generation::ModelConfig::new(encoder, VOCABULARY, 0, REVIEW).init(device)
    }

    fn optimizer() -> ModuleOptimizer {
        AdamConfig::new()
            .with_weight_decay(Some(WeightDecayConfig::new(1e-6)))
            .init()
    }

    fn data(folder: &Path, device: &Device) -> Result<Split<Self::Batch>, Error> {
        data::reviews(folder, REVIEW, device)
    }
}

impl Recipe for ModernLstm {
    const EPOCHS: usize = 30;
    const OWN: Own = Own {
        name: "Adam",
        step_size: 1e-3,
        schedule: Schedule::Constant,
    };
    const SGD: f64 = 1e-3;

    fn optimizer() -> ModuleOptimizer {
        AdamConfig::new()
            .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
            .init()
    }

    fn data(_folder: &Path, device: &Device) -> Result<Split<Self::Batch>, Error> {
        Ok(data::sums(device))
    }
}

impl Recipe for Wgan {
    const EPOCHS: usize = 4;
    const OWN: Own = Own {
        name: "RMSprop",
        step_size: 3e-4,
        schedule: Schedule::Constant,
    };
    const SGD: f64 = 1e-2;
    const FOLDERS: &'static str = "mnist10k";

    /// Clipped, as after every step.
    fn untrained(form: Form, device: &Device) -> Self::Model {
        Self::model(form, device).clipped()
    }

    fn optimizer() -> ModuleOptimizer {
        RmsPropConfig::new()
            .with_alpha(0.99)
            .with_momentum(0.0)
            .with_epsilon(8e-8)
            .init()
    }

    /// The digits, and as many images of a generator that has not been trained.
    fn data(folder: &Path, device: &Device) -> Result<Split<Pairs>, Error> {
        let digits = data::digits(folder, device)?;
        let generator = Generator::new(device);
        let pairs = |digits: Labelled<3>| {
            let [count, ..] = digits.inputs.dims();
            let normal = Distribution::Normal(0.0, 1.0);
            let noise = Tensor::random([count, LATENT], normal, device);
            Pairs {
                real: digits.inputs.unsqueeze_dim(1),
                made: generator.forward(noise).detach(),
            }
        };
        Ok(Split {
            train: pairs(digits.train),
            test: pairs(digits.test),
        })
    }
}

impl Recipe for CustomImageDataset {
    const EPOCHS: usize = 3;
    const OWN: Own = Own {
        name: "SGD",
        step_size: 0.02,
        schedule: Schedule::Constant,
    };
    const SGD: f64 = 0.1;
    const FOLDERS: &'static str = "cifar10";

    fn optimizer() -> ModuleOptimizer {
        SgdConfig::new().init()
    }

    fn data(folder: &Path, device: &Device) -> Result<Split<Labelled<4>>, Error> {
        data::images(folder, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_sizes_change_as_described() {
        assert_eq!(Schedule::Constant.factor(7, 10), 1.0);
        assert_eq!(Schedule::Linear.factor(0, 10), 1.0);
        assert!((Schedule::Linear.factor(9, 10) - 0.1).abs() < 1e-12);
        assert_eq!(Schedule::Late.factor(6, 10), 1.0);
        assert!((Schedule::Late.factor(9, 10) - 0.25).abs() < 1e-12);
        let noam = |step| Schedule::Noam.factor(step, 100);
        assert!((noam(4) - 0.5).abs() < 1e-12);
        assert_eq!(noam(9), 1.0);
        assert!((noam(39) - 0.5).abs() < 1e-12);
    }
}
