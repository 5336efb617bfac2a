//! u = J_z Δ by one recorded pass per output.

use burn::module::{Module, ParamGroup};
use burn::tensor::{Tensor, TensorData};

use super::recorded_pass::record;
use crate::error::Error;
use crate::jacobian::Jacobian;
use crate::params::Direction;

/// The Jacobian of every output of a sample, T·C of them.
pub(super) struct OutputRows {
    rows: Vec<Jacobian>,
}

impl OutputRows {
    /// Make one pass per output of a sample, for outputs z `[M, T, C]`.
    ///
    /// # Errors
    ///
    /// As [`record`].
    pub fn record<M: Module, const D: usize>(
        module: &M,
        group: Option<&ParamGroup>,
        forward: impl Fn(&M) -> Tensor<D>,
        z: &Tensor<3>,
    ) -> Result<Self, Error> {
        let [samples, positions, classes] = z.dims();
        let ones = Tensor::<3>::ones([samples, 1, 1], (&z.device(), z.dtype()));
        let mut rows = Vec::with_capacity(positions * classes);
        for position in 0..positions {
            for class in 0..classes {
                let output = [0..samples, position..position + 1, class..class + 1];
                let cotangent = z.zeros_like().slice_assign(output, ones.clone());
                rows.push(record(module, group, &forward, cotangent)?);
            }
        }
        Ok(Self { rows })
    }

    /// Number of passes that it took.
    pub fn passes(&self) -> usize {
        self.rows.len()
    }

    /// u `[M, T, C]`, with the device and the precision of z.
    pub fn rates(&self, direction: &Direction, z: &Tensor<3>) -> Result<Tensor<3>, Error> {
        let [samples, positions, classes] = z.dims();
        let outputs = positions * classes;
        let mut rates = vec![0.0; samples * outputs];
        for (output, rows) in self.rows.iter().enumerate() {
            for (n, rate) in rows.image(direction)?.into_iter().enumerate() {
                rates[n * outputs + output] = rate;
            }
        }
        let data = TensorData::new(rates, [samples, positions, classes]);
        Ok(Tensor::from_data(data, (&z.device(), z.dtype())))
    }
}
