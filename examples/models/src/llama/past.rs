//! Keys and values of earlier positions.

use burn::tensor::Tensor;

/// Positions that are made room for at least when a buffer grows.
const ROOM: usize = 64;

/// Rotated keys and values of earlier positions, `[M, U, key_value_heads * width]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    keys: Buffer,
    values: Buffer,
    /// Keys and values of a prefix, before it is extended for the first time.
    prefix: Option<[Tensor<3>; 2]>,
}

impl Past {
    /// Nothing but these keys and values, `[M, V, key_value_heads * width]`.
    pub(super) fn of_prefix(keys: Tensor<3>, values: Tensor<3>) -> Self {
        Self {
            prefix: Some([keys, values]),
            ..Self::default()
        }
    }

    /// Append positions and return all of them.
    pub(super) fn extended(
        &mut self,
        keys: Tensor<3>,
        values: Tensor<3>,
    ) -> (Tensor<3>, Tensor<3>) {
        let (keys, values) = match self.prefix.take() {
            Some([first, second]) => (
                Tensor::cat(vec![first, keys], 1),
                Tensor::cat(vec![second, values], 1),
            ),
            None => (keys, values),
        };
        (self.keys.append(keys), self.values.append(values))
    }
}

/// A tensor with room behind its positions. Appending writes into the room, so that the steps of a
/// long answer do not copy all earlier positions each time.
#[derive(Debug, Clone, Default)]
struct Buffer {
    /// `[M, capacity, width]`.
    tensor: Option<Tensor<3>>,
    /// Positions that are filled.
    length: usize,
}

impl Buffer {
    /// Append positions and return a view of all of them.
    fn append(&mut self, new: Tensor<3>) -> Tensor<3> {
        let [rows, added, width] = new.dims();
        let (start, length) = (self.length, self.length + added);
        let tensor = match self.tensor.take() {
            // A single pass over a text needs no room.
            None => new,
            Some(tensor) => {
                let [_, capacity, _] = tensor.dims();
                let tensor = if length > capacity {
                    // By half: the copies of an answer of N tokens are at most 3 N positions.
                    let room = added + (start / 2).max(ROOM);
                    let room = Tensor::zeros([rows, room, width], (&new.device(), new.dtype()));
                    Tensor::cat(vec![tensor.narrow(1, 0, start), room], 1)
                } else {
                    tensor
                };
                // Nobody else holds the tensor now, so that it is written in place.
                tensor.slice_assign([0..rows, start..length, 0..width], new)
            }
        };
        let all = tensor.clone().narrow(1, 0, length);
        self.tensor = Some(tensor);
        self.length = length;
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device, Distribution};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_buffer_holds_what_was_appended(
            rows in 1usize..4,
            pieces in prop::collection::vec(1usize..90, 1..8),
            double in any::<bool>(),
        ) {
            let dtype = if double { DType::F64 } else { DType::F32 };
            let device = Device::flex();
            let mut buffer = Buffer::default();
            let mut all: Vec<Tensor<3>> = Vec::new();
            for piece in pieces {
                let new = Tensor::<3>::random([rows, piece, 3], Distribution::Default, &device);
                let new = new.cast(dtype);
                all.push(new.clone());
                let found = buffer.append(new);
                let expected = Tensor::cat(all.clone(), 1);
                prop_assert_eq!(found.dtype(), dtype);
                prop_assert_eq!(found.into_data(), expected.into_data());
            }
        }
    }

    #[test]
    fn steps_write_in_place_and_views_stay_as_they_were() {
        let device = Device::flex();
        let row = |value: f32| Tensor::<3>::full([1, 1, 2], value, &device);
        let mut buffer = Buffer::default();
        let mut views = Vec::new();
        for step in 0..300 {
            views.push(buffer.append(row(step as f32)));
        }
        // 1, then room for 64, then by half of what is there: 66, 131, 197, 296, 445.
        assert_eq!(buffer.tensor.as_ref().unwrap().dims(), [1, 445, 2]);
        for (step, view) in views.into_iter().enumerate() {
            assert_eq!(view.dims(), [1, step + 1, 2]);
            let sum = view.sum().into_scalar::<f32>();
            assert_eq!(sum, (step * (step + 1)) as f32);
        }
    }
}
