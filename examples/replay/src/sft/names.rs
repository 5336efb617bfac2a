//! Directions over the parameters of an adapter, under the names and in the layouts of its file.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{DType, Tensor};
use burn_hf_models::llama::LlamaForCausalLM;
use burn_peft::folder::AdapterKey;
use burn_peft::{AdapterFolder, Peft};

use crate::adapter::NAME;
use crate::error::Error;
use crate::results::Output;

/// The model with all trainable parameters at zero, and the folder that its adapter is written to.
pub(super) struct AdapterNames {
    zero: LlamaForCausalLM,
    folder: AdapterFolder,
    /// Names of the tensors that train.
    trained: Vec<String>,
}

impl AdapterNames {
    pub fn new(model: &LlamaForCausalLM, mut folder: AdapterFolder) -> Result<Self, Error> {
        // What is written takes the types of the folder; f64 holds every value of the narrower ones.
        for data in folder.tensors.values_mut() {
            *data = data.clone().convert_dtype(DType::F64);
        }
        let keys = folder.entries()?.into_iter().map(|(key, _)| key);
        let names = folder.tensors.keys().cloned().zip(keys);
        let trained = names.filter(|(_, key)| {
            matches!(
                key,
                AdapterKey::Adapter { .. } | AdapterKey::Saved { .. } | AdapterKey::Bias { .. }
            )
        });
        let trained = trained.map(|(name, _)| name).collect();
        let mut values = Values(GradientsParams::new());
        model.visit(&mut values);
        let zero = step(model.clone(), 1.0, values.0);
        Ok(Self {
            zero,
            folder,
            trained,
        })
    }

    /// The entries of a direction: the file of the adapter whose parameters have these values.
    pub fn read(&self, direction: GradientsParams) -> Result<Vec<(String, Output)>, Error> {
        let moved = step(self.zero.clone(), -1.0, direction);
        let names = LlamaForCausalLM::names();
        let folder = moved.update_folder(NAME, &self.folder, &names)?;
        let read = self.trained.iter().map(|name| {
            let data = &folder.tensors[name];
            let output = Output {
                shape: data.shape().to_vec(),
                values: data.iter::<f64>().collect(),
            };
            (name.clone(), output)
        });
        Ok(read.collect())
    }
}

/// Plain gradient descent.
fn step(model: LlamaForCausalLM, lr: f64, direction: GradientsParams) -> LlamaForCausalLM {
    let mut optim = SgdConfig::new().init();
    optim.step(lr, model, direction)
}

/// The values of the parameters that train.
struct Values(GradientsParams);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0.register(param.id, param.base().inner());
        }
    }
}
