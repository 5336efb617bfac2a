//! Virtual tokens.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
use burn_ief::nn::expand_param;
use burn_ief::recorder;

use super::config::PromptConfig;
use super::encoder::PromptEncoder;
use crate::error::Error;
use crate::settings::ranges::{at_least_one, refuse};

/// Trainable virtual tokens that come before a model's input embeddings.
///
/// The model itself is frozen and takes the tokens as an input. Inside a recording their use is
/// recorded per sample.
///
/// ```
/// use burn::tensor::Device;
/// use burn_peft::{PromptConfig, SoftPrompt};
///
/// let device = Device::flex().autodiff();
/// let config = PromptConfig::new(20).with_token_dim(64);
/// let prompt = SoftPrompt::random(&config, &device)?;
/// // One copy for each of 32 samples.
/// assert_eq!(prompt.forward(32).dims(), [32, 20, 64]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct SoftPrompt {
    /// The virtual tokens `[V, d]`.
    pub embeddings: Param<Tensor<2>>,
    /// Further rows of the stored table that are not used and do not train: PEFT keeps a table
    /// for each part of an encoder-decoder, and reads the first.
    pub rest: Option<Param<Tensor<2>>>,
    /// What makes the tokens out of these rows (P-tuning); without it the rows are the tokens.
    pub encoder: Option<PromptEncoder>,
}

impl SoftPrompt {
    /// Tokens drawn from a standard normal, as PEFT's `RANDOM`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings out of range or without `token_dim`.
    pub fn random(config: &PromptConfig, device: &Device) -> Result<Self, Error> {
        config.validate()?;
        let rows = config.rows()?;
        let width = width(config)?;
        let unit = Distribution::Normal(0.0, 1.0);
        let table = Tensor::random([rows, width], unit, &device.clone().inner());
        Self::new(config.num_virtual_tokens, table, device)
    }

    /// Tokens that begin as rows of the model's embedding table, drawn without replacement
    /// (`SAMPLE_VOCAB`); the device's generator draws.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings out of range, for a table of another width, or with fewer
    /// rows than tokens.
    pub fn from_vocabulary(
        config: &PromptConfig,
        table: Tensor<2>,
        device: &Device,
    ) -> Result<Self, Error> {
        config.validate()?;
        let rows = config.rows()?;
        let [entries, _] = table.dims();
        if entries < rows {
            return refuse(
                "num_virtual_tokens",
                rows,
                "expected at most the rows of the embedding table",
            );
        }
        let keys = Tensor::<1>::random([entries], Distribution::Default, &table.device().inner());
        let ids = keys.argsort(0).narrow(0, 0, rows);
        Self::from_rows(config, table, ids, device)
    }

    /// Tokens that begin as the embeddings of a text (`TEXT`): its ids are repeated or cut to the
    /// number of rows, as in PEFT.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings out of range, for a table of another width, for no ids, or
    /// an id beyond the table.
    pub fn from_text(
        config: &PromptConfig,
        table: Tensor<2>,
        ids: &[usize],
        device: &Device,
    ) -> Result<Self, Error> {
        let field = "prompt_tuning_init_text";
        // Not all of `validate`: the caller has the text, the configuration need not.
        at_least_one("num_virtual_tokens", config.num_virtual_tokens)?;
        let [entries, _] = table.dims();
        if ids.is_empty() {
            return refuse(field, "no token", "expected at least one token");
        }
        if let Some(id) = ids.iter().find(|id| **id >= entries) {
            let id = format!("token {id}");
            return refuse(field, id, "expected ids within the embedding table");
        }
        let rows = config.rows()?;
        let ids: Vec<i64> = ids.iter().cycle().take(rows).map(|&id| id as i64).collect();
        let ids = Tensor::from_data(TensorData::new(ids, [rows]), &table.device().inner());
        Self::from_rows(config, table, ids, device)
    }

    /// One copy of the tokens for each of `batch` samples, `[batch, V, d]`; in a recording with
    /// drawn labels axis 0 also holds the copies.
    pub fn forward(&self, batch: usize) -> Tensor<3> {
        match &self.encoder {
            None => expand_param(&self.embeddings, batch),
            Some(encoder) if recorder().is_some() => {
                encoder.forward(expand_param(&self.embeddings, batch))
            }
            // All samples have the same tokens.
            Some(encoder) => {
                let tokens = encoder.forward(self.embeddings.val().unsqueeze());
                let [_, count, width] = tokens.dims();
                tokens.expand([batch, count, width])
            }
        }
    }

    /// The table as PEFT stores it.
    pub(crate) fn table(&self) -> Tensor<2> {
        let embeddings = self.embeddings.val();
        let rows = match &self.rest {
            Some(rest) => Tensor::cat(vec![embeddings, rest.val()], 0),
            None => embeddings,
        };
        match &self.encoder {
            Some(encoder) => encoder.forward(rows.unsqueeze()).squeeze_dim(0),
            None => rows,
        }
    }

    fn from_rows(
        config: &PromptConfig,
        table: Tensor<2>,
        ids: Tensor<1, Int>,
        device: &Device,
    ) -> Result<Self, Error> {
        let [_, found] = table.dims();
        if config.token_dim.is_some_and(|width| width != found) {
            return refuse(
                "token_dim",
                width(config)?,
                "expected the width of the embedding table",
            );
        }
        let table = if table.is_autodiff() {
            table.inner()
        } else {
            table
        };
        // The tokens train at full precision, also where the model has half of it.
        let rows = table.select(0, ids).cast(default_dtype(device));
        Self::new(config.num_virtual_tokens, rows, device)
    }

    /// The first `used` rows of a stored table, and the others.
    pub(crate) fn new(used: usize, table: Tensor<2>, device: &Device) -> Result<Self, Error> {
        let [rows, _] = table.dims();
        if used > rows {
            return Err(Error::Shape {
                key: "prompt_embeddings".into(),
                shape: table.dims().to_vec(),
                expected: format!("at least {used} rows"),
            });
        }
        let parameter = |part: Tensor<2>| {
            let part = if device.is_autodiff() {
                part.autodiff()
            } else {
                part
            };
            Param::from_tensor(part)
        };
        let rest = (rows > used).then(|| table.clone().narrow(0, used, rows - used));
        Ok(Self {
            embeddings: parameter(table.narrow(0, 0, used)).set_require_grad(true),
            rest: rest.map(|rest| parameter(rest).set_require_grad(false)),
            encoder: None,
        })
    }
}

/// The precision of new floating-point tensors.
pub(crate) fn default_dtype(device: &Device) -> DType {
    Tensor::<1>::zeros([1], &device.clone().inner()).dtype()
}

fn width(config: &PromptConfig) -> Result<usize, Error> {
    config.token_dim.ok_or_else(|| Error::Config {
        field: "token_dim",
        value: "null".into(),
        expected: "expected the width of the model's embeddings",
    })
}
