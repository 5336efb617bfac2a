//! EVA: first values of A from the inputs of the layers (Paischer et al. 2024, arXiv 2410.07170).
//!
//! A begins as the principal components of what enters a layer, and ranks go to the layers whose
//! components explain most of the variance of their inputs.

use burn::tensor::{DType, Device, Tensor, TensorData};
use faer::{Mat, Side};

use super::inputs::Moments;
use crate::error::Error;
use crate::settings::ranges::{above_zero, refuse};

/// The settings of EVA, with PEFT's names and defaults.
///
/// ```
/// use burn_peft::EvaConfig;
///
/// let config = EvaConfig::new().with_rho(1.0);
/// config.validate()?;
/// assert!(config.with_rho(0.5).validate().is_err());
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EvaConfig {
    /// The largest rank of a layer is `rho` times its rank in the configuration; the sum of all ranks stays.
    /// With 1 every layer keeps its rank.
    pub rho: f64,
    /// Divide the components by the square roots of their singular values.
    pub whiten: bool,
    /// Change alpha with the rank, so that the scale `alpha / r` stays.
    pub adjust_scaling_factors: bool,
}

impl Default for EvaConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl EvaConfig {
    /// PEFT's defaults.
    pub fn new() -> Self {
        Self {
            rho: 2.0,
            whiten: false,
            adjust_scaling_factors: true,
        }
    }

    /// Set how far a rank can grow.
    pub fn with_rho(self, rho: f64) -> Self {
        Self { rho, ..self }
    }

    /// Set whether components are divided by the square roots of their singular values.
    pub fn with_whiten(self, whiten: bool) -> Self {
        Self { whiten, ..self }
    }

    /// Set whether alpha changes with the rank.
    pub fn with_adjust_scaling_factors(self, adjust_scaling_factors: bool) -> Self {
        Self {
            adjust_scaling_factors,
            ..self
        }
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for `rho` below 1.
    pub fn validate(&self) -> Result<(), Error> {
        above_zero("rho", self.rho)?;
        if self.rho < 1.0 {
            return refuse("rho", self.rho, "expected at least 1");
        }
        Ok(())
    }

    /// The most components of a layer of this rank, as Python rounds them.
    pub(crate) fn most(&self, rank: usize) -> usize {
        (rank as f64 * self.rho).round_ties_even() as usize
    }
}

/// The principal components of the inputs of one layer, the largest first.
pub(crate) struct Components {
    /// One row for each component.
    rows: Mat<f64>,
    singular_values: Vec<f64>,
    /// The part of the variance that each explains.
    pub explained: Vec<f64>,
}

impl Components {
    /// The first `most` of these inputs.
    pub fn of(module: &str, moments: Moments, most: usize) -> Result<Self, Error> {
        let Moments {
            count,
            sum,
            products,
        } = moments;
        let [width] = sum.dims();
        if count < most || width < most {
            return Err(Error::Inputs {
                module: module.into(),
                problem: format!(
                    "{count} inputs of width {width} do not have {most} principal components: give \
                     more data, or a smaller r or rho"
                ),
            });
        }
        let sum: Vec<f64> = sum.into_data().iter().collect();
        let products: Vec<f64> = products.into_data().iter().collect();
        let number = count as f64;
        let covariance = Mat::from_fn(width, width, |i, j| {
            products[i * width + j] - sum[i] * sum[j] / number
        });
        let wrong = |problem: &str| Error::Inputs {
            module: module.into(),
            problem: problem.into(),
        };
        let eigen = covariance
            .self_adjoint_eigen(Side::Lower)
            .map_err(|_| wrong("they hold NaN or infinity"))?;
        let values = eigen.S().column_vector();
        let total: f64 = (0..width).map(|i| covariance[(i, i)]).sum();
        let squares: f64 = (0..width).map(|i| products[i * width + i]).sum();
        // What is left of the squares after the mean is taken out has to be more than their rounding in f32.
        if !(total.is_finite() && total > 1e-6 * squares) {
            return Err(wrong("they are all the same, or not finite"));
        }
        // Eigenvalues are in ascending order.
        let at = |component: usize| width - 1 - component;
        let rows = Mat::from_fn(most, width, |component, i| eigen.U()[(i, at(component))]);
        let values: Vec<f64> = (0..most)
            .map(|component| values[at(component)].max(0.0))
            .collect();
        Ok(Self {
            rows: signed(rows),
            explained: values.iter().map(|value| value / total).collect(),
            singular_values: values.into_iter().map(f64::sqrt).collect(),
        })
    }

    /// A `[d_in, rank]` of the first components.
    pub fn factor(&self, rank: usize, whiten: bool, device: &Device, dtype: DType) -> Tensor<2> {
        let width = self.rows.ncols();
        let value = |at: usize| {
            let (i, component) = (at / rank, at % rank);
            let value = self.rows[(component, i)];
            if whiten {
                value / self.singular_values[component].sqrt()
            } else {
                value
            }
        };
        let values: Vec<f64> = (0..width * rank).map(value).collect();
        let data = TensorData::new(values, [width, rank]).convert_dtype(dtype);
        Tensor::from_data(data, (device, dtype))
    }
}

/// With the sign that makes the largest entry of each row positive, as in PEFT.
fn signed(rows: Mat<f64>) -> Mat<f64> {
    let sign = |row: usize| {
        let entries = (0..rows.ncols()).map(|column| rows[(row, column)]);
        let largest = entries.fold(0.0_f64, |largest, entry| {
            if entry.abs() > largest.abs() {
                entry
            } else {
                largest
            }
        });
        if largest < 0.0 { -1.0 } else { 1.0 }
    };
    let signs: Vec<f64> = (0..rows.nrows()).map(sign).collect();
    Mat::from_fn(rows.nrows(), rows.ncols(), |i, j| rows[(i, j)] * signs[i])
}

/// The ranks of layers: the `budget` components of all layers that explain the largest parts of their
/// variances.
pub(crate) fn ranks(explained: &[&[f64]], budget: usize) -> Vec<usize> {
    let layers = explained.iter().enumerate();
    let mut all: Vec<(usize, f64)> = layers
        .flat_map(|(layer, parts)| parts.iter().map(move |part| (layer, *part)))
        .collect();
    all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let mut ranks = vec![0; explained.len()];
    for (layer, _) in all.into_iter().take(budget) {
        ranks[layer] += 1;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_go_where_most_is_explained() {
        let layers: [&[f64]; 3] = [&[0.6, 0.2, 0.1], &[0.3, 0.25, 0.2], &[0.05, 0.04, 0.03]];
        assert_eq!(ranks(&layers, 4), [2, 2, 0]);
        assert_eq!(ranks(&layers, 9), [3, 3, 3]);
        assert_eq!(ranks(&layers, 1), [1, 0, 0]);
    }
}
