//! Classes of a classifier, as `config.json` lists them.

use std::collections::BTreeMap;

/// `id2label`.
pub(crate) type Labels = BTreeMap<String, String>;

/// Number of classes; two where not stated.
pub(crate) fn count_labels(labels: Option<&Labels>) -> usize {
    labels.map_or(2, BTreeMap::len)
}

/// The labels that `transformers` gives `count` classes by default.
pub(crate) fn number_labels(count: usize) -> Labels {
    let label = |i: usize| (i.to_string(), format!("LABEL_{i}"));
    (0..count).map(label).collect()
}

/// Reading and classes of a configuration that has a `check` and the field `id2label`. BERT, ViT and
/// DINOv2 have their fields in common, but not their defaults, and are types of their own.
macro_rules! classifier_config {
    ($config:ty) => {
        impl $config {
            /// Read `config.json` of a folder.
            ///
            /// # Errors
            ///
            /// See [`read_config`](crate::weights::read_config);
            /// [`Error::Config`](crate::Error::Config) if a value is not supported.
            pub fn from_folder(folder: &std::path::Path) -> Result<Self, crate::Error> {
                let config: Self = crate::weights::read_config(folder)?;
                config.check()?;
                Ok(config)
            }

            /// Classes of the classifier.
            pub fn num_labels(&self) -> usize {
                crate::encoder::count_labels(self.id2label.as_ref())
            }

            /// A classifier of `count` classes, with the labels that `transformers` gives by
            /// default.
            pub fn with_labels(self, count: usize) -> Self {
                Self {
                    id2label: Some(crate::encoder::number_labels(count)),
                    ..self
                }
            }
        }
    };
}

pub(crate) use classifier_config;
