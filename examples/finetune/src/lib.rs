//! Fine-tune pretrained models on real data.
