//! Runs an operation and a reference on the same inputs, in f64 and in f32.

use burn::tensor::{DType, Device, GradientCheckpointingStrategy, Tensor, TensorData};
use proptest::test_runner::{Config, RngSeed};

/// A fixed seed: a run does not depend on luck.
pub fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_261_129),
        failure_persistence: None,
        ..Config::default()
    }
}

/// An operation on flat inputs with a flat output; it reshapes them itself.
pub type Operation<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<1>;

/// Flat inputs, whose entries are f32 numbers.
#[derive(Debug, Clone)]
pub struct Case {
    pub inputs: Vec<Vec<f64>>,
    pub tracked: Vec<bool>,
}

/// The value, and the gradients of tracked inputs for a fixed weighted sum of the value.
#[derive(Debug)]
pub struct Outcome {
    pub value: Vec<f64>,
    pub gradients: Vec<Option<Vec<f64>>>,
}

/// Numbers from -`size` to `size` that differ from seed to seed.
pub fn numbers(count: usize, size: f64, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let unit = (state >> 40) as f64 / f64::from(1u32 << 24);
        f64::from((size * (2.0 * unit - 1.0)) as f32)
    };
    (0..count).map(|_| draw()).collect()
}

impl Case {
    /// Inputs of these sizes, all tracked.
    pub fn random(sizes: &[usize], size: f64, seed: u64) -> Self {
        let each = sizes.iter().zip(0..);
        let inputs = each.map(|(count, at)| numbers(*count, size, seed * 31 + at));
        Self {
            inputs: inputs.collect(),
            tracked: vec![true; sizes.len()],
        }
    }

    /// Only inputs whose bit is set are tracked.
    pub fn with_tracked(mut self, bits: usize) -> Self {
        for (at, tracked) in self.tracked.iter_mut().enumerate() {
            *tracked = bits >> at & 1 == 1;
        }
        self
    }

    pub fn run(&self, dtype: DType, operation: Operation<'_>) -> Outcome {
        self.run_on(&Device::flex().autodiff(), dtype, operation)
    }

    pub fn run_on(&self, device: &Device, dtype: DType, operation: Operation<'_>) -> Outcome {
        self.run_with(
            device,
            dtype,
            GradientCheckpointingStrategy::Disabled,
            operation,
        )
    }

    pub fn run_with(
        &self,
        device: &Device,
        dtype: DType,
        strategy: GradientCheckpointingStrategy,
        operation: Operation<'_>,
    ) -> Outcome {
        let leaves: Vec<Tensor<1>> = self
            .inputs
            .iter()
            .zip(&self.tracked)
            .map(|(input, tracked)| {
                let data = TensorData::new(input.clone(), [input.len()]);
                let leaf = Tensor::<1>::from_data(data, (device, dtype))
                    .with_gradient_checkpointing_strategy(strategy);
                if *tracked { leaf.require_grad() } else { leaf }
            })
            .collect();
        let value = operation(&leaves);
        assert_eq!(value.dtype(), dtype);
        assert_eq!(value.is_tracked(), self.tracked.contains(&true));
        let mut gradients = vec![None; leaves.len()];
        if value.is_tracked() {
            let factors = numbers(value.dims()[0], 1.0, 77);
            let factors = TensorData::new(factors, [value.dims()[0]]);
            let factors = Tensor::<1>::from_data(factors, (&device.clone().inner(), dtype));
            let grads = (value.clone() * factors).sum().backward();
            for (leaf, gradient) in leaves.iter().zip(&mut gradients) {
                *gradient = leaf.grad(&grads).map(host);
            }
        }
        Outcome {
            value: host(value.inner()),
            gradients,
        }
    }
}

pub fn host<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// The largest difference, over the largest expected number; a NaN on one side only is infinite.
pub fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().filter(|x| x.is_finite());
    let size = size.fold(f64::MIN_POSITIVE, |size, x| size.max(x.abs()));
    let each = found.iter().zip(expected).map(|(found, expected)| {
        match found.is_nan() || expected.is_nan() {
            true if found.is_nan() && expected.is_nan() => 0.0,
            true => f64::INFINITY,
            false if found == expected => 0.0,
            false => (found - expected).abs() / size,
        }
    });
    each.fold(0.0, f64::max)
}

/// Compare value and gradients in pairs; gradients must be of the same inputs.
fn errors(found: &Outcome, expected: &Outcome) -> Vec<f64> {
    let mut all = vec![error(&found.value, &expected.value)];
    for (found, expected) in found.gradients.iter().zip(&expected.gradients) {
        match (found, expected) {
            (Some(found), Some(expected)) => all.push(error(found, expected)),
            (None, None) => {}
            (found, expected) => panic!(
                "a gradient: {}, expected: {}",
                found.is_some(),
                expected.is_some()
            ),
        }
    }
    all
}

/// The operation is the reference: in f64 to rounding, in f32 with an error against f64 that is not
/// above that of the reference in f32.
pub fn check(case: &Case, operation: Operation<'_>, reference: Operation<'_>) {
    // More for small cases, where the error of the reference is sometimes small by luck, and
    // gradients are differences of larger numbers.
    check_with(case, operation, reference, 1e-5);
}

/// [`check`] for cases whose errors in f32 have no luck in them.
pub fn check_large(case: &Case, operation: Operation<'_>, reference: Operation<'_>) {
    // Half a last place.
    check_with(case, operation, reference, f64::from(f32::EPSILON) / 2.0);
}

fn check_with(case: &Case, operation: Operation<'_>, reference: Operation<'_>, more: f64) {
    let sizes: Vec<usize> = case.inputs.iter().map(Vec::len).collect();
    let exact = case.run(DType::F64, reference);
    for error in errors(&case.run(DType::F64, operation), &exact) {
        assert!(error <= 1e-12, "f64: {error:e} for inputs of {sizes:?}");
    }
    // A strategy that computes tensors again instead of keeping them.
    let again = case.run_with(
        &Device::flex().autodiff(),
        DType::F64,
        GradientCheckpointingStrategy::Balanced,
        operation,
    );
    for error in errors(&again, &exact) {
        assert!(
            error <= 1e-12,
            "f64, balanced: {error:e} for inputs of {sizes:?}"
        );
    }
    let own = errors(&case.run(DType::F32, reference), &exact);
    let fused = errors(&case.run(DType::F32, operation), &exact);
    for (at, (fused, own)) in fused.into_iter().zip(own).enumerate() {
        let bound = 1.5 * own + more;
        assert!(
            fused <= bound,
            "f32, value or gradient {at}: {fused:e} > {bound:e} for inputs of {sizes:?}"
        );
    }
}
