//! Output heads that share an embedding table.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;

use super::carried::Carried;
use super::census::{Census, TiedTo};
use super::walk::{self, Change, Place, joined};
use crate::adapters::{Carrier, copy_of, plain};
use crate::error::Error;
use crate::name_map::NameMap;

/// The model with a note on each table that is the output head as well, and with a layer of its own
/// for every head that `needs` one; then the modules of that model. `carrier` puts a stack on a table
/// that carries nothing yet.
pub(super) fn prepared<M: Module>(
    model: &M,
    names: &NameMap,
    carrier: impl Fn(&Census, &TiedTo) -> Box<dyn Carrier>,
    needs: impl Fn(&Census, &TiedTo) -> Result<Need, Error>,
) -> Result<(Option<M>, Census), Error> {
    let census = Census::of(model, names);
    let mut heads = HashMap::new();
    for tied in &census.tied {
        let need = needs(&census, tied)?;
        if need == Need::Nothing {
            continue;
        }
        let Some(table) = census.layer(&tied.table) else {
            continue;
        };
        let head = Head {
            name: tied.head.clone(),
            own: need == Need::Layer,
            carrier: carrier(&census, tied),
        };
        heads.insert(joined(&table.path, "weight"), head);
    }
    if heads.is_empty() {
        return Ok((None, census));
    }
    let model = give(model.clone(), heads);
    let census = Census::of(&model, names);
    Ok((Some(model), census))
}

/// What an adapter needs of a head that shares a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// The table changes: it has to be known that it is shared.
    Note,
    /// The head changes.
    Layer,
}

struct Head {
    name: String,
    /// Whether it needs a layer of its own.
    own: bool,
    carrier: Box<dyn Carrier>,
}

fn give<M: Module>(model: M, heads: HashMap<String, Head>) -> M {
    let carried = Carried::of(&model);
    let mut layers = HashMap::new();
    let mut names = HashMap::new();
    for (path, head) in &heads {
        names.insert(path.clone(), head.name.clone());
        // The layer of a stack that is there already is made here, that of a new stack with it.
        if let Some(table) = carried.params.get(path).filter(|_| head.own) {
            layers.insert(path.clone(), layer(table.as_ref()));
        }
    }
    let mut give = Give {
        carried: carried.params,
        heads,
    };
    walk::edit_with(model, &mut give, move |path, adapters| {
        if let Some(name) = names.get(path) {
            adapters.tie(name, layers.remove(path).flatten());
        }
    })
}

/// The head of a table `[entries, d]` as a layer of its own, with the table transposed.
fn layer(table: &dyn Any) -> Option<Linear> {
    let table = table.downcast_ref::<Param<Tensor<2>>>()?;
    Some(Linear {
        weight: copy_of(table, Some(plain(table).transpose())),
        bias: None,
    })
}

/// Puts stacks on tables that carry nothing yet.
struct Give {
    carried: HashMap<String, Box<dyn Any>>,
    heads: HashMap<String, Head>,
}

impl Change for Give {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        if place.is_nested() {
            return param;
        }
        let path = place.path.join(".");
        if self.carried.contains_key(&path) {
            return param;
        }
        let Some(head) = self.heads.remove(&path) else {
            return param;
        };
        let mut own = head.own.then(|| layer(&param)).flatten();
        let table: Box<dyn Any> = Box::new(param);
        let attached = head.carrier.attach(table, &mut |adapters| {
            adapters.tie(&head.name, own.take());
        });
        match attached.downcast() {
            Ok(param) => *param,
            Err(_) => unreachable!("a carrier is made at its table's rank"),
        }
    }
}
