//! What must hold of every case.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use burn::module::{Module, ModuleMapper, Param, ParamGroup};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::{Error, LabelDraw, LossScale, Tape, mark_loss, mark_output};
use proptest::prelude::*;

use super::{Case, Layer, distance, noise, score, values};

const CLASSES: usize = 3;

/// Relative tolerances of what is compared with forward passes and with Burn's backward passes.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    pub forward: f64,
    pub backward: f64,
}

/// Whether something of the layer trains.
pub fn trains(layer: &Layer) -> bool {
    layer.trained().contains(&true)
}

/// Relative distance within the tolerance.
pub fn close(
    what: &str,
    found: &[f64],
    expected: &[f64],
    tolerance: f64,
) -> Result<(), TestCaseError> {
    let error = distance(found, expected);
    prop_assert!(error <= tolerance, "{}: {:e}", what, error);
    Ok(())
}

/// What passes of Burn's own compute; `None` where Burn panics, which is a failure on Flex.
///
/// In 0.22.1 the gradient of a convolution's kernel panics on NdArray if the stride leaves out the end of the
/// input, and WGPU, in a build with overflow checks, panics on tensors without entries.
fn passes_of_burn<T>(device: &Device, passes: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(passes)) {
        Ok(result) => Some(result),
        Err(panic) if is_flex(device) => resume_unwind(panic),
        Err(_) => None,
    }
}

#[cfg(feature = "flex")]
fn is_flex(device: &Device) -> bool {
    device.clone().inner() == Device::flex()
}

#[cfg(not(feature = "flex"))]
fn is_flex(_device: &Device) -> bool {
    false
}

/// Inputs and outputs of a recording, and gradients of the inputs, are those of Burn's own passes.
pub fn check_forward(case: &Case, tolerance: Tolerance) -> Result<(), TestCaseError> {
    let layer = case.layer();
    let run = |recorded: bool| {
        let inputs = case.inputs();
        let y = if recorded {
            case.forward(&layer, &inputs)
        } else {
            case.plain(&layer, &inputs)
        };
        let output = values(y.clone());
        let gradients = y.is_tracked().then(|| {
            let grads = score(y, 0..case.samples, case.samples, case.seed).backward();
            let of = |x: &Tensor<2>| x.grad(&grads).map(values).unwrap_or_default();
            inputs.iter().flat_map(of).collect::<Vec<f64>>()
        });
        (output, gradients.unwrap_or_default())
    };
    let plain = passes_of_burn(&case.device(), || (run(false), run(true)));
    let tape = Tape::start();
    let inside = run(true);
    drop(tape);
    let Some((plain, outside)) = plain else {
        return Ok(());
    };
    prop_assert_eq!(&outside.0, &plain.0, "without a recording");
    close("outputs", &inside.0, &plain.0, tolerance.forward)?;
    prop_assert_eq!(inside.1.len(), plain.1.len());
    close(
        "gradients of the inputs",
        &inside.1,
        &plain.1,
        tolerance.backward,
    )
}

/// Gradient rows, parameter by parameter, against one backward pass for each sample, and for convolutions
/// against forward passes alone.
pub fn check_rows(case: &Case, tolerance: Tolerance) -> Result<(), TestCaseError> {
    let layer = case.layer();
    if !trains(&layer) {
        return Ok(());
    }
    let loss = |layer: &Layer, samples: Range<usize>| {
        let y = case.forward(layer, &cut(case.inputs(), samples.clone()));
        score(y, samples, case.samples, case.seed)
    };
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let tape = if case.factored {
        tape.with_factored_rows()
    } else {
        tape
    };
    let grads = loss(&layer, 0..case.samples).backward();
    let recorded = ok(Jacobian::from_tape(tape, grads, &layer))?;
    let params = recorded.params();
    let sizes: Vec<usize> = params.iter().map(|p| p.shape.num_elements()).collect();
    let rows = recorded.to_dense();
    if case.layer.is_linear() {
        compare(
            &rows,
            &by_entry(case, &layer, &sizes),
            &sizes,
            tolerance.forward,
        )?;
    }
    if case.layer.has_backward() {
        let oracle = passes_of_burn(&case.device(), || {
            Jacobian::by_sample(&layer, case.samples, |layer, n| loss(layer, n..n + 1))
        });
        if let Some(oracle) = oracle {
            compare(&rows, &ok(oracle)?.to_dense(), &sizes, tolerance.backward)?;
        }
    }
    // The factored forms have products of their own.
    let gram: Vec<f64> = rows
        .iter()
        .flat_map(|a| {
            rows.iter()
                .map(|b| a.iter().zip(b).map(|(a, b)| a * b).sum())
        })
        .collect();
    let found = ok(recorded.gram())?;
    close(
        "Gram matrix",
        found.values(),
        &gram,
        10.0 * tolerance.forward,
    )
}

/// Rows of a layer whose outputs are linear in its parameters: the output of every unit vector in the place of
/// the parameters, times the gradient at the output. No backward pass goes through the layer.
fn by_entry(case: &Case, layer: &Layer, sizes: &[usize]) -> Vec<Vec<f64>> {
    let output = case.plain(layer, &case.inputs()).detach().require_grad();
    let [_, width] = output.dims();
    let grads = score(output.clone(), 0..case.samples, case.samples, case.seed).backward();
    let error = values(output.grad(&grads).expect("the output is a leaf"));
    let inputs: Vec<_> = case.inputs().into_iter().map(Tensor::inner).collect();
    let mut rows = vec![Vec::new(); case.samples];
    for (param, size) in sizes.iter().enumerate() {
        for entry in 0..*size {
            let unit = layer.valid().map(&mut Unit {
                trained: layer.trained(),
                place: (param, entry),
                seen: 0,
                index: 0,
            });
            let y = values(case.plain(&unit, &inputs));
            let samples = y.chunks(width).zip(error.chunks(width));
            for (row, (y, error)) in rows.iter_mut().zip(samples) {
                row.push(y.iter().zip(error).map(|(y, e)| y * e).sum());
            }
        }
    }
    rows
}

/// Puts a unit vector in the place of the parameters: 1 at one entry of one of the trained ones.
struct Unit {
    /// For every parameter whether it trains.
    trained: Vec<bool>,
    place: (usize, usize),
    /// Trained parameters so far, and all of them.
    seen: usize,
    index: usize,
}

impl ModuleMapper for Unit {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trained = self.trained[self.index];
        let here = trained && self.seen == self.place.0;
        self.index += 1;
        self.seen += usize::from(trained);
        let entry = self.place.1;
        param.map(|value| {
            let mut entries = vec![0.0; value.shape().num_elements()];
            if here {
                entries[entry] = 1.0;
            }
            Tensor::from_data(TensorData::new(entries, value.dims()), &value.device())
        })
    }
}

/// Some samples of every input.
fn cut(inputs: Vec<Tensor<2>>, samples: Range<usize>) -> Vec<Tensor<2>> {
    let inputs = inputs.into_iter();
    inputs.map(|x| x.slice([samples.clone()])).collect()
}

pub fn ok<T>(result: Result<T, Error>) -> Result<T, TestCaseError> {
    result.map_err(|error| TestCaseError::fail(error.to_string()))
}

/// Rows, parameter by parameter: a small one cannot hide behind the others.
fn compare(
    rows: &[Vec<f64>],
    expected: &[Vec<f64>],
    sizes: &[usize],
    tolerance: f64,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(rows.len(), expected.len());
    let mut start = 0;
    for (index, size) in sizes.iter().enumerate() {
        let columns = start..start + size;
        let cut = |rows: &[Vec<f64>]| -> Vec<f64> {
            rows.iter()
                .flat_map(|row| row[columns.clone()].to_vec())
                .collect()
        };
        close(
            &format!("parameter {index}"),
            &cut(rows),
            &cut(expected),
            tolerance,
        )?;
        start += size;
    }
    Ok(())
}

/// Rows of a recording that repeats the batch, once for each label.
pub fn check_drawn(case: &Case, tolerance: Tolerance) -> Result<(), TestCaseError> {
    let layer = case.layer();
    if !trains(&layer) || !case.layer.has_backward() {
        return Ok(());
    }
    let labels: Vec<i64> = (0..case.samples).map(|n| (n % CLASSES) as i64).collect();
    // Entries of the outputs to logits, by a fixed matrix.
    let logits = |layer: &Layer, samples: Range<usize>| {
        let y = case.forward(layer, &cut(case.inputs(), samples)).tanh();
        let [_, width] = y.dims();
        y.matmul(noise([width, CLASSES], case.seed ^ 5, &case.device()))
    };
    let summed = |logits: Tensor<2>, labels: &[i64]| {
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        let targets = Tensor::from_data(labels, &logits.device());
        loss.forward(logits, targets) * labels.len() as f64
    };
    let draw = LabelDraw::Enumerate { classes: CLASSES };
    let tape = Tape::with_drawn_labels(draw).with_loss_scale(LossScale::Sum);
    let marked = mark_output(logits(&layer, 0..case.samples));
    prop_assert_eq!(marked.dims(), [case.samples, CLASSES]);
    let grads = mark_loss(summed(marked, &labels)).backward();
    let recorded = ok(RecordedBatch::collect(tape, grads, &layer, None))?;
    let rows = recorded.all_rows().to_dense();
    let p = values(softmax(logits(&layer, 0..case.samples), 1));
    let of_labels = |labels: &[i64]| {
        let jacobian = Jacobian::by_sample(&layer, case.samples, |layer, n| {
            summed(logits(layer, n..n + 1), &labels[n..n + 1])
        });
        ok(jacobian.map(|jacobian| jacobian.to_dense()))
    };
    let expected = passes_of_burn(&case.device(), || {
        let mut expected = of_labels(&labels)?;
        for class in 0..CLASSES {
            for (n, row) in of_labels(&vec![class as i64; case.samples])?
                .into_iter()
                .enumerate()
            {
                let root = p[n * CLASSES + class].sqrt();
                expected.push(row.into_iter().map(|x| x * root).collect());
            }
        }
        Ok::<_, TestCaseError>(expected)
    });
    let Some(expected) = expected else {
        return Ok(());
    };
    let expected = expected?;
    let width = rows.first().map_or(0, Vec::len);
    compare(&rows, &expected, &[width], tolerance.backward)
}

/// A group that holds one parameter has the rows of that parameter.
pub fn check_groups(case: &Case, tolerance: Tolerance) -> Result<(), TestCaseError> {
    let layer = case.layer();
    if !trains(&layer) {
        return Ok(());
    }
    let record = |group: Option<&ParamGroup>| {
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let y = case.forward(&layer, &case.inputs());
        let grads = score(y, 0..case.samples, case.samples, case.seed).backward();
        let batch = ok(RecordedBatch::collect(tape, grads, &layer, group))?;
        Ok::<_, TestCaseError>(batch.jacobian())
    };
    let all = record(None)?;
    let mut start = 0;
    for param in all.params() {
        let size = param.shape.num_elements();
        let own = record(Some(&ParamGroup::from_ids(vec![param.id])))?;
        let rows = all.to_dense().into_iter();
        let expected: Vec<Vec<f64>> = rows.map(|row| row[start..start + size].to_vec()).collect();
        compare(&own.to_dense(), &expected, &[size], tolerance.forward)?;
        start += size;
    }
    Ok(())
}

/// A batch without samples has outputs of the right shape, and the step is refused.
pub fn check_empty(case: &Case) -> Result<(), TestCaseError> {
    let layer = case.layer();
    let width = case.plain(&layer, &case.inputs()).dims()[1];
    let tape = Tape::start();
    let empty = || case.forward(&layer, &cut(case.inputs(), 0..0)).dims();
    let Some(dims) = passes_of_burn(&case.device(), empty) else {
        return Ok(());
    };
    prop_assert_eq!(dims, [0, width]);
    let grads = Tensor::<1>::ones([1], &case.device())
        .require_grad()
        .backward();
    let error = Jacobian::from_tape(tape, grads, &layer).err();
    prop_assert_eq!(error, Some(Error::EmptyBatch));
    Ok(())
}
