//! Prompt tuning (Lester, Al-Rfou and Constant 2021, arXiv 2104.08691).

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
use burn_ief::nn::expand_param;

use crate::config::{PeftConfig, PromptSettings};
use crate::error::Error;
use crate::folder::{AdapterFolder, AdapterKey};

/// Trainable virtual tokens that stand before a model's input embeddings.
///
/// The model itself is frozen and takes the tokens as an input. Inside a recording their use is
/// recorded per sample.
///
/// ```
/// use burn::tensor::Device;
/// use burn_peft::{PromptSettings, SoftPrompt};
///
/// let device = Device::flex().autodiff();
/// let settings = PromptSettings::new(20).with_token_dim(64);
/// let prompt = SoftPrompt::random(&settings, &device)?;
/// // One copy for each of 32 samples.
/// assert_eq!(prompt.forward(32).dims(), [32, 20, 64]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct SoftPrompt {
    /// The virtual tokens `[V, d]`.
    pub embeddings: Param<Tensor<2>>,
    /// Further rows of the stored table that are not used and do not train: PEFT keeps a table
    /// for each part of an encoder-decoder, and reads the first.
    pub rest: Option<Param<Tensor<2>>>,
}

impl SoftPrompt {
    /// Tokens drawn from a standard normal, as PEFT's `RANDOM`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings out of range or without `token_dim`.
    pub fn random(settings: &PromptSettings, device: &Device) -> Result<Self, Error> {
        settings.validate()?;
        let rows = settings.rows()?;
        let width = width(settings)?;
        let unit = Distribution::Normal(0.0, 1.0);
        let table = Tensor::random([rows, width], unit, &device.clone().inner());
        Self::new(settings, table, device)
    }

    /// Tokens that begin as rows of the model's embedding table, drawn without replacement
    /// (`SAMPLE_VOCAB`); the device's generator draws.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings out of range, for a table of another width, or with fewer
    /// rows than tokens.
    pub fn from_vocabulary(
        settings: &PromptSettings,
        table: Tensor<2>,
        device: &Device,
    ) -> Result<Self, Error> {
        settings.validate()?;
        let rows = settings.rows()?;
        let [entries, _] = table.dims();
        if entries < rows {
            return Err(Error::Config {
                field: "num_virtual_tokens",
                value: rows.to_string(),
                expected: "at most the rows of the embedding table",
            });
        }
        let keys = Tensor::<1>::random([entries], Distribution::Default, &table.device().inner());
        let ids = keys.argsort(0).narrow(0, 0, rows);
        Self::from_rows(settings, table, ids, device)
    }

    /// Tokens that begin as the embeddings of a text (`TEXT`): its ids are repeated or cut to the
    /// number of rows, as in PEFT.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings out of range, for a table of another width, for no ids, or
    /// an id beyond the table.
    pub fn from_text(
        settings: &PromptSettings,
        table: Tensor<2>,
        ids: &[usize],
        device: &Device,
    ) -> Result<Self, Error> {
        let refuse = |value: String, expected| {
            Err(Error::Config {
                field: "prompt_tuning_init_text",
                value,
                expected,
            })
        };
        // The text itself is the caller's: only the sizes are taken from the settings.
        if settings.num_virtual_tokens == 0 {
            settings.validate()?;
        }
        let [entries, _] = table.dims();
        if ids.is_empty() {
            return refuse("no token".into(), "at least one token");
        }
        if let Some(id) = ids.iter().find(|id| **id >= entries) {
            return refuse(format!("token {id}"), "ids within the embedding table");
        }
        let rows = settings.rows()?;
        let ids: Vec<i64> = ids.iter().cycle().take(rows).map(|&id| id as i64).collect();
        let ids = Tensor::from_data(TensorData::new(ids, [rows]), &table.device().inner());
        Self::from_rows(settings, table, ids, device)
    }

    /// The prompt of a PEFT folder.
    ///
    /// # Errors
    ///
    /// [`Error::PeftType`] for another method, and what [`AdapterFolder::check`] finds.
    pub fn from_folder(folder: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        folder.check()?;
        let PeftConfig::PromptTuning(settings) = &folder.config else {
            return Err(Error::PeftType {
                peft_type: "\"LORA\", which has no prompt".into(),
            });
        };
        let key = AdapterKey::PromptEmbeddings.name(&folder.config);
        let Some(data) = folder.tensors.get(&key) else {
            return Err(Error::MissingKey { key });
        };
        let plain = device.clone().inner();
        let dtype = default_dtype(&plain);
        let table = Tensor::from_data(data.clone().convert_dtype(dtype), (&plain, dtype));
        Self::new(settings, table, device)
    }

    /// A folder with these virtual tokens in place of its own; everything else stays. For a new
    /// folder see [`to_folder`](Self::to_folder).
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the folder's configuration is not of this prompt.
    pub fn update_folder(&self, folder: &AdapterFolder) -> Result<AdapterFolder, Error> {
        let mut folder = folder.clone();
        let key = AdapterKey::PromptEmbeddings.name(&folder.config);
        let data = self.table().into_data();
        let data = match folder.tensors.get(&key) {
            Some(old) => data.convert_dtype(old.dtype()),
            None => data,
        };
        folder.tensors.insert(key, data);
        folder.check()?;
        Ok(folder)
    }

    /// A folder for Python with this prompt alone. A trained head (`modules_to_save`) is added by
    /// [`Peft::update_folder`](crate::Peft::update_folder) to a folder that has its keys.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the settings are not of this prompt.
    pub fn to_folder(&self, settings: &PromptSettings) -> Result<AdapterFolder, Error> {
        let folder = AdapterFolder {
            config: settings.clone().into(),
            tensors: Default::default(),
        };
        self.update_folder(&folder)
    }

    /// One copy of the tokens for each of `batch` samples, `[batch, V, d]`; in a recording with
    /// drawn labels axis 0 also holds the copies.
    pub fn forward(&self, batch: usize) -> Tensor<3> {
        expand_param(&self.embeddings, batch)
    }

    /// The table as PEFT stores it.
    fn table(&self) -> Tensor<2> {
        let embeddings = self.embeddings.val();
        match &self.rest {
            Some(rest) => Tensor::cat(vec![embeddings, rest.val()], 0),
            None => embeddings,
        }
    }

    fn from_rows(
        settings: &PromptSettings,
        table: Tensor<2>,
        ids: Tensor<1, Int>,
        device: &Device,
    ) -> Result<Self, Error> {
        let [_, found] = table.dims();
        if settings.token_dim.is_some_and(|width| width != found) {
            return Err(Error::Config {
                field: "token_dim",
                value: width(settings)?.to_string(),
                expected: "the width of the embedding table",
            });
        }
        let table = match table.is_autodiff() {
            true => table.inner(),
            false => table,
        };
        // The tokens train at full precision beside a model of half of it.
        let rows = table.select(0, ids).cast(default_dtype(device));
        Self::new(settings, rows, device)
    }

    /// Split a stored table.
    fn new(settings: &PromptSettings, table: Tensor<2>, device: &Device) -> Result<Self, Error> {
        let used = settings.num_virtual_tokens;
        let [rows, _] = table.dims();
        if used > rows {
            return Err(Error::Shape {
                key: "prompt_embeddings".into(),
                shape: table.dims().to_vec(),
                expected: format!("[{}, d]", settings.rows()?),
            });
        }
        let parameter = |part: Tensor<2>| {
            let part = match device.is_autodiff() {
                true => part.autodiff(),
                false => part,
            };
            Param::from_tensor(part)
        };
        let rest = (rows > used).then(|| table.clone().narrow(0, used, rows - used));
        Ok(Self {
            embeddings: parameter(table.narrow(0, 0, used)).set_require_grad(true),
            rest: rest.map(|rest| parameter(rest).set_require_grad(false)),
        })
    }
}

/// The precision of new floating-point tensors.
fn default_dtype(device: &Device) -> DType {
    Tensor::<1>::zeros([1], &device.clone().inner()).dtype()
}

fn width(settings: &PromptSettings) -> Result<usize, Error> {
    settings.token_dim.ok_or_else(|| Error::Config {
        field: "token_dim",
        value: "null".into(),
        expected: "the width of the model's embeddings",
    })
}
