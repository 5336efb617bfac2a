//! Burn's layers from settings.

use burn::nn::activation::{PReluConfig, SwiGluConfig};
use burn::nn::conv::{
    Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig, DeformConv2dConfig,
};
use burn::nn::{
    BatchNormConfig, InstanceNormConfig, PaddingConfig1d, PaddingConfig2d, PaddingConfig3d,
};
use burn::tensor::Device;

use super::layer::{Axis, Channels, Layer, Settings};

impl Settings {
    pub fn init(&self, device: &Device) -> Layer {
        match self {
            Self::Convolution {
                axes,
                channels,
                same,
            } => convolution(axes, channels, *same, device),
            Self::Transposed { axes, channels } => transposed(axes, channels, device),
            Self::Deformable {
                axes,
                channels,
                offset_groups,
                ..
            } => {
                let [top, left] = axes.map(|axis| axis.padding.0);
                Layer::DeformConv2d(
                    DeformConv2dConfig::new(channels.total(), axes.map(|axis| axis.kernel))
                        .with_stride(axes.map(|axis| axis.stride))
                        .with_dilation(axes.map(|axis| axis.dilation))
                        .with_padding(PaddingConfig2d::Explicit(top, left, top, left))
                        .with_weight_groups(channels.groups)
                        .with_offset_groups(*offset_groups)
                        .with_bias(channels.bias)
                        .init(device),
                )
            }
            Self::BatchNorm { channels, .. } => {
                Layer::BatchNorm(BatchNormConfig::new(*channels).init(device))
            }
            Self::InstanceNorm {
                channels, affine, ..
            } => Layer::InstanceNorm(
                // An epsilon that shows.
                InstanceNormConfig::new(*channels)
                    .with_epsilon(0.1)
                    .with_affine(*affine)
                    .init(device),
            ),
            Self::PRelu { slopes, .. } => {
                Layer::PRelu(PReluConfig::new().with_num_parameters(*slopes).init(device))
            }
            Self::SwiGlu {
                inputs,
                outputs,
                bias,
                ..
            } => Layer::SwiGlu(
                SwiGluConfig::new(*inputs, *outputs)
                    .with_bias(*bias)
                    .init(device),
            ),
        }
    }
}

fn each<const N: usize, T>(axes: &[Axis], value: impl Fn(&Axis) -> T) -> [T; N] {
    std::array::from_fn(|axis| value(&axes[axis]))
}

fn convolution(axes: &[Axis], channels: &Channels, same: bool, device: &Device) -> Layer {
    let [inputs, outputs] = channels.total();
    match axes {
        [axis] => Layer::Conv1d(
            Conv1dConfig::new(inputs, outputs, axis.kernel)
                .with_stride(axis.stride)
                .with_dilation(axis.dilation)
                .with_groups(channels.groups)
                .with_bias(channels.bias)
                .with_padding(if same {
                    PaddingConfig1d::Same
                } else {
                    PaddingConfig1d::Explicit(axis.padding.0, axis.padding.1)
                })
                .init(device),
        ),
        [rows, columns] => Layer::Conv2d(
            Conv2dConfig::new([inputs, outputs], each(axes, |axis| axis.kernel))
                .with_stride(each(axes, |axis| axis.stride))
                .with_dilation(each(axes, |axis| axis.dilation))
                .with_groups(channels.groups)
                .with_bias(channels.bias)
                .with_padding(if same {
                    PaddingConfig2d::Same
                } else {
                    PaddingConfig2d::Explicit(
                        rows.padding.0,
                        columns.padding.0,
                        rows.padding.1,
                        columns.padding.1,
                    )
                })
                .init(device),
        ),
        _ => {
            let [depth, height, width] = each(axes, |axis| axis.padding.0);
            Layer::Conv3d(
                Conv3dConfig::new([inputs, outputs], each(axes, |axis| axis.kernel))
                    .with_stride(each(axes, |axis| axis.stride))
                    .with_dilation(each(axes, |axis| axis.dilation))
                    .with_groups(channels.groups)
                    .with_bias(channels.bias)
                    .with_padding(if same {
                        PaddingConfig3d::Same
                    } else {
                        PaddingConfig3d::Explicit(depth, height, width)
                    })
                    .init(device),
            )
        }
    }
}

fn transposed(axes: &[Axis], channels: &Channels, device: &Device) -> Layer {
    let total = channels.total();
    match axes {
        [axis] => Layer::ConvTranspose1d(
            ConvTranspose1dConfig::new(total, axis.kernel)
                .with_stride(axis.stride)
                .with_dilation(axis.dilation)
                .with_padding(axis.padding.0)
                .with_padding_out(axis.padding_out)
                .with_groups(channels.groups)
                .with_bias(channels.bias)
                .init(device),
        ),
        [_, _] => Layer::ConvTranspose2d(
            ConvTranspose2dConfig::new(total, each(axes, |axis| axis.kernel))
                .with_stride(each(axes, |axis| axis.stride))
                .with_dilation(each(axes, |axis| axis.dilation))
                .with_padding(each(axes, |axis| axis.padding.0))
                .with_padding_out(each(axes, |axis| axis.padding_out))
                .with_groups(channels.groups)
                .with_bias(channels.bias)
                .init(device),
        ),
        _ => Layer::ConvTranspose3d(
            ConvTranspose3dConfig::new(total, each(axes, |axis| axis.kernel))
                .with_stride(each(axes, |axis| axis.stride))
                .with_dilation(each(axes, |axis| axis.dilation))
                .with_padding(each(axes, |axis| axis.padding.0))
                .with_padding_out(each(axes, |axis| axis.padding_out))
                .with_groups(channels.groups)
                .with_bias(channels.bias)
                .init(device),
        ),
    }
}
