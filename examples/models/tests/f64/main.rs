//! Models in f64 from end to end. A program of its own, because a device takes its precision once per process.

mod bert_vit;
#[path = "../bert_vit_golden/mod.rs"]
mod bert_vit_golden;
mod families;
#[path = "../t5_golden/mod.rs"]
mod golden;
mod llama;
#[path = "../llama_golden/mod.rs"]
mod llama_golden;
mod peft;
#[path = "../reference/mod.rs"]
mod reference;
mod t5;
mod t5_gradients;
mod transformers5;
mod updates;
