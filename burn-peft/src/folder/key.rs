//! PEFT's names of tensors.

use std::collections::BTreeSet;

use crate::adapters::AdapterPart;
use crate::error::Error;
use crate::methods::PeftConfig;
use crate::settings::Bias;
use crate::targets::is_under_saved;
use crate::tuner::Tuner;

/// What a tensor of an adapter folder is.
///
/// Module names are those of `transformers`, without PEFT's `base_model.` in front.
///
/// ```
/// use burn_peft::folder::AdapterKey;
/// use burn_peft::{AdapterPart, LoraConfig};
///
/// let config = LoraConfig::new().with_modules_to_save(["classifier"]).into();
/// let name = "base_model.model.bert.pooler.dense.lora_A.weight";
/// let key = AdapterKey::parse(name, &config)?;
/// let module = "bert.pooler.dense".to_string();
/// let part = AdapterPart::LORA_A;
/// assert_eq!(key, AdapterKey::Adapter { module, part });
/// assert_eq!(key.name(&config), name);
///
/// let head = AdapterKey::parse("base_model.model.classifier.bias", &config)?;
/// let (module, parameter) = ("classifier".into(), "bias".into());
/// assert_eq!(head, AdapterKey::Saved { module, parameter });
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AdapterKey {
    /// A tensor of the adapter of one module, such as a factor of a LoRA.
    Adapter {
        /// The adapted module.
        module: String,
        /// Which tensor of it.
        part: AdapterPart,
    },
    /// A parameter of a module that is trained in full (`modules_to_save`).
    Saved {
        /// The module that owns the parameter, at or below the one in `modules_to_save`.
        module: String,
        /// Its name there, `weight` or `bias` for most.
        parameter: String,
    },
    /// A bias of the base model that trains in addition to the adapters (`bias`).
    Bias {
        /// The module that owns it.
        module: String,
    },
    /// A parameter of the base model that is stored without being named in the configuration: PEFT
    /// does so for embeddings that are adapted or were resized.
    Base {
        /// The module that owns it.
        module: String,
        /// `weight` or `bias`.
        parameter: String,
    },
    /// The untrained copy of a parameter that is trained in full; PEFT leaves such copies in folders
    /// with `bias` set. It has no effect.
    Original {
        /// The module that owns it.
        module: String,
        /// Its name there.
        parameter: String,
    },
    /// A tensor that belongs to the whole model, such as a table of virtual tokens.
    Model {
        /// Which tensor.
        part: AdapterPart,
    },
}

/// Where the layer itself is in a module that is adapted.
const ADAPTED: &str = "base_layer";

impl AdapterKey {
    /// Read the name of a tensor in a folder with this configuration.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] if it does not belong there.
    pub fn parse(name: &str, config: &PeftConfig) -> Result<Self, Error> {
        Self::parse_of(name, config, None)
    }

    /// The same in a folder whose adapter has this name in PEFT, where its keys say one.
    pub(crate) fn parse_of(
        name: &str,
        config: &PeftConfig,
        adapter: Option<&str>,
    ) -> Result<Self, Error> {
        let unknown = |reason| {
            let key = name.into();
            Err(Error::Key { key, reason })
        };
        let tuner = config.tuner();
        let mut of_model = tuner.model_parts().iter();
        if let Some(part) = of_model.find(|part| part.suffix() == name) {
            return Ok(Self::Model { part: *part });
        }
        let Some(path) = name.strip_prefix(tuner.prefix()) else {
            return unknown("keys begin with `base_model.model.`, in prompt tuning `base_model.`");
        };
        if path.split('.').any(str::is_empty) {
            return unknown("a part of its name is empty");
        }
        for part in tuner.further_parts() {
            let module = path.strip_suffix(part.suffix());
            if let Some(module) = module.and_then(|module| module.strip_suffix('.')) {
                let (module, part) = (module.to_string(), *part);
                return Ok(Self::Adapter { module, part });
            }
        }
        for marker in PeftConfig::markers() {
            let Some(start) = start_of(path, marker) else {
                continue;
            };
            if marker != tuner.marker() {
                return unknown("it belongs to another method than the configuration's peft_type");
            }
            let (module, suffix) = path.split_at(start);
            let module = module.trim_end_matches('.').to_string();
            return match part(tuner, suffix) {
                Some((part, _)) if !module.is_empty() => Ok(Self::Adapter { module, part }),
                _ => unknown("the method has no tensor of this name"),
            };
        }
        match Self::of_base(path, config, adapter) {
            Some(key) => Ok(key),
            None => unknown("it is neither of an adapter, nor in modules_to_save, nor a bias"),
        }
    }

    /// The name that PEFT gave the adapter, where the key of one of its tensors says it
    /// (`….lora_A.default.weight`): a file that was not written by `save_pretrained`.
    pub(crate) fn adapter_name<'a>(name: &'a str, config: &PeftConfig) -> Option<&'a str> {
        let tuner = config.tuner();
        let path = name.strip_prefix(tuner.prefix())?;
        let marker = Some(tuner.marker()).filter(|marker| !marker.is_empty())?;
        let start = start_of(path, marker)?;
        part(tuner, &path[start..])?.1
    }

    /// A parameter of the model itself.
    fn of_base(path: &str, config: &PeftConfig, adapter: Option<&str>) -> Option<Self> {
        let (owner, parameter) = path.rsplit_once('.')?;
        let parameter = parameter.to_string();
        if let Some(module) = without(owner, "original_module") {
            return Some(Self::Original { module, parameter });
        }
        let mut names = adapter.into_iter().chain(["default"]);
        let marked = names.find_map(|name| without(owner, &format!("modules_to_save.{name}")));
        if let Some(module) = marked.or_else(|| without(owner, "modules_to_save")) {
            return Some(Self::Saved { module, parameter });
        }
        if is_under_saved(config.modules_to_save(), owner) {
            let module = owner.into();
            return Some(Self::Saved { module, parameter });
        }
        let module = match owner
            .strip_suffix(ADAPTED)
            .and_then(|owner| owner.strip_suffix('.'))
        {
            Some(module) => module.to_string(),
            None => owner.to_string(),
        };
        match parameter.as_str() {
            "bias" if config.tuner().bias() != Bias::None => Some(Self::Bias { module }),
            "weight" | "bias" => Some(Self::Base { module, parameter }),
            _ => None,
        }
    }

    /// The name that PEFT gives the tensor in a folder with this configuration, where the module is
    /// not one that is adapted; see [`name_in`](Self::name_in).
    pub fn name(&self, config: &PeftConfig) -> String {
        let tuner = config.tuner();
        let prefix = tuner.prefix();
        match self {
            Self::Adapter { module, part } => format!("{prefix}{module}.{}", part.suffix()),
            Self::Bias { module } if tuner.bias() == Bias::LoraOnly => {
                format!("{prefix}{module}.{ADAPTED}.bias")
            }
            Self::Bias { module } => format!("{prefix}{module}.bias"),
            Self::Saved { module, parameter } | Self::Base { module, parameter } => {
                format!("{prefix}{module}.{parameter}")
            }
            Self::Original { module, parameter } => {
                format!("{prefix}{module}.original_module.{parameter}")
            }
            Self::Model { part } => part.suffix().into(),
        }
    }

    /// The name that PEFT gives the tensor in a folder with this configuration in which the modules
    /// in `adapted` have adapters. PEFT puts the layer of an adapted module one level down, and
    /// skips a bias or an embedding that a folder has under another name without a message.
    pub fn name_in(&self, config: &PeftConfig, adapted: &BTreeSet<String>) -> String {
        let prefix = config.tuner().prefix();
        match self {
            Self::Bias { module } if adapted.contains(module) => {
                format!("{prefix}{module}.{ADAPTED}.bias")
            }
            Self::Bias { module } => format!("{prefix}{module}.bias"),
            Self::Base { module, parameter } if adapted.contains(module) => {
                format!("{prefix}{module}.{ADAPTED}.{parameter}")
            }
            key => key.name(config),
        }
    }
}

/// The tensor that a method calls so, and the adapter's name if it is in between.
fn part<'a>(tuner: &dyn Tuner, suffix: &'a str) -> Option<(AdapterPart, Option<&'a str>)> {
    if let Some(part) = tuner.part(suffix) {
        return Some((part, None));
    }
    let (first, rest) = suffix.split_once('.')?;
    let (name, plain) = match rest.split_once('.') {
        Some((name, parameter)) => (name, format!("{first}.{parameter}")),
        None => (rest, first.to_string()),
    };
    if matches!(name, "" | "weight" | "bias") {
        return None;
    }
    Some((tuner.part(&plain)?, Some(name)))
}

/// Where the first part of the path that begins with `marker` starts.
fn start_of(path: &str, marker: &str) -> Option<usize> {
    if path.starts_with(marker) {
        return Some(0);
    }
    path.find(&format!(".{marker}")).map(|dot| dot + 1)
}

/// The path without `part`, if it is there after a module's name.
fn without(path: &str, part: &str) -> Option<String> {
    let marked = format!(".{part}");
    let (before, after) = path.split_once(&marked)?;
    let whole = after.is_empty() || after.starts_with('.');
    whole.then(|| format!("{before}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::LoraConfig;
    use crate::prompt::PromptConfig;

    fn parameter(module: &str, parameter: &str) -> (String, String) {
        (module.into(), parameter.into())
    }

    fn saved(at: (&str, &str)) -> AdapterKey {
        let (module, parameter) = parameter(at.0, at.1);
        AdapterKey::Saved { module, parameter }
    }

    #[test]
    fn every_kind_of_key_is_read() {
        let settings = LoraConfig::new().with_modules_to_save(["classifier"]);
        let plain = PeftConfig::from(settings.clone());
        let biased = PeftConfig::from(settings.with_bias(Bias::All));
        let lora = |part| AdapterKey::Adapter {
            module: "a.0.q".into(),
            part,
        };
        let (module, weight) = parameter("emb", "weight");
        let base = AdapterKey::Base {
            module,
            parameter: weight,
        };
        let (module, bias) = parameter("classifier", "bias");
        let original = AdapterKey::Original {
            module,
            parameter: bias,
        };
        for (name, expected) in [
            ("a.0.q.lora_A.weight", lora(AdapterPart::LORA_A)),
            ("a.0.q.lora_B.weight", lora(AdapterPart::LORA_B)),
            (
                "a.0.q.lora_embedding_A",
                lora(AdapterPart::LORA_EMBEDDING_A),
            ),
            (
                "a.0.q.lora_embedding_B",
                lora(AdapterPart::LORA_EMBEDDING_B),
            ),
            (
                "a.0.q.lora_magnitude_vector",
                lora(AdapterPart::LORA_MAGNITUDE),
            ),
            (
                "a.0.q.lora_magnitude_vector.weight",
                lora(AdapterPart::LORA_MAGNITUDE),
            ),
            ("a.0.q.lora_A.default.weight", lora(AdapterPart::LORA_A)),
            ("a.0.q.lora_B.my-adapter.weight", lora(AdapterPart::LORA_B)),
            (
                "a.0.q.lora_embedding_A.default",
                lora(AdapterPart::LORA_EMBEDDING_A),
            ),
            (
                "a.0.q.lora_magnitude_vector.default",
                lora(AdapterPart::LORA_MAGNITUDE),
            ),
            (
                "a.0.q.lora_magnitude_vector.default.weight",
                lora(AdapterPart::LORA_MAGNITUDE),
            ),
            ("classifier.weight", saved(("classifier", "weight"))),
            ("classifier.dense.bias", saved(("classifier.dense", "bias"))),
            (
                "classifier.modules_to_save.weight",
                saved(("classifier", "weight")),
            ),
            (
                "classifier.modules_to_save.default.dense.weight",
                saved(("classifier.dense", "weight")),
            ),
            ("score.modules_to_save.scale", saved(("score", "scale"))),
            ("classifier.original_module.bias", original),
            ("emb.base_layer.weight", base.clone()),
            ("emb.weight", base),
        ] {
            let name = format!("base_model.model.{name}");
            assert_eq!(AdapterKey::parse(&name, &plain), Ok(expected), "{name}");
        }
        let bias = AdapterKey::Bias { module: "a".into() };
        for name in [
            "base_model.model.a.bias",
            "base_model.model.a.base_layer.bias",
        ] {
            assert_eq!(AdapterKey::parse(name, &biased).as_ref(), Ok(&bias));
        }
    }

    #[test]
    fn prompt_tuning_has_another_prefix() {
        let settings = PromptConfig::new(4).with_modules_to_save(["classifier"]);
        let config = PeftConfig::from(settings);
        let parse = |name| AdapterKey::parse(name, &config);
        let part = AdapterPart::PROMPT_EMBEDDINGS;
        assert_eq!(parse("prompt_embeddings"), Ok(AdapterKey::Model { part }));
        let head = "base_model.classifier.weight";
        assert_eq!(parse(head), Ok(saved(("classifier", "weight"))));
        assert_eq!(parse(head).unwrap().name(&config), head);
        assert!(parse("base_model.model.q.lora_A.weight").is_err());
    }

    #[test]
    fn unknown_keys_are_named() {
        let config = PeftConfig::from(LoraConfig::new());
        for name in [
            "",
            "prompt_embeddings",
            "base_model.q.lora_A.weight",
            "base_model.model.lora_A.weight",
            "base_model.model.q.lora_A.default.bias",
            "base_model.model.q.lora_A.a.b.weight",
            "base_model.model.q.lora_A.bias",
            "base_model.model.q.lora_embedding_A.weight",
            "base_model.model.q.lora_C.weight",
            "base_model.model.q..lora_A.weight",
            "base_model.model.weight",
            "base_model.model.q.running_mean",
        ] {
            let Err(Error::Key { key, .. }) = AdapterKey::parse(name, &config) else {
                panic!("{name} was accepted");
            };
            assert_eq!(key, name);
        }
    }

    #[test]
    fn adapted_modules_hold_their_layer_one_level_down() {
        let adapted = BTreeSet::from(["q".to_string()]);
        let bias = |module: &str| AdapterKey::Bias {
            module: module.into(),
        };
        for mode in [Bias::All, Bias::LoraOnly] {
            let config = PeftConfig::from(LoraConfig::new().with_bias(mode));
            let names = ["q", "norm"].map(|module| bias(module).name_in(&config, &adapted));
            let expected = ["q.base_layer.bias", "norm.bias"];
            assert_eq!(
                names,
                expected.map(|name| format!("base_model.model.{name}"))
            );
            for (name, module) in names.iter().zip(["q", "norm"]) {
                assert_eq!(AdapterKey::parse(name, &config), Ok(bias(module)));
            }
        }
        let lora_only = PeftConfig::from(LoraConfig::new().with_bias(Bias::LoraOnly));
        assert_eq!(
            bias("q").name(&lora_only),
            "base_model.model.q.base_layer.bias"
        );
    }
}
