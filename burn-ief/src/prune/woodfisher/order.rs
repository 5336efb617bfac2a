//! The order in which the weights of a matrix are cut into blocks.

use burn::tensor::Shape;

/// Which weights of a matrix `[a, b]` are neighbours and share a block. Parameters of other ranks
/// are always cut in row-major order.
///
/// ```
/// use burn_ief::prune::{BlockOrder, WoodFisherConfig};
///
/// assert_eq!(WoodFisherConfig::new(400).order, BlockOrder::ColumnMajor);
/// let by_rows = WoodFisherConfig::new(400).with_order(BlockOrder::RowMajor);
/// assert_eq!(by_rows.order, BlockOrder::RowMajor);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockOrder {
    /// As Burn stores them: for a linear layer `[in, out]` a block holds weights of one input, for
    /// an embedding it holds entries of one vector.
    RowMajor,
    /// Down the columns: for a linear layer `[in, out]` a block holds weights that one output sums
    /// over and that can replace one another. PyTorch, which stores `[out, in]`, has the same
    /// neighbours.
    #[default]
    ColumnMajor,
}

impl BlockOrder {
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
        let columns = BlockOrder::ColumnMajor.arrange(values.clone(), &shape);
        assert_eq!(columns, [1, 4, 2, 5, 3, 6]);
        assert_eq!(BlockOrder::ColumnMajor.restore(columns, &shape), values);
        assert_eq!(BlockOrder::RowMajor.arrange(values.clone(), &shape), values);
        let cube = Shape::from([1, 2, 3]);
        assert_eq!(
            BlockOrder::ColumnMajor.arrange(values.clone(), &cube),
            values
        );
    }
}
