//! Configuration of a low-rank adapter.

use burn::config::Config;
use burn::nn::Linear;

use super::linear::LoraLinear;
use crate::error::Error;

/// Rank, scale and dropout of a low-rank adapter; the defaults are those of Hugging Face PEFT.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_peft::LoraConfig;
///
/// let device = Device::flex().autodiff();
/// let config = LoraConfig::new().with_rank(4).with_alpha(8.0).with_dropout(0.1);
/// let adapted = config.try_init(LinearConfig::new(16, 32).init(&device))?;
/// assert_eq!(adapted.scale, 2.0);
/// assert!(config.with_dropout(1.0).validate().is_err());
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct LoraConfig {
    /// Rank r of the factors A `[d_input, r]` and B `[r, d_output]`.
    #[config(default = 8)]
    pub rank: usize,
    /// Numerator of the adapter's scale `alpha / rank`.
    #[config(default = 8.0)]
    pub alpha: f64,
    /// Probability of dropping an entry of the adapter's input (not of the base layer's).
    #[config(default = 0.0)]
    pub dropout: f64,
}

impl LoraConfig {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |field, value: String, expected| {
            Err(Error::Config {
                field,
                value,
                expected,
            })
        };
        if self.rank == 0 {
            return refuse("rank", self.rank.to_string(), "at least 1");
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return refuse("alpha", self.alpha.to_string(), "a finite number above 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(
                "dropout",
                self.dropout.to_string(),
                "at least 0 and below 1",
            );
        }
        Ok(())
    }

    /// Freeze `base` and put an adapter beside it; the output does not change, since B is zero.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn try_init(&self, base: Linear) -> Result<LoraLinear, Error> {
        self.validate()?;
        Ok(LoraLinear::new(base, self))
    }

    /// Freeze `base` and put an adapter beside it; the output does not change, since B is zero.
    ///
    /// # Panics
    ///
    /// Panics if a field is out of range, see [`validate`](Self::validate).
    pub fn init(&self, base: Linear) -> LoraLinear {
        match self.try_init(base) {
            Ok(adapted) => adapted,
            Err(error) => panic!("{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_checked_by_name() {
        let config = LoraConfig::new;
        assert_eq!(config().validate(), Ok(()));
        for (config, name) in [
            (config().with_rank(0), "rank"),
            (config().with_alpha(0.0), "alpha"),
            (config().with_alpha(f64::NAN), "alpha"),
            (config().with_dropout(-0.1), "dropout"),
            (config().with_dropout(1.0), "dropout"),
            (config().with_dropout(f64::NAN), "dropout"),
        ] {
            let Err(Error::Config { field, .. }) = config.validate() else {
                panic!("{config} was accepted");
            };
            assert_eq!(field, name);
        }
    }
}
