//! The order in which the weights of a matrix follow one another.

use burn::tensor::Shape;

/// Which weights of a matrix `[a, b]` are neighbours, and so share a block; parameters of other
/// ranks are always row-major.
///
/// ```
/// use burn_ief::woodfisher::{Order, WoodFisherConfig};
///
/// let config = WoodFisherConfig::new(400).with_order(Order::RowMajor);
/// # let _ = config;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Order {
    /// As Burn keeps them. In a linear layer `[in, out]`, the weights of one input; in an
    /// embedding, those of one vector.
    RowMajor,
    /// Down the columns. In a linear layer, the weights that one output sums over, which stand in
    /// for one another: what PyTorch, with `[out, in]`, has as neighbours.
    #[default]
    ColumnMajor,
}

impl Order {
    /// Bring row-major values of a parameter into this order.
    pub(super) fn arrange<T: Copy>(self, values: Vec<T>, shape: &Shape) -> Vec<T> {
        match (self, shape.as_slice()) {
            (Self::ColumnMajor, &[a, b]) => transposed(&values, a, b),
            _ => values,
        }
    }

    /// Bring values back into row-major order.
    pub(super) fn restore<T: Copy>(self, values: Vec<T>, shape: &Shape) -> Vec<T> {
        match (self, shape.as_slice()) {
            (Self::ColumnMajor, &[a, b]) => transposed(&values, b, a),
            _ => values,
        }
    }
}

/// `[a, b]` to `[b, a]`.
fn transposed<T: Copy>(values: &[T], a: usize, b: usize) -> Vec<T> {
    let entries = (0..b).flat_map(|j| (0..a).map(move |i| i * b + j));
    entries.map(|at| values[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_follow_one_another_and_come_back() {
        let shape = Shape::from([2, 3]);
        let values = vec![1, 2, 3, 4, 5, 6];
        let columns = Order::ColumnMajor.arrange(values.clone(), &shape);
        assert_eq!(columns, [1, 4, 2, 5, 3, 6]);
        assert_eq!(Order::ColumnMajor.restore(columns, &shape), values);
        assert_eq!(Order::RowMajor.arrange(values.clone(), &shape), values);
        let cube = Shape::from([1, 2, 3]);
        assert_eq!(Order::ColumnMajor.arrange(values.clone(), &cube), values);
    }
}
