//! Ports of Burn 0.22's official examples to burn-ief.
//!
//! Every example has a file: its model with Burn's own layers (`forward`), and next to it the recorded form that
//! a natural-gradient method needs (`forward_recorded`). The sizes, the batch sizes and the optimizers are those
//! of the examples; the data are what this repository can get from package registries.
//!
//! - [`Port`]: what all of them have
//! - [`guide`], [`mnist`], [`simple_regression`], [`text_classification`], [`text_generation`],
//!   [`custom_training_loop`], [`modern_lstm`], [`wgan`], [`custom_image_dataset`]: the examples
//! - [`training`]: their data, and runs with their own optimizers, SGD and iEF
//!
//! The program trains them:
//!
//! ```text
//! cargo run --release -p ports -- guide simple-regression --data DIR --json runs.json
//! ```

pub mod batch;
pub mod custom_image_dataset;
pub mod custom_training_loop;
mod error;
pub mod guide;
pub mod mnist;
pub mod modern_lstm;
mod port;
pub mod simple_regression;
pub mod text_classification;
pub mod text_generation;
pub mod training;
pub mod wgan;

pub use custom_image_dataset::CustomImageDataset;
pub use custom_training_loop::CustomTrainingLoop;
pub use error::Error;
pub use guide::Guide;
pub use mnist::Mnist;
pub use modern_lstm::ModernLstm;
pub use port::{Evaluation, Form, Port};
pub use simple_regression::SimpleRegression;
pub use text_classification::TextClassification;
pub use text_generation::TextGeneration;
pub use wgan::Wgan;
