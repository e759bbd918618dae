//! The interfaces `settings` and `log`.

use super::bindings::router::lockgate::plugin::{log, settings};
use crate::call::{Call, LogLevel};

impl settings::Host for Call {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.enter_with(key.len())?;
        self.hand_over(self.settings().get(&key).map_or(0, String::len))?;
        Ok(self.settings().get(&key).cloned())
    }

    fn all(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        self.enter()?;
        self.hand_over(self.settings().iter().map(|(key, value)| key.len() + value.len()).sum())?;
        Ok(self.settings().iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl log::Host for Call {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.enter_with(message.len())?;
        let level = match level {
            log::Level::Trace => LogLevel::Trace,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.log(level, &message);
        Ok(())
    }
}
