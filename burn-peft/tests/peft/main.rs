//! Adapters, each kind and what they share. One program, because every program of tests is linked with all of Burn.

mod adapters;
mod exchange;
mod folders;
mod fuzz_folders;
mod half_precision;
mod layer_methods;
mod lora;
mod own_layers;
mod passes;
mod prefix;
mod prompt;
mod refused;
mod tied;
