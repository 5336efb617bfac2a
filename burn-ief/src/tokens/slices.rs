//! The pass over the vocabulary, slice by slice of the positions.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use burn_flex_fused::softmax;

use crate::record::draw_categorical;
use crate::rows::WideLogits;

/// The labels of the positions.
#[derive(Clone, Copy)]
pub(super) enum Targets<'a> {
    Given(&'a [i64]),
    /// Drawn from the model by inverting the cumulative distribution at these numbers.
    Drawn(&'a [f64]),
}

/// What a pass forms in addition to the losses.
pub(super) struct Wanted {
    /// Gradients of the inputs of these terms.
    pub inputs: Vec<bool>,
    /// Gradients of the weights of these terms, summed over the positions.
    pub weights: Vec<bool>,
    /// What gradients and squares are multiplied with (squares by its square).
    pub scale: f64,
}

/// What a pass gives, for N positions.
pub(super) struct Pass {
    /// `−log p(y)`, `[N]`.
    pub losses: Tensor<1>,
    /// `log Σ exp z`, `[N]`.
    pub log_sums: Tensor<1>,
    /// `‖softmax(z) − onehot(y)‖²`, `[N]`.
    pub squares: Tensor<1>,
    /// 1 where no logit is above that of the label, `[N]`.
    pub hits: Tensor<1>,
    /// y, `[N]`.
    pub targets: Tensor<1, Int>,
    /// For every term the gradient of the losses at its input, `[N, i]`.
    pub inputs: Vec<Option<Tensor<2>>>,
    /// For every term the gradient of the summed losses at its weight, in the weight's layout.
    pub weights: Vec<Option<Tensor<2>>>,
}

/// Go through `count` positions of constants, `slice` at a time.
pub(super) fn pass(
    logits: &WideLogits,
    count: usize,
    targets: Targets<'_>,
    wanted: &Wanted,
    slice: usize,
) -> Pass {
    let mut parts = Parts::default();
    let mut inputs: Vec<Vec<Tensor<2>>> = vec![Vec::new(); logits.terms.len()];
    let mut weights: Vec<Option<Tensor<2>>> = vec![None; logits.terms.len()];
    for start in (0..count).step_by(slice) {
        let own = slice.min(count - start);
        let part = logits.narrow(start, own);
        let z = part.values();
        let capped = part.cap.map(|_| z.clone());
        let top = z.clone().max_dim(1);
        let p = softmax(z.clone());
        // The largest probability is at least 1 / V: its logarithm is finite.
        let log_sum = top.clone() - p.clone().max_dim(1).log();
        let target = match targets {
            Targets::Given(labels) => {
                let data = TensorData::new(labels[start..start + own].to_vec(), [own]);
                Tensor::<1, Int>::from_data(data, &z.device())
            }
            Targets::Drawn(uniform) => {
                draw_categorical(p.clone(), uniform[start..start + own].to_vec())
            }
        };
        let column: Tensor<2, Int> = target.clone().unsqueeze_dim(1);
        let of_label = z.gather(1, column.clone());
        parts.losses.push(log_sum.clone() - of_label.clone());
        parts.log_sums.push(log_sum);
        parts.hits.push(of_label.greater_equal(top).float());
        let minus_one = Tensor::<2>::full([own, 1], -1.0, (&p.device(), p.dtype()));
        let errors = p.scatter(1, column, minus_one, IndexingUpdateOp::Add);
        parts
            .squares
            .push(errors.clone().square().sum_dim(1) * (wanted.scale * wanted.scale));
        parts.targets.push(target);
        if !wanted.inputs.contains(&true) && !wanted.weights.contains(&true) {
            continue;
        }
        let errors = part.uncapped(errors, || capped.expect("kept with a cap"));
        for (index, term) in part.terms.iter().enumerate() {
            if wanted.inputs[index] {
                let gradient = term.weight.product_back(errors.clone()) * wanted.scale;
                inputs[index].push(gradient);
            }
            if wanted.weights[index] {
                let input = term.entering(own, &errors);
                let gradient = term.weight.gradient(input, errors.clone()) * wanted.scale;
                weights[index] = Some(match weights[index].take() {
                    Some(sum) => sum + gradient,
                    None => gradient,
                });
            }
        }
    }
    let joined = |parts: Vec<Tensor<2>>| Tensor::cat(parts, 0).squeeze_dim::<1>(1);
    let inputs = inputs
        .into_iter()
        .map(|parts| (!parts.is_empty()).then(|| Tensor::cat(parts, 0)));
    let losses = joined(parts.losses);
    Pass {
        hits: joined(parts.hits).cast(losses.dtype()),
        log_sums: joined(parts.log_sums),
        squares: joined(parts.squares),
        targets: Tensor::cat(parts.targets, 0),
        inputs: inputs.collect(),
        weights,
        losses,
    }
}

/// Slices of what a pass gives, `[n, 1]` each.
#[derive(Default)]
struct Parts {
    losses: Vec<Tensor<2>>,
    log_sums: Vec<Tensor<2>>,
    squares: Vec<Tensor<2>>,
    hits: Vec<Tensor<2>>,
    targets: Vec<Tensor<1, Int>>,
}
