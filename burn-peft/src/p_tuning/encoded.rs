//! A new prompt with its network.

use burn::tensor::{Device, Distribution, Tensor};

use super::config::{EncoderType, PTuningConfig};
use crate::error::Error;
use crate::prompt::{PromptEncoder, SoftPrompt};

impl SoftPrompt {
    /// Tokens that a network makes of a table, as PEFT begins with them: table and network train
    /// together, and a folder holds the tokens.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::tensor::Device;
    /// use burn_peft::{PTuningConfig, SoftPrompt};
    ///
    /// let device = Device::flex().autodiff();
    /// let config = PTuningConfig::new(5).with_token_dim(8).with_encoder_hidden_size(16);
    /// let prompt = SoftPrompt::encoded(&config, &device)?;
    /// assert_eq!(prompt.num_params(), 5 * 8 + (8 + 1) * 16 + (16 + 1) * 16 + (16 + 1) * 8);
    /// assert_eq!(prompt.forward(3).dims(), [3, 5, 8]);
    /// // The folder has the tokens alone.
    /// assert_eq!(prompt.to_folder(&config)?.tensors["prompt_embeddings"].shape().to_vec(), [5, 8]);
    /// # Ok::<(), burn_peft::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings out of range or without `token_dim`, [`Error::Unsupported`] for an
    /// LSTM as the network: folders of such a prompt load, but it cannot be trained here.
    pub fn encoded(config: &PTuningConfig, device: &Device) -> Result<Self, Error> {
        config.validate()?;
        if config.encoder_reparameterization_type != EncoderType::Mlp {
            return Err(Error::Unsupported {
                field: "encoder_reparameterization_type",
                value: format!("\"{}\"", config.encoder_reparameterization_type.name()),
            });
        }
        let rows = config.rows()?;
        let width = config.token_dim.ok_or_else(|| Error::Config {
            field: "token_dim",
            value: "null".into(),
            expected: "expected the width of the model's embeddings",
        })?;
        let hidden = config.encoder_hidden_size.unwrap_or(width);
        let unit = Distribution::Normal(0.0, 1.0);
        let table = Tensor::random([rows, width], unit, &device.clone().inner());
        Ok(Self {
            encoder: Some(PromptEncoder::new(width, hidden, device)),
            ..Self::new(config.num_virtual_tokens, table, device)?
        })
    }
}
