//! u = J_z Δ by differences of the outputs along Δ.

use burn::module::Module;
use burn::tensor::Tensor;

use super::copies::moved;
use super::outputs::{check_finite, check_same_shape};
use super::trainable::{Checked, SquaredLengths, epsilon};
use crate::error::Error;
use crate::host::to_host;
use crate::params::{Direction, widen};

/// The first step is kept if the outputs changed by what was asked for, within this factor.
const NEAR: f64 = 16.0;
/// First guess of the relative change of the outputs over the relative change of the parameters.
/// Measured: about 2 for small networks and random directions, 100 for gradients of large networks.
const RESPONSE: f64 = 8.0;

/// The rates u, with what is needed to estimate their error.
pub(super) struct Rates {
    /// u `[M, T, C]`, from three steps.
    pub rates: Tensor<3>,
    /// u minus the central difference of two of the steps.
    pub difference: Tensor<3>,
    /// The error of a rate that rounding of the outputs causes.
    pub rounding: f64,
    /// Number of forward passes.
    pub forwards: usize,
}

/// The slope of the cubic through the outputs at −h, 0, h and 2h along the direction, which is exact
/// to third order in h.
///
/// A step h is good if the errors by rounding and by curvature are equally large. For central
/// differences this is a relative change of ε^(1/3) of the outputs. The first h is a guess from the
/// lengths of the direction and the parameters. They say little about the outputs: the model may
/// hardly change along a direction, or change wildly. If the outputs changed by much more or less
/// than asked for, h is set again, from the change that was seen.
///
/// `z` holds the outputs `[M, T, C]` at the parameters themselves, `parameter_epsilon` is the
/// rounding unit of the parameters.
///
/// # Errors
///
/// [`Error::NonFinite`] if an output along the direction is NaN or infinite; [`Error::Size`] if
/// `forward` gives outputs of another shape.
pub(super) fn rates<M: Module>(
    module: &M,
    parameter_epsilon: f64,
    direction: &Checked,
    squares: &SquaredLengths,
    forward: impl Fn(&M) -> Tensor<3>,
    z: &Tensor<3>,
) -> Result<Rates, Error> {
    let length = squares.direction.sqrt();
    if length == 0.0 {
        return Ok(Rates {
            rates: z.zeros_like(),
            difference: z.zeros_like(),
            rounding: 0.0,
            forwards: 0,
        });
    }
    let outputs = |module: &M| -> Result<Tensor<3>, Error> {
        let z_there = widen(forward(module).inner());
        check_same_shape(&z_there, z)?;
        check_finite("logits on the way along the direction", &z_there)?;
        Ok(z_there)
    };
    let epsilon = parameter_epsilon.max(epsilon(z.dtype()));
    let change = epsilon.cbrt();
    let around = if squares.parameters > 0.0 {
        squares.parameters.sqrt()
    } else {
        1.0
    };

    let mut h = change / RESPONSE * around / length;
    let mut step = scaled(direction, h);
    let mut ahead = moved(module, &step, true);
    let mut z_ahead = outputs(&ahead)?;
    let mut forwards = 3;

    let size = root_mean_square(z);
    let rate = root_mean_square(&(z_ahead.clone() - z.clone())) / h;
    // No step is so long that the parameters change by half.
    let longer = (change * size / (h * rate)).clamp(change, 0.5 * RESPONSE / change);
    if size > 0.0 && rate > 0.0 && !(1.0 / NEAR..NEAR).contains(&longer) {
        h *= longer;
        step = scaled(direction, h);
        ahead = moved(module, &step, true);
        z_ahead = outputs(&ahead)?;
        forwards += 1;
    }
    let z_further = outputs(&moved(&ahead, &step, true))?;
    let z_behind = outputs(&moved(module, &step, false))?;

    let central = (z_ahead.clone() - z_behind.clone()) / (2.0 * h);
    // The cubic through all four: (−2 z(−h) − 3 z(0) + 6 z(h) − z(2h)) / 6h.
    let from_here = |z_there: Tensor<3>| z_there - z.clone();
    let cubic = from_here(z_ahead) * 6.0 - from_here(z_behind) * 2.0 - from_here(z_further);
    let cubic = cubic / (6.0 * h);
    Ok(Rates {
        difference: cubic.clone() - central,
        rounding: epsilon * size / h,
        rates: cubic,
        forwards,
    })
}

/// h Δ, in f32 at least: a small step underflows in half precision.
fn scaled(direction: &Checked, h: f64) -> Direction {
    let mut step = direction.0.widened();
    step.scale(h);
    step
}

fn root_mean_square(x: &Tensor<3>) -> f64 {
    let largest = to_host(x.clone().abs().max())[0];
    if largest == 0.0 {
        return 0.0;
    }
    // Squares of rates along an undamped direction overflow f32.
    largest * to_host((x.clone() / largest).square().mean())[0].sqrt()
}
