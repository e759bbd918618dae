//! [`Library`]: cuBLASLt, NVIDIA's products of matrices, where it is on this machine. It is no part of the driver, so that
//! a machine may have a card and no library.
//!
//! Owns its handle, its working memory, and which algorithm it takes for a shape, which it is asked once.
#![allow(unsafe_code, reason = "the library is a C library")]

use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::result as driver_result;
use cudarc::driver::sys::{CUdeviceptr, CUstream};

use crate::cuda::driver::{DriverError, Product};

/// Working memory that algorithms may want: what NVIDIA recommends for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;

/// A product's shape: rows, outputs, columns.
type Shape = (usize, usize, usize);

/// How a shape is multiplied.
struct Plan {
    description: sys::cublasLtMatmulDesc_t,
    /// Of weights, activations and the output.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The open library. Whoever has it closes it, with the context current and nothing of it going on.
pub(super) struct Library {
    handle: sys::cublasLtHandle_t,
    workspace: CUdeviceptr,
    /// None for a shape that it does not multiply.
    plans: HashMap<Shape, Option<Plan>>,
}

// SAFETY: its handles belong to no thread; the card uses it under a lock.
unsafe impl Send for Library {}

fn failed(error: result::CublasError) -> DriverError {
    DriverError::failed("cuBLASLt", error.to_string())
}

/// Whether the library is on this machine.
pub(crate) fn is_there() -> bool {
    // SAFETY: loads the library and calls nothing of it.
    unsafe { sys::is_culib_present() }
}

impl Library {
    /// Opens it, or nothing where there is none; the card's context must be current.
    pub(super) fn open() -> Result<Option<Library>, DriverError> {
        if !is_there() {
            return Ok(None);
        }
        let handle = result::create_handle().map_err(failed)?;
        // SAFETY: the context is current; the memory is freed when the library is closed.
        match unsafe { driver_result::malloc_sync(WORKSPACE_BYTES) } {
            Ok(workspace) => Ok(Some(Library { handle, workspace, plans: HashMap::new() })),
            Err(_) => {
                // SAFETY: nobody else knows it.
                let _ = unsafe { result::destroy_handle(handle) };
                Err(DriverError::OutOfMemory { bytes: WORKSPACE_BYTES })
            }
        }
    }

    /// Multiplies on the stream; whether the library does that shape.
    pub(super) fn multiply(&mut self, product: &Product, stream: CUstream) -> Result<bool, DriverError> {
        let shape = (product.rows, product.outputs, product.columns);
        if !self.plans.contains_key(&shape) {
            let plan = Plan::make(self.handle, shape).map_err(failed)?;
            self.plans.insert(shape, plan);
        }
        let Some(Some(plan)) = self.plans.get(&shape) else { return Ok(false) };
        let (one, old) = (1.0_f32, if product.add { 1.0_f32 } else { 0.0 });
        let number = |number: &f32| std::ptr::from_ref(number).cast::<c_void>();
        let there = |address: u64| address as *mut c_void;
        let [weights, x, out] = plan.layouts;
        // SAFETY: the caller's addresses hold matrices of that shape; all else was made here and lives on.
        let done = unsafe {
            result::matmul(
                self.handle,
                plan.description,
                number(&one),
                number(&old),
                there(product.weights.0),
                weights,
                there(product.x.0),
                x,
                there(product.out.0),
                out,
                there(product.out.0),
                out,
                &raw const plan.algorithm,
                there(self.workspace),
                WORKSPACE_BYTES,
                stream.cast(),
            )
        };
        done.map(|()| true).map_err(failed)
    }

    /// Gives all of it back.
    pub(super) fn close(self) {
        self.plans.into_values().flatten().for_each(Plan::free);
        // SAFETY: both were made here. An error is one of earlier work.
        let _ = unsafe { (driver_result::memory_free(self.workspace), result::destroy_handle(self.handle)) };
    }
}

impl Plan {
    /// Asks the library how it multiplies a shape; nothing where it does not.
    fn make(handle: sys::cublasLtHandle_t, shape: Shape) -> Result<Option<Plan>, result::CublasError> {
        let (rows, outputs, columns) = (shape.0 as u64, shape.1 as u64, shape.2 as u64);
        let (half, single) = (sys::cudaDataType::CUDA_R_16BF, sys::cudaDataType::CUDA_R_32F);
        // It counts down columns: a row of ours is a column to it, so that weights are what it turns around.
        let description = result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, single)?;
        let layouts = [
            result::create_matrix_layout(half, columns, outputs, columns as i64)?,
            result::create_matrix_layout(half, columns, rows, columns as i64)?,
            result::create_matrix_layout(single, outputs, rows, outputs as i64)?,
        ];
        let turned: i32 = 1;
        let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA;
        let value = (&raw const turned).cast::<c_void>();
        // SAFETY: the description was just made; the library copies the number.
        unsafe { result::set_matmul_desc_attribute(description, attribute, value, size_of::<i32>()) }?;
        let preference = result::create_matmul_pref()?;
        let attribute = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        let (bytes, [weights, x, out]) = (WORKSPACE_BYTES, layouts);
        let value = (&raw const bytes).cast::<c_void>();
        // SAFETY: all of these were just made; the library copies the number.
        let found = unsafe {
            result::set_matmul_pref_attribute(preference, attribute, value, size_of::<usize>())?;
            let found =
                result::get_matmul_algo_heuristic(handle, description, weights, x, out, out, preference);
            result::destroy_matmul_pref(preference)?;
            found
        };
        match found {
            Ok(found) => Ok(Some(Plan { description, layouts, algorithm: found.algo })),
            Err(result::CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)) => {
                Plan::free_parts(description, layouts);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn free(self) {
        Plan::free_parts(self.description, self.layouts);
    }

    fn free_parts(description: sys::cublasLtMatmulDesc_t, layouts: [sys::cublasLtMatrixLayout_t; 3]) {
        for layout in layouts {
            // SAFETY: it was made here and is used no longer.
            let _ = unsafe { result::destroy_matrix_layout(layout) };
        }
        // SAFETY: as above.
        let _ = unsafe { result::destroy_matmul_desc(description) };
    }
}
