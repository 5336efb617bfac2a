//! Functions that mark tensors in the user's forward pass: inputs, outputs, losses.

use burn::tensor::kind::Basic;
use burn::tensor::{Int, Tensor};

use super::labels::{LabelDraw, Likelihood};
use super::output_errors::{OutputErrors, WholeErrors};
use super::recorder::recorder;
use super::tape::{LossScale, OutputMark};
use crate::error::Error;
use crate::params::widen;

/// Mark the model's output (logits) between the model and the loss.
///
/// iEF needs s_n = ‖∂l_n/∂z_n‖², the squared gradient of the loss of sample n with respect to its
/// output z_n. This call records it, for any loss. If a model marks several outputs, their s_n add
/// up. In a recording with drawn labels, the returned tensor has one row per sample, without the
/// copies. Outside a recording this is the identity.
///
/// # Shapes
///
/// - z: `[M, C]`, `[M, …, C]` with positions in between, or `[M]` with one output per sample
/// - output: the same, without copies
pub fn mark_output<const D: usize>(z: Tensor<D>) -> Tensor<D> {
    mark_output_as(z, Likelihood::Categorical)
}

/// Like [`mark_output`], for a model whose outputs are the parameters of another distribution.
pub fn mark_output_as<const D: usize>(z: Tensor<D>, likelihood: Likelihood) -> Tensor<D> {
    let Some(recorder) = recorder().filter(|_| z.is_tracked()) else {
        return z;
    };
    let mut state = recorder.state().borrow_mut();
    let dims = z.dims();
    if dims[0] == 0 {
        state.poison(Error::EmptyBatch);
        return z;
    }
    let copies = state.copies();
    let samples = *state.samples.get_or_insert(dims[0] / copies);
    if dims[0] != samples * copies {
        state.poison(Error::BatchMismatch {
            parameter: "the marked output".into(),
            expected: samples * copies,
            found: dims[0],
        });
        return z;
    }
    // A tensor of one axis has one output per sample.
    let classes = if D == 1 { 1 } else { dims[D - 1] };
    if classes == 0 {
        state.poison(Error::Size {
            what: "entries of the marked output on its last axis",
            expected: 1,
            found: 0,
        });
        return z;
    }
    let width: usize = dims[1..].iter().product();
    let of_pass = state.sample_pass.as_ref().map(|pass| &pass.draw);
    let enumerated = match state.labels.as_ref().or(of_pass) {
        Some(LabelDraw::Enumerate { classes }) => Some(*classes),
        _ => None,
    };
    if let Some(declared) = enumerated {
        for (what, expected, found) in [
            (
                "positions of an output whose labels are enumerated",
                1,
                width / classes,
            ),
            ("classes of the marked output", declared, classes),
        ] {
            if expected != found {
                state.poison(Error::Size {
                    what,
                    expected,
                    found,
                });
                return z;
            }
        }
    }
    let truth = if copies == 1 {
        z.clone()
    } else {
        z.clone().narrow(0, 0, samples)
    };
    // The leaf takes the autodiff settings of z.
    let zero = Tensor::<1>::zeros([1], (&z.device().inner(), z.dtype()));
    let leaf = zero.unsqueeze::<D>().expand(truth.dims()).autodiff();
    let leaf = match z.gradient_checkpointing_strategy() {
        Some(strategy) => leaf.with_gradient_checkpointing_strategy(strategy),
        None => leaf,
    }
    .require_grad();
    state.leaves.push(leaf.clone());
    let value = truth
        .clone()
        .inner()
        .reshape([samples, width / classes, classes]);
    let truth = truth + leaf.clone();

    let mark = state.outputs.len() as u64;
    let (surrogate, drawn) = match (&state.labels, &state.sample_pass) {
        (Some(draw), _) => {
            let drawn_rows = samples * (copies - 1);
            let z = z.narrow(0, samples, drawn_rows);
            let flat = z
                .clone()
                .inner()
                .reshape([drawn_rows * width / classes, classes]);
            let gradient = draw
                .output_gradients(widen(flat), samples, mark, likelihood)
                .cast(z.dtype());
            let shaped = gradient.clone().reshape(z.dims());
            (
                Some((z * shaped).sum()),
                Some(gradient.reshape([drawn_rows, width])),
            )
        }
        (None, Some(pass)) => {
            let count = pass.draw.copies();
            let flat = z.clone().inner().reshape([width / classes, classes]);
            let gradient = pass
                .draw
                .output_gradients(widen(flat.repeat_dim(0, count)), 1, mark, likelihood)
                .cast(z.dtype())
                .reshape([count, width]);
            let surrogate = pass.copy.checked_sub(1).map(|copy| {
                let own = gradient.clone().narrow(0, copy, 1);
                (z.clone() * own.reshape(z.dims())).sum()
            });
            (surrogate, Some(gradient))
        }
        (None, None) => (None, None),
    };
    let value = widen(value);
    state.outputs.push(OutputMark {
        surrogate,
        read: Box::new(move |grads, alpha| {
            let error = widen(leaf.grad(grads)?).reshape([samples, width]);
            Some(OutputErrors::Whole(WholeErrors {
                error: error / alpha,
                value,
                likelihood,
                drawn,
            }))
        }),
    });
    truth
}

/// Mark the labels of a classifier before the loss, to have them checked.
///
/// A label outside `0..classes` makes Burn's cross-entropy panic, or read whatever is in memory,
/// depending on the device. In a recording this call clamps such labels, and the step returns
/// [`Error::IndexRange`] instead. Outside a recording it is the identity.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_ief::prelude::*;
/// use burn_ief::{Error, mark_labels};
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::ones([2, 4], &device);
/// let y = Tensor::<1, Int>::from_data([0, 3], &device);
/// let step = IefConfig::new().init(&model).step_closure(0.5, model, |model| {
///     let logits = mark_output(model.forward_recorded(x));
///     CrossEntropyLossConfig::new().init(&device).forward(logits, mark_labels(y, 3))
/// });
/// assert!(matches!(step, Err(Error::IndexRange { found: 3, .. })));
/// ```
pub fn mark_labels<const D: usize>(labels: Tensor<D, Int>, classes: usize) -> Tensor<D, Int> {
    match recorder() {
        Some(recorder) => recorder.checked_indices("a label", labels, classes),
        None => labels,
    }
}

/// Repeat an input with the samples on axis 0 (a mask, say) for the copies of the recording.
///
/// You need it only in recordings with drawn labels, and only for tensors that are combined with
/// recorded activations without passing through a recorded call. Everywhere else it is the identity.
pub fn expand_input<const D: usize, K: Basic>(x: Tensor<D, K>) -> Tensor<D, K> {
    match recorder() {
        Some(recorder) => recorder.batch(x),
        None => x,
    }
}

/// Mark the scalar loss that `backward` starts from.
///
/// You need it in recordings with drawn labels, where it adds the loss of the copies to the graph.
/// The value of the loss does not change. Everywhere else it is the identity.
///
/// # Shapes
///
/// - loss: `[1]`
pub fn mark_loss(loss: Tensor<1>) -> Tensor<1> {
    let Some(recorder) = recorder().filter(|_| loss.is_tracked()) else {
        return loss;
    };
    let mut state = recorder.state().borrow_mut();
    state.loss_marked = true;
    let Some(samples) = state.samples else {
        return loss;
    };
    let alpha = state.scale.factor(samples);
    let surrogates = state.outputs.iter_mut();
    let surrogates: Vec<_> = surrogates
        .filter_map(|mark| mark.surrogate.take())
        .collect();
    if state.sample_pass.is_some() {
        // A pass over one copy has the loss of that copy alone.
        return surrogates.into_iter().reduce(|a, b| a + b).unwrap_or(loss);
    }
    surrogates.into_iter().fold(loss, |loss, surrogate| {
        let surrogate = (surrogate * alpha).cast(loss.dtype());
        let value = surrogate.clone().inner();
        loss + (surrogate - value)
    })
}

/// Take the mean of per-sample losses `[M]` and mark it as the loss.
///
/// Prefer this function: the recording then knows the scale of the loss, and you do not have to
/// declare a [`LossScale`].
///
/// # Shapes
///
/// - losses: `[M]`, the loss of each sample, not divided by anything
pub fn mark_mean_loss(losses: Tensor<1>) -> Tensor<1> {
    declare_loss_scale(LossScale::Mean);
    mark_loss(losses.mean())
}

/// Declare the loss scale of the recording in progress, if there is one.
///
/// Use it in code that has no access to the tape (a model or a `TrainStep`), for example for a mean
/// over tokens whose count is known only after the batch is made.
pub fn declare_loss_scale(scale: LossScale) {
    if let Some(recorder) = recorder() {
        recorder.state().borrow_mut().scale = scale;
    }
}
