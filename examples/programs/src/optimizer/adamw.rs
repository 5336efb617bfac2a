//! AdamW.

use burn::optim::AdamWConfig;
use serde::{Deserialize, Serialize};

/// The options of AdamW; the defaults are PyTorch's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWOptions {
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the mean of gradients.
    pub beta_1: f64,
    /// Decay of the mean of squared gradients.
    pub beta_2: f64,
    /// Added to the root of that mean; Burn's own default is 1e-5.
    pub epsilon: f64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self {
            weight_decay: 0.01,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl AdamWOptions {
    /// The first option that is out of range, with what was expected.
    pub fn out_of_range(&self) -> Option<(&'static str, f64, &'static str)> {
        for (name, beta) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            if !(0.0..1.0).contains(&(beta as f32)) || !(0.0..1.0).contains(&beta) {
                return Some((name, beta, "at least 0 and below 1 as a 32-bit float"));
            }
        }
        let epsilon = self.epsilon as f32;
        if !(epsilon.is_finite() && epsilon > 0.0) {
            let expected = "above 0 and finite as a 32-bit float";
            return Some(("epsilon", self.epsilon, expected));
        }
        None
    }

    /// As Burn has them.
    pub fn config(&self) -> AdamWConfig {
        AdamWConfig::new()
            .with_weight_decay(self.weight_decay as f32)
            .with_beta_1(self.beta_1 as f32)
            .with_beta_2(self.beta_2 as f32)
            .with_epsilon(self.epsilon as f32)
    }
}
