//! Fine-tune pretrained models on real data with natural-gradient and first-order optimizers.
//!
//! A [`config`] (from a [`preset`], a file, flags) says what a run is made of; an [`experiment`]
//! reads the [`data`] or [conversations](conversation), puts an adapter on the [`model`] and trains it in a `burn::train` learner
//! with an optimizer and its [`method_options`], once for each seed; a run leaves its [`history`] behind,
//! with fingerprints of its [`inputs`]. What a model says about a row, a class or a number or tags, is its [`problem`]. [`report`] makes tables and pictures of runs, [`stages`] opens them
//! again, [`mod@prune`] prunes trained models, [`language`] lets language models answer, which [`chat`] does in a terminal
//! and [`serve`] over HTTP, [`embedding`] makes vectors of texts, [`mod@merge`] writes adapters and their models as one
//! folder, and [`mod@predict`] predicts rows; what was trained is found by its [`target`]. [`doctor`] says what the program
//! finds on a machine.

pub mod chat;
pub mod cli;
pub mod config;
pub mod conversation;
pub mod data;
pub mod doctor;
pub mod embedding;
pub mod error;
pub mod experiment;
pub mod history;
pub mod inputs;
pub mod language;
pub mod merge;
pub mod method_options;
pub mod metric;
pub mod model;
pub mod predict;
pub mod preset;
pub mod problem;
pub mod prune;
pub mod report;
pub mod rounds;
pub mod schedule;
pub mod serve;
pub mod stages;
pub mod stop;
pub mod target;
pub mod test_answers;
pub mod tune;

mod begun;
mod bounds;
mod checkpoint;
mod class_labels;
mod display;
mod first_order;
mod left_over;
mod log;
mod run;
mod step_files;
mod sums;
mod terminal_text;

pub use error::Error;
