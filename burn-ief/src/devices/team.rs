//! Replicas of one model, each with a thread of its own.

use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::tree::sends;
use super::worker::Worker;
use crate::error::Error;
use crate::host::{device_name, is_remote, on_device};
use crate::moves::moved;
use crate::params::{self, ParamInfo, find_mismatch};

/// Replicas of one model, each with a thread of its own.
pub(crate) struct Team<M> {
    workers: Vec<Worker<M>>,
    /// The trained parameters.
    params: Vec<ParamInfo>,
}

impl<M: Module + 'static> Team<M> {
    /// A replica of `model` on each device.
    pub fn new(model: &M, devices: &[Device]) -> Result<Self, Error> {
        if devices.is_empty() {
            return Err(Error::config("devices", 0, "at least one device"));
        }
        let workers = devices.iter().map(|device| {
            let replica = on_device(device, || model.clone().fork(device))?;
            Ok(Worker::start(device.clone(), replica))
        });
        Ok(Self {
            workers: workers.collect::<Result<_, Error>>()?,
            params: params::trainable(model),
        })
    }

    pub fn devices(&self) -> impl ExactSizeIterator<Item = &Device> {
        self.workers.iter().map(Worker::device)
    }

    /// Run work on some devices at the same time, each with the replica of its device.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] for the first that fails, or misses the deadline.
    pub fn run<T, W>(
        &mut self,
        work: Vec<(usize, W)>,
        deadline: Option<Duration>,
    ) -> Result<Vec<T>, Error>
    where
        T: Send + 'static,
        W: FnOnce(&mut M) -> Result<T, Error> + Send + 'static,
    {
        let start = Instant::now();
        let work = work.into_iter();
        let pending = work.map(|(number, work)| (number, self.workers[number].run(work)));
        let pending: Vec<_> = pending.collect();
        // All answers are waited for, so that no worker is still at this step when the next one begins.
        let answers = pending.into_iter().map(|(shard, answer)| {
            let worker = &mut self.workers[shard];
            worker
                .wait(answer, start, deadline)
                .map_err(|error| Error::Shard {
                    shard,
                    device: device_name(worker.device()),
                    source: Box::new(error),
                })
        });
        let answers: Vec<_> = answers.collect();
        answers.into_iter().collect()
    }

    /// Send the trained parameters of `model` to all replicas.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignState`] for another model; [`Error::Device`] if a device fails.
    pub fn update(&self, model: &M) -> Result<(), Error> {
        let (params, values) = params::values(model);
        if let Some((expected, found)) = find_mismatch(&self.params, &params) {
            return Err(Error::ForeignState {
                state: "set of replicas",
                expected,
                found,
            });
        }
        let values = self.spread(values)?;
        for worker in &self.workers {
            let device = worker.device().clone().inner();
            let own = values.iter().find(|(known, _)| *known == device);
            let (_, values) = own.expect("each device of a worker has the values").clone();
            let params = params.clone();
            // The next part waits for this: a worker does one thing after the other.
            worker.run(move |replica: &mut M| {
                *replica = params::rewrite(replica.clone(), &params, |k, _| values[k].clone());
                Ok(())
            });
        }
        Ok(())
    }

    /// Values on the devices of all workers, and where they come from. Each device that has them sends them on.
    fn spread(&self, values: Vec<Tensor<1>>) -> Result<Vec<(Device, Vec<Tensor<1>>)>, Error> {
        let first = values.first().map(Tensor::device);
        let first = first.unwrap_or_else(|| self.workers[0].device().clone().inner());
        let mut others: Vec<Device> = Vec::new();
        for worker in &self.workers {
            let device = worker.device().clone().inner();
            if device != first && !others.contains(&device) {
                others.push(device);
            }
        }
        // A local device takes nothing from a remote one, which would have to be waited for.
        others.sort_by_key(is_remote);
        let sends = sends(others.len() + 1);
        let mut there = vec![(first, values)];
        for ((from, _), device) in sends.into_iter().zip(others) {
            let (_, values) = &there[from];
            let sent = on_device(&device, || {
                let values = values.iter();
                values.map(|value| moved(value.clone(), &device)).collect()
            })?;
            there.push((device, sent));
        }
        Ok(there)
    }
}
