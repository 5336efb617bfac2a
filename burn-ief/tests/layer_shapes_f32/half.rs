//! Layers in half precision.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor};
use burn_ief::jacobian::Jacobian;
use burn_ief::{LossScale, Tape};
use proptest::test_runner::TestCaseError;

use super::layer_cases::checks::{close, ok, trains};
use super::layer_cases::{Case, score};

/// Rows of a layer in half precision are close to those of its rounded parameters and inputs.
pub fn check_half(case: &Case, dtype: DType, tolerance: f64) -> Result<(), TestCaseError> {
    let case = &Case {
        checkpointing: false,
        ..case.clone()
    };
    let rounded = case.layer().map(&mut Cast(dtype));
    if !trains(&rounded) {
        return Ok(());
    }
    let record = |dtype: DType| {
        let layer = rounded.clone().map(&mut Cast(dtype));
        let cast = |x: Tensor<2>| cast(x, dtype);
        let inputs: Vec<_> = case.inputs().into_iter().map(cast).collect();
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let y = case.forward(&layer, &inputs).cast(DType::F32);
        let grads = score(y, 0..case.samples, case.samples, case.seed).backward();
        ok(Jacobian::from_tape(tape, grads, &layer))
    };
    let (half, full) = (record(dtype)?, record(DType::F32)?);
    // Of the layer as a whole: the roundings of a small parameter may be as large as its gradient.
    let found = half.to_dense().concat();
    close("rows", &found, &full.to_dense().concat(), tolerance)
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| cast(value, self.0))
    }
}

/// A leaf of another type.
fn cast<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    let tracked = x.is_require_grad();
    x.inner().cast(dtype).autodiff().set_require_grad(tracked)
}
