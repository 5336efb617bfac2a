//! The K-FAC family against dense Kronecker products, in f64 from end to end.
//!
//! A device takes its precision once per process, so this is a test binary of its own. Inputs and
//! output errors come from Burn's own forward passes with a zero leaf added to each output; sums
//! over samples and positions, the Kronecker product and the solve are plain loops.

mod dense;
use crate::double;
use crate::host;
mod nets;
mod transposed;

use burn::tensor::activation::softmax;
use burn_ief::jacobian::RecordedBatch;
use burn_ief::methods::kfac::{
    DampingSplit, FactorDamping, FactorLabels, WeightSharing, layer_factors,
};
use burn_ief::methods::{AnyConfig, AnyMethod};
use burn_ief::prelude::*;
use burn_ief::{LabelDraw, Tape};

use dense::{distance, entries, values};
use double::device;
use nets::{Net, Sample, conv_net, recurrent_net, sequence_net};

const TOLERANCE: f64 = 1e-9;

/// A member that inverts in every step, with this decay of its averages.
fn method(
    member: FactorLabels,
    sharing: WeightSharing,
    damping: FactorDamping,
    decay: f64,
) -> AnyMethod {
    let factors = FactorOptions::new()
        .with_damping(damping)
        .with_sharing(sharing)
        .with_decay(decay)
        .with_factor_interval(1)
        .with_inverse_interval(1)
        .with_kl_clip(Some(0.0));
    let config: AnyConfig = if member == FactorLabels::Improved {
        IekfacConfig::new().with_factors(factors).into()
    } else {
        EkfacConfig::new().with_factors(factors).into()
    };
    config.build()
}

fn dampings() -> [FactorDamping; 4] {
    [
        FactorDamping::absolute(1e-3).split(DampingSplit::Even),
        FactorDamping::absolute(1e-2),
        FactorDamping::relative(1e-2).split(DampingSplit::Even),
        FactorDamping::relative(1e-3),
    ]
}

fn check(net: &dyn Net, member: FactorLabels, sharing: WeightSharing) {
    for damping in dampings() {
        let mut kfac = net.optim(method(member, sharing, damping, 0.0));
        let update = net.step(&mut kfac);
        for layer in net.layers(member) {
            let expected = layer.update(sharing, &damping);
            let found = entries(&update, layer.weight, layer.bias, layer.convolution);
            let error = distance(&found, &expected);
            assert!(
                error < TOLERANCE,
                "{member:?} {sharing:?} {damping:?}, {} x {}: {error:e}",
                layer.inputs,
                layer.outputs,
            );
        }
    }
}

#[test]
fn updates_are_those_of_dense_kronecker_products() {
    let device = device();
    for member in [FactorLabels::Empirical, FactorLabels::Improved] {
        for sharing in [WeightSharing::Expand, WeightSharing::Reduce] {
            for positions in [1, 4] {
                check(&sequence_net(&device, 6, positions), member, sharing);
            }
            check(&conv_net(&device, 4), member, sharing);
            check(&recurrent_net(&device, 6), member, sharing);
        }
    }
}

/// Steps that keep the inverses may form the update of a small batch without its gradient.
#[test]
fn the_second_step_of_a_batch_is_the_first() {
    let device = device();
    for samples in [2, 9] {
        let net = sequence_net(&device, samples, 1);
        // The first step warms up, the second keeps the inverses.
        let factors = FactorOptions::new()
            .with_damping(FactorDamping::relative(1e-3))
            .with_kl_clip(Some(0.0))
            .with_decay(0.0)
            .with_warm_up(1);
        let method = IekfacConfig::new().with_factors(factors).build();
        let mut kfac = net.optim(method.into());
        let [first, second] = [(); 2].map(|()| net.step(&mut kfac));
        for layer in net.layers(FactorLabels::Improved) {
            let update = |step| entries(step, layer.weight, layer.bias, layer.convolution);
            let error = distance(&update(&second), &update(&first));
            assert!(error < 1e-11, "{samples}: {error:e}");
        }
    }
}

/// All labels with their probabilities in the place of drawn ones: B of the head is the mean of
/// `diag(p) − ppᵀ`, and A that of the true labels.
#[test]
fn factors_of_drawn_labels_estimate_the_fisher_matrix() {
    let device = device();
    for positions in [1, 3] {
        let net = sequence_net(&device, 6, positions);
        let draw = LabelDraw::Enumerate { classes: 3 };
        let tape = Tape::with_drawn_labels(draw).with_factored_rows();
        let logits = net.logits();
        let p = values(softmax(logits.clone().inner(), 1).narrow(0, 0, 6));
        let loss = burn_ief::mark_loss(net.mean_loss(logits));
        let recorded = RecordedBatch::collect(tape, loss.backward(), net.module(), None).unwrap();
        let mut expected = [0.0; 9];
        for (k, entry) in expected.iter_mut().enumerate() {
            let (i, j) = (k / 3, k % 3);
            let share = |p: &[f64]| if i == j { p[i] } else { 0.0 } - p[i] * p[j];
            *entry = p.chunks(3).map(share).sum::<f64>() / 6.0;
        }
        let of = |member| layer_factors(&recorded, member, WeightSharing::Expand).unwrap();
        let (sampled, truth) = (of(FactorLabels::Sampled), of(FactorLabels::Empirical));
        let head = sampled.iter().find(|layer| layer.path == "head.weight");
        let found = values(head.unwrap().error.clone());
        let error = distance(&found, &expected);
        assert!(error < 1e-12, "{error:e}");
        for (sampled, truth) in sampled.iter().zip(&truth) {
            let inputs = [sampled, truth].map(|layer| values(layer.input.clone()));
            assert_eq!(inputs[0], inputs[1], "{}", sampled.path);
            assert!(distance(&values(sampled.error.clone()), &values(truth.error.clone())) > 1e-3);
        }
    }
}

#[test]
fn factors_are_averaged_over_steps() {
    let device = device();
    let nets = [1, 2].map(|seed| sequence_net(&device, 6, 3).with_batch(seed));
    let damping = FactorDamping::absolute(1e-2).split(DampingSplit::Even);
    let method = method(FactorLabels::Improved, WeightSharing::Expand, damping, 0.5);
    let mut kfac = nets[0].optim(method);
    nets[0].step(&mut kfac);
    let update = nets[1].step(&mut kfac);
    let layers = nets
        .each_ref()
        .map(|net| net.layers(FactorLabels::Improved));
    for (first, second) in layers[0].iter().zip(&layers[1]) {
        let pairs = first.factors(WeightSharing::Expand);
        let newer = second.factors(WeightSharing::Expand);
        // Weights 1/2 and 1, over their sum.
        let mixed = pairs.zip(newer).map(|(old, new)| {
            let values = old.iter().zip(&new);
            values.map(|(a, b)| (0.5 * a + b) / 1.5).collect::<Vec<_>>()
        });
        let mixed: Vec<_> = mixed.collect();
        let expected = second.solve(&mixed[0], &mixed[1], &damping);
        let found = entries(&update, second.weight, second.bias, second.convolution);
        let error = distance(&found, &expected);
        assert!(error < TOLERANCE, "{error:e}");
    }
}

#[test]
fn one_sample_through_one_layer_has_a_closed_form() {
    let device = device();
    let sample = Sample::new(&device);
    for member in [FactorLabels::Empirical, FactorLabels::Improved] {
        let damping = FactorDamping::absolute(1e-8).split(DampingSplit::Even);
        let method = method(member, WeightSharing::Expand, damping, 0.0);
        let (update, decrease) = sample.step(method);
        let [a, e] = [&sample.input, &sample.error()];
        let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        // s = ‖e‖² for a layer that is the output.
        let s = square(e);
        let b = match member {
            FactorLabels::Improved => 1.0,
            _ => s,
        };
        let size = (square(a) + 1e-4) * (b + 1e-4);
        let expected: Vec<f64> = a
            .iter()
            .flat_map(|a| e.iter().map(move |e| a * e / size))
            .collect();
        // Rounding of the gradient is divided by the damping.
        let error = distance(&update, &expected);
        assert!(error < 1e-6, "{error:e}");
        // Nearly undamped, ieKFAC lowers the loss of a sample by s, eKFAC by 1, as iEF and EF do.
        let target = match member {
            FactorLabels::Improved => s,
            _ => 1.0,
        };
        assert!(
            (decrease / target - 1.0).abs() < 1e-2,
            "{decrease} {target}"
        );
    }
}
