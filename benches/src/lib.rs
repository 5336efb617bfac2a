//! What a whole training step costs, in time and memory, under each method.
//!
//! A step is forward, backward, update direction and parameter update; the clock stops when the
//! device is idle. All methods train the same model on the same batch. The program is
//! `src/bin/step.rs`:
//!
//! ```text
//! cargo run --release -p benches --bin step -- --setting mlp --batch 64,128 \
//!     --methods sgd,adamw,ef,ief,sf,by_sample,dense --device flex --json steps.json
//! ```
//!
//! With `--devices 2,4,8` it counts what a step over so many servers on this machine sends, and with `--devices 1` it
//! times steps that are taken as if there were several (feature `remote`).
//!
//! `src/bin/devices.rs` compares devices, see the page "Other devices" of the book. `src/bin/gamma.rs` times γ evaluations, and `src/bin/lora.rs` compares one linear layer under
//! Burn's `apply_lora` and under burn-peft. `src/bin/ops.rs` compares the operations of burn-flex-fused
//! with Burn's own. `src/bin/head.rs` measures the losses of language models. `src/bin/layers.rs` compares forward and backward of every recorded layer with
//! Burn's own:
//!
//! ```text
//! cargo run --release -p benches --bin layers -- --json layers.json
//! ```

pub mod args;
pub mod call;
pub mod count;
pub mod devices;
pub mod exchange;
pub mod gamma;
pub mod head;
pub mod layer;
pub mod layers;
pub mod measure;
pub mod memory;
pub mod method;
pub mod operations;
pub mod ops;
pub mod restart;
pub mod run;
pub mod settings;
pub mod table;

pub use args::Args;
pub use run::run;
