//! One layer with its input, and a pass through it.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::jacobian::Jacobian;
use burn_ief::nn::ForwardRecorded;
use burn_ief::{LossScale, Tape};

use crate::method::Step;

/// Calls the layer, plain or recorded, on its input.
type Forward<M> = std::rc::Rc<dyn Fn(&M, bool) -> Tensor<1>>;

/// A layer that is measured.
pub struct Entry {
    /// Its name in Burn.
    pub layer: &'static str,
    /// Shape of its input.
    pub input: Vec<usize>,
    /// Trained parameters.
    pub parameters: usize,
    /// The pass, plain or recorded.
    pass: Box<dyn Fn(bool) -> Box<dyn Pass>>,
}

impl Entry {
    /// A layer whose `forward` returns the half squared norm of its output, plain or recorded.
    pub fn new<M: Module + Clone + 'static>(
        layer: &'static str,
        input: Vec<usize>,
        module: M,
        device: &Device,
        forward: impl Fn(&M, bool) -> Tensor<1> + 'static,
    ) -> Self {
        let forward: Forward<M> = std::rc::Rc::new(forward);
        let device = device.clone();
        let samples = input[0];
        Self {
            layer,
            parameters: trained(&module),
            input,
            pass: Box::new(move |recorded| {
                Box::new(OneLayer {
                    module: module.clone(),
                    forward: forward.clone(),
                    samples,
                    recorded,
                    device: device.clone(),
                })
            }),
        }
    }

    /// A layer from one tensor to another.
    pub fn of_tensor<const D: usize, const E: usize, M>(
        layer: &'static str,
        dims: [usize; D],
        module: M,
        device: &Device,
        plain: fn(&M, Tensor<D>) -> Tensor<E>,
    ) -> Self
    where
        M: Module + Clone + ForwardRecorded<Tensor<D>, Output = Tensor<E>> + 'static,
    {
        let x = normal(dims, device).require_grad();
        Self::new(
            layer,
            dims.to_vec(),
            module,
            device,
            move |module, recorded| {
                half_square(if recorded {
                    module.forward_recorded(x.clone())
                } else {
                    plain(module, x.clone())
                })
            },
        )
    }

    /// A pass to be timed.
    pub fn step(&self, recorded: bool) -> Box<dyn Step> {
        struct Timed(Box<dyn Pass>);
        impl Step for Timed {
            fn step(&mut self) {
                drop(self.0.run());
            }
        }
        Box::new(Timed((self.pass)(recorded)))
    }

    /// The gradient of the sum of all samples.
    #[cfg(test)]
    pub fn summed_gradient(&self, recorded: bool) -> Vec<f64> {
        (self.pass)(recorded).summed_gradient()
    }
}

/// Entries of the parameters that train: stored statistics of a BatchNorm are none.
fn trained(module: &impl Module) -> usize {
    struct Trained(usize);
    impl ModuleVisitor for Trained {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.0 += param.shape().num_elements();
            }
        }
    }
    let mut trained = Trained(0);
    module.visit(&mut trained);
    trained.0
}

/// Normal entries.
pub fn normal<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device)
}

/// The loss: half the squared norm of an output.
pub fn half_square<const D: usize>(y: Tensor<D>) -> Tensor<1> {
    y.square().sum() * 0.5
}

/// Forward and backward of one layer.
trait Pass {
    /// The gradients, after the device is idle.
    fn run(&self) -> GradientsParams;

    #[cfg(test)]
    fn summed_gradient(&self) -> Vec<f64>;
}

struct OneLayer<M> {
    module: M,
    forward: Forward<M>,
    samples: usize,
    recorded: bool,
    device: Device,
}

impl<M: Module> OneLayer<M> {
    /// Of the sum of the samples' losses.
    fn gradients(&self) -> GradientsParams {
        if !self.recorded {
            let grads = (self.forward)(&self.module, false).backward();
            return GradientsParams::from_grads(grads, &self.module);
        }
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let grads = (self.forward)(&self.module, true).backward();
        let rows = Jacobian::from_tape(tape, grads, &self.module);
        let rows = rows.unwrap_or_else(|error| panic!("{error}"));
        rows.gram().unwrap_or_else(|error| panic!("{error}"));
        let sum = rows.into_t_matvec(&vec![1.0; self.samples]);
        sum.unwrap_or_else(|error| panic!("{error}"))
    }
}

impl<M: Module> Pass for OneLayer<M> {
    fn run(&self) -> GradientsParams {
        let gradients = self.gradients();
        self.device.sync().unwrap_or_else(|error| panic!("{error}"));
        gradients
    }

    #[cfg(test)]
    fn summed_gradient(&self) -> Vec<f64> {
        struct Flatten {
            gradients: GradientsParams,
            values: Vec<f64>,
        }
        impl ModuleVisitor for Flatten {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.gradients.get::<D>(param.id) {
                    let data = gradient.into_data().convert::<f64>();
                    self.values
                        .extend(data.try_into_vec::<f64>().expect("converted to f64"));
                }
            }
        }
        let mut flatten = Flatten {
            gradients: self.run(),
            values: Vec::new(),
        };
        self.module.visit(&mut flatten);
        flatten.values
    }
}
