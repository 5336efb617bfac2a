//! The library in f64 against dense forms. A program of its own, because a device takes its precision once per process.

#[path = "../all/mod.rs"]
mod all;
#[path = "../double/mod.rs"]
mod double;
mod eval;
#[path = "../exact/mod.rs"]
mod exact;
#[path = "../host/mod.rs"]
mod host;
mod kfac;
mod linear;
mod methods;
mod metric;
mod properties;
mod pruning;
mod tokens;
#[path = "../two_layers/mod.rs"]
mod two_layers;
