//! Models in half precision: rows in f32, close to those of the same model in f32.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor};

use super::drawn::{Classifier, batch};
use super::*;

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.inner().cast(self.0).autodiff().require_grad())
    }
}

/// The parameters rounded to `through`, held in `dtype`.
fn model(through: DType, dtype: DType, device: &Device) -> Classifier {
    Classifier::new(device)
        .map(&mut Cast(through))
        .map(&mut Cast(dtype))
}

fn record(model: &Classifier, device: &Device) -> Jacobian {
    let batch = batch(device);
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let logits = model.forward(batch.ids, batch.pad);
    let loss = score(logits.cast(DType::F32), 0..SAMPLES);
    Jacobian::from_tape(tape, loss.backward(), model).unwrap()
}

#[test]
fn rows_of_half_precision_models() {
    let device = Device::flex().autodiff();
    // Machine epsilons of 2⁻¹⁰ and 2⁻⁷, some thirty roundings deep.
    for (dtype, tolerance) in [(DType::F16, 0.02), (DType::BF16, 0.15)] {
        let half = record(&model(dtype, dtype, &device), &device);
        let full = record(&model(dtype, DType::F32, &device), &device);
        for (half, full) in half.to_dense().iter().zip(full.to_dense()) {
            let distance = distance(half, &full);
            assert!(distance < tolerance, "{dtype:?}: {distance:e}");
        }
        let (k, expected) = (half.gram().unwrap(), full.gram().unwrap());
        assert!(distance(k.values(), expected.values()) < 2.0 * tolerance);
        let v = half.t_matvec(&[1.0; SAMPLES]).unwrap();
        let image = half.matvec(&v).unwrap();
        assert!(distance(&image, &k.mul(&[1.0; SAMPLES])) < 1e-4);
    }
}
