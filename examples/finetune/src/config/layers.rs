//! A configuration from layers: a preset, a file, flags.

use std::path::Path;

use programs::optimizer::merge;
use programs::reading;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Config;
use crate::data::Task;
use crate::error::Error;
use crate::preset::Preset;

/// The fields of a configuration file that are set, by section; a file whose name ends in `.json`
/// is JSON, every other one TOML. `preset = "NAME"` in it names the layer below.
///
/// # Errors
///
/// [`Error::Read`], or [`Error::ConfigFile`] with the place of what does not fit.
pub fn read(path: &Path) -> Result<Value, Error> {
    let text = reading::text(path).map_err(|error| Error::read(path, error))?;
    let refuse = |problem: String| Error::ConfigFile {
        path: path.into(),
        problem: problem.trim_end().into(),
    };
    // The file is read twice: into its type, for errors that name the place, and as it is, for
    // the fields that are set.
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        serde_json::from_str::<File>(&text).map_err(|error| refuse(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))
    } else {
        toml::from_str::<File>(&text).map_err(|error| refuse(error.to_string()))?;
        toml::from_str(&text).map_err(|error| refuse(error.to_string()))
    }
}

/// A file's type: a configuration, and the name of a preset.
struct File;

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's `flatten` would forget `deny_unknown_fields`: the preset is taken out by hand.
        let mut fields = Map::deserialize(deserializer)?;
        if let Some(preset) = fields.remove("preset") {
            Preset::deserialize(preset).map_err(serde::de::Error::custom)?;
        }
        Config::deserialize(Value::Object(fields)).map_err(serde::de::Error::custom)?;
        Ok(Self)
    }
}

/// The configuration of a preset, or the default one, with the fields of a file over it.
///
/// A preset given here goes before the one that the file names; `task` is one that goes before
/// that of the file, for presets that depend on it.
///
/// ```
/// use finetune::config::layered;
/// use finetune::preset::Preset;
///
/// let file = serde_json::json!({"training": {"epochs": 9}, "method": {"ief": {"step_size": 0.5}}});
/// let config = layered(Some(Preset::MlpCifar10), Some(file), None)?;
/// let preset = Preset::MlpCifar10.config();
/// assert_eq!((config.training.epochs, config.training.batch), (9, preset.training.batch));
/// # Ok::<(), finetune::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::ConfigFile`] for fields that do not fit.
pub fn layered(
    preset: Option<Preset>,
    file: Option<Value>,
    task: Option<Task>,
) -> Result<Config, Error> {
    let refuse = |error: serde_json::Error| Error::ConfigFile {
        path: "config".into(),
        problem: error.to_string(),
    };
    let mut file = file.unwrap_or_else(|| Value::Object(Map::new()));
    let named = file.as_object_mut().and_then(|file| file.remove("preset"));
    let named = named.map(Preset::deserialize).transpose().map_err(refuse)?;
    let own = file
        .get("task")
        .map(Task::deserialize)
        .transpose()
        .map_err(refuse)?;
    let below = match preset.or(named) {
        Some(preset) => preset.config_for(task.or(own)),
        None => Config::default(),
    };
    let mut value = serde_json::to_value(below).map_err(refuse)?;
    merge(&mut value, file);
    serde_json::from_value(value).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use programs::optimizer::OptimizerName;

    fn file(name: &str, text: &str) -> Result<Config, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        layered(None, Some(read(&path)?), None)
    }

    #[test]
    fn a_file_changes_only_what_it_names() {
        let config = file(
            "a.toml",
            "[method.sgd]\nstep_size = 0.5\n[training]\nbatch = 7\n",
        );
        let config = config.unwrap();
        let mut expected = Config::default();
        expected.training.batch = 7;
        expected
            .method
            .get_mut(&OptimizerName::SGD)
            .unwrap()
            .step_size = 0.5;
        assert_eq!(config, expected);
        let json = r#"{"preset": "mlp-cifar10", "training": {"batch": 7}}"#;
        let config = file("a.json", json).unwrap();
        assert_eq!(
            (config.name.as_str(), config.training.batch),
            ("mlp-cifar10", 7)
        );
    }

    #[test]
    fn fields_that_nobody_knows_are_named() {
        let refused = |name, text| file(name, text).unwrap_err().to_string();
        let text = refused("a.toml", "[training]\nbach = 7\n");
        assert!(
            text.contains("unknown field `bach`, expected one of `batch`"),
            "{text}"
        );
        assert!(refused("a.json", r#"{"methods": ["iief"]}"#).contains("iief"));
        assert!(refused("a.toml", "preset = \"nothing\"").contains("nothing"));
        let text = refused("a.toml", "[training\n");
        assert!(text.contains("line 1"), "{text}");
        let text = refused("a.toml", "[method.ief]\npace = 1.0\n");
        assert!(text.contains("unknown field `pace`"), "{text}");
    }

    #[test]
    fn tasks_of_glue_have_the_papers_epochs() {
        let epochs = |text| file("a.toml", text).unwrap().training.epochs;
        assert_eq!(epochs("preset = \"t5-lora-glue\"\ntask = \"rte\"\n"), 40);
        let both = "preset = \"t5-lora-glue\"\ntask = \"rte\"\n[training]\nepochs = 2\n";
        assert_eq!(epochs(both), 2);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("no/such.toml")).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot read no/such.toml"),
            "{error}"
        );
    }
}
