//! Rotary positions (Su et al. 2021, arXiv 2104.09864).

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use crate::kernels::{extension, rotary as kernels};

/// Which entries of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RotaryPairs {
    /// Entries i and `i + R / 2` of the first R, as Llama and `transformers` have it.
    Halves,
    /// Entries `2 i` and `2 i + 1`, as Burn's `RotaryEncoding` has it.
    Neighbours,
}

/// Rotate pairs of entries of every head by angles that depend on the position.
///
/// The pair `(a, b)` becomes `(a cos - b sin, b cos + a sin)`. If there are fewer angles than pairs,
/// the last entries of a head stay as they are. The angles are constants.
///
/// # Shapes
///
/// - x and output: `[M, T, heads * width]`
/// - cos, sin: `[M, T, R / 2]` with `R ≤ width`, or `[1, T, R / 2]` for all samples
///
/// # Panics
///
/// Panics if the shapes do not fit each other.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_flex_fused::{RotaryPairs, rotary};
///
/// let device = Device::flex();
/// let x = Tensor::<3>::from_floats([[[1.0, 2.0, 3.0, 4.0]]], &device);
/// // A quarter turn.
/// let (cos, sin) = (Tensor::zeros([1, 1, 1], &device), Tensor::ones([1, 1, 1], &device));
/// let y = rotary(x, cos, sin, 2, RotaryPairs::Halves);
/// assert_eq!(y.into_data().try_to_vec::<f32>().unwrap(), [-2.0, 1.0, -4.0, 3.0]);
/// ```
pub fn rotary(
    x: Tensor<3>,
    cos: Tensor<3>,
    sin: Tensor<3>,
    heads: usize,
    pairs: RotaryPairs,
) -> Tensor<3> {
    let [samples, positions, columns] = x.dims();
    let [angle_samples, _, half] = cos.dims();
    assert!(
        heads > 0 && columns.is_multiple_of(heads) && 2 * half <= columns / heads,
        "rotary: expected x [M, T, heads * width] with {heads} heads of width {} or more, \
         found {:?}",
        2 * half,
        x.dims()
    );
    for (what, found) in [("cos", cos.dims()), ("sin", sin.dims())] {
        let expected = [angle_samples, positions, half];
        assert!(
            found == expected && (angle_samples == 1 || angle_samples == samples),
            "rotary: expected {what} [{samples} or 1, {positions}, {half}], found {found:?}"
        );
    }
    #[cfg(feature = "flex")]
    if !cos.is_tracked()
        && !sin.is_tracked()
        && extension::takes(&[&x, &cos, &sin].map(extension::facts))
    {
        let operation = kernels::Rotary {
            heads,
            neighbours: pairs == RotaryPairs::Neighbours,
            cos: extension::constant(cos),
            sin: extension::constant(sin),
        };
        return extension::apply(operation.kernel(), vec![x.into_dispatch()]);
    }
    let width = columns / heads;
    let x = x.reshape([samples, positions, heads, width]);
    let angles = |angles: Tensor<3>| angles.reshape([angle_samples, positions, 1, half]);
    let (cos, sin) = (angles(cos), angles(sin));
    let rest = (width > 2 * half).then(|| x.clone().narrow(3, 2 * half, width - 2 * half));
    let turned = x.narrow(3, 0, 2 * half);
    let (first, second): (Tensor<4>, Tensor<4>) = match pairs {
        RotaryPairs::Halves => (
            turned.clone().narrow(3, 0, half),
            turned.narrow(3, half, half),
        ),
        RotaryPairs::Neighbours => {
            let all = turned.reshape([samples, positions, heads * half, 2]);
            let part = |at| {
                let part = all.clone().narrow(3, at, 1);
                part.reshape([samples, positions, heads, half])
            };
            (part(0), part(1))
        }
    };
    let new_first = first.clone() * cos.clone() - second.clone() * sin.clone();
    let new_second = second * cos + first * sin;
    let turned = match pairs {
        RotaryPairs::Halves => Tensor::cat(vec![new_first, new_second], 3),
        RotaryPairs::Neighbours => {
            let shape = [samples, positions, heads * half, 1];
            let parts = vec![new_first.reshape(shape), new_second.reshape(shape)];
            Tensor::cat(parts, 3).reshape([samples, positions, heads, 2 * half])
        }
    };
    let all = match rest {
        Some(rest) => Tensor::cat(vec![turned, rest], 3),
        None => turned,
    };
    all.reshape([samples, positions, columns])
}
