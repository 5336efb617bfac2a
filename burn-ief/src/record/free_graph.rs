//! Freeing what a recording without a backward pass leaves behind.
//!
//! Burn keeps the nodes of its autodiff graph, with the activations that they hold, until a
//! backward pass runs through the same graph; dropping the tensors does not free them. So a tape
//! that is dropped early runs the smallest one there is: from one entry of each of its leaves.

use burn::tensor::{DType, Tensor};

/// The leaves of a recording.
#[derive(Default)]
pub(super) struct Leaves {
    /// Each makes a node of one entry below its leaf.
    nodes: Vec<Box<dyn Fn() -> Tensor<1>>>,
}

impl Leaves {
    pub fn push<const D: usize>(&mut self, leaf: Tensor<D>) {
        if leaf.shape().num_elements() > 0 {
            self.nodes.push(Box::new(move || {
                let entry = leaf.clone().slice([const { 0..1 }; D]);
                entry.reshape([1]).cast(DType::F32)
            }));
        }
    }

    /// Forget the leaves: a backward pass ran.
    pub fn clear(&mut self) {
        self.nodes.clear();
    }

    /// Free the graph. What tensors still refer to (a loss that outlives the tape) stays usable,
    /// and goes with later backward passes.
    pub fn abandon(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        // The sum joins graphs that the loss had not joined yet.
        let node = nodes.iter().map(|node| node()).reduce(|a, b| a + b);
        drop(nodes);
        if let Some(node) = node {
            drop(node.backward());
        }
    }
}
