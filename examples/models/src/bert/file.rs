//! Reading a configuration.

use std::path::Path;

use serde::Deserialize;

use super::config::BertConfig;
use super::distilbert::DistilBertFields;
use crate::error::Error;
use crate::weights::{Stack, check_stacks, read_config};

/// The field that says which relative of BERT a file is of.
#[derive(Deserialize)]
struct Stated {
    model_type: Option<String>,
}

impl BertConfig {
    /// Read `config.json` of a folder, of the `model_type` `bert`, `roberta` or `distilbert`.
    ///
    /// # Errors
    ///
    /// See [`read_config`]; [`Error::Config`] if a value is not supported, or for a number of layers
    /// that the folder's weights do not have.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        let stated: Stated = read_config(folder)?;
        let (config, field) = if stated.model_type.as_deref() == Some("distilbert") {
            let fields: DistilBertFields = read_config(folder)?;
            (Self::from(fields), "n_layers")
        } else {
            (read_config(folder)?, "num_hidden_layers")
        };
        config.check().map_err(|error| error.in_config(folder))?;
        let layers = Stack {
            field,
            count: config.num_hidden_layers,
            names: &["encoder.layer", "transformer.layer"],
        };
        check_stacks(folder, &[layers])?;
        Ok(config)
    }
}
