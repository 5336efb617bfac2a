//! What a weight carries: named adapters, of whichever method.
//!
//! A method describes what one of its adapters does to a weight ([`LayerAdapter`]); this module
//! keeps several of them on a weight ([`Adapters`]) through Burn's reparameterization hook.

mod copies;
pub(crate) mod edit;
mod forward_adapted;
mod fresh;
mod layer;
mod layer_adapter;
mod merged;
mod parameter;
mod stack;
mod tied;
mod unadapted;

pub(crate) use copies::{CopyKind, copy_of};
pub(crate) use edit::{AnyAdapters, Folded};
pub use forward_adapted::ForwardAdapted;
pub(crate) use fresh::{Carrier, Fresh, carrier};
pub(crate) use layer::{Layer, Weight};
pub use layer_adapter::LayerAdapter;
pub(crate) use merged::NotFinite;
pub(crate) use parameter::{
    at, at_least_f32, bare, like, place, plain, replace, tensor, trainable,
};
pub use stack::Adapters;
pub(crate) use stack::{ADAPTER, MERGED_ADAPTER, SLOT};
pub(crate) use tied::STORED_HEAD;
pub(crate) use unadapted::Unadapted;
