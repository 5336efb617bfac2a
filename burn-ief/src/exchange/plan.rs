//! Which device gets the rows of which layer.

use burn::module::ParamId;

use crate::jacobian::LayerRows;

/// Multiplications that take about as long as sending a byte: a device of 10 TFLOP/s and a link of
/// 10 GB/s. Only the balance between large and small layers depends on it.
const WORK_PER_BYTE: f64 = 1e3;

/// For every layer, the number of its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan(Vec<usize>);

impl Plan {
    /// All layers on the first device.
    pub fn on_first(layers: &[LayerRows]) -> Self {
        Self(vec![0; layers.len()])
    }

    /// Layers shared out to devices so that none has much more to do than the others: the costliest first,
    /// each to the device with the least to do so far.
    pub fn new(layers: &[LayerRows], devices: usize) -> Self {
        let costs = layers.iter().map(|layer| {
            let costs = layer.costs.iter();
            costs
                .map(|cost| cost.work.max(cost.bytes as f64 * WORK_PER_BYTE))
                .sum()
        });
        let costs: Vec<f64> = costs.collect();
        let mut order: Vec<usize> = (0..costs.len()).collect();
        // The sort is stable, so the plan depends on the costs alone.
        order.sort_by(|&a, &b| costs[b].total_cmp(&costs[a]));
        let mut loads = vec![0.0; devices];
        let mut places = vec![0; costs.len()];
        for layer in order {
            let least = (0..devices).min_by(|&a, &b| f64::total_cmp(&loads[a], &loads[b]));
            let least = least.expect("at least one device");
            places[layer] = least;
            loads[least] += costs[layer];
        }
        Self(places)
    }

    /// The device of every parameter.
    pub fn places<'a>(
        &'a self,
        layers: &'a [LayerRows],
    ) -> impl Iterator<Item = (ParamId, usize)> + 'a {
        let layers = layers.iter().zip(&self.0);
        layers.flat_map(|(layer, &place)| layer.params.iter().map(move |&id| (id, place)))
    }

    /// Bytes of rows that are sent: those of each layer that are not on its device yet.
    #[cfg(test)]
    pub fn bytes(&self, layers: &[LayerRows]) -> usize {
        let layers = layers.iter().zip(&self.0);
        layers
            .map(|(layer, &place)| {
                let others = layer.costs.iter().enumerate();
                let others = others.filter(|(device, _)| *device != place);
                others.map(|(_, cost)| cost.bytes).sum::<usize>()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::RowCost;

    fn layer(work: f64, devices: usize) -> LayerRows {
        LayerRows {
            params: vec![ParamId::new()],
            costs: vec![RowCost { bytes: 4, work }; devices],
        }
    }

    proptest! {
        #[test]
        fn no_device_has_more_than_its_share_and_one_layer(
            work in prop::collection::vec(1e4..1e9f64, 0..20), devices in 1..9usize,
        ) {
            let layers: Vec<_> = work.iter().map(|&work| layer(work, devices)).collect();
            let plan = Plan::new(&layers, devices);
            prop_assert_eq!(&plan, &Plan::new(&layers, devices));
            let mut loads = vec![0.0; devices];
            for (&place, work) in plan.0.iter().zip(&work) {
                loads[place] += work;
            }
            let largest = work.iter().copied().fold(0.0, f64::max);
            let share = work.iter().sum::<f64>() / devices as f64;
            prop_assert!(loads.iter().all(|&load| load <= (share + largest) * (1.0 + 1e-12)));
            let all = layers.len() * 4 * (devices - 1);
            prop_assert_eq!(plan.bytes(&layers), all);
        }
    }
}
