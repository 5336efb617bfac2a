//! The product as one differentiable operation, through Burn's backend extensions.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, Scalar, backend_extension};
use burn::tensor::{DType, Device, Tensor};
use burn_flex_fused::product;

use super::Update;

/// Whether [`apply`] can form this product: on Flex, in one precision, with a constant weight.
pub(super) fn takes(x: &Tensor<2>, weight: &Tensor<2>, update: &Update) -> bool {
    let dtype = x.dtype();
    let factors = [weight, &update.a, &update.b];
    matches!(dtype, DType::F32 | DType::F64)
        && factors.iter().all(|factor| factor.dtype() == dtype)
        && update.entering.is_none()
        && !weight.is_tracked()
        && x.device().inner() == Device::flex()
}

/// `x W + s (x A) B`.
pub(super) fn apply(x: Tensor<2>, weight: Tensor<2>, update: Update) -> Tensor<2> {
    let Update { a, b, scale, .. } = update;
    let [x, weight, a, b] = [x, weight, a, b].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::low_rank_product(x, weight, a, b, scale))
}

#[backend_extension(Autodiff, Flex)]
trait LowRank: Backend {
    /// `x w + h b`.
    fn two_products(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        h: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::float_add(Self::float_matmul(x, w), Self::float_matmul(h, b))
    }

    /// `aᵀ b`, one of them narrow: the gradient of A or B.
    fn transposed_product(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(Self::float_transpose(a), b)
    }

    /// `x w + s (x a) b`, with `w` a constant.
    fn low_rank_product(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let h = Self::float_matmul(x.clone(), a);
        let h = Self::float_mul_scalar(h, Scalar::from(scale));
        Self::two_products(x, w, h, b)
    }
}

impl LowRank for Flex {
    fn two_products(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        h: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        product::sum_of_products(vec![[x, w], [h, b]])
    }

    fn transposed_product(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        product::transposed_product(&a, &b)
    }
}

impl<B: LowRank, C: CheckpointStrategy> LowRank for Autodiff<B, C> {
    fn low_rank_product(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), a.node(), b.node()];
        let w = w.into_primitive();
        // What is narrow is kept; x belongs to the graph, which may compute it again.
        let h = B::float_matmul(x.primitive().clone(), a.primitive().clone());
        let h = B::float_mul_scalar(h, Scalar::from(scale));
        let y = |x| B::two_products(x, w.clone(), h.clone(), b.primitive().clone());
        match LowRankBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                let state = State {
                    x: a.is_tracked().then(|| prep.checkpoint(&x)),
                    w: w.clone(),
                    h: h.clone(),
                    a: a.primitive().clone(),
                    b: b.primitive().clone(),
                    scale,
                };
                prep.finish(state, y(x.into_primitive()))
            }
            OpsKind::UnTracked(prep) => prep.finish(y(x.into_primitive())),
        }
    }
}

#[derive(Debug)]
struct LowRankBackward;

/// What the backward pass needs of the forward pass.
#[derive(Debug, Clone)]
struct State<T> {
    /// The input, if A trains.
    x: Option<NodeId>,
    w: T,
    /// `s (x A)`.
    h: T,
    a: T,
    b: T,
    scale: f64,
}

impl<B: LowRank> Backward<B, 3> for LowRankBackward {
    type State = State<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let State {
            x,
            w,
            h,
            a,
            b,
            scale,
        } = ops.state;
        let error = grads.consume::<B>(&ops.node);
        let [of_x, of_a, of_b] = ops.parents;
        if let Some(node) = of_b {
            grads.register::<B>(node.id, B::transposed_product(h, error.clone()));
        }
        if of_x.is_none() && of_a.is_none() {
            return;
        }
        // The error at x A.
        let inner = B::float_matmul(error.clone(), B::float_transpose(b));
        let inner = B::float_mul_scalar(inner, Scalar::from(scale));
        if let (Some(node), Some(x)) = (of_a, x) {
            let x = checkpointer.retrieve_node_output::<FloatTensor<B>>(x);
            grads.register::<B>(node.id, B::transposed_product(x, inner.clone()));
        }
        if let Some(node) = of_x {
            let [w, a] = [w, a].map(B::float_transpose);
            grads.register::<B>(node.id, B::two_products(error, w, inner, a));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, GradientCheckpointingStrategy};

    /// `x W + s (x A) B`, operation by operation.
    fn separate(x: Tensor<2>, weight: Tensor<2>, update: Update) -> Tensor<2> {
        let delta = x.clone().matmul(update.a).matmul(update.b) * update.scale;
        x.matmul(weight) + delta
    }

    fn distance(found: Tensor<2>, expected: Tensor<2>) -> f32 {
        (found - expected).abs().max().into_scalar::<f32>()
    }

    /// Values and gradients of both, with those of x, A and B tracked that `tracked` names, for a
    /// weight `[5, width]`.
    fn compare(tracked: [bool; 3], width: usize, strategy: GradientCheckpointingStrategy) {
        let device = Device::flex().autodiff();
        let random = |shape: [usize; 2]| {
            let uniform = Distribution::Uniform(-1.0, 1.0);
            Tensor::<2>::random(shape, uniform, &device)
                .with_gradient_checkpointing_strategy(strategy)
        };
        let leaf = |shape, tracked| {
            if tracked {
                random(shape).require_grad()
            } else {
                random(shape)
            }
        };
        let weight = random([5, width]).inner();
        let x = leaf([7, 5], tracked[0]);
        let a = leaf([5, 2], tracked[1]);
        let b = leaf([2, width], tracked[2]);
        let update = Update {
            entering: None,
            a: a.clone(),
            b: b.clone(),
            scale: 0.7,
        };
        assert!(takes(&x, &weight, &update));
        let run = |form: fn(Tensor<2>, Tensor<2>, Update) -> Tensor<2>| {
            // An input that a checkpointing strategy computes again, and that has a second use.
            let entering = x.clone().tanh();
            let y = form(entering.clone(), weight.clone(), update.clone());
            let loss = y.clone().sin().sum() + entering.sum() + y.clone().sum();
            let grads = loss.backward();
            let of = |leaf: &Tensor<2>| leaf.grad(&grads);
            (y.inner(), [&x, &a, &b].map(of))
        };
        let (y, grads) = run(apply);
        let (expected, expected_grads) = run(separate);
        // Sums of at most 7 products of numbers below 1, in f32.
        assert!(distance(y, expected) < 1e-5);
        for (at, (grad, expected)) in grads.into_iter().zip(expected_grads).enumerate() {
            assert_eq!(grad.is_some(), tracked[at], "{tracked:?}, factor {at}");
            assert_eq!(expected.is_some(), tracked[at]);
            if let Some((grad, expected)) = grad.zip(expected) {
                assert!(distance(grad, expected) < 1e-5, "{tracked:?}, factor {at}");
            }
        }
    }

    #[test]
    fn gradients_are_those_of_separate_operations() {
        for strategy in [
            GradientCheckpointingStrategy::Disabled,
            GradientCheckpointingStrategy::Balanced,
        ] {
            for subset in 0..8u8 {
                let tracked = [0, 1, 2].map(|at| subset >> at & 1 == 1);
                if subset > 0 {
                    // Where the widths are the same, the error's memory is used again.
                    compare(tracked, 5, strategy);
                    compare(tracked, 6, strategy);
                }
            }
        }
    }

    #[test]
    fn what_differs_in_precision_or_trains_the_weight_is_left() {
        let device = Device::flex().autodiff();
        let ones = |shape: [usize; 2]| Tensor::<2>::ones(shape, &device);
        let update = |a| Update {
            entering: None,
            a,
            b: ones([2, 4]),
            scale: 1.0,
        };
        let (x, weight) = (ones([3, 5]), ones([5, 4]));
        assert!(takes(&x, &weight, &update(ones([5, 2]))));
        let half = ones([5, 2]).cast(DType::F16);
        assert!(!takes(&x, &weight, &update(half)));
        assert!(!takes(&x, &weight.require_grad(), &update(ones([5, 2]))));
        let dropped = Update {
            entering: Some(x.clone()),
            ..update(ones([5, 2]))
        };
        assert!(!takes(&x, &ones([5, 4]), &dropped));
    }
}
