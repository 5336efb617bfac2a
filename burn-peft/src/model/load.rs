//! From an adapter folder into a model.

use std::any::Any;
use std::collections::HashSet;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::adapt::{self, Made};
use super::attach::{self, Pending};
use super::census::{Census, Layer, Own, Weight};
use super::operate;
use super::values::{self, Values};
use super::walk::joined;
use crate::config::{LoraSettings, PeftConfig};
use crate::error::Error;
use crate::folder::{AdapterFolder, AdapterKey, LoraPart};
use crate::lora::{Initialization, LoraConfig, place};
use crate::names::{NameMap, first_that_fits};
use crate::target::{ModuleKind, Target, Targets};

/// The model with the adapter of the folder, active and trainable.
pub(super) fn load<M: Module>(
    model: M,
    name: &str,
    folder: &AdapterFolder,
    schemes: &[NameMap],
) -> Result<M, Error> {
    folder.check()?;
    let entries = Entries::of(folder)?;
    // The adapter belongs to the base weights.
    let model = operate::fold(model, false);
    let census = named(&model, schemes, &entries)?;
    let plan = match &folder.config {
        PeftConfig::Lora(settings) => lora(&entries, settings, &census)?,
        PeftConfig::PromptTuning(settings) => {
            let saved = settings.modules_to_save.as_deref().unwrap_or_default();
            let own = census.parameters.iter();
            let own = own.filter(|own| adapt::under_saved(saved, &own.module));
            Plan {
                adapters: Pending::new(),
                values: Values::new(),
                trains: own.map(Own::full_path).collect(),
            }
        }
    };
    let mut values = entries.values(&model, &census)?;
    values.extend(plan.values);
    // Nothing fails from here on.
    let model = values::set(model, values);
    let model = match plan.adapters.is_empty() {
        true => model,
        false => attach::attach(model, name, plan.adapters),
    };
    Ok(attach::train_only(model, |path| plan.trains.contains(path)))
}

/// What a folder changes about a model.
struct Plan {
    adapters: Pending,
    /// Of weights that lose a part to their adapters.
    values: Values,
    trains: HashSet<String>,
}

/// The tensors of a folder by what they are.
struct Entries<'a> {
    folder: &'a AdapterFolder,
    keys: Vec<(AdapterKey, &'a TensorData)>,
}

impl<'a> Entries<'a> {
    fn of(folder: &'a AdapterFolder) -> Result<Self, Error> {
        Ok(Self {
            folder,
            keys: folder.entries()?,
        })
    }

    /// Keys of the model's own parameters, as `transformers` calls them.
    fn own(&self) -> impl Iterator<Item = (String, &AdapterKey, &'a TensorData)> {
        self.keys.iter().filter_map(|(key, data)| {
            let own = match key {
                AdapterKey::Saved { module, parameter }
                | AdapterKey::Base { module, parameter } => joined(module, parameter),
                AdapterKey::Bias { module } => joined(module, "bias"),
                _ => return None,
            };
            Some((own, key, *data))
        })
    }

    fn lora(&self, module: &str, part: LoraPart) -> Option<&'a TensorData> {
        let wanted = AdapterKey::Lora {
            module: module.into(),
            part,
        };
        let (_, data) = self.keys.iter().find(|(key, _)| *key == wanted)?;
        Some(data)
    }

    fn name(&self, key: &AdapterKey) -> String {
        key.name(&self.folder.config)
    }

    /// The first key that names nothing of the model.
    fn stranger(&self, census: &Census) -> Option<String> {
        let factor = self.keys.iter().find(|(key, _)| match key {
            AdapterKey::Lora { module, .. } => census.layer(module).is_none(),
            _ => false,
        });
        let factor = factor.map(|(key, _)| self.name(key));
        factor.or_else(|| {
            let mut own = self.own();
            let own = own.find(|(own, _, _)| census.parameter(own).is_none())?;
            Some(self.name(own.1))
        })
    }

    /// Values of the model's own parameters, by path.
    fn values<M: Module>(&self, model: &M, census: &Census) -> Result<Values, Error> {
        let device = device_of(model);
        let mut values = Values::new();
        for (name, key, data) in self.own() {
            let Some(own) = census.parameter(&name) else {
                continue;
            };
            let mut expected = own.shape.as_slice().to_vec();
            if own.transposed {
                expected.reverse();
            }
            if data.shape().as_slice() != expected {
                return Err(Error::Shape {
                    key: self.name(key),
                    shape: data.shape().as_slice().to_vec(),
                    expected: format!("{expected:?}"),
                });
            }
            let data = data.clone();
            let value: Box<dyn Any> = match (expected.len(), own.transposed) {
                (1, _) => Box::new(plain::<1>(data, &device)),
                (2, true) => Box::new(plain::<2>(data, &device).transpose()),
                (2, false) => Box::new(plain::<2>(data, &device)),
                (3, _) => Box::new(plain::<3>(data, &device)),
                (4, _) => Box::new(plain::<4>(data, &device)),
                (5, _) => Box::new(plain::<5>(data, &device)),
                _ => {
                    return Err(Error::Shape {
                        key: self.name(key),
                        shape: data.shape().as_slice().to_vec(),
                        expected: "one to five axes".into(),
                    });
                }
            };
            values.insert(own.full_path(), value);
        }
        Ok(values)
    }
}

fn device_of<M: Module>(model: &M) -> Device {
    let device = model.devices().into_iter().next();
    device.unwrap_or_default().inner()
}

/// In the file's precision; it takes its parameter's when it gets there.
fn plain<const D: usize>(data: TensorData, device: &Device) -> Tensor<D> {
    let dtype = data.dtype();
    at::<D>(data, device, dtype)
}

fn at<const D: usize>(data: TensorData, device: &Device, dtype: DType) -> Tensor<D> {
    Tensor::from_data(data.convert_dtype(dtype), (device, dtype))
}

/// The model's modules under the first naming that knows every key.
fn named<M: Module>(
    model: &M,
    schemes: &[NameMap],
    entries: &Entries<'_>,
) -> Result<Census, Error> {
    first_that_fits(schemes, |names| {
        let census = Census::of(model, names);
        match entries.stranger(&census) {
            None => Ok(census),
            Some(key) => Err(Error::Key {
                key,
                reason: "the model has no such module",
            }),
        }
    })
}

fn lora(entries: &Entries<'_>, settings: &LoraSettings, census: &Census) -> Result<Plan, Error> {
    let modules = entries.folder.lora_modules()?;
    let targets = match settings.target_modules {
        Some(_) => Targets::resolve(settings, &census.modules)?,
        // PEFT's choice for the kind of model was made when the file was written.
        None => {
            let names: Vec<&str> = modules.iter().map(String::as_str).collect();
            let explicit = settings.clone().with_target_modules(names);
            Targets::resolve(&explicit, &census.modules)?
        }
    };
    if let Some(module) = modules
        .iter()
        .find(|module| !targets.iter().any(|target| target.module == **module))
    {
        let key = AdapterKey::Lora {
            module: module.clone(),
            part: LoraPart::A,
        };
        return Err(Error::Key {
            key: entries.name(&key),
            reason: "target_modules does not choose this module",
        });
    }
    let mut made = Made::default();
    if settings.init_lora_weights.changes_base() {
        // The factors belong to a weight that lost its principal part: take it away here as well.
        let init = adapt::initialization(&settings.init_lora_weights)?;
        made = adapt::make(settings, init, census, &targets)?;
        made.adapters.clear();
    }
    for target in &targets {
        let Some(layer) = census.layer(&target.module) else {
            return Err(Error::TargetKind {
                module: target.module.clone(),
            });
        };
        let config = adapt::layer_config(settings, Initialization::Kaiming, target);
        let factors = Factors {
            entries,
            target,
            config: &config,
        };
        made.adapters
            .insert(layer.path.clone(), factors.adapter(layer)?);
    }
    Ok(Plan {
        adapters: made.adapters,
        values: made.values,
        trains: adapt::trains(settings, census, &targets),
    })
}

/// The tensors of one adapted module.
struct Factors<'a> {
    entries: &'a Entries<'a>,
    target: &'a Target,
    config: &'a LoraConfig,
}

impl Factors<'_> {
    fn adapter(&self, layer: &Layer) -> Result<Box<dyn Any>, Error> {
        let rank = self.config.rank;
        match &layer.weight {
            Weight::Two(table, ModuleKind::Embedding) => {
                let [entries, width] = table.lazy_shape().dims();
                let (device, dtype) = place(table);
                let plain = device.clone().inner();
                let a = self.tensor::<2>(LoraPart::EmbeddingA, [rank, entries])?;
                let b = self.tensor::<2>(LoraPart::EmbeddingB, [width, rank])?;
                let magnitude = self.magnitude([width], width, &plain, dtype)?;
                let factors = [a, b].map(|data| at::<2>(data, &plain, dtype).transpose());
                Ok(Box::new(self.config.assemble(factors, magnitude, &device)))
            }
            Weight::Two(weight, _) => {
                let [d_in, d_out] = weight.lazy_shape().dims();
                let (device, dtype) = place(weight);
                let plain = device.clone().inner();
                let a = self.tensor::<2>(LoraPart::A, [rank, d_in])?;
                let b = self.tensor::<2>(LoraPart::B, [d_out, rank])?;
                let magnitude = self.magnitude([d_out], d_out, &plain, dtype)?;
                let factors = [a, b].map(|data| at::<2>(data, &plain, dtype).transpose());
                Ok(Box::new(self.config.assemble(factors, magnitude, &device)))
            }
            Weight::Four(kernels) => {
                let [out, channels, k1, k2] = kernels.lazy_shape().dims();
                let (device, dtype) = place(kernels);
                let plain = device.clone().inner();
                let a = self.tensor::<4>(LoraPart::A, [rank, channels, k1, k2])?;
                let b = self.tensor::<4>(LoraPart::B, [out, rank, 1, 1])?;
                let magnitude = self.magnitude([1, out, 1, 1], out, &plain, dtype)?;
                let factors = [a, b].map(|data| at::<4>(data, &plain, dtype));
                Ok(Box::new(self.config.assemble(factors, magnitude, &device)))
            }
        }
    }

    fn tensor<const D: usize>(
        &self,
        part: LoraPart,
        expected: [usize; D],
    ) -> Result<TensorData, Error> {
        let key = || {
            self.entries.name(&AdapterKey::Lora {
                module: self.target.module.clone(),
                part,
            })
        };
        let Some(data) = self.entries.lora(&self.target.module, part) else {
            return Err(Error::MissingKey { key: key() });
        };
        match data.shape().as_slice() == expected {
            true => Ok(data.clone()),
            false => Err(Error::Shape {
                key: key(),
                shape: data.shape().as_slice().to_vec(),
                expected: format!("{expected:?}"),
            }),
        }
    }

    /// DoRA's magnitudes, of this shape in the file, as `[width]`.
    fn magnitude<const D: usize>(
        &self,
        shape: [usize; D],
        width: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Option<Tensor<1>>, Error> {
        if !self.config.dora {
            return Ok(None);
        }
        let data = self.tensor::<D>(LoraPart::Magnitude, shape)?;
        Ok(Some(at::<D>(data, device, dtype).reshape([width])))
    }
}
