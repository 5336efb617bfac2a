//! Classes of a classifier, as `config.json` lists them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// `id2label`.
pub(crate) type Labels = BTreeMap<String, String>;

/// Number of classes: those with a label, else `num_labels`, else two.
pub(crate) fn count_labels(labels: Option<&Labels>, count: Option<usize>) -> usize {
    labels.map_or(count.unwrap_or(2), BTreeMap::len)
}

/// Labels, of which some writers make numbers.
pub(crate) fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Labels>, D::Error> {
    let labels: Option<BTreeMap<String, serde_json::Value>> = Option::deserialize(deserializer)?;
    let text = |label: serde_json::Value| match label {
        serde_json::Value::String(label) => label,
        other => other.to_string(),
    };
    let named = |labels: BTreeMap<_, _>| {
        labels
            .into_iter()
            .map(|(id, label)| (id, text(label)))
            .collect()
    };
    Ok(labels.map(named))
}

/// The labels that `transformers` gives `count` classes by default.
pub(crate) fn number_labels(count: usize) -> Labels {
    let label = |i: usize| (i.to_string(), format!("LABEL_{i}"));
    (0..count).map(label).collect()
}

/// Reading and classes of a configuration that has a `check` and the fields `num_hidden_layers`, `id2label` and
/// `num_labels`; `$stack` is what is in front of a layer's index in names of tensors. BERT, ViT and
/// DINOv2 have their fields in common, but not their defaults, and are types of their own.
macro_rules! classifier_config {
    ($config:ty, $stack:expr) => {
        impl $config {
            /// Read `config.json` of a folder.
            ///
            /// # Errors
            ///
            /// See [`read_config`](crate::weights::read_config);
            /// [`Error::Config`](crate::Error::Config) if a value is not supported, or for a number of layers that
            /// the folder's weights do not have.
            pub fn from_folder(folder: &std::path::Path) -> Result<Self, crate::Error> {
                let config: Self = crate::weights::read_config(folder)?;
                config.check().map_err(|error| error.in_config(folder))?;
                let layers = crate::weights::Stack {
                    field: "num_hidden_layers",
                    count: config.num_hidden_layers,
                    names: $stack,
                };
                crate::weights::check_stacks(folder, &[layers])?;
                Ok(config)
            }
        }

        crate::encoder::classes_config!($config);
    };
}

/// The classes of a configuration that has the fields `id2label` and `num_labels`.
macro_rules! classes_config {
    ($config:ty) => {
        impl $config {
            /// Classes of the classifier.
            pub fn num_labels(&self) -> usize {
                crate::encoder::count_labels(self.id2label.as_ref(), self.num_labels)
            }

            /// A classifier of `count` classes, with the labels that `transformers` gives by
            /// default.
            pub fn with_labels(self, count: usize) -> Self {
                Self {
                    id2label: Some(crate::encoder::number_labels(count)),
                    num_labels: None,
                    ..self
                }
            }
        }
    };
}

pub(crate) use {classes_config, classifier_config};
