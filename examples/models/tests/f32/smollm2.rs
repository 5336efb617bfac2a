//! A real language model: SmolLM2-135M-Instruct from its GGUF file.
//!
//! ```text
//! scripts/fetch-data smollm2 --out data
//! SMOLLM2=data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf cargo test --workspace --test f32 smollm2 -- --ignored
//! ```

use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_hf_models::gguf::GgufFile;
use burn_hf_models::llama::{LlamaForCausalLM, LlamaInput};
use tokenizers::Tokenizer;

/// What the file's template makes of the question, with its own words for the system.
const CHAT: &str = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
                    <|im_start|>user\nWhat is the capital of Spain?<|im_end|>\n<|im_start|>assistant\n";

/// The largest logits behind it and their tokens, from `transformers` 5.24:
/// `AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)`.
const LOGITS: [f32; 4] = [29.486_431, 28.274_864, 27.904_003, 27.504_86];
const TOKENS: [i64; 4] = [13_793, 504, 14_925, 2_219];

#[test]
#[ignore = "needs the file in SMOLLM2"]
fn logits_are_those_of_transformers() {
    let path = PathBuf::from(std::env::var_os("SMOLLM2").expect("SMOLLM2"));
    let tokenizer = GgufFile::open(&path).unwrap().tokenizer_json().unwrap();
    let tokenizer: Tokenizer = tokenizer.parse().unwrap();
    let ids = tokenizer.encode(CHAT, false).unwrap();
    let ids: Vec<i64> = ids.get_ids().iter().map(|&id| id.into()).collect();
    assert_eq!(ids.len(), 37);

    let device = Device::flex();
    let model = LlamaForCausalLM::load(&path, &device).unwrap();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 37]), &device);
    let logits = model.forward(LlamaInput::new(ids)).unwrap().logits;
    let last: Tensor<1> = logits.narrow(1, 36, 1).flatten(0, 2);
    let last = last.try_to_vec_as::<f32>().unwrap();
    let mut order: Vec<usize> = (0..last.len()).collect();
    order.sort_unstable_by(|&a, &b| last[b].total_cmp(&last[a]));
    for (token, expected) in order.iter().zip(LOGITS) {
        println!("{token}: {}", last[*token]);
        assert!((last[*token] - expected).abs() <= 1e-4, "{}", last[*token]);
    }
    let first: Vec<i64> = order.iter().take(4).map(|&token| token as i64).collect();
    assert_eq!(first, TOKENS);
}
