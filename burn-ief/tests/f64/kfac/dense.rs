//! Kronecker factors by loops and updates by one dense solve.

use burn::module::ParamId;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn_ief::methods::kfac::{DampingSplit, FactorDamping, WeightSharing};
use burn_ief::solve::{DampingAmount, Symmetric};

use super::host;

/// One layer: its inputs and (weighted) output errors for every sample and position.
pub struct Layer {
    pub weight: ParamId,
    pub bias: Option<ParamId>,
    /// Whether the weight is kept as `[o, i…]`.
    pub convolution: bool,
    pub inputs: usize,
    pub outputs: usize,
    /// `[M][T][i]`, the constant input of the bias included.
    pub a: Vec<Vec<Vec<f64>>>,
    /// `[M][T][o]`, of the summed loss.
    pub e: Vec<Vec<Vec<f64>>>,
    /// What the errors of a sample are multiplied with in B.
    pub scale: Vec<f64>,
}

impl Layer {
    /// A and B, row-major.
    pub fn factors(&self, sharing: WeightSharing) -> std::array::IntoIter<Vec<f64>, 2> {
        let samples = self.a.len() as f64;
        let positions = self.a[0].len() as f64;
        let mut a = vec![0.0; self.inputs * self.inputs];
        let mut b = vec![0.0; self.outputs * self.outputs];
        for ((inputs, errors), scale) in self.a.iter().zip(&self.e).zip(&self.scale) {
            let errors: Vec<Vec<f64>> = errors
                .iter()
                .map(|e| e.iter().map(|e| e * scale).collect())
                .collect();
            match sharing {
                WeightSharing::Expand => {
                    for x in inputs {
                        add_outer(&mut a, x, 1.0 / (samples * positions));
                    }
                    for e in &errors {
                        add_outer(&mut b, e, 1.0 / samples);
                    }
                }
                WeightSharing::Reduce => {
                    let weight = 1.0 / (samples * positions * positions);
                    add_outer(&mut a, &total(inputs), weight);
                    add_outer(&mut b, &total(&errors), 1.0 / samples);
                }
                other => panic!("no dense form of {other:?}"),
            }
        }
        [a, b].into_iter()
    }

    pub fn update(&self, sharing: WeightSharing, damping: &FactorDamping) -> Vec<f64> {
        let [a, b]: [Vec<f64>; 2] = self
            .factors(sharing)
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        self.solve(&a, &b, damping)
    }

    /// `((A + d_A I) ⊗ (B + d_B I))⁻¹` times the mean gradient, `[i * o]`.
    pub fn solve(&self, a: &[f64], b: &[f64], damping: &FactorDamping) -> Vec<f64> {
        let (i, o) = (self.inputs, self.outputs);
        let mean = |x: &[f64], n: usize| (0..n).map(|k| x[k * n + k]).sum::<f64>() / n as f64;
        let [mean_a, mean_b] = [mean(a, i), mean(b, o)];
        let lambda = match damping.amount {
            DampingAmount::Absolute(lambda) => lambda,
            DampingAmount::Relative(fraction) => fraction * mean_a * mean_b,
            other => panic!("{other:?}"),
        };
        let pi = match damping.split {
            DampingSplit::Even => 1.0,
            DampingSplit::Pi => (mean_a / mean_b).sqrt(),
            other => panic!("no dense form of {other:?}"),
        };
        let (shift_a, shift_b) = (pi * lambda.sqrt(), lambda.sqrt() / pi);
        let product = Symmetric::from_fn(i * o, |row, column| {
            let diagonal = |x: usize, y: usize, shift: f64| if x == y { shift } else { 0.0 };
            let (p, q, r, s) = (row / o, row % o, column / o, column % o);
            (a[p * i + r] + diagonal(p, r, shift_a)) * (b[q * o + s] + diagonal(q, s, shift_b))
        });
        host::solve(&product, &self.gradient())
    }

    fn gradient(&self) -> Vec<f64> {
        let mut gradient = vec![0.0; self.inputs * self.outputs];
        for (inputs, errors) in self.a.iter().zip(&self.e) {
            for (a, e) in inputs.iter().zip(errors) {
                for (p, a) in a.iter().enumerate() {
                    for (q, e) in e.iter().enumerate() {
                        gradient[p * self.outputs + q] += a * e / self.a.len() as f64;
                    }
                }
            }
        }
        gradient
    }
}

fn add_outer(sum: &mut [f64], x: &[f64], weight: f64) {
    for (p, a) in x.iter().enumerate() {
        for (q, b) in x.iter().enumerate() {
            sum[p * x.len() + q] += weight * a * b;
        }
    }
}

fn total(rows: &[Vec<f64>]) -> Vec<f64> {
    (0..rows[0].len())
        .map(|k| rows.iter().map(|row| row[k]).sum())
        .collect()
}

/// Entries of a layer in an update, `[i (+ 1), o]` row-major.
pub fn entries(
    update: &GradientsParams,
    weight: ParamId,
    bias: Option<ParamId>,
    convolution: bool,
) -> Vec<f64> {
    let mut all = if convolution {
        let weight = update.get::<4>(weight).unwrap();
        let [o, c, h, w] = weight.dims();
        values(weight.reshape([o, c * h * w]).transpose())
    } else {
        values(update.get::<2>(weight).unwrap())
    };
    if let Some(bias) = bias {
        all.extend(values(update.get::<1>(bias).unwrap()));
    }
    all
}

pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

/// ‖a − b‖ / ‖b‖.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut b.iter().copied());
    assert!(size > 0.0, "nothing to compare with");
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / size
}
