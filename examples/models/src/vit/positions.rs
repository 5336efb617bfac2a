//! Position embeddings for images of another size.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// PyTorch's bicubic convolution coefficient.
const A: f64 = -0.75;

/// The matrix that resizes a grid of positions, `[new, old]`, both by rows.
///
/// Bicubic as `torch.nn.functional.interpolate` with `align_corners=False`. A matrix, because a
/// product is as exact as its type on every backend, and differentiable.
pub(super) fn resizing(
    from: [usize; 2],
    to: [usize; 2],
    (device, dtype): (&Device, DType),
) -> Tensor<2> {
    let [height, width] = [0, 1].map(|axis| weights(from[axis], to[axis]));
    let values: Vec<f64> = height
        .iter()
        .flat_map(|row| width.iter().map(move |column| (row, column)))
        .flat_map(|(row, column)| {
            row.iter()
                .flat_map(move |a| column.iter().map(move |b| a * b))
        })
        .collect();
    let shape = [to[0] * to[1], from[0] * from[1]];
    Tensor::from_data(TensorData::new(values, shape), (device, dtype))
}

/// For each of `to` points its weights of `from` points.
fn weights(from: usize, to: usize) -> Vec<Vec<f64>> {
    let step = from as f64 / to as f64;
    let point = |i: usize| {
        let at = (i as f64 + 0.5) * step - 0.5;
        let floor = at.floor();
        let t = at - floor;
        let taps = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        let mut row = vec![0.0; from];
        for (tap, weight) in taps.into_iter().enumerate() {
            // Points outside repeat the border.
            let index = (floor + tap as f64 - 1.0).clamp(0.0, from as f64 - 1.0);
            row[index as usize] += weight;
        }
        row
    };
    (0..to).map(point).collect()
}

/// Weight of a point at a distance of at most 1.
fn near(x: f64) -> f64 {
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

/// Weight of a point at a distance of 1 to 2.
fn far(x: f64) -> f64 {
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        assert!(found.iter().zip(expected).all(near), "{found:?}");
    }

    #[test]
    fn the_same_size_is_the_identity() {
        let device = Device::flex();
        let matrix = resizing([2, 3], [2, 3], (&device, DType::F32));
        let values = matrix.into_data().try_to_vec::<f32>().unwrap();
        let identity = (0..36).map(|i| f32::from(u8::from(i % 7 == 0)));
        assert_eq!(values, identity.collect::<Vec<_>>());
    }

    #[test]
    fn halving_weighs_four_points() {
        // Between two points: (9 + 1) / 16 · … with A = −0.75.
        let [outer, inner] = [-0.093_75, 0.593_75];
        close(&weights(4, 2)[0], &[outer + inner, inner, outer, 0.0]);
        close(&weights(4, 2)[1], &[0.0, outer, inner, outer + inner]);
    }

    #[test]
    fn weights_add_up_to_one() {
        for (from, to) in [(4, 7), (37, 7), (14, 24), (1, 5), (5, 1)] {
            for row in weights(from, to) {
                close(&[row.iter().sum()], &[1.0]);
            }
        }
    }
}
