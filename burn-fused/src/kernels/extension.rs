//! How a kernel becomes an operation of Burn's tensors, with a backward pass of its own.
//!
//! All kernels share one backend extension: an operation is a value that has a forward and a
//! backward kernel for Flex tensors.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchTensor, Flex, backend_extension};
use burn::tensor::{Bool, DType, Device, Tensor};

use super::memory::dense;
use super::real::Real;

/// An operation on Flex, in f32 and f64.
pub(crate) trait Operation: Debug + Send + Sync + 'static {
    /// What the backward pass reads, if these inputs need a gradient.
    fn keeps(&self, needed: &[bool]) -> Keeps;

    /// The output for inputs of one dtype.
    fn forward<E: Real>(&self, inputs: &[FlexTensor]) -> FlexTensor;

    /// The gradients of the inputs, from the tensors that were kept, in this order, and the error of
    /// the output. Those that `needed` does not name may be left out.
    fn backward<E: Real>(
        &self,
        kept: &[FlexTensor],
        error: FlexTensor,
        needed: &[bool],
    ) -> Vec<Option<FlexTensor>>;
}

/// What the backward pass of an operation reads in addition to the error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Keeps {
    Nothing,
    /// All of them.
    Inputs,
    /// Those with these numbers.
    Some(Vec<usize>),
    Output,
}

/// Whether kernels take these tensors: on Flex, all f32 or all f64, and none empty.
pub(crate) fn takes(tensors: &[(DType, usize, Device)]) -> bool {
    let Some((dtype, _, _)) = tensors.first() else {
        return false;
    };
    matches!(dtype, DType::F32 | DType::F64)
        && tensors.iter().all(|(other, entries, device)| {
            other == dtype && *entries > 0 && device.clone().inner() == Device::flex()
        })
}

/// What [`takes`] asks about.
pub(crate) fn facts<const D: usize>(x: &Tensor<D>) -> (DType, usize, Device) {
    (x.dtype(), x.shape().num_elements(), x.device())
}

/// The output of a kernel for inputs that it takes.
pub(crate) fn apply<const D: usize>(kernel: Kernel, inputs: Vec<DispatchTensor>) -> Tensor<D> {
    let mut inputs = inputs.into_iter();
    let output = match [(); 4].map(|()| inputs.next()) {
        [Some(a), None, None, None] => Dispatch::fused_one(a, kernel),
        [Some(a), Some(b), None, None] => Dispatch::fused_two(a, b, kernel),
        [Some(a), Some(b), Some(c), None] => Dispatch::fused_three(a, b, c, kernel),
        [Some(a), Some(b), Some(c), Some(d)] => Dispatch::fused_four(a, b, c, d, kernel),
        _ => unreachable!("a kernel without inputs"),
    };
    Tensor::from_dispatch(output)
}

/// A constant as Flex has it, with its entries in order.
pub(crate) fn constant<const D: usize>(x: Tensor<D>) -> FlexTensor {
    let x = x.inner().try_into_primitive::<Flex>();
    dense(&x.expect("a tensor on Flex"))
}

/// A mask as Flex has it, with its entries in order.
pub(crate) fn constant_mask<const D: usize>(x: Tensor<D, Bool>) -> FlexTensor {
    let x = x.inner().try_into_primitive::<Flex>();
    dense(&x.expect("a tensor on Flex"))
}

/// An operation to run.
///
/// Functions without generic parameters make it: then its code is compiled with this crate, and not
/// with the crate that calls a function of some rank, whose profile may not optimise.
#[derive(Debug, Clone)]
pub(crate) struct Kernel(Arc<dyn AnyDType>);

impl Kernel {
    /// The kernel of an operation.
    pub fn new(operation: impl Operation) -> Self {
        Self(Arc::new(operation))
    }
}

/// An [`Operation`] whose dtype is that of its tensors.
trait AnyDType: Debug + Send + Sync {
    fn keeps(&self, needed: &[bool]) -> Keeps;
    fn forward(&self, inputs: &[FlexTensor]) -> FlexTensor;
    fn backward(
        &self,
        kept: &[FlexTensor],
        error: FlexTensor,
        needed: &[bool],
    ) -> Vec<Option<FlexTensor>>;
}

impl<O: Operation> AnyDType for O {
    fn keeps(&self, needed: &[bool]) -> Keeps {
        Operation::keeps(self, needed)
    }

    fn forward(&self, inputs: &[FlexTensor]) -> FlexTensor {
        match inputs[0].dtype() {
            DType::F32 => Operation::forward::<f32>(self, inputs),
            DType::F64 => Operation::forward::<f64>(self, inputs),
            other => unreachable!("a kernel for {other:?}"),
        }
    }

    fn backward(
        &self,
        kept: &[FlexTensor],
        error: FlexTensor,
        needed: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        match error.dtype() {
            DType::F32 => Operation::backward::<f32>(self, kept, error, needed),
            DType::F64 => Operation::backward::<f64>(self, kept, error, needed),
            other => unreachable!("a kernel for {other:?}"),
        }
    }
}

/// A backend that runs kernels.
trait Kernels: Backend {
    fn forward(kernel: &Kernel, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self>;
    fn backward(
        kernel: &Kernel,
        kept: Vec<FloatTensor<Self>>,
        error: FloatTensor<Self>,
        needed: &[bool],
    ) -> Vec<Option<FloatTensor<Self>>>;
}

impl Kernels for Flex {
    fn forward(kernel: &Kernel, inputs: Vec<FlexTensor>) -> FlexTensor {
        kernel.0.forward(&inputs)
    }

    fn backward(
        kernel: &Kernel,
        kept: Vec<FlexTensor>,
        error: FlexTensor,
        needed: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        kernel.0.backward(&kept, error, needed)
    }
}

/// One method for each number of inputs: the macro routes by tensor arguments.
#[backend_extension(Autodiff, Flex)]
trait Fused: Backend {
    fn fused_one(a: FloatTensor<Self>, kernel: Kernel) -> FloatTensor<Self>;
    fn fused_two(a: FloatTensor<Self>, b: FloatTensor<Self>, kernel: Kernel) -> FloatTensor<Self>;
    fn fused_three(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        kernel: Kernel,
    ) -> FloatTensor<Self>;
    fn fused_four(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        kernel: Kernel,
    ) -> FloatTensor<Self>;
}

impl Fused for Flex {
    fn fused_one(a: FloatTensor<Self>, kernel: Kernel) -> FloatTensor<Self> {
        kernel.0.forward(&[a])
    }

    fn fused_two(a: FloatTensor<Self>, b: FloatTensor<Self>, kernel: Kernel) -> FloatTensor<Self> {
        kernel.0.forward(&[a, b])
    }

    fn fused_three(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        kernel: Kernel,
    ) -> FloatTensor<Self> {
        kernel.0.forward(&[a, b, c])
    }

    fn fused_four(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        kernel: Kernel,
    ) -> FloatTensor<Self> {
        kernel.0.forward(&[a, b, c, d])
    }
}

impl<B: Kernels, C: CheckpointStrategy> Fused for Autodiff<B, C> {
    fn fused_one(a: FloatTensor<Self>, kernel: Kernel) -> FloatTensor<Self> {
        tracked::<B, C, 1>([a], kernel)
    }

    fn fused_two(a: FloatTensor<Self>, b: FloatTensor<Self>, kernel: Kernel) -> FloatTensor<Self> {
        tracked::<B, C, 2>([a, b], kernel)
    }

    fn fused_three(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        kernel: Kernel,
    ) -> FloatTensor<Self> {
        tracked::<B, C, 3>([a, b, c], kernel)
    }

    fn fused_four(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        kernel: Kernel,
    ) -> FloatTensor<Self> {
        tracked::<B, C, 4>([a, b, c, d], kernel)
    }
}

/// The operation on the tape.
fn tracked<B: Kernels, C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    kernel: Kernel,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let prepared = FusedBackward.prepare::<C>(nodes).compute_bound();
    match prepared.stateful() {
        OpsKind::Tracked(mut prep) => {
            let needed = inputs.each_ref().map(|input| input.is_tracked());
            let keeps = kernel.0.keeps(&needed);
            // They belong to the graph, which may compute them again.
            let inputs_kept = match &keeps {
                Keeps::Inputs => inputs.iter().map(|input| prep.checkpoint(input)).collect(),
                Keeps::Some(numbers) => {
                    let numbers = numbers.iter();
                    numbers.map(|at| prep.checkpoint(&inputs[*at])).collect()
                }
                Keeps::Output | Keeps::Nothing => Vec::new(),
            };
            let inputs = inputs.into_iter().map(|input| input.into_primitive());
            let output = B::forward(&kernel, inputs.collect());
            let state = State {
                kernel,
                inputs: inputs_kept,
                output: (keeps == Keeps::Output).then(|| output.clone()),
            };
            prep.finish(state, output)
        }
        OpsKind::UnTracked(prep) => {
            let inputs = inputs.into_iter().map(|input| input.into_primitive());
            prep.finish(B::forward(&kernel, inputs.collect()))
        }
    }
}

#[derive(Debug)]
struct FusedBackward;

/// What the backward pass needs of the forward pass.
#[derive(Debug, Clone)]
struct State<T> {
    kernel: Kernel,
    inputs: Vec<NodeId>,
    output: Option<T>,
}

impl<B: Kernels, const N: usize> Backward<B, N> for FusedBackward {
    type State = State<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let State {
            kernel,
            inputs,
            output,
        } = ops.state;
        let inputs = inputs.into_iter();
        let inputs = inputs.map(|id| checkpointer.retrieve_node_output::<FloatTensor<B>>(id));
        let kept = inputs.chain(output).collect();
        let error = grads.consume::<B>(&ops.node);
        let needed = ops.parents.each_ref().map(Option::is_some);
        let gradients = B::backward(&kernel, kept, error, &needed);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
