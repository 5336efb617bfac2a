//! Optimizers, evaluation and pruning in f32. One program, because every program of tests is linked with all of Burn.

mod dropout;
mod eval;
#[path = "../exact/mod.rs"]
mod exact;
#[path = "../host/mod.rs"]
mod host;
mod optim;
mod pruning;
mod refused;
mod solve_momentum;
mod stack;
#[path = "../two_layers/mod.rs"]
mod two_layers;
mod validate;
