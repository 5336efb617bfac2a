//! Conversations: files, tokens and labels against `transformers`, cutting, damaged input.

mod batches;
mod cutting;
mod damaged;
mod files;
mod labels;

use std::path::{Path, PathBuf};

use finetune::conversation::{ConversationEncoder, EncodeOptions, Layout, Sample, SpecialTokens};
use finetune::data::{DataSource, load_tokenizer};
use tokenizers::Tokenizer;

/// What `scripts/make_conversation_fixtures.py` makes.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/conversation/fixtures")
        .join(name)
}

fn tokenizer(name: &str) -> Tokenizer {
    load_tokenizer(&fixture(name), 340).unwrap()
}

fn encoder(name: &str, layout: Layout, options: EncodeOptions) -> ConversationEncoder {
    let special = SpecialTokens::from_folder(&fixture(name)).unwrap();
    ConversationEncoder::new(tokenizer(name), layout, &special, options).unwrap()
}

/// All rows of a file for training.
fn source(path: impl Into<PathBuf>) -> DataSource {
    DataSource {
        valid_share: 0.0,
        test_share: 0.0,
        ..DataSource::new(path)
    }
}

/// The samples of JSON lines, in their order.
fn samples(rows: &[serde_json::Value]) -> Vec<Sample> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    std::fs::write(
        &file,
        rows.iter()
            .map(|row| format!("{row}\n"))
            .collect::<String>(),
    )
    .unwrap();
    let found = finetune::conversation::load(&source(&file), &Default::default()).unwrap();
    let mut samples = found.splits.train;
    samples.sort_by_key(|sample| sample.place.number());
    samples
}
