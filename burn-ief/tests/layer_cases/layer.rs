//! The layers, all of them between tensors `[M, entries]`.

use burn::module::{Module, ModuleVisitor, Param, RunningState};
use burn::nn::activation::{PRelu, SwiGlu};
use burn::nn::conv::{
    Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, DeformConv2d,
};
use burn::nn::{BatchNorm, InstanceNorm};
use burn::tensor::Tensor;
use burn_ief::nn::{DeformConvInput, ForwardRecorded, freeze_statistics};

/// How a kernel moves along one axis of an input of this size.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Before and after; transposed and deformable convolutions and three axes have the first on both
    /// sides.
    pub padding: (usize, usize),
    pub padding_out: usize,
}

impl Axis {
    /// Cells that the kernel spans.
    pub fn span(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }
}

/// Channels of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Channels {
    pub groups: usize,
    /// Of each group.
    pub inputs: usize,
    pub outputs: usize,
    pub bias: bool,
}

#[derive(Debug, Clone)]
pub enum Settings {
    Convolution {
        axes: Vec<Axis>,
        channels: Channels,
        same: bool,
    },
    Transposed {
        axes: Vec<Axis>,
        channels: Channels,
    },
    Deformable {
        axes: [Axis; 2],
        channels: Channels,
        offset_groups: usize,
        mask: bool,
    },
    BatchNorm {
        channels: usize,
        rest: Vec<usize>,
    },
    InstanceNorm {
        channels: usize,
        rest: Vec<usize>,
        affine: bool,
    },
    PRelu {
        slopes: usize,
        shape: Vec<usize>,
    },
    SwiGlu {
        positions: Vec<usize>,
        inputs: usize,
        outputs: usize,
        bias: bool,
    },
}

#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Layer {
    Conv1d(Conv1d),
    Conv2d(Conv2d),
    Conv3d(Conv3d),
    ConvTranspose1d(ConvTranspose1d),
    ConvTranspose2d(ConvTranspose2d),
    ConvTranspose3d(ConvTranspose3d),
    DeformConv2d(DeformConv2d),
    BatchNorm(BatchNorm),
    InstanceNorm(InstanceNorm),
    PRelu(PRelu),
    SwiGlu(SwiGlu),
}

impl Settings {
    /// Put right what random entries break: a variance is positive. Statistics are frozen.
    pub fn settle(&self, layer: Layer) -> Layer {
        let layer = match layer {
            Layer::BatchNorm(mut norm) => {
                let variance = norm.running_var.value().abs() + 0.2;
                norm.running_var = RunningState::new(variance);
                Layer::BatchNorm(norm)
            }
            other => other,
        };
        freeze_statistics(layer)
    }

    /// Whether outputs are linear in the parameters.
    pub fn is_linear(&self) -> bool {
        matches!(
            self,
            Self::Convolution { .. } | Self::Transposed { .. } | Self::Deformable { .. }
        )
    }

    /// Whether Burn's backward pass is right.
    ///
    /// In 0.22.1 the kernel's gradient of a `Conv1d` in groups is wrong if the stride leaves out the end of
    /// the padded input (`conv1d_weight_grad_groups` does not cut it to the size of the kernel).
    pub fn has_backward(&self) -> bool {
        let Self::Convolution {
            axes,
            channels,
            same,
        } = self
        else {
            return true;
        };
        let [axis] = axes.as_slice() else {
            return true;
        };
        let padded = if *same {
            let total = (axis.size.div_ceil(axis.stride) - 1) * axis.stride + axis.kernel;
            total.max(axis.size)
        } else {
            axis.size + axis.padding.0 + axis.padding.1
        };
        channels.groups == 1 || (padded - axis.span()).is_multiple_of(axis.stride)
    }

    /// Entries of a sample's input.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Convolution { axes, channels, .. } | Self::Transposed { axes, channels } => {
                channels.total()[0] * axes.iter().map(|axis| axis.size).product::<usize>()
            }
            Self::Deformable { .. } => self.deformable_parts().iter().map(|p| p.1).sum(),
            Self::BatchNorm { channels, rest } | Self::InstanceNorm { channels, rest, .. } => {
                channels * rest.iter().product::<usize>()
            }
            Self::PRelu { shape, .. } => shape.iter().product(),
            Self::SwiGlu {
                positions, inputs, ..
            } => inputs * positions.iter().product::<usize>(),
        }
    }

    /// Shapes `[C, H, W]` and sizes of input, offsets and mask.
    fn deformable_parts(&self) -> Vec<([usize; 3], usize)> {
        let Self::Deformable {
            axes,
            channels,
            offset_groups,
            mask,
        } = self
        else {
            unreachable!("only deformable convolutions have parts");
        };
        let [rows, columns] =
            axes.map(|axis| (axis.size + 2 * axis.padding.0 - axis.span()) / axis.stride + 1);
        let area: usize = axes.iter().map(|axis| axis.kernel).product();
        let mut parts = vec![
            [channels.total()[0], axes[0].size, axes[1].size],
            [2 * offset_groups * area, rows, columns],
        ];
        if *mask {
            parts.push([offset_groups * area, rows, columns]);
        }
        let sized = parts
            .into_iter()
            .map(|shape| (shape, shape.iter().product()));
        sized.collect()
    }

    /// `[M, entries]` to `[M, entries]`.
    pub fn forward(&self, layer: &Layer, x: Tensor<2>, recorded: bool) -> Tensor<2> {
        macro_rules! call {
            ($layer:expr, $x:expr) => {{
                let x = $x;
                flat(if recorded {
                    $layer.forward_recorded(x)
                } else {
                    $layer.forward(x)
                })
            }};
        }
        match (layer, self) {
            (Layer::Conv1d(layer), _) => call!(layer, self.image::<3>(x)),
            (Layer::Conv2d(layer), _) => call!(layer, self.image::<4>(x)),
            (Layer::Conv3d(layer), _) => call!(layer, self.image::<5>(x)),
            (Layer::ConvTranspose1d(layer), _) => call!(layer, self.image::<3>(x)),
            (Layer::ConvTranspose2d(layer), _) => call!(layer, self.image::<4>(x)),
            (Layer::ConvTranspose3d(layer), _) => call!(layer, self.image::<5>(x)),
            (Layer::BatchNorm(layer), Self::BatchNorm { rest, .. }) => match rest.len() {
                0 => call!(layer, self.image::<2>(x)),
                1 => call!(layer, self.image::<3>(x)),
                _ => call!(layer, self.image::<4>(x)),
            },
            (Layer::InstanceNorm(layer), Self::InstanceNorm { rest, .. }) => match rest.len() {
                1 => call!(layer, self.image::<3>(x)),
                _ => call!(layer, self.image::<4>(x)),
            },
            (Layer::PRelu(layer), Self::PRelu { shape, .. }) => match shape.len() {
                0 => call!(layer, self.image::<1>(x)),
                1 => call!(layer, self.image::<2>(x)),
                2 => call!(layer, self.image::<3>(x)),
                _ => call!(layer, self.image::<4>(x)),
            },
            (Layer::SwiGlu(layer), Self::SwiGlu { positions, .. }) => match positions.len() {
                0 => call!(layer, self.image::<2>(x)),
                1 => call!(layer, self.image::<3>(x)),
                _ => call!(layer, self.image::<4>(x)),
            },
            (Layer::DeformConv2d(layer), _) => {
                let [samples, _] = x.dims();
                let mut start = 0;
                let parts = self.deformable_parts().into_iter().map(|(shape, size)| {
                    let part = x.clone().narrow(1, start, size);
                    start += size;
                    part.reshape([samples, shape[0], shape[1], shape[2]])
                });
                let mut parts = parts.collect::<Vec<Tensor<4>>>().into_iter();
                let (image, offset) = (parts.next().unwrap(), parts.next().unwrap());
                let mask = parts.next();
                flat(if recorded {
                    let mut input = DeformConvInput::new(image, offset);
                    input.mask = mask;
                    layer.forward_recorded(input)
                } else {
                    layer.forward(image, offset, mask)
                })
            }
            _ => unreachable!("{layer:?} does not belong to {self:?}"),
        }
    }

    fn image<const D: usize>(&self, x: Tensor<2>) -> Tensor<D> {
        let shape: Vec<usize> = match self {
            Self::Convolution { axes, channels, .. } | Self::Transposed { axes, channels } => {
                let sizes = axes.iter().map(|axis| axis.size);
                std::iter::once(channels.total()[0]).chain(sizes).collect()
            }
            Self::BatchNorm { channels, rest } | Self::InstanceNorm { channels, rest, .. } => {
                std::iter::once(*channels).chain(rest.clone()).collect()
            }
            Self::PRelu { shape, .. } => shape.clone(),
            Self::SwiGlu {
                positions, inputs, ..
            } => positions.iter().copied().chain([*inputs]).collect(),
            Self::Deformable { .. } => unreachable!("three tensors"),
        };
        let mut dims = [x.dims()[0]; D];
        dims[1..].copy_from_slice(&shape);
        x.reshape(dims)
    }
}

impl Layer {
    /// For every parameter whether it trains.
    pub fn trained(&self) -> Vec<bool> {
        struct Trained(Vec<bool>);
        impl ModuleVisitor for Trained {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push(param.is_require_grad());
            }
        }
        let mut trained = Trained(Vec::new());
        self.visit(&mut trained);
        trained.0
    }
}

impl Channels {
    pub fn total(&self) -> [usize; 2] {
        [self.inputs * self.groups, self.outputs * self.groups]
    }
}

fn flat<const D: usize>(y: Tensor<D>) -> Tensor<2> {
    let dims = y.dims();
    y.reshape([dims[0], dims[1..].iter().product()])
}
