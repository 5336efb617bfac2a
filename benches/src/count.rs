//! What a step asks of its device: kernel launches and blocking reads.

use burn_ief::HostReads;
use programs::DeviceKind;

/// Counts of one piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Kernels that were launched; `None` on Flex and NdArray, whose operations are function calls.
    pub launches: Option<usize>,
    /// Reads from the device to the host by burn-ief, each of which waits for the device.
    pub reads: usize,
}

/// Count what `work` asks of a device of this kind. `work` returns when the device is idle.
pub fn count(kind: DeviceKind, work: impl FnOnce()) -> Counts {
    let reads = HostReads::watch();
    let launches = launches::count(work);
    let reads = reads.finish().len();
    match kind {
        DeviceKind::Wgpu | DeviceKind::Cuda => Counts { launches, reads },
        DeviceKind::Flex | DeviceKind::Ndarray => Counts {
            launches: None,
            reads,
        },
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launches {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use cubecl_runtime::logging::{LaunchObservation, LaunchObserver};

    #[derive(Default)]
    struct Launches(AtomicUsize);

    impl LaunchObserver for Launches {
        fn launched(&self, _kernel: &'static str) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Kernels that CubeCL, the runtime of WGPU and CUDA in Burn, launches during `work`.
    pub fn count(work: impl FnOnce()) -> Option<usize> {
        let launches = Arc::new(Launches::default());
        let observation = LaunchObservation::new(launches.clone());
        work();
        drop(observation);
        Some(launches.0.load(Ordering::Relaxed))
    }
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
mod launches {
    pub fn count(work: impl FnOnce()) -> Option<usize> {
        work();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Method, prepare};
    use crate::operations::Operations;
    use crate::settings::{Setting, random_state};
    use programs::optimizer::optimizer;

    #[test]
    fn an_ief_step_reads_twice_and_an_sgd_step_never() {
        let _random = random_state();
        for (method, reads) in [
            (Method::SGD, 0),
            (Method::Optimizer(optimizer("ief")), 2),
            (Method::IefMomentum, 2),
        ] {
            let device = DeviceKind::Flex.device().unwrap();
            let mut step = prepare(Setting::Tiny, method, 4, Operations::Fused, &device);
            step.step();
            let counts = count(DeviceKind::Flex, || step.step());
            let expected = Counts {
                launches: None,
                reads,
            };
            assert_eq!(counts, expected, "{method}");
        }
    }
}
