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
