//! The Jacobian from one backward pass per sample. It is exact for any module and serves as the
//! reference for everything that is recorded.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::{Block, GramPrecision, Jacobian, Part};
use crate::error::Error;
use crate::params::{self, Direction};
use crate::rows::Rows;

impl Jacobian {
    /// J from one forward and backward pass per sample.
    ///
    /// It works for any module, recorded or not, and takes M forward and backward passes and memory
    /// for M·P numbers. `loss` returns the loss of one sample, as a scalar on the autodiff graph.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ief::jacobian::Jacobian;
    ///
    /// let device = Device::flex().autodiff();
    /// let layer = LinearConfig::new(3, 1).init(&device);
    /// let x = Tensor::<2>::ones([4, 3], &device);
    /// let jacobian = Jacobian::by_sample(&layer, 4, |layer, n| {
    ///     layer.forward(x.clone().narrow(0, n, 1)).sum()
    /// })?;
    /// assert!((jacobian.gram()?.get(0, 3) - 4.0).abs() < 1e-6);
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NothingRecorded`] if no parameter of the module requires a gradient.
    pub fn by_sample<M: Module>(
        module: &M,
        samples: usize,
        loss: impl Fn(&M, usize) -> Tensor<1>,
    ) -> Result<Self, Error> {
        let params = params::trainable(module);
        let first = params.first().ok_or(Error::NothingRecorded)?;
        let (device, dtype) = (first.device.clone(), first.dtype);
        let mut rows: Vec<Vec<Tensor<2>>> = vec![Vec::new(); params.len()];
        for n in 0..samples {
            let grads = GradientsParams::from_grads(loss(module, n).backward(), module);
            let direction = Direction::from_gradients(&params, &grads)?;
            for (param, rows) in params.iter().zip(&mut rows) {
                let width = param.len();
                rows.push(match direction.get(param.id) {
                    Some(row) => row.reshape([1, width]),
                    None => Tensor::zeros([1, width], (&device, dtype)),
                });
            }
        }
        let blocks = params.iter().zip(rows).map(|(param, rows)| Block {
            parameter: param.id,
            bias: None,
            uses: vec![Rows::Dense(Tensor::cat(rows, 0))],
        });
        Ok(Self {
            parts: vec![Part {
                samples,
                scale: 1.0,
                blocks: blocks.collect(),
                device,
                dtype,
            }],
            params,
            precision: GramPrecision::default(),
        })
    }
}
