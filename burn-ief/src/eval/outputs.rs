//! The outputs of a batch: one shape for all models, padding, and checks of shapes and values.

use burn::tensor::{Bool, Tensor};

use crate::error::Error;
use crate::host::to_host;

/// The outputs as `[samples, positions, classes]`. A single axis is the batch, with one output per
/// sample.
pub(super) fn flattened<const D: usize>(z: Tensor<D>) -> Tensor<3> {
    let dims = z.dims();
    let classes = dims[D - 1];
    let positions = dims[1..D.max(2) - 1].iter().product::<usize>();
    let shape = if D == 1 {
        [dims[0], 1, 1]
    } else {
        [dims[0], positions, classes]
    };
    z.reshape(shape)
}

/// The padding `[M, T]` for every output, `[M, T, C]`.
///
/// # Errors
///
/// [`Error::Size`] if it does not fit the outputs z.
pub(super) fn expand_padding(
    padding: &Tensor<2, Bool>,
    z: &Tensor<3>,
) -> Result<Tensor<3, Bool>, Error> {
    let [samples, positions, _] = z.dims();
    let names = ["samples of the padding", "positions of the padding"];
    for (axis, what) in names.into_iter().enumerate() {
        let (expected, found) = (z.dims()[axis], padding.dims()[axis]);
        if expected != found {
            return Err(Error::Size {
                what,
                expected,
                found,
            });
        }
    }
    let padding = padding.clone().inner().to_device(&z.device());
    let padding = padding.reshape([samples, positions, 1]);
    Ok(padding.expand(z.dims()))
}

/// # Errors
///
/// [`Error::NonFinite`] naming the samples with an entry that is NaN or infinite.
pub(super) fn check_finite(what: &'static str, x: &Tensor<3>) -> Result<(), Error> {
    let [samples, positions, classes] = x.dims();
    // x − x is zero where x is finite and NaN elsewhere.
    let marks = (x.clone() - x.clone()).reshape([samples, positions * classes]);
    let marks = to_host(marks.sum_dim(1));
    let samples: Vec<usize> = (0..samples).filter(|&n| marks[n].is_nan()).collect();
    if samples.is_empty() {
        Ok(())
    } else {
        Err(Error::NonFinite { what, samples })
    }
}

/// # Errors
///
/// [`Error::Size`] if the outputs have another shape than those of the first call.
pub(super) fn check_same_shape(found: &Tensor<3>, expected: &Tensor<3>) -> Result<(), Error> {
    let names = ["samples", "positions", "classes"];
    for (axis, what) in names.into_iter().enumerate() {
        let (found, expected) = (found.dims()[axis], expected.dims()[axis]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn outputs_of_any_rank_become_samples_positions_classes() {
        let device = Device::flex();
        assert_eq!(
            flattened(Tensor::<1>::zeros([4], &device)).dims(),
            [4, 1, 1]
        );
        assert_eq!(
            flattened(Tensor::<2>::zeros([4, 3], &device)).dims(),
            [4, 1, 3]
        );
        let z = Tensor::<4>::zeros([4, 2, 5, 3], &device);
        assert_eq!(flattened(z).dims(), [4, 10, 3]);
    }

    #[test]
    fn samples_with_bad_entries_are_named() {
        let device = Device::flex();
        let x = Tensor::<3>::from_floats([[[1.0]], [[f32::NAN]], [[f32::INFINITY]]], &device);
        let expected = Error::NonFinite {
            what: "outputs",
            samples: vec![1, 2],
        };
        assert_eq!(check_finite("outputs", &x), Err(expected));
        assert_eq!(check_finite("outputs", &x.narrow(0, 0, 1)), Ok(()));
    }
}
