//! Prefix tuning: keys and values of virtual positions before the input of every layer (Li and Liang
//! 2021, arXiv 2101.00190).
//!
//! [`PrefixConfig`] is the configuration, and [`KeyValuePrefix`] holds what trains.

mod config;
mod key_values;
mod tuner;

pub use config::PrefixConfig;
pub use key_values::{KeyValuePrefix, PrefixProjection};
