//! Models in f32. One program, because every program of tests is linked with all of Burn.

mod bert_minilm;
mod bert_vit;
#[path = "../bert_vit_golden/mod.rs"]
mod bert_vit_golden;
mod fuzz_folders;
#[path = "../t5_golden/mod.rs"]
mod golden;
mod llama;
mod llama_drawn;
mod llama_generate;
#[path = "../llama_golden/mod.rs"]
mod llama_golden;
mod own_parameters;
#[path = "../reference/mod.rs"]
mod reference;
mod smollm2;
mod t5;
mod t5_generate;
mod t5_parameters;
mod trainable;
