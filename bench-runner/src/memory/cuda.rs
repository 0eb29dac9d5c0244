//! A CUDA device's memory: the pool's high marks and the device's bytes, by the driver.
//!
//! Candle allocates from the device's default pool with `cuMemAllocAsync` (cudarc `CudaStream::alloc`), so the pool's
//! attributes hold exactly what tensors took. What the process holds beside the pool is the context, modules and
//! cuBLAS's workspaces.

use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute as Attribute;
use candle_core::cuda_backend::cudarc::driver::{DriverError, result, sys};
use contract::measurement::Phase;
use planner::Bytes;

use super::{Probe, ProbeError, Reading};

/// The default memory pool of a device.
#[derive(Debug, Clone, Copy)]
pub struct Pool(sys::CUmemoryPool);

// SAFETY: a pool's attributes may be read and set from any thread (CUDA driver API, "Stream Ordered Memory Allocator"), and
// the default pool lives as long as its device.
unsafe impl Send for Pool {}

impl Pool {
    /// Of `device`.
    ///
    /// # Errors
    /// Where the device has no memory pool (a driver before CUDA 11.2), or the driver refuses.
    pub fn of(device: &CudaDevice) -> Result<Self, ProbeError> {
        let stream = device.cuda_stream();
        // SAFETY: the handle comes from a live context.
        unsafe { result::device::get_mem_pool(stream.context().cu_device()) }
            .map(Self)
            .map_err(|source| ProbeError::Driver { call: "cuDeviceGetMemPool", source })
    }

    fn get(self, attribute: Attribute) -> Result<u64, ProbeError> {
        let mut value = 0u64;
        // SAFETY: the pool is the device's default one, and every attribute read here is a cuuint64_t.
        unsafe { result::mem_pool::get_attribute(self.0, attribute, (&raw mut value).cast()) }
            .map_err(|source| ProbeError::Driver { call: "cuMemPoolGetAttribute", source })?;
        Ok(value)
    }

    fn set(self, attribute: Attribute, mut value: u64) -> Result<(), ProbeError> {
        // SAFETY: as above; the caller gives a value that the driver admits for the attribute.
        unsafe { result::mem_pool::set_attribute(self.0, attribute, (&raw mut value).cast()) }
            .map_err(|source| ProbeError::Driver { call: "cuMemPoolSetAttribute", source })
    }

    /// Bytes in use now.
    ///
    /// # Errors
    /// Where the driver refuses.
    pub fn used(self) -> Result<u64, ProbeError> {
        self.get(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
    }

    /// Unused bytes that it keeps.
    ///
    /// # Errors
    /// Where the driver refuses.
    pub fn release_threshold(self) -> Result<u64, ProbeError> {
        self.get(Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
    }

    /// From now on it keeps that many unused bytes.
    ///
    /// # Errors
    /// Where the driver refuses.
    pub fn set_release_threshold(self, bytes: u64) -> Result<(), ProbeError> {
        self.set(Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, bytes)
    }
}

/// Reads the default pool of one device.
pub struct CudaProbe {
    device: CudaDevice,
    pool: Pool,
}

impl CudaProbe {
    /// The probe of `device`.
    ///
    /// # Errors
    /// As [`Pool::of`].
    pub fn new(device: &CudaDevice) -> Result<Self, ProbeError> {
        Ok(Self { device: device.clone(), pool: Pool::of(device)? })
    }

    fn synchronize(&self) -> Result<(), ProbeError> {
        self.device
            .cuda_stream()
            .synchronize()
            .map_err(|source: DriverError| ProbeError::Driver { call: "cuStreamSynchronize", source })
    }
}

impl Probe for CudaProbe {
    fn begin(&mut self, _: Phase) -> Result<(), ProbeError> {
        self.synchronize()?;
        // Zero is the only value that the driver admits for a high mark: it begins at what is there now.
        self.pool.set(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)?;
        self.pool.set(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, 0)
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        // Read before anything synchronises: that gives unused memory of the pool back.
        let reserved = self.pool.get(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let reserved_high = self.pool.get(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?;
        self.synchronize()?;
        let used = self.pool.used()?;
        let used_high = self.pool.get(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?;
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
            process: None,
            device: Some(Bytes((total - free) as u64)),
        })
    }

    fn allocated_method(&self) -> String {
        "CU_MEMPOOL_ATTR_USED_MEM_HIGH, reset by phase".to_owned()
    }

    /// The driver keeps none: the looks beside it do.
    fn process_method(&self) -> Option<String> {
        None
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

/// Makes the device's default pool the one that it allocates from again; what is in another stays there.
///
/// # Errors
/// Where the driver refuses.
pub fn default_pool(device: &CudaDevice) -> Result<(), ProbeError> {
    let stream = device.cuda_stream();
    let cuda = stream.context().cu_device();
    // SAFETY: the handle comes from a live context, the pool is its own.
    unsafe {
        let pool = result::device::get_default_mem_pool(cuda)
            .map_err(|source| ProbeError::Driver { call: "cuDeviceGetDefaultMemPool", source })?;
        result::device::set_mem_pool(cuda, pool)
            .map_err(|source| ProbeError::Driver { call: "cuDeviceSetMemPool", source })
    }
}
