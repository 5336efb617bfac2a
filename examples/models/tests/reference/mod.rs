//! Folders written by `transformers` and `peft`, and how close a result comes to theirs.

// Each test binary uses its own part.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Once;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use burn_peft::{AdapterFolder, NameMap, Peft};
use safetensors::{Dtype, SafeTensors};

/// The folder of a model or adapter.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// Flex in f64 from end to end. A device takes its precision once per process: binaries that call
/// this have no test in f32.
pub fn device_f64() -> Device {
    static PRECISION: Once = Once::new();
    let mut device = Device::flex();
    PRECISION.call_once(|| {
        device
            .configure(FloatDType::F64)
            .expect("before the first tensor");
    });
    device
}

/// Casts every float parameter.
pub struct Cast(pub DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

/// The tensors of a file, as f64.
pub struct Tensors(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Tensors {
    pub fn read(file: &str) -> Self {
        let bytes = std::fs::read(folder(file)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let all = tensors.iter().map(|(name, view)| {
            let bytes = view.data();
            let values = match view.dtype() {
                Dtype::F64 => numbers(bytes, f64::from_le_bytes),
                Dtype::F32 => numbers(bytes, |b| f64::from(f32::from_le_bytes(b))),
                Dtype::I64 => numbers(bytes, |b| i64::from_le_bytes(b) as f64),
                other => panic!("{name} is {other:?}"),
            };
            (name.to_string(), (view.shape().to_vec(), values))
        });
        Self(all.collect())
    }

    /// Inputs and outputs of a model.
    pub fn golden(model: &str) -> Self {
        Self::read(&format!("{model}/golden.safetensors"))
    }

    pub fn values(&self, name: &str) -> &[f64] {
        &self.0[name].1
    }

    /// All values under a prefix, by the rest of their names.
    pub fn under(&self, prefix: &str) -> BTreeMap<String, Vec<f64>> {
        let under = self.0.iter().filter_map(|(name, (_, values))| {
            let key = name.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((key.to_string(), values.clone()))
        });
        under.collect()
    }

    pub fn ids<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        let (shape, values) = &self.0[name];
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        Tensor::from_data(TensorData::new(values, shape.clone()), device)
    }

    pub fn floats<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (shape, values) = &self.0[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
    }

    /// Virtual tokens `[V, d]`, of which the first `used` are taken, a copy for each of `batch`
    /// samples.
    pub fn prompt(&self, used: Option<usize>, batch: usize, device: &Device) -> Tensor<3> {
        let table = self.floats::<2>("prompt_embeddings", device);
        let [rows, width] = table.dims();
        let used = used.unwrap_or(rows);
        let tokens = table.narrow(0, 0, used).unsqueeze::<3>();
        tokens.expand([batch, used, width])
    }

    /// A tensor within `tolerance` of the largest value of the expected one.
    pub fn compare<const D: usize>(&self, found: &Tensor<D>, name: &str, tolerance: f64) {
        let difference = self.difference(found, name);
        println!("{name}: {difference:.1e}");
        assert!(difference <= tolerance, "{name}: {difference:e}");
    }

    /// Largest difference, relative to the largest expected value.
    pub fn difference<const D: usize>(&self, found: &Tensor<D>, name: &str) -> f64 {
        let (shape, expected) = &self.0[name];
        assert_eq!(&found.dims().to_vec(), shape, "{name}");
        relative(&found.clone().try_to_vec_as::<f64>().unwrap(), expected)
    }
}

/// Largest difference, relative to the largest expected value; NaN is infinitely far.
pub fn relative(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(0.0, |size: f64, x| size.max(x.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |worst: f64, d| {
        if d.is_nan() {
            f64::INFINITY
        } else {
            worst.max(d)
        }
    }) / size
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|&chunk| number(chunk)).collect()
}

/// Gives trainable parameters the values of a direction.
pub struct Put<'a>(pub &'a GradientsParams);

impl ModuleMapper for Put<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.get::<D>(param.id) {
            Some(value) => param.map(|_| value.autodiff().require_grad()),
            None => param,
        }
    }
}

/// Gives trainable parameters the value zero.
struct Zero;

impl ModuleMapper for Zero {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        param.map(|value| value.zeros_like().detach().require_grad())
    }
}

/// A direction under PEFT's keys and in its layouts: it takes the place of the parameters and goes through
/// the writer. What the writer adds to parameters is taken away again.
pub fn in_folder<M: Module>(
    model: &M,
    direction: &GradientsParams,
    folder: &AdapterFolder,
    names: &[NameMap],
) -> BTreeMap<String, Vec<f64>> {
    let written = |model: M| {
        let folder = model.update_folder("default", folder, names).unwrap();
        let tensors = folder.tensors.into_iter();
        tensors.map(|(key, data)| (key, data.try_into_vec::<f64>().unwrap()))
    };
    let moved = written(model.clone().map(&mut Put(direction)));
    let nothing = written(model.clone().map(&mut Zero));
    let both = moved.zip(nothing);
    let differences = both.map(|((key, moved), (_, nothing))| {
        let difference = moved.iter().zip(nothing).map(|(a, b)| a - b);
        (key, difference.collect())
    });
    differences.collect()
}
