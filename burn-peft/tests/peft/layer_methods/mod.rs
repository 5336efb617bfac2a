//! Methods on the layers of a small model.

mod added;
mod eva;
mod ia3;
mod net;
mod tokens;
