//! The driver as a whole: whether it was started, its card's context, and which context is a thread's own.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::sys::CUresult;

use crate::answer::{Answer, code, misuse, tell};
use crate::context::{Context, fresh};
use crate::settings::Settings;

/// The driver once it was started.
pub(crate) struct Driver {
    pub(crate) settings: Settings,
    context: Option<Retained>,
}

/// The card's one context, while somebody has it.
struct Retained {
    handle: usize,
    context: Context,
    times: usize,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    /// The context that is this thread's own; zero for none.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Starts the driver.
pub(crate) fn start() {
    let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    driver.get_or_insert_with(|| Driver { settings: Settings::of_environment(), context: None });
}

/// What the driver answers, once it was started.
pub(crate) fn of_driver(function: &str, answer: impl FnOnce(&mut Driver) -> Answer<()>) -> CUresult {
    let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match &mut *driver {
        Some(driver) => answer(driver),
        None => Err(misuse(CUresult::CUDA_ERROR_NOT_INITIALIZED, "cuInit was not called")),
    };
    code(function, answer)
}

/// The same, of the only card there is.
pub(crate) fn of_device(
    function: &str,
    device: i32,
    answer: impl FnOnce(&mut Driver) -> Answer<()>,
) -> CUresult {
    of_driver(function, |driver| match device {
        0 => answer(driver),
        _ => Err(misuse(CUresult::CUDA_ERROR_INVALID_DEVICE, format!("there is no device {device}"))),
    })
}

/// What the context answers that is the calling thread's own. Once the card is lost, that it is.
pub(crate) fn of_context(function: &str, answer: impl FnOnce(&mut Context) -> Answer<()>) -> CUresult {
    of_driver(function, |driver| {
        let current = CURRENT.get();
        let Some(retained) = driver.context.as_mut().filter(|retained| retained.handle == current) else {
            return Err(misuse(
                CUresult::CUDA_ERROR_INVALID_CONTEXT,
                "no context that is there is this thread's own",
            ));
        };
        retained.context.check()?;
        answer(&mut retained.context)
    })
}

impl Driver {
    /// The card's context, made where nobody has it yet.
    pub(crate) fn retain(&mut self) -> Answer<usize> {
        if let Some(retained) = &mut self.context {
            retained.times += 1;
            return Ok(retained.handle);
        }
        let context = Context::new(self.settings.clone());
        context.alive()?;
        let handle = fresh();
        self.context = Some(Retained { handle, context, times: 1 });
        Ok(handle)
    }

    /// Gives it back; with the last, all that is left in it goes.
    pub(crate) fn release(&mut self) -> Answer<()> {
        let Some(retained) = &mut self.context else {
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_CONTEXT, "nobody has the context"));
        };
        retained.times -= 1;
        if retained.times == 0 {
            if let Some(left) = retained.context.left() {
                tell(&format!("the context is destroyed, and there is left of it: {left}"));
            }
            self.context = None;
        }
        Ok(())
    }

    /// Makes a context the calling thread's own.
    pub(crate) fn set_current(&self, handle: usize) -> Answer<()> {
        if handle != 0 && self.context.as_ref().is_none_or(|retained| retained.handle != handle) {
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_CONTEXT, "there is no such context"));
        }
        CURRENT.set(handle);
        Ok(())
    }
}
