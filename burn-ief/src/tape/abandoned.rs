//! Freeing what a recording without a backward pass leaves behind.
//!
//! Burn keeps the nodes of its autodiff graph, with the activations that they hold, until a
//! backward pass runs through the same graph; dropping the tensors does not free them. So a tape
//! that is dropped early runs the smallest one there is: from one entry of each of its leaves.

use std::cell::RefCell;

use burn::tensor::{DType, Tensor};

thread_local! {
    /// Nodes of abandoned graphs whose loss may have outlived the tape.
    static LATER: RefCell<Vec<Tensor<1>>> = const { RefCell::new(Vec::new()) };
}

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

    /// Free the graph, apart from what tensors still refer to; that is freed when the next
    /// recording starts, if they are gone by then.
    pub fn abandon(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        // The sum joins graphs that the loss had not joined yet.
        let node = || nodes.iter().map(|node| node()).reduce(|a, b| a + b);
        let (Some(now), Some(later)) = (node(), node()) else {
            return;
        };
        drop(nodes);
        drop(now.backward());
        LATER.with_borrow_mut(|all| all.push(later));
    }
}

/// Free what the loss of an abandoned recording kept alive.
pub(super) fn settle() {
    let nodes = LATER.take();
    for node in nodes {
        drop(node.backward());
    }
}
