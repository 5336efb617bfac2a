//! The modules of a model, by the names of `transformers`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use burn::module::{Module, Param};
use burn::tensor::{Device, Shape, Tensor};

use super::own_layers::{self, Held};
use super::walk::{self, Look, Place, joined};
use crate::adapters::{Layer, Weight};
use crate::error::Error;
use crate::name_map::NameMap;
use crate::targets::ModuleKind;

/// A parameter that belongs to the model itself.
pub(super) struct Own {
    /// Path of its module.
    pub path: String,
    /// Name of its module.
    pub module: String,
    /// Name of the field in Burn.
    pub leaf: String,
    /// Name in `transformers`.
    pub key: String,
    /// Whether `transformers` keeps the transpose.
    pub transposed: bool,
    pub shape: Shape,
    pub device: Device,
}

impl Own {
    /// Path of the parameter in the Burn model.
    pub fn full_path(&self) -> String {
        joined(&self.path, &self.leaf)
    }

    /// Key in `transformers`.
    pub fn full_key(&self) -> String {
        joined(&self.module, &self.key)
    }
}

/// An output head that shares a table.
#[derive(Debug, Clone)]
pub(super) struct TiedTo {
    /// Name of the head in `transformers`.
    pub head: String,
    /// Name of the table.
    pub table: String,
}

/// Everything that targets, keys and shapes are checked against.
pub(super) struct Census {
    /// Names and kinds of all modules, parents before their children.
    pub modules: Vec<(String, ModuleKind)>,
    /// Layers by name.
    pub layers: Vec<(String, Layer)>,
    pub parameters: Vec<Own>,
    /// Output heads that share a table and have no layer of their own.
    pub tied: Vec<TiedTo>,
    /// Tables that stand for several look-ups, with the names of these.
    pub shared: Vec<(String, Vec<String>)>,
    /// Names of output heads with a layer that a table carries.
    pub carried_heads: HashSet<String>,
    /// Methods of the adapters that are on the model.
    methods: BTreeSet<String>,
    /// Places in `parameters` by key in `transformers`; of a key that is there twice the first.
    by_key: HashMap<String, usize>,
    /// Errors for modules that look like a layer of Burn's and are not, by name.
    ambiguous: HashMap<String, Error>,
}

impl Census {
    pub fn of<M: Module>(model: &M, names: &NameMap) -> Self {
        let mut count = Count::default();
        walk::visit(model, &mut count);
        count.census(names)
    }

    pub fn layer(&self, name: &str) -> Option<&Layer> {
        let (_, layer) = self.layers.iter().find(|(own, _)| own == name)?;
        Some(layer)
    }

    /// The parameter that `transformers` calls so. The weight of a head that shares a table is the
    /// table.
    pub fn parameter(&self, key: &str) -> Option<&Own> {
        let own = self.by_key.get(key).map(|at| &self.parameters[*at]);
        own.or_else(|| {
            let mut tied = self.tied.iter();
            let tied = tied.find(|tied| joined(&tied.head, "weight") == key)?;
            let at = self.by_key.get(&joined(&tied.table, "weight"))?;
            Some(&self.parameters[*at])
        })
        .or_else(|| {
            let module = key.strip_suffix(".weight")?;
            let mut shared = self.shared.iter();
            let is_look_up = |look_ups: &[String]| look_ups.iter().any(|name| name == module);
            let (table, _) = shared.find(|(_, look_ups)| is_look_up(look_ups))?;
            let at = self.by_key.get(&joined(table, "weight"))?;
            Some(&self.parameters[*at])
        })
    }

    /// Fail if one of these modules is a look-up of a table that stands for several.
    pub fn check_shared(&self, is_meant: impl Fn(&str) -> bool) -> Result<(), Error> {
        for (table, look_ups) in &self.shared {
            let mut names = std::iter::once(table).chain(look_ups);
            if let Some(module) = names.find(|name| is_meant(name)) {
                return Err(Error::SharedTable {
                    module: module.clone(),
                    table: table.clone(),
                    look_ups: look_ups.clone(),
                });
            }
        }
        Ok(())
    }

    /// The names and kinds of the modules with the heads and look-ups that share a table, which a
    /// configuration can choose as well.
    pub fn with_tied(&self) -> Vec<(String, ModuleKind)> {
        let heads = self.tied.iter();
        let heads = heads.map(|tied| (tied.head.clone(), ModuleKind::Linear));
        let look_ups = self.shared.iter().flat_map(|(_, look_ups)| look_ups);
        let look_ups = look_ups.map(|name| (name.clone(), ModuleKind::Embedding));
        let modules = self.modules.iter().cloned();
        modules.chain(heads).chain(look_ups).collect()
    }

    /// Fail if the layout of the parameter is unknown.
    pub fn check_layout(&self, own: &Own) -> Result<(), Error> {
        if own.shape.num_dims() < 2 {
            return Ok(());
        }
        self.check_kind(&own.module)
    }

    /// Fail if it is unknown what the module is.
    pub fn check_kind(&self, module: &str) -> Result<(), Error> {
        match self.ambiguous.get(module) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Fail if the model has adapters of another method than this.
    pub fn check_method(&self, name: &str, peft_type: &'static str) -> Result<(), Error> {
        match self.methods.iter().find(|found| *found != peft_type) {
            Some(found) => Err(Error::OtherMethod {
                name: name.into(),
                peft_type,
                found: found.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// A module that the walk met.
struct Met {
    held: Held,
    weight: Option<Weight>,
}

/// Collects what a walk meets; kinds can only be decided when it is over.
#[derive(Default)]
struct Count {
    /// Paths in the order of the walk.
    paths: Vec<String>,
    modules: BTreeMap<String, Met>,
    /// Path of the module, name of the field, device.
    parameters: Vec<(String, String, Shape, Device)>,
    /// Names of output heads by the path of the layer that a table carries for them.
    heads: HashMap<String, String>,
    methods: BTreeSet<String>,
}

impl Count {
    fn met(&mut self, place: &Place<'_>) -> &mut Met {
        let path = place.module();
        if !self.modules.contains_key(&path) {
            self.paths.push(path.clone());
        }
        self.modules.entry(path).or_insert_with(|| Met {
            held: Held {
                holder: place.holder().into(),
                parameters: Vec::new(),
                others: false,
            },
            weight: None,
        })
    }

    fn census(self, names: &NameMap) -> Census {
        let mut census = Census {
            modules: Vec::new(),
            layers: Vec::new(),
            parameters: Vec::new(),
            tied: Vec::new(),
            shared: Vec::new(),
            carried_heads: self.heads.values().cloned().collect(),
            methods: self.methods,
            by_key: HashMap::new(),
            ambiguous: HashMap::new(),
        };
        let name_of = |path: &str| match self.heads.get(path) {
            Some(head) => head.clone(),
            None => names.name(path),
        };
        let mut seen = HashSet::new();
        let mut list = |name: &str, kind| {
            if !name.is_empty() && seen.insert(name.to_string()) {
                census.modules.push((name.into(), kind));
            }
        };
        let mut kinds = HashMap::new();
        for path in &self.paths {
            let Met { held, weight } = &self.modules[path];
            let below = format!("{path}.");
            let mut paths = self.paths.iter();
            let parent =
                paths.any(|path| path.starts_with(&below) && !self.heads.contains_key(path));
            let module = name_of(path);
            let kind = own_layers::kind(held, parent, names.kind(path));
            let kind = kind.unwrap_or_else(|problem| {
                let error = Error::AmbiguousModule {
                    path: path.clone(),
                    holder: held.holder.clone(),
                    problem,
                };
                census.ambiguous.insert(module.clone(), error);
                ModuleKind::Other
            });
            kinds.insert(path.as_str(), kind);
            // Parents first: `a.b.c` has the modules `a` and `a.b` above it.
            for (at, _) in module.match_indices('.') {
                list(&module[..at], ModuleKind::Other);
            }
            list(&module, kind);
            if kind.is_adaptable()
                && let Some(weight) = weight
            {
                let layer = Layer {
                    path: path.clone(),
                    kind,
                    weight: weight.clone(),
                    bias: held.parameters.iter().any(|(leaf, _)| leaf == "bias"),
                };
                census.layers.push((module, layer));
            }
        }
        for (path, leaf, shape, device) in self.parameters {
            let (key, transposed) = stored(kinds[path.as_str()], &leaf);
            let own = Own {
                module: name_of(&path),
                key: key.into(),
                transposed,
                path,
                leaf,
                shape,
                device,
            };
            let at = census.parameters.len();
            census.by_key.entry(own.full_key()).or_insert(at);
            census.parameters.push(own);
        }
        let shared = names.shared_tables().iter();
        census.shared.extend(
            shared
                .filter(|(table, _)| census.modules.iter().any(|(name, _)| name == table))
                .cloned(),
        );
        for (head, table) in names.tied_heads() {
            let is = |name: &str, kind: Option<ModuleKind>| {
                let mut modules = census.modules.iter();
                modules.any(|(own, found)| own == name && kind.is_none_or(|kind| kind == *found))
            };
            if !is(head, None) && is(table, Some(ModuleKind::Embedding)) {
                census.tied.push(TiedTo {
                    head: head.clone(),
                    table: table.clone(),
                });
            }
        }
        census
    }
}

impl Look for Count {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>) {
        if let Some(adapter) = place.adapter() {
            self.methods.insert(adapter.method.into());
        }
        if place.is_nested() {
            return;
        }
        if let Some(head) = place.tied_head() {
            self.heads.insert(place.module(), head.into());
        }
        let (leaf, shape) = (place.leaf().to_string(), param.lazy_shape());
        let device = param.lazy_device();
        let met = self.met(&place);
        met.held.parameters.push((leaf.clone(), shape.clone()));
        if leaf == "weight" {
            met.weight = weight(param);
        }
        self.parameters.push((place.module(), leaf, shape, device));
    }

    fn look_other(&mut self, place: Place<'_>) {
        if !place.is_nested() {
            self.met(&place).held.others = true;
        }
    }

    fn enter(&mut self, place: Place<'_>) {
        if let Some(copy) = place.copy() {
            self.methods.insert(copy.method.into());
        }
    }
}

fn weight<const D: usize>(param: &Param<Tensor<D>>) -> Option<Weight> {
    let param: Box<dyn std::any::Any> = Box::new(param.clone());
    match param.downcast() {
        Ok(two) => Some(Weight::Two(*two)),
        Err(param) => Some(Weight::Four(*param.downcast().ok()?)),
    }
}

/// How `transformers` calls a parameter, and whether it keeps the transpose.
fn stored(kind: ModuleKind, leaf: &str) -> (&str, bool) {
    match (kind, leaf) {
        (ModuleKind::Linear, "weight") => ("weight", true),
        (_, "gamma") => ("weight", false),
        (_, "beta") => ("bias", false),
        _ => (leaf, false),
    }
}
