//! Freeing the autodiff graph of a recording that ends without a backward pass.
//!
//! Burn keeps the nodes of its autodiff graph, and the activations in them, until a backward pass
//! runs through the graph. Dropping the tensors does not free them. A tape that is dropped early
//! therefore runs a very small backward pass: from one entry of each of its leaves.

use burn::tensor::{DType, Tensor};

/// The leaves of a recording.
#[derive(Default)]
pub(super) struct Leaves {
    /// Each makes a tensor of one entry that depends on its leaf.
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

    /// Forget the leaves, because a backward pass has freed the graph.
    pub fn clear(&mut self) {
        self.nodes.clear();
    }

    /// Free the graph. Nodes that tensors still refer to (a loss that outlives the tape) stay usable;
    /// later backward passes free them.
    pub fn free_graph(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        // Without a loss, the leaves may belong to separate graphs. The sum joins them.
        let node = nodes.iter().map(|node| node()).reduce(|a, b| a + b);
        drop(nodes);
        if let Some(node) = node {
            drop(node.backward());
        }
    }
}
