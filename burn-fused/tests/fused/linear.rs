//! Linear layers with bias and residual.

use burn::nn::LinearConfig;
use burn::tensor::{Device, Distribution, Tensor, module};
use burn_flex_fused::{ForwardFused, linear, linear_add};
use proptest::prelude::*;

use crate::harness::{Case, check, check_large, config, error, host};

/// Which terms there are, and how x and W lie in memory.
#[derive(Debug, Clone, Copy)]
struct Form {
    rows: usize,
    inner: usize,
    outer: usize,
    bias: bool,
    residual: bool,
    turned_x: bool,
    turned_weight: bool,
}

impl Form {
    fn sizes(self) -> Vec<usize> {
        let mut sizes = vec![self.rows * self.inner, self.inner * self.outer];
        sizes.extend(self.bias.then_some(self.outer));
        sizes.extend(self.residual.then_some(self.rows * self.outer));
        sizes
    }

    fn matrix(x: &Tensor<1>, sizes: [usize; 2], turned: bool) -> Tensor<2> {
        let [rows, columns] = sizes;
        if turned {
            x.clone().reshape([columns, rows]).transpose()
        } else {
            x.clone().reshape(sizes)
        }
    }

    /// x, W, b and r.
    fn parts(
        self,
        x: &[Tensor<1>],
    ) -> (Tensor<3>, Tensor<2>, Option<Tensor<1>>, Option<Tensor<3>>) {
        let input = Self::matrix(&x[0], [self.rows, self.inner], self.turned_x);
        let weight = Self::matrix(&x[1], [self.inner, self.outer], self.turned_weight);
        let bias = self.bias.then(|| x[2].clone());
        let shape = [1, self.rows, self.outer];
        let residual = self.residual.then(|| x[x.len() - 1].clone().reshape(shape));
        (input.unsqueeze(), weight, bias, residual)
    }

    fn fused(self, x: &[Tensor<1>]) -> Tensor<1> {
        let (x, weight, bias, residual) = self.parts(x);
        match residual {
            Some(residual) => linear_add(x, weight, bias, residual),
            None => linear(x, weight, bias),
        }
        .flatten(0, 2)
    }

    fn own(self, x: &[Tensor<1>]) -> Tensor<1> {
        let (x, weight, bias, residual) = self.parts(x);
        let y = module::linear(x, weight, bias);
        match residual {
            Some(residual) => y + residual,
            None => y,
        }
        .flatten(0, 2)
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn linear_layers_are_burns(
        rows in 1usize..90,
        inner in 1usize..70,
        outer in 1usize..90,
        bias in any::<bool>(),
        residual in any::<bool>(),
        turned_x in any::<bool>(),
        turned_weight in any::<bool>(),
        tracked in 0usize..16,
        seed in 0u64..1000,
    ) {
        let form = Form { rows, inner, outer, bias, residual, turned_x, turned_weight };
        let case = Case::random(&form.sizes(), 2.0, seed).with_tracked(tracked);
        check(&case, &|x| form.fused(x), &|x| form.own(x));
    }
}

#[test]
fn large_layers_in_many_strips() {
    // More rows than a strip has, and a square weight, whose input gradient may take the errors' memory.
    for (rows, inner, outer) in [(700, 150, 150), (600, 200, 80), (300, 64, 400)] {
        for bias in [false, true] {
            let form = Form {
                rows,
                inner,
                outer,
                bias,
                residual: bias,
                turned_x: false,
                turned_weight: bias,
            };
            let case = Case::random(&form.sizes(), 1.0, 3);
            check_large(&case, &|x| form.fused(x), &|x| form.own(x));
            let frozen = case.with_tracked(0b1001);
            check_large(&frozen, &|x| form.fused(x), &|x| form.own(x));
        }
    }
}

#[test]
fn burns_layer_of_every_rank() {
    let device = Device::flex().autodiff();
    let layer = LinearConfig::new(40, 50).init(&device);
    let x = Tensor::<1>::random([40], Distribution::Default, &device);
    let found = host(layer.forward_fused(x.clone()).inner());
    assert!(error(&found, &host(layer.forward(x).inner())) < 1e-6);
    let x = Tensor::<4>::random([2, 3, 8, 40], Distribution::Default, &device);
    let found = layer.forward_fused(x.clone());
    assert_eq!(found.dims(), [2, 3, 8, 50]);
    assert!(error(&host(found.inner()), &host(layer.forward(x).inner())) < 1e-6);
    let empty = Tensor::<2>::zeros([0, 40], &device);
    assert_eq!(layer.forward_fused(empty).dims(), [0, 50]);
}

#[test]
fn the_memory_of_an_error_that_is_read_again_stays() {
    let device = Device::flex().autodiff();
    let random = |shape: [usize; 2]| {
        Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad()
    };
    let (x, weight) = (random([300, 140]), random([140, 140]).inner());
    // The residual's gradient is the error itself.
    let run = |fused: bool| {
        let y = if fused {
            linear_add(x.clone(), weight.clone(), None, x.clone().tanh())
        } else {
            x.clone().matmul(weight.clone()) + x.clone().tanh()
        };
        let grads = (y.clone() * y).sum().backward();
        host(x.grad(&grads).expect("x is tracked"))
    };
    assert!(error(&run(true), &run(false)) < 1e-5);
}

#[test]
#[should_panic(expected = "linear: expected x of width 3")]
fn widths_that_do_not_fit_are_named() {
    let device = Device::flex();
    let x = Tensor::<2>::ones([2, 4], &device);
    linear(x, Tensor::ones([3, 5], &device), None);
}

#[test]
#[should_panic(expected = "linear_add: expected a residual [2, 5], found [1, 5]")]
fn a_residual_is_not_broadcast() {
    let device = Device::flex();
    let x = Tensor::<2>::ones([2, 3], &device);
    linear_add(
        x,
        Tensor::ones([3, 5], &device),
        None,
        Tensor::ones([1, 5], &device),
    );
}
