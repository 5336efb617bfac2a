//! u = J_z Δ by differences of the outputs along Δ.

use burn::module::Module;
use burn::tensor::Tensor;

use super::direction::{Checked, epsilon, moved};
use super::loss::{flattened, widened};
use crate::error::Error;
use crate::jacobian::to_host;

/// The first step is kept if it moved the outputs as asked within this factor.
const NEAR: f64 = 16.0;
/// How much more a direction moves outputs than parameters, as a first guess: twice as much for
/// small networks and random directions, a hundred times for gradients of large ones.
const LIVELY: f64 = 8.0;

/// u from three steps, and how far it is from the central difference of two of them.
pub(super) struct Rates {
    pub rates: Tensor<3>,
    pub difference: Tensor<3>,
    /// What rounding of the outputs alone makes of a rate.
    pub rounding: f64,
    pub forwards: usize,
}

/// Differences along a direction of this squared length, beside that of the parameters that it moves:
/// the slope here of the cubic through the outputs at −h, 0, h and 2h, exact to third order.
///
/// A step is good if rounding and curvature are in balance, which for central differences is a
/// relative change of ε^(1/3) of the outputs. The first is a guess from the parameters, which say
/// little about outputs (a direction may lie where the model hardly moves, or move it wildly): if
/// the outputs changed by much more or less than that, the step is set by the change that was seen.
///
/// # Errors
///
/// [`Error::NonFinite`] if an output on the way is NaN or infinite.
pub(super) fn rates<M: Module, const D: usize>(
    module: &M,
    parameter_epsilon: f64,
    direction: &Checked,
    [length, around]: [f64; 2],
    forward: impl Fn(&M) -> Tensor<D>,
    z: &Tensor<3>,
) -> Result<Rates, Error> {
    let length = length.sqrt();
    if length == 0.0 {
        return Ok(Rates {
            rates: z.zeros_like(),
            difference: z.zeros_like(),
            rounding: 0.0,
            forwards: 0,
        });
    }
    let at = |module: &M| -> Result<Tensor<3>, Error> {
        let side = widened(flattened(forward(module)));
        same_outputs(&side, z)?;
        finite("logits on the way along the direction", &side)?;
        Ok(side)
    };
    let scaled = |h: f64| {
        // A small step underflows in half precision.
        let mut step = direction.0.widened();
        step.scale(h);
        step
    };
    let epsilon = parameter_epsilon.max(epsilon(z.dtype()));
    let change = epsilon.cbrt();
    let around = match around > 0.0 {
        true => around.sqrt(),
        false => 1.0,
    };
    let mut h = change / LIVELY * around / length;
    let mut step = scaled(h);
    let mut ahead = moved(module, &step, true);
    let mut one = at(&ahead)?;
    let (size, rate) = (size(z), size(&(one.clone() - z.clone())) / h);
    let mut forwards = 3;
    // How much longer the step should be. No step is so long that parameters change by half.
    let longer = (change * size / (h * rate)).clamp(change, 0.5 * LIVELY / change);
    if size > 0.0 && rate > 0.0 && !(1.0 / NEAR..NEAR).contains(&longer) {
        h *= longer;
        step = scaled(h);
        ahead = moved(module, &step, true);
        one = at(&ahead)?;
        forwards += 1;
    }
    let two = at(&moved(&ahead, &step, true))?;
    let behind = at(&moved(module, &step, false))?;
    let plain = (one.clone() - behind.clone()) / (2.0 * h);
    // The cubic through all four: (−2 z(−h) − 3 z(0) + 6 z(h) − z(2h)) / 6h.
    let from_here = |side: Tensor<3>| side - z.clone();
    let rates = from_here(one) * 6.0 - from_here(behind) * 2.0 - from_here(two);
    let rates = rates / (6.0 * h);
    Ok(Rates {
        difference: rates.clone() - plain,
        rounding: epsilon * size / h,
        rates,
        forwards,
    })
}

/// Root of the mean square.
fn size(x: &Tensor<3>) -> f64 {
    let largest = to_host(x.clone().abs().max())[0];
    if largest == 0.0 {
        return 0.0;
    }
    // Squares of rates along an undamped direction overflow f32.
    largest * to_host((x.clone() / largest).square().mean())[0].sqrt()
}

/// # Errors
///
/// [`Error::NonFinite`] naming the samples with an entry that is not finite.
pub(super) fn finite(what: &'static str, x: &Tensor<3>) -> Result<(), Error> {
    let [samples, positions, classes] = x.dims();
    // x − x is zero where x is finite and NaN elsewhere.
    let marks = (x.clone() - x.clone()).reshape([samples, positions * classes]);
    let marks = to_host(marks.sum_dim(1));
    let samples: Vec<usize> = (0..samples).filter(|&n| marks[n].is_nan()).collect();
    match samples.is_empty() {
        true => Ok(()),
        false => Err(Error::NonFinite { what, samples }),
    }
}

/// # Errors
///
/// [`Error::Size`] if the outputs have another shape than before.
pub(super) fn same_outputs(found: &Tensor<3>, expected: &Tensor<3>) -> Result<(), Error> {
    let sizes = found.dims().into_iter().zip(expected.dims());
    let names = ["samples", "positions", "classes"].into_iter().zip(sizes);
    for (what, (found, expected)) in names {
        if found != expected {
            return Err(Error::Size {
                what,
                expected,
                found,
            });
        }
    }
    Ok(())
}
