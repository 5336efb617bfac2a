//! Random convolutions: strides, paddings (uneven, and wider than the kernel), dilation, groups, axes of
//! size 1.

use proptest::prelude::*;

use super::layer::{Axis, Channels, Settings};

fn channels() -> impl Strategy<Value = Channels> {
    (1..4usize, 1..4usize, 1..4usize, any::<bool>()).prop_map(|(groups, inputs, outputs, bias)| {
        Channels {
            groups,
            inputs,
            outputs,
            bias,
        }
    })
}

/// An axis on which a convolution has at least one position.
fn axis() -> impl Strategy<Value = Axis> {
    let padding = (0..4usize, 0..4usize);
    (1..4usize, 1..4usize, 1..3usize, padding, 0..5usize).prop_map(
        |(kernel, stride, dilation, padding, more)| {
            let span = dilation * (kernel - 1) + 1;
            // The smaller padding, because some layers have it on both sides.
            let least = 2 * padding.0.min(padding.1);
            Axis {
                size: span.saturating_sub(least).max(1) + more,
                kernel,
                stride,
                dilation,
                padding,
                padding_out: 0,
            }
        },
    )
}

/// Convolutions over one, two and three axes.
pub fn convolutions() -> impl Strategy<Value = Settings> {
    let axes = prop::collection::vec(axis(), 1..4);
    (axes, channels(), prop::bool::weighted(0.25)).prop_map(|(mut axes, channels, same)| {
        if axes.len() == 3 {
            for axis in &mut axes {
                axis.padding.1 = axis.padding.0;
                // Burn takes no even kernels and no uneven padding of three axes under `Same`.
                if same && (axis.kernel == 2 || axis.kernel == 3) {
                    axis.kernel = 3;
                    axis.stride = 1;
                }
                if same && axis.kernel == 1 {
                    axis.stride = 1;
                }
            }
        }
        for axis in &mut axes {
            // Under `Same`, Burn pads for the kernel without its dilation.
            let padded = axis.padding.0 + axis.padding.1;
            let padded = if same { axis.kernel - 1 } else { padded };
            axis.size = axis.size.max(axis.span().saturating_sub(padded)).max(1);
            if same && axis.stride > 1 {
                // The padding may be smaller than kernel - 1 then.
                axis.size = axis.size.max(axis.span());
            }
        }
        Settings::Convolution {
            axes,
            channels,
            same,
        }
    })
}

/// Transposed convolutions over one, two and three axes.
pub fn transposed() -> impl Strategy<Value = Settings> {
    let padding_out = prop::collection::vec(0..4usize, 3);
    let axes = prop::collection::vec(axis(), 1..4);
    (axes, channels(), padding_out).prop_map(|(mut axes, channels, padding_out)| {
        for (axis, padding_out) in axes.iter_mut().zip(padding_out) {
            axis.padding_out = padding_out;
            axis.size = axis.size.min(4);
            // At least one cell is left of the output.
            let full = (axis.size - 1) * axis.stride + axis.span() + padding_out;
            axis.padding.0 = axis.padding.0.min((full - 1) / 2);
        }
        Settings::Transposed { axes, channels }
    })
}

/// Deformable convolutions, with and without a mask.
pub fn deformables() -> impl Strategy<Value = Settings> {
    let settings = ([axis(), axis()], channels(), any::<bool>(), any::<bool>());
    settings.prop_map(|(mut axes, channels, mask, split)| {
        for axis in &mut axes {
            axis.size = axis
                .size
                .max(axis.span().saturating_sub(2 * axis.padding.0))
                .max(1);
        }
        // As many groups of offsets as channels, or one.
        let offset_groups = if split { channels.total()[0] } else { 1 };
        Settings::Deformable {
            axes,
            channels,
            offset_groups,
            mask,
        }
    })
}
