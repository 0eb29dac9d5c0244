//! A CUDA device's identity and settings.

use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::result;
use contract::case::CaseSpec;
use contract::cuda::EventTracking;
use contract::telemetry::Telemetry;
use planner::Bytes;
use uuid::Uuid;

use super::gpu::{Gpu, GpuSource, PoolBytes, Unwatched, Usage, Watch};
use super::look::{Source, methods};
use super::nvml::NvmlGpu;
use crate::memory::ProbeError;
use crate::memory::cuda::Pool;

/// What was on a GPU before this process opened it.
pub struct Before {
    spec: CaseSpec,
    /// Found by its UUID, or why NVML does not show it.
    listed: Result<Listed, String>,
}

struct Listed {
    gpu: NvmlGpu,
    processes: Vec<Usage>,
    used: u64,
}

impl Before {
    /// Looks at the GPU that CUDA calls `ordinal`. Asking its UUID makes no context on it.
    pub(super) fn of(ordinal: u32, spec: &CaseSpec) -> Self {
        let listed =
            gpu(ordinal).map(|gpu| Listed { processes: gpu.processes(), used: gpu.used().unwrap_or(0), gpu });
        Self { spec: spec.clone(), listed }
    }

    /// Sets what the case asks of the opened device and gives its source of looks.
    pub(super) fn source(self, device: &CudaDevice, trace: bool) -> Result<Box<dyn Source>, ProbeError> {
        let pool = Pool::of(device)?;
        if let Some(threshold) = self.spec.release_threshold {
            pool.set_release_threshold(threshold.bytes())?;
        }
        match self.spec.event_tracking {
            // SAFETY: the case computes on this device's one stream, so that there is nothing to order between streams.
            Some(EventTracking::Off) => unsafe { device.disable_event_tracking() },
            // Cudarc's default.
            Some(EventTracking::On) | None => {}
        }
        let settings = Telemetry {
            release_threshold: Some(Bytes(pool.release_threshold()?)),
            event_tracking: Some(device.is_event_tracking()),
            methods: methods([
                ("release_threshold", "CU_MEMPOOL_ATTR_RELEASE_THRESHOLD".to_owned()),
                ("event_tracking", "cudarc's context".to_owned()),
            ]),
            ..Telemetry::default()
        };
        let Listed { gpu, processes, used } = match self.listed {
            Ok(listed) => listed,
            Err(why) => return Ok(Box::new(Unwatched::new(settings, &why))),
        };
        let watch = Watch::choose(std::process::id(), &processes, used, &gpu.processes());
        let allocated: Option<PoolBytes> = trace.then(|| Box::new(move || pool.used().ok()) as _);
        Ok(Box::new(GpuSource::new(gpu, watch, settings, allocated)))
    }
}

/// The GPU that CUDA calls `ordinal`, as NVML shows it.
fn gpu(ordinal: u32) -> Result<NvmlGpu, String> {
    let uuid = uuid_of(ordinal).map_err(|e| format!("CUDA names no device {ordinal}: {e}"))?;
    // CUDA gives a slice its own UUID, without saying that it is one.
    NvmlGpu::by_uuid(&format!("GPU-{uuid}"))
        .or_else(|why| NvmlGpu::by_uuid(&format!("MIG-{uuid}")).map_err(|_| why))
}

fn uuid_of(ordinal: u32) -> Result<Uuid, Box<dyn std::error::Error>> {
    result::init()?;
    let device = result::device::get(i32::try_from(ordinal)?)?;
    Ok(Uuid::from_bytes(result::device::get_uuid(device)?.bytes.map(i8::cast_unsigned)))
}
