//! Settings at which other libraries for gradients sample by sample went wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::nn::conv::{Conv3d, Conv3dConfig};
use burn::nn::{LinearConfig, PaddingConfig3d};
use burn::tensor::Tensor;
use burn_ief::jacobian::Jacobian;
use burn_ief::nn::ForwardRecorded;
use burn_ief::{LossScale, Tape};
use proptest::test_runner::TestCaseError;

use super::layer_cases::layer::{Axis, Channels, Settings};
use super::layer_cases::{Case, Frozen, check_forward, check_rows, noise};
use super::{EXACT, device};

const CHANNELS: Channels = Channels {
    groups: 1,
    inputs: 2,
    outputs: 3,
    bias: true,
};

/// A kernel of one entry.
const AXIS: Axis = Axis {
    size: 5,
    kernel: 1,
    stride: 1,
    dilation: 1,
    padding: (0, 0),
    padding_out: 0,
};

fn check(layer: Settings) -> Result<(), TestCaseError> {
    for factored in [false, true] {
        let case = Case {
            layer: layer.clone(),
            samples: 3,
            frozen: Frozen::Nothing,
            uses: 1,
            input_grad: true,
            factored,
            checkpointing: false,
            seed: 7,
        };
        check_forward(&case, EXACT)?;
        check_rows(&case, EXACT)?;
    }
    Ok(())
}

/// A kernel `[in, out / groups, k]`, an output whose last cells depend on no input, a long input.
#[test]
fn transposed_convolutions_with_groups_and_a_tail() -> Result<(), TestCaseError> {
    for stride in [2, 4] {
        for padding_out in [0, 1, 3] {
            check(Settings::Transposed {
                axes: vec![Axis {
                    size: 1603,
                    kernel: 4,
                    stride,
                    padding_out,
                    ..AXIS
                }],
                channels: Channels {
                    groups: 2,
                    inputs: 1,
                    outputs: 2,
                    bias: true,
                },
            })?;
        }
    }
    Ok(())
}

/// Cells that no patch of the kernel reaches have a part in the bias alone: `padding_out` beyond the stride.
#[test]
fn cells_that_no_kernel_reaches() -> Result<(), TestCaseError> {
    for padding in [0, 1, 2] {
        check(Settings::Transposed {
            axes: vec![
                Axis {
                    size: 2,
                    kernel: 2,
                    stride: 3,
                    dilation: 2,
                    padding: (padding, padding),
                    padding_out: 4,
                };
                2
            ],
            channels: CHANNELS,
        })?;
    }
    Ok(())
}

#[test]
fn uneven_same_padding_of_even_kernels() -> Result<(), TestCaseError> {
    for axes in [1, 2] {
        for (kernel, stride) in [(4, 1), (2, 1), (4, 3), (6, 1)] {
            check(Settings::Convolution {
                axes: vec![
                    Axis {
                        kernel,
                        stride,
                        ..AXIS
                    };
                    axes
                ],
                channels: CHANNELS,
                same: true,
            })?;
        }
    }
    Ok(())
}

#[test]
fn explicit_padding_of_one_side() -> Result<(), TestCaseError> {
    for axes in [1, 2] {
        for padding in [(3, 0), (0, 3), (1, 6)] {
            check(Settings::Convolution {
                axes: vec![
                    Axis {
                        kernel: 4,
                        padding,
                        ..AXIS
                    };
                    axes
                ],
                channels: CHANNELS,
                same: false,
            })?;
        }
    }
    Ok(())
}

/// Burn has no uneven padding of three axes: the recorded call panics like Burn's own.
#[test]
fn uneven_padding_of_three_axes_is_refused() {
    let device = device();
    let conv: Conv3d = Conv3dConfig::new([1, 1], [3, 3, 3])
        .with_stride([2, 2, 2])
        .with_padding(PaddingConfig3d::Same)
        .init(&device);
    let x = noise([2, 1, 4, 4, 4], 1, &device);
    let plain = catch_unwind(AssertUnwindSafe(|| conv.forward(x.clone())));
    assert!(plain.is_err());
    let tape = Tape::start();
    let recorded = catch_unwind(AssertUnwindSafe(|| conv.forward_recorded(x.clone())));
    drop(tape);
    assert!(recorded.is_err());
}

#[test]
fn three_axes_with_dilation_and_groups() -> Result<(), TestCaseError> {
    let axis = |size| Axis {
        size,
        kernel: 2,
        stride: 2,
        dilation: 2,
        padding: (2, 2),
        padding_out: 0,
    };
    check(Settings::Convolution {
        axes: vec![axis(3), axis(6), axis(6)],
        channels: Channels {
            groups: 2,
            ..CHANNELS
        },
        same: false,
    })
}

/// The row of a bias is the sum over time first, and then the square.
#[test]
fn the_norm_of_a_bias_over_time() {
    let device = device();
    let layer = LinearConfig::new(4, 5).init(&device);
    let x = noise([2, 3, 4], 2, &device);
    let weights: Tensor<3> = noise([2, 3, 5], 3, &device);
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let grads = (layer.forward_recorded(x.clone()) * weights.clone())
        .sum()
        .backward();
    let jacobian = Jacobian::from_tape(tape, grads, &layer).unwrap();
    let sums: Vec<f64> = weights
        .clone()
        .sum_dim(1)
        .into_data()
        .try_into_vec()
        .unwrap();
    let norms = jacobian.row_norms();
    let rows = jacobian.to_dense();
    for (n, row) in rows.iter().enumerate() {
        let bias = &row[20..];
        let expected = &sums[5 * n..5 * n + 5];
        assert!(
            bias.iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-13)
        );
        let norm: f64 = row.iter().map(|x| x * x).sum();
        assert!((norms[n] - norm.sqrt()).abs() < 1e-12);
    }
}
