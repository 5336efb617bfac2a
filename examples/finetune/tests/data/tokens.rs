//! Tokenizers, batches of texts, and text-to-text.

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::tensor::kind::Basic;
use burn::tensor::{Device, Int, Tensor};
use burn_ief::train::EpochLoader;
use finetune::data::{
    Error, Seq2SeqBatcher, Task, TextBatch, TextBatcher, TextExample, TextItem, load_tokenizer,
};
use tokenizers::Tokenizer;

use super::{fixture, folder};

fn bert() -> Tokenizer {
    load_tokenizer(&fixture("bert"), 26).unwrap()
}

fn t5() -> Tokenizer {
    load_tokenizer(&fixture("t5"), 32).unwrap()
}

fn values<const D: usize, K: Basic>(tensor: Tensor<D, K>) -> Vec<i64> {
    tensor.into_data().try_into_vec_as().unwrap()
}

fn batch(batcher: &TextBatcher, examples: &[TextExample]) -> TextBatch {
    let encoded = batcher.encode(examples).unwrap();
    batcher.batch(encoded.items, &Device::flex())
}

#[test]
fn texts_and_pairs_are_padded_to_the_longest() {
    let batcher = TextBatcher::new(bert(), 32).unwrap();
    let examples = [
        TextExample::new("The mill rained.", 1),
        TextExample::new("Who ran?", 0).with_second("the dog"),
    ];
    let batch = batch(&batcher, &examples);
    // [CLS] the mill rain ##ed . [SEP] and [CLS] who ran ? [SEP] the dog [SEP]
    assert_eq!(batch.ids.dims(), [2, 8]);
    assert_eq!(
        values(batch.ids),
        [2, 4, 6, 20, 21, 17, 3, 0, 2, 15, 8, 16, 3, 4, 7, 3]
    );
    assert_eq!(
        values(batch.mask),
        [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    );
    assert_eq!(
        values(batch.types),
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    );
    assert_eq!(values(batch.labels.classes().unwrap()), [1, 0]);
}

#[test]
fn long_texts_and_unknown_words_are_counted() {
    let batcher = TextBatcher::new(bert(), 6).unwrap();
    let long = TextExample::new("the mill was built by two brothers", 0);
    let examples = [
        long,
        TextExample::new("the zebra ran", 0),
        TextExample::new("it", 1),
    ];
    let encoded = batcher.encode(&examples).unwrap();
    assert_eq!((encoded.truncated, encoded.unknown), (1, 1));
    assert_eq!(
        encoded.to_string(),
        "1 of 3 texts were cut to the longest input, 1 of 3 texts have unknown words"
    );
    // The end is cut, the separator stays.
    assert_eq!(encoded.items[0].tokens.ids, [2, 4, 6, 10, 11, 3]);
    // The longer text of a pair loses first.
    let pair = TextExample::new("who", 0).with_second("the mill was built");
    let encoded = batcher.encode(&[pair]).unwrap();
    assert_eq!(encoded.items[0].tokens.ids, [2, 15, 3, 4, 6, 3]);
}

#[test]
fn a_length_without_room_for_words_is_refused() {
    let error = TextBatcher::new(bert(), 4).unwrap_err();
    assert_eq!(
        error.to_string(),
        "option `max_length`: expected at least 5 tokens for this tokenizer, found 4"
    );
}

#[test]
fn a_text_without_tokens_is_refused_by_its_place() {
    let mut tokenizer = bert();
    tokenizer.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
    let batcher = TextBatcher::new(tokenizer, 8).unwrap();
    let examples = [TextExample::new("it", 0), TextExample::new("\u{200b}", 0)];
    let error = batcher.encode(&examples).unwrap_err();
    assert!(matches!(error, Error::Tokens { index: 1, .. }), "{error}");
}

#[test]
fn tokenizers_that_do_not_fit_are_refused() {
    let missing = load_tokenizer(&fixture("cola"), 30).unwrap_err();
    assert!(matches!(&missing, Error::Missing { path, .. } if path.ends_with("tokenizer.json")));
    let small = load_tokenizer(&fixture("bert"), 20)
        .unwrap_err()
        .to_string();
    assert!(
        small.contains("token 25 (\"very\") is unknown to the model"),
        "{small}"
    );
    let cut = folder(&[("tokenizer.json", b"{\"version\": \"1.0\"")]);
    let cut = load_tokenizer(cut.path(), 30).unwrap_err().to_string();
    assert!(cut.contains("tokenizer.json: not a tokenizer: "), "{cut}");
}

#[test]
fn broken_parts_of_a_tokenizer_are_errors() {
    let text = std::fs::read_to_string(fixture("bert").join("tokenizer.json")).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let refused = |text: &str| {
        let folder = folder(&[("tokenizer.json", text.as_bytes())]);
        load_tokenizer(folder.path(), 26).unwrap_err().to_string()
    };
    // The file breaks off inside of the decoder.
    value["decoder"] = serde_json::json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    let whole = value.to_string();
    let (cut, _) = whole.split_once("\"cleanup\"").unwrap();
    let said = refused(cut);
    assert!(said.contains("tokenizer.json: not a tokenizer: "), "{said}");
    for decoder in ["{\"type\": 1e999}", "{\"type\": \"WordPiece\"}", "[]", "7"] {
        let broken = whole.replacen(
            "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}",
            decoder,
            1,
        );
        assert_ne!(broken, whole);
        let said = refused(&broken);
        assert!(said.contains("tokenizer.json: not a tokenizer: "), "{said}");
    }
    value["decoder"] = serde_json::Value::Null;
    value["padding"] = serde_json::json!({
        "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 26, "pad_type_id": 0, "pad_token": "[PAD]",
    });
    let said = refused(&value.to_string());
    assert!(
        said.contains("`padding.pad_id`: found token 26, expected one below 26"),
        "{said}"
    );
}

#[test]
fn a_loader_gives_all_texts_and_repeats_itself_by_epoch() {
    let batcher = TextBatcher::new(bert(), 32).unwrap();
    let examples: Vec<_> = (0..23)
        .map(|i| TextExample::new("mill ".repeat(1 + i % 5), i))
        .collect();
    let items = batcher.encode(&examples).unwrap().items;
    let epochs = |resumed: u64, count: usize| {
        let lengths = items.iter().map(TextItem::length).collect();
        let items = InMemDataset::new(items.clone());
        let loader = EpochLoader::new(batcher.clone(), items, 4, 9)
            .with_lengths(lengths)
            .resume_after(resumed)
            .on_device(Device::flex())
            .build();
        let epoch = || {
            loader
                .iter()
                .flat_map(|batch| values(batch.unwrap().labels.classes().unwrap()))
        };
        (0..count)
            .map(|_| epoch().collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let unbroken = epochs(0, 3);
    assert_eq!(epochs(1, 2), unbroken[1..]);
    for epoch in unbroken {
        let mut sorted = epoch.clone();
        sorted.sort();
        assert_eq!(sorted, (0..23).collect::<Vec<_>>());
    }
}

#[test]
fn answers_are_label_words_with_their_end() {
    let labels = ["entailment", "neutral", "contradiction"].map(String::from);
    let batcher = Seq2SeqBatcher::new(t5(), Task::Mnli, &labels, 64).unwrap();
    assert_eq!(batcher.words(), ["yes", "maybe", "no"]);
    assert_eq!(batcher.answers(), [[3, 1], [5, 1], [4, 1]]);
    let pair = |label| TextExample::new("it rained.", label).with_second("it was wet.");
    let encoded = batcher.encode(&[pair(1), pair(2)]).unwrap();
    let batch = batcher.batch(encoded.items, &Device::flex());
    assert_eq!(values(batch.targets), [5, 1, 4, 1]);
    assert_eq!(values(batch.labels), [1, 2]);
    let ids = values(batch.input_ids.narrow(0, 0, 1));
    // … hypothesis: it was wet.</s>
    assert_eq!(ids[ids.len() - 5..], [10, 12, 13, 15, 1]);
    assert_eq!(values(batch.mask.narrow(0, 0, 1)), vec![1; ids.len()]);
}

#[test]
fn answers_of_different_lengths_are_filled_up_without_loss() {
    let labels = ["wet", "rained"].map(String::from);
    let batcher = Seq2SeqBatcher::new(t5(), Task::Csv, &labels, 64).unwrap();
    let targets: Tensor<2, Int> = batcher.targets(&[1, 0, 1], &Device::flex());
    assert_eq!(targets.dims(), [3, 3]);
    assert_eq!(values(targets), [11, 14, 1, 13, 1, -100, 11, 14, 1]);
}

#[test]
fn classes_that_cannot_be_answered_are_refused() {
    let refused = |labels: [&str; 2]| {
        let labels = labels.map(String::from);
        Seq2SeqBatcher::new(t5(), Task::Csv, &labels, 64)
            .unwrap_err()
            .to_string()
    };
    // Neither word is in the vocabulary.
    let same = refused(["zq", "xj"]);
    assert!(
        same.contains("label words with tokens of their own, found `zq` and `xj`"),
        "{same}"
    );
    let labels = ["no", "yes"].map(String::from);
    let error = Seq2SeqBatcher::new(bert(), Task::Csv, &labels, 64).unwrap_err();
    assert!(error.to_string().contains("`</s>`"), "{error}");
    let batcher = Seq2SeqBatcher::new(t5(), Task::Csv, &labels, 64).unwrap();
    assert!(batcher.encode(&[TextExample::new("it", 2)]).is_err());
}
