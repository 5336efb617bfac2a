//! What a run was made from, as fingerprints: rows, their order and split, and the files of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use programs::reading;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::conversation::Sample;
use crate::data::{Dataset, ImageExample, Label, Splits, TextExample, TokenExample};
use crate::error::Error;

/// The parts of a data set, in the order of [`Rows::parts`].
const PARTS: [&str; 3] = ["training", "validation", "test"];
/// Files of a model folder that a run reads if they are there.
const SETTINGS: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];
/// Files of a PEFT folder.
const ADAPTER: [&str; 3] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// SHA-256 sums of what a run was made from.
///
/// A run can only go on, or be looked at, with the inputs that it began with: the split is drawn from the rows,
/// so with one row less other rows would be in training, validation and test.
///
/// ```
/// use finetune::inputs::Inputs;
///
/// let before = Inputs::default();
/// let mut now = before.clone();
/// now.model.insert("config.json".into(), "ab12".into());
/// assert_eq!(before.changes(&now), ["config.json of the model is new"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inputs {
    /// The data.
    pub rows: Rows,
    /// Files of the model folder by name.
    pub model: BTreeMap<String, String>,
}

/// Sums of the rows of a data set.
///
/// ```
/// assert_eq!(finetune::inputs::Rows::default().parts.len(), 3);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// All rows with their labels, whatever their order and part.
    pub all: String,
    /// Rows for training, validation and test in their order.
    pub parts: [String; 3],
}

impl Rows {
    /// Of these data.
    pub(crate) fn of(dataset: &Dataset) -> Self {
        match dataset {
            Dataset::Text(splits) => Self::of_splits(splits, text),
            Dataset::Tokens(splits) => Self::of_splits(splits, words),
            Dataset::Image(splits) => Self::of_splits(splits, picture),
            Dataset::Language(found) => Self::of_splits(&found.splits, conversation),
        }
    }

    fn of_splits<E>(splits: &Splits<E>, content: fn(&E, &[String], &mut Fields)) -> Self {
        // A sum does not depend on the order of its terms.
        let mut all = 0u128;
        let parts = [&splits.train, &splits.valid, &splits.test].map(|rows| {
            let mut part = Sha256::new();
            for row in rows {
                let mut fields = Fields(Sha256::new());
                content(row, &splits.labels, &mut fields);
                let digest: [u8; 32] = fields.0.finalize().into();
                part.update(digest);
                let (half, _) = digest.split_at(16);
                all = all.wrapping_add(
                    half.iter()
                        .fold(0, |sum, &byte| sum << 8 | u128::from(byte)),
                );
            }
            hexadecimal(&part.finalize())
        });
        Self {
            all: format!("{all:032x}"),
            parts,
        }
    }
}

/// Fields of a row with their lengths, so that no two rows give the same bytes.
struct Fields(Sha256);

impl Fields {
    fn add(&mut self, field: impl AsRef<[u8]>) {
        let field = field.as_ref();
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
    }
}

/// The name of a class, a label or a tag.
fn name(labels: &[String], place: usize) -> &str {
    labels.get(place).map_or("", String::as_str)
}

fn text(row: &TextExample, labels: &[String], fields: &mut Fields) {
    fields.add(&row.first);
    if let Some(second) = &row.second {
        fields.add(second);
    }
    match &row.label {
        Label::Class(class) => fields.add(name(labels, *class)),
        Label::Number(number) => fields.add(number.to_le_bytes()),
        Label::Set(set) => {
            let applying = set.iter().enumerate().filter(|(_, applies)| **applies);
            for (place, _) in applying {
                fields.add(name(labels, place));
            }
        }
        Label::Tags(tags) => tags.iter().for_each(|tag| fields.add(tag.to_le_bytes())),
    }
}

fn words(row: &TokenExample, labels: &[String], fields: &mut Fields) {
    for (word, tag) in row.words.iter().zip(&row.tags) {
        fields.add(word);
        fields.add(name(labels, *tag));
    }
}

/// Samples have no class.
fn conversation(row: &Sample, _: &[String], fields: &mut Fields) {
    if let Some((messages, tools)) = row.content.as_chat() {
        for message in messages {
            fields.add(message.to_json().to_string());
            fields.add([u8::from(message.trained)]);
        }
        fields.add(tools.map_or(String::new(), ToString::to_string));
    } else if let Some((prompt, answer)) = row.content.as_plain() {
        fields.add(prompt);
        fields.add(answer);
    }
    fields.add("");
}

fn picture(row: &ImageExample, labels: &[String], fields: &mut Fields) {
    fields.add((row.height as u64).to_le_bytes());
    fields.add((row.width as u64).to_le_bytes());
    fields.add(&row.pixels);
    fields.add(name(labels, row.label));
}

impl Inputs {
    /// Of a data set, a model's folder or GGUF file, and the PEFT folder that a run goes on from, all of whose files
    /// that a run reads are read.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub(crate) fn of(
        rows: Rows,
        folder: Option<&Path>,
        adapter: Option<&Path>,
    ) -> Result<Self, Error> {
        let mut model = BTreeMap::new();
        if let Some(file) = folder.filter(|path| path.is_file()) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            model.insert(name.into_owned(), sum(file)?);
        } else if let Some(folder) = folder {
            for name in files(folder)? {
                let sum = sum(&folder.join(&name))?;
                model.insert(name, sum);
            }
        }
        for name in ADAPTER {
            if let Some(path) = adapter.map(|folder| folder.join(name))
                && path.is_file()
            {
                model.insert(name.into(), sum(&path)?);
            }
        }
        Ok(Self { rows, model })
    }

    /// What is different now, in words; nothing if all is the same.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.rows.all != now.rows.all {
            changes.push("rows of the data (texts, pictures or labels)".to_string());
        } else if self.rows != now.rows {
            let parts = PARTS
                .iter()
                .zip(self.rows.parts.iter().zip(&now.rows.parts));
            let changed = parts.filter(|(_, (before, now))| before != now);
            let names: Vec<&str> = changed.map(|(name, _)| *name).collect();
            let names = names.join(", ");
            changes.push(format!(
                "the order of the rows, which decides on their split ({names})"
            ));
        }
        let names: BTreeSet<&String> = self.model.keys().chain(now.model.keys()).collect();
        for name in names {
            match (self.model.get(name), now.model.get(name)) {
                (Some(before), Some(now)) if before == now => {}
                (Some(_), Some(_)) => changes.push(format!("{name} of the model")),
                (Some(_), None) => changes.push(format!("{name} of the model is gone")),
                (None, _) => changes.push(format!("{name} of the model is new")),
            }
        }
        changes
    }
}

/// Names of the files of a model folder that a run reads.
fn files(folder: &Path) -> Result<BTreeSet<String>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let names = SETTINGS.iter().chain([&WEIGHTS]).map(ToString::to_string);
    let mut names: BTreeSet<String> = names.filter(|name| folder.join(name).is_file()).collect();
    let index = folder.join(INDEX);
    if !names.contains(WEIGHTS) && index.is_file() {
        let text = reading::text(&index).map_err(|error| Error::read(&index, error))?;
        let parsed = serde_json::from_str::<Index>(&text);
        let Index { weight_map } = parsed.map_err(|error| Error::read(&index, error))?;
        names.extend(weight_map.into_values());
        names.insert(INDEX.into());
    }
    Ok(names)
}

/// The sum of a file.
pub(crate) fn sum(path: &Path) -> Result<String, Error> {
    let mut file = reading::open(path).map_err(|error| Error::read(path, error))?;
    let mut sum = Sha256::new();
    io::copy(&mut file, &mut sum).map_err(|error| Error::read(path, error))?;
    Ok(hexadecimal(&sum.finalize()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: [&[(&str, usize)]; 3]) -> Rows {
        let part = |texts: &[(&str, usize)]| {
            let row = |&(text, label): &(&str, usize)| TextExample::new(text, label);
            texts.iter().map(row).collect()
        };
        let [train, valid, test] = texts.map(part);
        Rows::of(&Dataset::Text(Splits {
            train,
            valid,
            test,
            labels: vec!["x".into(), "y".into()],
            ..Splits::default()
        }))
    }

    fn changes(before: &Rows, now: Rows) -> String {
        let inputs = |rows| Inputs {
            rows,
            ..Inputs::default()
        };
        inputs(before.clone()).changes(&inputs(now)).join("; ")
    }

    #[test]
    fn rows_their_labels_and_their_order_are_told_apart() {
        let before = rows([&[("a", 0), ("b", 1)], &[("c", 0)], &[("d", 1)]]);
        let same = rows([&[("a", 0), ("b", 1)], &[("c", 0)], &[("d", 1)]]);
        assert_eq!(changes(&before, same), "");
        let content = "rows of the data (texts, pictures or labels)";
        for other in [
            rows([&[("a", 0), ("b", 0)], &[("c", 0)], &[("d", 1)]]),
            rows([&[("a", 0), ("B", 1)], &[("c", 0)], &[("d", 1)]]),
            rows([&[("a", 0)], &[("c", 0)], &[("d", 1)]]),
            rows([&[("a", 0), ("a", 0), ("b", 1)], &[("c", 0)], &[("d", 1)]]),
        ] {
            assert_eq!(changes(&before, other), content);
        }
        let moved = rows([&[("c", 0), ("b", 1)], &[("a", 0)], &[("d", 1)]]);
        let said = changes(&before, moved);
        assert!(
            said.contains("order") && said.contains("(training, validation)"),
            "{said}"
        );
        let turned = rows([&[("b", 1), ("a", 0)], &[("c", 0)], &[("d", 1)]]);
        assert!(changes(&before, turned).ends_with("(training)"));
    }

    #[test]
    fn files_of_the_model_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let now = || Inputs::of(Rows::default(), Some(folder.path()), None).unwrap();
        put("config.json", "{}");
        put(INDEX, r#"{"weight_map": {"a": "one.safetensors"}}"#);
        put("one.safetensors", "1");
        put("README.md", "about");
        let before = now();
        put("README.md", "other");
        assert_eq!(before.changes(&now()), Vec::<String>::new());
        put("one.safetensors", "2");
        put("tokenizer.json", "{}");
        let changed = before.changes(&now());
        assert_eq!(
            changed,
            [
                "one.safetensors of the model",
                "tokenizer.json of the model is new"
            ]
        );
        // SHA-256 of the empty text, from the standard.
        put("empty", "");
        let empty = sum(&folder.path().join("empty")).unwrap();
        assert!(empty.starts_with("e3b0c44298fc1c14"), "{empty}");
    }
}
