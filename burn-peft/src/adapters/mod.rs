//! What a weight carries: named adapters, of whichever method.
//!
//! A method describes what one of its adapters does to a weight ([`LayerAdapter`]); this module
//! keeps several of them on a weight ([`Adapters`]) through Burn's reparameterization hook.

mod added;
mod base_product;
mod copies;
mod delta_dropout;
pub(crate) mod edit;
mod forward_adapted;
mod fresh;
mod initial;
mod layer;
mod layer_adapter;
mod merged;
mod parameter;
mod part;
mod shared;
mod stack;
mod tied;
mod unadapted;

pub(crate) use added::{AddedMatrix, Uses, compose, forward_linear};
pub(crate) use base_product::{dense, folded, without_bias};
pub(crate) use copies::{CopyKind, copy_of};
pub use delta_dropout::DeltaDropout;
pub(crate) use edit::{AnyAdapters, Folded};
pub use forward_adapted::ForwardAdapted;
pub(crate) use fresh::{Carrier, Fresh, carrier};
pub(crate) use initial::kaiming;
pub(crate) use layer::{Layer, Weight};
pub use layer_adapter::LayerAdapter;
pub(crate) use merged::NotFinite;
pub(crate) use parameter::{
    at, at_least_f32, bare, like, place, plain, replace, tensor, trainable,
};
pub use part::AdapterPart;
pub(crate) use shared::Shared;
pub use stack::Adapters;
pub(crate) use stack::{ADAPTER, MERGED_ADAPTER, SLOT};
pub(crate) use tied::STORED_HEAD;
pub(crate) use unadapted::Unadapted;
