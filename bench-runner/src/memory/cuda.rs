//! A CUDA device's memory: the pool's high marks, the process's bytes by NVML, the device's by the driver.
//!
//! Candle allocates from the device's default pool with `cuMemAllocAsync` (cudarc `CudaStream::alloc`), so the pool's
//! attributes hold exactly what tensors took. What the process holds beside the pool is the context, modules and
//! cuBLAS's workspaces.

use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{DriverError, result, sys};
use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use planner::Bytes;

use super::resident::Sampler;
use super::{Probe, ProbeError, Reading};

/// Reads the default pool of one device.
pub struct CudaProbe {
    device: CudaDevice,
    pool: sys::CUmemoryPool,
    process: Option<Sampler>,
}

impl CudaProbe {
    /// The probe of `device`.
    ///
    /// # Errors
    /// Where the device has no memory pool (a driver before CUDA 11.2), or the driver refuses.
    pub fn new(device: &CudaDevice) -> Result<Self, ProbeError> {
        let stream = device.cuda_stream();
        let context = stream.context();
        // SAFETY: the handle comes from a live context.
        let pool = unsafe { result::device::get_mem_pool(context.cu_device()) }
            .map_err(|source| ProbeError::Driver { call: "cuDeviceGetMemPool", source })?;
        let pci = pci_bus_id(context.cu_device())?;
        let process = process_sampler(pci);
        Ok(Self { device: device.clone(), pool, process })
    }

    fn attribute(&self, attribute: sys::CUmemPool_attribute) -> Result<u64, ProbeError> {
        let mut value = 0u64;
        // SAFETY: the pool is the device's default one, and every attribute read here is a cuuint64_t.
        unsafe { result::mem_pool::get_attribute(self.pool, attribute, (&raw mut value).cast()) }
            .map_err(|source| ProbeError::Driver { call: "cuMemPoolGetAttribute", source })?;
        Ok(value)
    }

    fn reset(&self, attribute: sys::CUmemPool_attribute) -> Result<(), ProbeError> {
        let mut zero = 0u64;
        // SAFETY: as above; zero is the only value that the driver admits for a high mark.
        unsafe { result::mem_pool::set_attribute(self.pool, attribute, (&raw mut zero).cast()) }
            .map_err(|source| ProbeError::Driver { call: "cuMemPoolSetAttribute", source })
    }

    fn synchronize(&self) -> Result<(), ProbeError> {
        self.device
            .cuda_stream()
            .synchronize()
            .map_err(|source: DriverError| ProbeError::Driver { call: "cuStreamSynchronize", source })
    }
}

impl Probe for CudaProbe {
    fn begin(&mut self) -> Result<(), ProbeError> {
        use sys::CUmemPool_attribute::{CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, CU_MEMPOOL_ATTR_USED_MEM_HIGH};
        self.synchronize()?;
        self.reset(CU_MEMPOOL_ATTR_USED_MEM_HIGH)?;
        self.reset(CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?;
        if let Some(sampler) = &self.process {
            sampler.reset();
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        use sys::CUmemPool_attribute::{
            CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH,
            CU_MEMPOOL_ATTR_USED_MEM_CURRENT, CU_MEMPOOL_ATTR_USED_MEM_HIGH,
        };
        // Read before anything synchronises: that gives unused memory of the pool back.
        let reserved = self.attribute(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let reserved_high = self.attribute(CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?;
        self.synchronize()?;
        let used = self.attribute(CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        let used_high = self.attribute(CU_MEMPOOL_ATTR_USED_MEM_HIGH)?;
        let (free, total) = self
            .device
            .cuda_stream()
            .context()
            .mem_get_info()
            .map_err(|source| ProbeError::Driver { call: "cuMemGetInfo", source })?;
        Ok(Reading {
            peak_allocated: Bytes(used_high.max(used)),
            live: Bytes(used),
            peak_reserved: Some(Bytes(reserved_high.max(reserved))),
            process: self.process.as_ref().and_then(Sampler::highest).map(Bytes),
            device: Some(Bytes((total - free) as u64)),
        })
    }

    fn allocated_method(&self) -> String {
        "CU_MEMPOOL_ATTR_USED_MEM_HIGH, reset by phase".to_owned()
    }

    fn process_method(&self) -> String {
        match &self.process {
            Some(_) => format!("NVML, this process, every {} ms", Sampler::PERIOD.as_millis()),
            None => "not available: NVML does not list this process on the device".to_owned(),
        }
    }
}

/// Makes a pool of at most `bytes` the one that `device` allocates from. The driver may round up to whole chunks of the pool.
///
/// # Errors
/// Where the driver has no pools of a limited size (before CUDA 12.2), or refuses.
pub fn limit_pool(device: &CudaDevice, bytes: Bytes) -> Result<(), ProbeError> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let ordinal = i32::try_from(context.ordinal()).unwrap_or(i32::MAX);
    let failed = |call| move |source| ProbeError::Driver { call, source };
    // SAFETY: both structures are C's, of integers, pointers and enums that have a zero.
    let (mut properties, mut location) =
        unsafe { (std::mem::zeroed::<sys::CUmemPoolProps>(), std::mem::zeroed::<sys::CUmemLocation>()) };
    location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    // The second word is the device's number in every version of CUDA; the binding calls it `id` or puts it in a union.
    // SAFETY: the structure is two words of the size of an int.
    unsafe { (&raw mut location).cast::<std::ffi::c_int>().add(1).write(ordinal) };
    properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = location;
    properties.maxSize = usize::try_from(bytes.0).unwrap_or(usize::MAX);
    // SAFETY: the properties outlive the call, which copies them; the pool is never destroyed, so that it stays valid for
    // the device as long as this process lives.
    unsafe {
        let pool = result::mem_pool::create(&raw const properties).map_err(failed("cuMemPoolCreate"))?;
        result::device::set_mem_pool(context.cu_device(), pool).map_err(failed("cuDeviceSetMemPool"))
    }
}

/// `domain:bus:device.function` of a device, as NVML spells it.
fn pci_bus_id(device: sys::CUdevice) -> Result<String, ProbeError> {
    let mut text = [0u8; 32];
    // SAFETY: the buffer is longer than the 13 characters that the driver writes, and its length is given.
    unsafe { sys::cuDeviceGetPCIBusId(text.as_mut_ptr().cast(), 32, device) }
        .result()
        .map_err(|source| ProbeError::Driver { call: "cuDeviceGetPCIBusId", source })?;
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    Ok(String::from_utf8_lossy(&text[..end]).into_owned())
}

/// Watches this process's bytes on the device. None where NVML is missing or, in a container of its own PID namespace,
/// names processes by the host's ids.
fn process_sampler(pci: String) -> Option<Sampler> {
    let nvml = Nvml::init().ok()?;
    let pid = std::process::id();
    let figure = move || {
        let device = nvml.device_by_pci_bus_id(pci.as_str()).ok()?;
        device.running_compute_processes().ok()?.into_iter().find(|p| p.pid == pid).and_then(|p| {
            match p.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            }
        })
    };
    figure()?;
    Some(Sampler::start(figure))
}
