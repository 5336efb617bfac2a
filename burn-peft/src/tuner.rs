//! What a PEFT method has to say about itself.
//!
//! A method is a folder of this crate whose configuration type implements [`Tuner`] and
//! [`ForwardLayers`] (and gives a [`LayerTuner`], if it adapts layers), plus one line in the table
//! of [`methods`](crate::methods). The folders of files and whole models know methods only through
//! these traits.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Int, Tensor, TensorData};
use burn_ief::VocabularyHead;

use crate::adapters::{AdapterPart, Adapters, Carrier, Fresh, Layer, LayerAdapter, Shared, bare};
use crate::error::Error;
use crate::settings::{Bias, ConfigFile};
use crate::targets::{ModuleKind, Selection, Target};

/// The configuration of a method.
pub(crate) trait Tuner: ConfigFile {
    /// Which biases of the base model train.
    fn bias(&self) -> Bias {
        Bias::None
    }

    /// What comes before a module's name in a key. PEFT wraps a model once more for methods that
    /// adapt its layers.
    fn prefix(&self) -> &'static str {
        "base_model.model."
    }

    /// How the parts of an adapted layer begin, such as `lora_`; empty for a method without any.
    fn marker(&self) -> &'static str {
        ""
    }

    /// The part of this name, after the name of a module.
    fn part(&self, _suffix: &str) -> Option<AdapterPart> {
        None
    }

    /// Parts of an adapted layer that do not begin with the marker.
    fn further_parts(&self) -> &'static [AdapterPart] {
        &[]
    }

    /// The tensors that belong to the whole model.
    fn model_parts(&self) -> &'static [AdapterPart] {
        &[]
    }

    /// Check those that a folder has.
    fn check_model_tensors(&self, _tensors: &ModelTensors<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// The number of virtual tokens of a method that puts some before the input.
    fn virtual_tokens(&self) -> Option<usize> {
        None
    }

    /// The layers that the method adapts; `None` for a method that leaves them alone.
    fn layers(&self) -> Result<Option<Box<dyn LayerTuner + '_>>, Error> {
        Ok(None)
    }
}

/// A method that adapts layers, with the patterns of its configuration compiled.
pub(crate) trait LayerTuner {
    /// The fields that choose the layers.
    fn selection(&self) -> Selection<'_>;

    /// The modules that the method adapts.
    fn resolve(&self, modules: &[(String, ModuleKind)]) -> Result<Vec<Target>, Error> {
        self.selection().resolve(modules)
    }

    /// Fail if the method cannot adapt a table alone that is the output head of this name too.
    fn check_tied(&self, _table: &str, _head: &str) -> Result<(), Error> {
        Ok(())
    }

    /// A part that every adapted layer has, for messages about a missing one.
    fn first_part(&self) -> AdapterPart;

    /// Check the tensors of an adapted layer on their own, without the model.
    fn check(&self, tensors: &LayerTensors<'_>) -> Result<(), Error>;

    /// Puts a stack for this method's adapters on the weight of a layer.
    fn carrier(&self, layer: &Layer) -> Box<dyn Carrier>;

    /// What the adapters of these layers share: the tensors of a folder, or new ones where it has none.
    fn shared(&self, _layers: &[&Layer], _stored: &ModelTensors<'_>) -> Result<Shared, Error> {
        Ok(Shared::default())
    }

    /// A new adapter.
    fn fresh(&self, target: &Target, layer: &Layer, shared: &Shared) -> Result<Fresh, Error>;

    /// The adapter with these tensors.
    fn loaded(
        &self,
        target: &Target,
        layer: &Layer,
        tensors: &LayerTensors<'_>,
        shared: &Shared,
    ) -> Result<Fresh, Error>;

    /// Whether a folder holds what the adapters share.
    fn stores_shared(&self) -> bool {
        false
    }

    /// How the parameter of an adapter on this layer is stored; `None` for a parameter that the
    /// method's adapters do not have.
    fn stored(&self, target: &str, layer: &Layer, parameter: &str)
    -> Result<Option<Stored>, Error>;
}

/// The tensors of a folder that belong to the whole model.
pub(crate) type ModelTensors<'a> = BTreeMap<AdapterPart, &'a TensorData>;

/// How a parameter of an adapter is stored.
pub(crate) struct Stored {
    pub part: AdapterPart,
    /// Whether PEFT keeps the transpose of a parameter of rank 2.
    pub transposed: bool,
    /// The shape in the file, where it is not the parameter's.
    pub shape: Option<Vec<usize>>,
    /// What the file has in addition to the parameter, of its shape.
    pub plus: Option<Tensor<2>>,
}

/// The tensors of a folder that belong to one adapted layer.
pub(crate) struct LayerTensors<'a> {
    /// Name of the module.
    pub module: &'a str,
    prefix: &'static str,
    tensors: BTreeMap<AdapterPart, &'a TensorData>,
}

impl<'a> LayerTensors<'a> {
    pub fn new(module: &'a str, prefix: &'static str) -> Self {
        Self {
            module,
            prefix,
            tensors: BTreeMap::new(),
        }
    }

    /// Add a tensor; false if it is there already.
    pub fn insert(&mut self, part: AdapterPart, data: &'a TensorData) -> bool {
        self.tensors.insert(part, data).is_none()
    }

    pub fn get(&self, part: AdapterPart) -> Option<&'a TensorData> {
        self.tensors.get(&part).copied()
    }

    /// A tensor, or the error that it is missing.
    pub fn needed(&self, part: AdapterPart) -> Result<&'a TensorData, Error> {
        self.get(part).ok_or_else(|| Error::MissingKey {
            key: self.key(part),
        })
    }

    /// A tensor of this shape, or the error that it is missing or of another shape.
    pub fn of_shape(&self, part: AdapterPart, shape: &[usize]) -> Result<TensorData, Error> {
        let data = self.needed(part)?;
        if data.shape().as_slice() != shape {
            return Err(self.wrong_shape(part, data, format!("{shape:?}")));
        }
        Ok(data.clone())
    }

    pub fn wrong_shape(&self, part: AdapterPart, data: &TensorData, expected: String) -> Error {
        Error::Shape {
            key: self.key(part),
            shape: data.shape().to_vec(),
            expected,
        }
    }

    /// The key of a part.
    pub fn key(&self, part: AdapterPart) -> String {
        format!("{}{}.{}", self.prefix, self.module, part.suffix())
    }
}

/// What a method's adapters do in the forward pass of a layer. Each call breaks with the output, or
/// continues with the input if the layer's weight carries no adapters of this method.
pub(crate) trait ForwardLayers {
    /// What a table that carries adapters of this method is as an output head.
    fn tied_head(_table: &Embedding) -> Option<TableAsHead> {
        None
    }

    /// The layer as the output head of a loss over tokens, if its weight carries adapters of this method
    /// that work along the activations.
    fn vocabulary_head(_layer: &Linear) -> Option<VocabularyHead> {
        None
    }

    fn forward_linear<const D: usize>(
        _layer: &Linear,
        input: Tensor<D>,
    ) -> ControlFlow<Tensor<D>, Tensor<D>> {
        ControlFlow::Continue(input)
    }

    fn forward_embedding(
        _table: &Embedding,
        ids: Tensor<2, Int>,
    ) -> ControlFlow<Tensor<3>, Tensor<2, Int>> {
        ControlFlow::Continue(ids)
    }

    fn forward_conv2d(_layer: &Conv2d, input: Tensor<4>) -> ControlFlow<Tensor<4>, Tensor<4>> {
        ControlFlow::Continue(input)
    }
}

/// What an embedding table with adapters is as an output head.
pub(crate) enum TableAsHead {
    /// A layer of its own.
    Layer(Linear),
    /// The base table.
    Table(Param<Tensor<2>>),
}

impl TableAsHead {
    /// Of a table whose adapters have this type.
    pub fn of<A: LayerAdapter<2>>(table: &Embedding) -> Option<Self> {
        let adapters = Adapters::<A, 2>::of(&table.weight)?;
        Some(match adapters.head() {
            Some(layer) => Self::Layer(layer.clone()),
            None => Self::Table(adapters.base(&bare(&table.weight))),
        })
    }
}
