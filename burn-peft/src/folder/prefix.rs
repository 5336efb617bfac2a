//! Prefixes from a folder and into one.

use burn::tensor::{Device, Tensor};

use super::AdapterFolder;
use crate::error::Error;
use crate::methods::PeftConfig;
use crate::prefix::{KeyValuePrefix, PrefixConfig};
use crate::prompt::{EMBEDDINGS, default_dtype};

impl KeyValuePrefix {
    /// The prefix of a PEFT folder, as a table.
    ///
    /// # Errors
    ///
    /// [`Error::PeftType`] for another method, and what [`AdapterFolder::check`] finds.
    pub fn from_folder(folder: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        folder.check()?;
        let PeftConfig::Prefix(_) = &folder.config else {
            return Err(Error::PeftType {
                peft_type: folder.config.peft_type().into(),
                expected: "PREFIX_TUNING: other methods have no prefix".into(),
            });
        };
        let Some(data) = folder.tensors.get(EMBEDDINGS) else {
            let key = EMBEDDINGS.into();
            return Err(Error::MissingKey { key });
        };
        let plain = device.clone().inner();
        let dtype = default_dtype(&plain);
        let table = Tensor::from_data(data.clone().convert_dtype(dtype), (&plain, dtype));
        Ok(Self::of_table(table, device))
    }

    /// A folder for Python with this prefix.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the settings are not of this prefix.
    pub fn to_folder(&self, config: &PrefixConfig) -> Result<AdapterFolder, Error> {
        let table: Tensor<2> = self.once().squeeze_dim(0);
        let folder = AdapterFolder::new(config, [(EMBEDDINGS.into(), table.into_data())]);
        folder.check()?;
        Ok(folder)
    }
}
