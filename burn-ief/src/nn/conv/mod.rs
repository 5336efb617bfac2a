//! Convolutions, transposed convolutions and deformable convolutions.

mod deformable;
mod products;
mod standard;
mod transposed;
mod window;

pub use deformable::DeformConvInput;

use std::ops::Range;

use burn::module::Param;
use burn::tensor::Tensor;

use crate::record::{Recorder, is_composed, without_samples};
use crate::rows::{Rows, Side};
use products::{Products, Shape};

/// The output of an empty batch: its shape is that of one sample's output.
fn empty_output<const D: usize>(
    input: &Tensor<D>,
    forward: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    let mut dims = forward(one_sample(input)).dims();
    dims[0] = 0;
    without_samples(dims, input)
}

/// A tensor of zeros with the shape of one sample of `like`, which has none.
fn one_sample<const D: usize>(like: &Tensor<D>) -> Tensor<D> {
    let mut dims = like.dims();
    dims[0] = 1;
    without_samples(dims, like)
}

/// `[M, C, …]` to `[M, C, T]`.
fn flat<const D: usize>(image: Tensor<D>) -> Tensor<3> {
    let dims = image.dims();
    image.reshape([dims[0], dims[1], dims[2..].iter().product()])
}

/// One use of a kernel of rank `D` and its bias.
struct Call<'a, const D: usize> {
    recorder: &'a Recorder,
    weight: &'a Param<Tensor<D>>,
    bias: Option<&'a Param<Tensor<1>>>,
    /// Of the products that the kernel's rows are.
    shape: Shape,
}

impl<const D: usize> Call<'_, D> {
    /// Whether there is something to record.
    fn records(&self) -> bool {
        let trains = self.weight.is_require_grad() || self.trained_bias().is_some();
        trains && !is_composed(self.weight)
    }

    fn trained_bias(&self) -> Option<&Param<Tensor<1>>> {
        self.bias.filter(|bias| bias.is_require_grad())
    }

    /// Add the bias to the output `y` of the kernel and record both parameters. `products` makes the
    /// kernel's rows from the output error.
    fn finish<F: Fn(Range<usize>) -> Tensor<3>>(
        &self,
        y: Tensor<D>,
        products: impl FnOnce(Tensor<D>) -> Products<F> + 'static,
    ) -> Tensor<D> {
        let dims = y.dims();
        let (batch, channels) = (dims[0], dims[1]);
        let bias = self.bias.map(|bias| {
            let mut shape = [1; D];
            shape[1] = channels;
            bias.val().inner().reshape(shape)
        });
        if !self.weight.is_require_grad() {
            // One leaf entry per sample and channel: autodiff sums over the positions.
            let (Some(bias), Some(parameter)) = (bias, self.trained_bias()) else {
                unreachable!("the kernel or the bias trains");
            };
            let mut shape = [1; D];
            shape[..2].copy_from_slice(&[batch, channels]);
            let tap = self.recorder.leaf(bias.expand(shape), &y, parameter);
            let y = y + tap.value();
            self.recorder.record(parameter, batch, move |grads| {
                Some(Rows::dense(tap.error(grads)?.reshape([batch, channels])))
            });
            return y;
        }
        let (y, tap) = match bias {
            Some(bias) => {
                let tap = self.recorder.leaf(bias.expand(dims), &y, self.weight);
                (y + tap.value(), tap)
            }
            None => self.recorder.tap(y, self.weight),
        };
        let factored = self.recorder.keeps_factors() && self.shape.groups == 1;
        // The rows of the bias are sums of output errors, which only a plain factor has.
        let fused = self.trained_bias().map(|bias| bias.id);
        let fused = fused.filter(|_| factored && self.shape.inputs == Side::Right);
        if let Some(bias) = self.trained_bias().filter(|_| fused.is_none()) {
            let tap = tap.clone();
            self.recorder.record(bias, batch, move |grads| {
                let error = flat(tap.error(grads)?);
                Some(Rows::dense(error.sum_dim(2).squeeze_dim(2)))
            });
        }
        self.recorder
            .push(self.weight.id, fused, batch, move |grads| {
                let products = products(tap.error(grads)?);
                Some(if !factored {
                    products.rows()
                } else if fused.is_some() {
                    Rows::Outer(products.factors().with_bias())
                } else {
                    Rows::Outer(products.factors())
                })
            });
        y
    }
}
