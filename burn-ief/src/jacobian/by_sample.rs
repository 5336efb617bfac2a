//! The Jacobian from one backward pass per sample. It is exact for any module and serves as the
//! reference for everything that is recorded.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};

use super::{Block, GramPrecision, Jacobian, JacobianParam, Part};
use crate::error::Error;
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
        let mut trainable = Trainable::default();
        module.visit(&mut trainable);
        let (device, dtype) = trainable.place.ok_or(Error::NothingRecorded)?;
        let mut rows: Vec<Vec<Tensor<2>>> = vec![Vec::new(); trainable.params.len()];
        for n in 0..samples {
            let grads = GradientsParams::from_grads(loss(module, n).backward(), module);
            let direction = super::Direction::from_gradients(&trainable.params, &grads)?;
            for (param, rows) in trainable.params.iter().zip(&mut rows) {
                let width = param.shape.num_elements();
                rows.push(match direction.get(param.id) {
                    Some(row) => row.reshape([1, width]),
                    None => Tensor::zeros([1, width], (&device, dtype)),
                });
            }
        }
        let blocks = trainable
            .params
            .iter()
            .zip(rows)
            .map(|(param, rows)| Block {
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
            params: trainable.params,
            precision: GramPrecision::default(),
        })
    }
}

#[derive(Default)]
struct Trainable {
    path: Vec<String>,
    params: Vec<JacobianParam>,
    place: Option<(Device, DType)>,
}

impl ModuleVisitor for Trainable {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let value = param.base();
        self.place
            .get_or_insert_with(|| (value.device().inner(), value.dtype()));
        self.params.push(JacobianParam {
            id: param.id,
            path: self.path.join("."),
            shape: value.shape(),
        });
    }
}
