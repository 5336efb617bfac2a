//! Heads of numbers in the units of the data, and in those in which they are learned.

use burn::nn::Linear;

use crate::data::NumberScale;

/// A head that gives numbers of the data, from one that gives them in the scale in which they are learned.
pub(super) fn data_units(head: Linear, scale: NumberScale) -> Linear {
    let (mean, deviation) = scale.parts();
    rescaled(head, deviation, mean)
}

/// The inverse of [`data_units`].
pub(super) fn learned_units(head: Linear, scale: NumberScale) -> Linear {
    let (mean, deviation) = scale.parts();
    rescaled(head, 1.0 / deviation, -mean / deviation)
}

/// A layer whose outputs are those of another times a factor, plus an offset.
fn rescaled(layer: Linear, factor: f64, offset: f64) -> Linear {
    if (factor, offset) == (1.0, 0.0) {
        return layer;
    }
    Linear {
        weight: layer.weight.map(|weight| weight * factor),
        bias: layer
            .bias
            .map(|bias| bias.map(|bias| bias * factor + offset)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::head;
    use super::*;
    use burn::tensor::{Device, Tensor};

    #[test]
    fn heads_give_numbers_of_the_data_where_they_are_written() {
        let device = Device::flex();
        let scale = NumberScale::of([100.0, 300.0].into_iter()).unwrap();
        let head = head::new(3, 1, &device);
        let x = Tensor::<2>::from_data([[1.0, -2.0, 0.5]], &device);
        let number = |head: &Linear| -> f32 { head.forward(x.clone()).into_scalar() };
        let learned = number(&head);
        let written = data_units(head, scale);
        assert!((f64::from(number(&written)) - scale.undo(learned.into())).abs() < 1e-4);
        assert!((number(&learned_units(written, scale)) - learned).abs() < 1e-5);
    }
}
