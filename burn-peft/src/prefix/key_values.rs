//! Keys and values of virtual positions.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::nn::{ForwardRecorded, expand_param};
use burn_ief::recorder;

use super::config::PrefixConfig;
use crate::error::Error;

/// Trainable keys and values that come before those of the input in every layer.
///
/// The model itself is frozen and takes them as an input. Inside a recording their use is recorded
/// per sample.
///
/// ```
/// use burn::tensor::Device;
/// use burn_peft::{KeyValuePrefix, PrefixConfig};
///
/// let device = Device::flex().autodiff();
/// // Two layers with four heads of keys, 16 wide together.
/// let config = PrefixConfig::new(5).with_model_size(2, 4, 16);
/// let prefix = KeyValuePrefix::new(&config, &device)?;
/// // Keys and values of both layers, one copy for each of 8 samples.
/// assert_eq!(prefix.forward(8).dims(), [8, 5, 2 * 2 * 16]);
/// let folder = prefix.to_folder(&config)?;
/// let again = KeyValuePrefix::from_folder(&folder, &device)?;
/// assert_eq!(again.to_folder(&config)?, folder);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct KeyValuePrefix {
    /// `[V, 2 · layers · width]`: for each layer its keys, then its values; or, with a projection,
    /// `[V, width]`.
    pub embeddings: Param<Tensor<2>>,
    /// What makes the prefix out of the table.
    pub projection: Option<PrefixProjection>,
}

/// Two linear layers with tanh between them. PEFT does not store them: a folder has what they make.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct PrefixProjection {
    /// To the hidden width.
    pub first: Linear,
    /// To keys and values of all layers.
    pub second: Linear,
}

impl PrefixProjection {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = self.first.forward_recorded(x).tanh();
        self.second.forward_recorded(hidden)
    }
}

impl KeyValuePrefix {
    /// A new prefix, as PEFT begins one: standard normal, or zero.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings out of range or without the size of the model.
    pub fn new(config: &PrefixConfig, device: &Device) -> Result<Self, Error> {
        config.validate()?;
        let width = config.width()?;
        let keys = config.token_dim.unwrap_or_default();
        let zero = config.init_weights.is_some();
        let projection = config.prefix_projection.then(|| {
            let hidden = config.encoder_hidden_size.unwrap_or(keys);
            let mut second = LinearConfig::new(hidden, width).init(device);
            if zero {
                let none = |value: Tensor<2>| value.zeros_like().detach().require_grad();
                second.weight = second.weight.map(none);
                second.bias = second
                    .bias
                    .map(|bias| bias.map(|value| value.zeros_like().detach().require_grad()));
            }
            PrefixProjection {
                first: LinearConfig::new(keys, hidden).init(device),
                second,
            }
        });
        let columns = if projection.is_some() { keys } else { width };
        let shape = [config.num_virtual_tokens, columns];
        let plain = device.clone().inner();
        let table = if zero && projection.is_none() {
            Tensor::zeros(shape, &plain)
        } else {
            Tensor::random(shape, Distribution::Normal(0.0, 1.0), &plain)
        };
        Ok(Self {
            embeddings: parameter(table, device),
            projection,
        })
    }

    /// A table as it is stored.
    pub(crate) fn of_table(table: Tensor<2>, device: &Device) -> Self {
        Self {
            embeddings: parameter(table, device),
            projection: None,
        }
    }

    /// One copy for each of `batch` samples, `[batch, V, 2 · layers · width]`; in a recording with drawn
    /// labels axis 0 also holds the copies.
    pub fn forward(&self, batch: usize) -> Tensor<3> {
        if recorder().is_some() {
            let rows = expand_param(&self.embeddings, batch);
            return match &self.projection {
                Some(projection) => projection.forward(rows),
                None => rows,
            };
        }
        let once = self.once();
        let [_, positions, width] = once.dims();
        once.expand([batch, positions, width])
    }

    /// `[1, V, 2 · layers · width]`
    pub(crate) fn once(&self) -> Tensor<3> {
        let rows = self.embeddings.val().unsqueeze();
        match &self.projection {
            Some(projection) => projection.forward(rows),
            None => rows,
        }
    }
}

fn parameter(table: Tensor<2>, device: &Device) -> Param<Tensor<2>> {
    let table = if device.is_autodiff() {
        table.autodiff()
    } else {
        table
    };
    Param::from_tensor(table).set_require_grad(true)
}
