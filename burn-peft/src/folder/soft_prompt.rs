//! Virtual tokens from a folder and into one.

use burn::tensor::{Device, Tensor};

use super::{AdapterFolder, written};
use crate::error::Error;
use crate::methods::PeftConfig;
use crate::prompt::{EMBEDDINGS, SoftPrompt, default_dtype};

impl SoftPrompt {
    /// The prompt of a PEFT folder. That of P-tuning goes on without the network that made it, which a
    /// folder does not have.
    ///
    /// # Errors
    ///
    /// [`Error::PeftType`] for another method, and what [`AdapterFolder::check`] finds.
    pub fn from_folder(folder: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        folder.check()?;
        let Some(used) = folder.config.virtual_tokens() else {
            return Err(Error::PeftType {
                peft_type: folder.config.peft_type().into(),
                expected: "PROMPT_TUNING or P_TUNING: other methods have no prompt".into(),
            });
        };
        let Some(data) = folder.tensors.get(EMBEDDINGS) else {
            let key = EMBEDDINGS.into();
            return Err(Error::MissingKey { key });
        };
        let plain = device.clone().inner();
        let dtype = default_dtype(&plain);
        let table = Tensor::from_data(data.clone().convert_dtype(dtype), (&plain, dtype));
        Self::new(used, table, device)
    }

    /// A folder with these virtual tokens in place of its own; everything else stays. For a new
    /// folder see [`to_folder`](Self::to_folder).
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the folder's configuration is not of this prompt.
    pub fn update_folder(&self, folder: &AdapterFolder) -> Result<AdapterFolder, Error> {
        let mut folder = folder.clone();
        let data = self.table().into_data();
        let data = match folder.tensors.get(EMBEDDINGS) {
            Some(old) => written(old, data),
            None => data,
        };
        folder.tensors.insert(EMBEDDINGS.into(), data);
        folder.check()?;
        Ok(folder)
    }

    /// A folder for Python with this prompt alone. A trained head (`modules_to_save`) is added by
    /// [`Peft::update_folder`](crate::Peft::update_folder) to a folder that has its keys.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the settings are not of this prompt.
    pub fn to_folder(&self, config: impl Into<PeftConfig>) -> Result<AdapterFolder, Error> {
        let folder = AdapterFolder {
            config: config.into(),
            tensors: Default::default(),
        };
        self.update_folder(&folder)
    }
}
