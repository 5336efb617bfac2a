//! Updates of the K-FAC family, layer by layer.

use burn::module::{ParamGroup, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn_ief::jacobian::Jacobian;
use burn_ief::methods::kfac::{
    DampingSplit, FactorDamping, FactorLabels, LayerFactors, WeightSharing, layer_factors,
};

use crate::array::to_host;
use crate::case::Case;
use crate::error::Error;
use crate::measured::Pass;
use crate::results::Results;
use crate::weights::Parameter;

/// The members, and the errors behind their second factor. K-FAC's come from a pass of its own,
/// whose true labels are the drawn ones.
const RULES: [(&str, FactorLabels); 3] = [
    ("ekfac", FactorLabels::Empirical),
    ("iekfac", FactorLabels::Improved),
    ("kfac", FactorLabels::Empirical),
];

/// Compute what `results` asks for. `record` makes a pass over each shard with the drawn labels, or the true ones,
/// over the parameters of a group.
///
/// # Errors
///
/// [`Error::Compute`], and what `record` returns.
pub fn kronecker(
    case: &Case,
    parameters: &[Parameter],
    results: &mut Results,
    record: impl Fn(bool, Option<&ParamGroup>) -> Result<Vec<Pass>, Error>,
) -> Result<(), Error> {
    let weights = parameters.iter().filter(|p| p.name.ends_with(".weight"));
    let weights = ParamGroup::from_ids(weights.map(|p| p.id).collect());
    for (suffix, group) in [("", Some(&weights)), ("_bias", None)] {
        let asked: Vec<_> = RULES
            .iter()
            .map(|(rule, estimate)| (format!("{rule}{suffix}"), *estimate))
            .filter(|(name, _)| results.selection().wants_rule(case, name))
            .collect();
        if asked.is_empty() {
            continue;
        }
        let truth = record(false, group)?;
        let rows = Jacobian::stack(truth.iter().map(|pass| pass.recorded.jacobian()));
        let samples: usize = truth.iter().map(|pass| pass.recorded.samples()).sum();
        let gradient = rows.and_then(|rows| rows.t_matvec(&vec![1.0 / samples as f64; samples]));
        let gradient = gradient.map_err(Error::compute("the mean gradient"))?;
        for (name, estimate) in asked {
            let factors = if name.starts_with("kfac") {
                joined_factors(&record(true, group)?, estimate)
            } else {
                joined_factors(&truth, estimate)
            };
            for layer in factors.map_err(Error::compute(&name))? {
                put(case, parameters, &name, &layer, &gradient, results)?;
            }
        }
    }
    Ok(())
}

/// The factors of every layer over all shards.
fn joined_factors(
    passes: &[Pass],
    estimate: FactorLabels,
) -> Result<Vec<LayerFactors>, burn_ief::Error> {
    let mut layers: Vec<Vec<(usize, LayerFactors)>> = Vec::new();
    for pass in passes {
        let factors = layer_factors(&pass.recorded, estimate, WeightSharing::Expand)?;
        layers.resize_with(factors.len(), Vec::new);
        for (shards, factors) in layers.iter_mut().zip(factors) {
            shards.push((pass.recorded.samples(), factors));
        }
    }
    Ok(layers.into_iter().filter_map(LayerFactors::join).collect())
}

/// The updates of a layer for every λ, in PyTorch's layout.
fn put(
    case: &Case,
    parameters: &[Parameter],
    name: &str,
    layer: &LayerFactors,
    gradient: &GradientsParams,
    results: &mut Results,
) -> Result<(), Error> {
    let title = |id: ParamId| parameters.iter().find(|p| p.id == id);
    let Some(weight) = title(layer.weight) else {
        return Ok(());
    };
    let place = weight.name.trim_end_matches(".weight");
    let Some(matrix) = matrix(layer, gradient) else {
        return Ok(());
    };
    let [inputs, outputs] = matrix.dims();
    for lambda in &case.lambdas {
        let name = format!("{name}.lam_{}.{place}", lambda.text);
        if !results.wants(&name) {
            continue;
        }
        let damping = FactorDamping::absolute(lambda.value).split(DampingSplit::Even);
        let inverses = layer
            .invert_in_span(&damping)
            .map_err(Error::compute(&name))?;
        let update = inverses.apply(matrix.clone()).transpose();
        results.put(name, vec![outputs, inputs], to_host(update));
    }
    Ok(())
}

/// The gradient of a layer, `[i (+ 1), o]`.
fn matrix(layer: &LayerFactors, gradient: &GradientsParams) -> Option<Tensor<2>> {
    let weight = gradient.get::<2>(layer.weight)?;
    let Some(bias) = layer.bias else {
        return Some(weight);
    };
    let bias = gradient.get::<1>(bias)?.unsqueeze_dim::<2>(0);
    Some(Tensor::cat(vec![weight, bias], 0))
}
