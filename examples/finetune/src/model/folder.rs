//! What a model folder says about itself.

use std::path::Path;

use burn_hf_models::llama::model_types;
use burn_hf_models::weights::read_config;
use programs::reading;
use serde::Deserialize;

use crate::config::{Architecture, Config};
use crate::error::Error;

/// The family of the configured model: as configured, or by `model_type` of the folder's
/// `config.json`; without a folder the MLP.
///
/// ```
/// use finetune::config::{Architecture, Config};
/// use finetune::model::architecture;
///
/// assert_eq!(architecture(&Config::default())?, Architecture::Mlp);
/// # Ok::<(), finetune::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Model`] for a folder without `config.json`, [`Error::Config`] for a family that the
/// program does not know, or a family without a folder.
pub fn architecture(config: &Config) -> Result<Architecture, Error> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: Option<String>,
    }
    let model = &config.model;
    let folder = match (&model.folder, model.architecture) {
        (None, None | Some(Architecture::Mlp)) => return Ok(Architecture::Mlp),
        (None, Some(_)) => {
            let expected = "a Hugging Face folder (`--model DIR`)";
            return Err(Error::config("model.folder", "not set", expected));
        }
        (Some(_), Some(Architecture::Mlp)) => {
            let expected = "no folder: the MLP is trained from scratch";
            return Err(Error::config("model.folder", "set", expected));
        }
        (Some(_), Some(architecture)) => return Ok(architecture),
        (Some(folder), None) => folder,
    };
    let kind: Kind = read_config(folder)?;
    match kind.model_type.as_deref() {
        Some("bert" | "roberta" | "distilbert" | "modernbert") => Ok(Architecture::Bert),
        Some("t5") => Ok(Architecture::T5),
        Some("vit") => Ok(Architecture::Vit),
        Some("dinov2") => Ok(Architecture::Dinov2),
        Some(kind) if model_types().contains(&kind) => Ok(Architecture::Causal),
        other => {
            let found = other.unwrap_or("not stated");
            let field = format!("{}: model_type", folder.join("config.json").display());
            let expected = format!(
                "bert, roberta, distilbert, modernbert, t5, vit, dinov2, {}",
                model_types().join(", ")
            );
            Err(Error::config(field, found, expected))
        }
    }
}

/// Mean and deviation by which pixels are normalised for a folder's model
/// (`preprocessor_config.json`); otherwise ImageNet's for DINOv2 and ½ for all others.
///
/// # Errors
///
/// [`Error::Read`] and [`Error::ConfigFile`] for a damaged file.
pub fn normalization(
    folder: Option<&Path>,
    architecture: Architecture,
) -> Result<([f32; 3], [f32; 3]), Error> {
    #[derive(Deserialize)]
    struct Preprocessor {
        image_mean: Option<[f32; 3]>,
        image_std: Option<[f32; 3]>,
    }
    let default = match architecture {
        Architecture::Dinov2 => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        _ => ([0.5; 3], [0.5; 3]),
    };
    let Some(path) = folder.map(|folder| folder.join("preprocessor_config.json")) else {
        return Ok(default);
    };
    if !path.exists() {
        return Ok(default);
    }
    let text = reading::text(&path).map_err(|error| Error::read(&path, error))?;
    let file: Preprocessor = serde_json::from_str(&text).map_err(|error| Error::ConfigFile {
        path,
        problem: error.to_string(),
    })?;
    Ok((
        file.image_mean.unwrap_or(default.0),
        file.image_std.unwrap_or(default.1),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(config: &str) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        let mut config = Config::default();
        config.model.folder = Some(folder.path().into());
        (folder, config)
    }

    #[test]
    fn the_family_is_read_from_the_folder() {
        let (_folder, mut config) = folder(r#"{"model_type": "dinov2"}"#);
        assert_eq!(architecture(&config).unwrap(), Architecture::Dinov2);
        config.model.architecture = Some(Architecture::Vit);
        assert_eq!(architecture(&config).unwrap(), Architecture::Vit);
        config.model.architecture = Some(Architecture::Mlp);
        assert!(architecture(&config).is_err());
        config.model.folder = None;
        config.model.architecture = Some(Architecture::T5);
        assert!(
            architecture(&config)
                .unwrap_err()
                .to_string()
                .contains("--model DIR")
        );
    }

    #[test]
    fn other_families_are_named() {
        let (_folder, config) = folder(r#"{"model_type": "gpt2"}"#);
        let text = architecture(&config).unwrap_err().to_string();
        assert!(
            text.contains("model_type` is gpt2, expected bert"),
            "{text}"
        );
        let (folder, config) = folder("{");
        assert!(matches!(architecture(&config), Err(Error::Model(_))));
        let preprocessor = folder.path().join("preprocessor_config.json");
        fs::write(preprocessor, r#"{"image_mean": [0.1, 0.2, 0.3]}"#).unwrap();
        let (mean, std) = normalization(Some(folder.path()), Architecture::Vit).unwrap();
        assert_eq!((mean, std), ([0.1, 0.2, 0.3], [0.5; 3]));
    }
}
