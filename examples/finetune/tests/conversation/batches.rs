//! Batches: padding and labels.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor};
use burn_ief::train::EpochLoader;
use finetune::conversation::{
    ConversationBatcher, EncodedSample, NO_LABEL, PaddingSide, SpecialTokens,
};
use proptest::prelude::*;

fn rows(tensor: Tensor<2, Int>) -> Vec<i64> {
    tensor.into_data().iter::<i64>().collect()
}

#[test]
fn padding_at_the_left_moves_places() {
    let items = vec![
        EncodedSample {
            ids: vec![5, 6, 7],
            labels: vec![-100, -100, 7],
        },
        EncodedSample {
            ids: vec![8, 9],
            labels: vec![8, 9],
        },
    ];
    let batch = ConversationBatcher::new(9)
        .with_side(PaddingSide::Left)
        .batch(items, &Device::flex());
    assert_eq!(rows(batch.input_ids), [5, 6, 7, 9, 8, 9]);
    assert_eq!(rows(batch.attention_mask), [1, 1, 1, 0, 1, 1]);
    // Padding is masked by its place: the end of the second has the value of the padding and is trained.
    // Its first token would be predicted from the padding, and has no label.
    assert_eq!(rows(batch.labels), [-100, -100, 7, -100, -100, 9]);
}

proptest! {
    #[test]
    fn labels_are_those_of_the_samples(
        samples in prop::collection::vec(prop::collection::vec((0u32..50, any::<bool>()), 1..12), 1..6),
        left in any::<bool>(),
    ) {
        let items: Vec<EncodedSample> = samples
            .iter()
            .map(|tokens| EncodedSample {
                ids: tokens.iter().map(|token| token.0).collect(),
                labels: tokens.iter().map(|token| if token.1 { token.0.into() } else { NO_LABEL }).collect(),
            })
            .collect();
        let side = if left { PaddingSide::Left } else { PaddingSide::Right };
        let batch = ConversationBatcher::new(3).with_side(side).batch(items.clone(), &Device::flex());
        let [count, length] = batch.input_ids.dims();
        let (ids, mask, labels) = (rows(batch.input_ids), rows(batch.attention_mask), rows(batch.labels));
        prop_assert_eq!(count, items.len());
        for (row, item) in items.iter().enumerate() {
            let real: Vec<i64> = (row * length..(row + 1) * length).filter(|&at| mask[at] == 1).map(|at| ids[at]).collect();
            prop_assert_eq!(&real, &item.ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
            // A loss that shifts labels takes the trained tokens of the sample, each predicted from a token before it.
            let shifted: Vec<i64> = (1..length)
                .filter(|at| labels[row * length + at] != NO_LABEL)
                .inspect(|at| assert_eq!(mask[row * length + at - 1], 1))
                .map(|at| labels[row * length + at])
                .collect();
            let trained: Vec<i64> = item.targets().map(|place| item.labels[place]).collect();
            prop_assert_eq!(shifted, trained);
        }
    }
}

#[test]
fn padding_is_the_token_of_the_tokenizer() {
    let tokenizer = super::tokenizer("bytes");
    let id = |token: &str| tokenizer.token_to_id(token).unwrap();
    let padding = |tokens: &[(&str, &str)]| {
        let special = SpecialTokens::new(tokens.iter().copied());
        ConversationBatcher::for_tokenizer(&tokenizer, &special).padding()
    };
    let end = ("eos_token", "</s>");
    assert_eq!(padding(&[end]), id("</s>"));
    assert_eq!(padding(&[end, ("pad_token", "<unk>")]), id("<unk>"));
    assert_eq!(padding(&[end, ("pad_token", "<absent>")]), id("</s>"));
    assert_eq!(padding(&[]), 0);
}

#[test]
fn a_loader_puts_samples_of_similar_length_together() {
    let items: Vec<EncodedSample> = (0..64usize)
        .map(|place| {
            let length = 2 + place * 37 % 64;
            EncodedSample {
                ids: vec![1; length],
                labels: vec![1; length],
            }
        })
        .collect();
    let lengths: Vec<usize> = items.iter().map(EncodedSample::length).collect();
    let data = burn::data::dataset::InMemDataset::new(items);
    let loader = EpochLoader::new(ConversationBatcher::new(0), data, 8, 1)
        .with_lengths(lengths)
        .on_device(Device::flex())
        .build();
    let batches: Vec<_> = loader.iter().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 8);
    for batch in batches {
        let [count, length] = batch.input_ids.dims();
        let real: i64 = rows(batch.attention_mask).iter().sum();
        // Lengths of a batch follow each other: at most 7 tokens of the shortest are missing.
        assert!(
            (count * length) as i64 - real <= 28,
            "{count} x {length}, {real} tokens"
        );
    }
}
