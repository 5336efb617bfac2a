//! Models in half precision: rows in f32, close to those of the same model in f32.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor};
use burn_ief::jacobian::Jacobian;
use burn_ief::{LossScale, Tape};

use super::check::{noise, score};
use super::edges::{Batch, CLASSES, Classifier, SAMPLES};

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.inner().cast(self.0).autodiff().require_grad())
    }
}

#[test]
fn rows_of_half_precision_models() {
    let device = Device::flex().autodiff();
    let batch = Batch::new(&device);
    let record = |through: DType, dtype: DType| {
        let model = Classifier::new(&device)
            .map(&mut Cast(through))
            .map(&mut Cast(dtype));
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let logits = model.forward(batch.x.clone().cast(dtype), batch.pad.clone());
        let weights = noise([SAMPLES, CLASSES], 13, &device);
        let loss = score(logits.cast(DType::F32), weights);
        let jacobian = Jacobian::from_tape(tape, loss.backward(), &model).unwrap();
        jacobian.to_dense().concat()
    };
    // Machine epsilons of 2⁻¹⁰ and 2⁻⁷, some forty roundings deep.
    for (dtype, tolerance) in [(DType::F16, 0.03), (DType::BF16, 0.2)] {
        let (half, full) = (record(dtype, dtype), record(dtype, DType::F32));
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let difference = norm(&mut half.iter().zip(&full).map(|(a, b)| a - b));
        let distance = difference / norm(&mut full.iter().copied());
        assert!(distance < tolerance, "{dtype:?}: {distance:e}");
    }
}
