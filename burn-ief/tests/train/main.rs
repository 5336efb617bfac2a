//! Training in Burn's learner.

mod epoch_seed;
mod kfac;
mod learner;
mod pruning_learner;
#[path = "../three_classes/mod.rs"]
mod three_classes;
