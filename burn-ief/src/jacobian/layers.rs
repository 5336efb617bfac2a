//! The layers of a Jacobian: what they take, and how several devices share them out.

use std::collections::HashMap;

use burn::module::ParamId;
use burn::tensor::Device;

use super::{Block, Jacobian, Part};
use crate::error::Error;
use crate::host::on_device;
use crate::rows::RowCost;

/// The rows of one layer, of all samples: the parameters that some recording put into one block.
#[derive(Debug, Clone)]
pub(crate) struct LayerRows {
    /// Its parameters.
    pub params: Vec<ParamId>,
    /// What its rows cost on each device that has some, in the order of [`Jacobian::devices`].
    pub costs: Vec<RowCost>,
}

impl Jacobian {
    /// The devices of the rows, in the order of the first rows of each.
    pub(crate) fn devices(&self) -> Vec<Device> {
        let mut devices: Vec<Device> = Vec::new();
        for part in &self.parts {
            if !devices.contains(&part.device) {
                devices.push(part.device.clone());
            }
        }
        devices
    }

    /// All layers in use, in the order of their first rows.
    pub(crate) fn layers(&self) -> Vec<LayerRows> {
        let devices = self.devices();
        let rows = self.samples();
        let mut layers: Vec<LayerRows> = Vec::new();
        for part in &self.parts {
            let device = devices.iter().position(|device| *device == part.device);
            let device = device.expect("a device of the parts");
            for block in &part.blocks {
                let ids = std::iter::once(block.parameter).chain(block.bias);
                let ids: Vec<ParamId> = ids.collect();
                // A weight with a bias joins what other recordings had apart.
                let (mut same, others): (Vec<_>, Vec<_>) = layers
                    .into_iter()
                    .partition(|layer| layer.params.iter().any(|id| ids.contains(id)));
                layers = others;
                let mut layer = if same.is_empty() {
                    LayerRows {
                        params: Vec::new(),
                        costs: vec![RowCost::default(); devices.len()],
                    }
                } else {
                    same.remove(0)
                };
                for other in same {
                    layer.params.extend(other.params);
                    let costs = layer.costs.iter_mut().zip(other.costs);
                    costs.for_each(|(own, other)| own.add(other));
                }
                let new = ids.into_iter().filter(|id| !layer.params.contains(id));
                let new: Vec<ParamId> = new.collect();
                layer.params.extend(new);
                for rows_of_use in &block.uses {
                    layer.costs[device].add(rows_of_use.cost(rows));
                }
                layers.push(layer);
            }
        }
        layers
    }

    /// The same rows with each parameter's on the device that it is given; `half` sends them in half
    /// precision.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if a device is lost.
    pub(crate) fn shared_out(
        mut self,
        places: &HashMap<ParamId, Device>,
        half: bool,
    ) -> Result<Self, Error> {
        let mut parts = Vec::new();
        for part in std::mem::take(&mut self.parts) {
            let empty = Part {
                blocks: Vec::new(),
                ..part.clone()
            };
            let mut shares: Vec<Part> = Vec::new();
            for block in part.blocks {
                let place = places.get(&block.parameter).unwrap_or(&part.device);
                let uses = block.uses.iter();
                let splits =
                    *place != part.device && uses.clone().any(|rows| rows.is_split_to_send());
                let blocks = if splits { block.split() } else { vec![block] };
                let blocks = blocks.into_iter().map(|block| block.sent_to(place, half));
                let blocks: Vec<Block> = on_device(&part.device, || blocks.collect())?;
                match shares.iter_mut().find(|share| share.device == *place) {
                    Some(share) => share.blocks.extend(blocks),
                    None => shares.push(Part {
                        blocks,
                        device: place.clone(),
                        ..empty.clone()
                    }),
                }
            }
            // A shard without rows still counts its samples.
            if shares.is_empty() {
                shares.push(empty);
            }
            parts.extend(shares);
        }
        self.parts = parts;
        Ok(self)
    }
}
