//! Optimizers compared on small tasks with real data.
//!
//! A [`Task`] is data, a model and a score; a [`Contender`] is an optimizer with its settings and the
//! budget of its search. [`plan::pending`] says which runs are missing from the results,
//! [`pool::work`] does them in child processes, [`store::Store`] keeps them, and [`summary`] compares.
//!
//! ```text
//! cargo run --release -p tasks -- --data DIR --results benches/results/tasks
//! ```
//!
//! To add a task, write one file in [`tasks`](mod@tasks) and register it there; to add an optimizer, write one
//! file in [`optimizers`] and register it there.
//!
//! From bottom to top:
//!
//! - [`definition`], [`schedule`], [`record`]: what a task is made of, how a step size changes, and a
//!   line of the results
//! - [`data`], [`models`]: rows and models that several tasks share
//! - [`task`], [`matrix`], [`parameters`], [`stepper`]: what every task has, small matrices, the parameters of a
//!   model, and one step
//! - [`optimizers`], [`tasks`](mod@tasks): the two lists
//! - [`train`]: one run
//! - [`select`], [`plan`], [`store`], [`pool`]: which runs there are, and doing them
//! - [`summary`], [`mod@parts`], [`page`]: tables, and where they go
//!
//! `tasks --parts` compares ways to make one update of the parts that several devices measure:
//! [`optimizers::parts`].

pub mod data;
pub mod definition;
pub mod error;
pub mod matrix;
pub mod models;
pub mod optimizers;
pub mod page;
pub mod parameters;
pub mod parts;
pub mod plan;
pub mod pool;
pub mod record;
pub mod schedule;
pub mod select;
pub mod stepper;
pub mod store;
pub mod summary;
pub mod task;
pub mod tasks;
pub mod train;

pub use definition::{Definition, Half, Trained};
pub use error::Error;
pub use optimizers::Contender;
pub use record::{Record, Run};
pub use schedule::Schedule;
pub use task::Task;
