//! Progress of long work on stderr: a bar on a terminal, a line every tenth elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress towards a known or unknown number of bytes.
pub(crate) struct Progress {
    what: String,
    total: Option<u64>,
    done: u64,
    told_tenths: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts telling of `what`.
    pub(crate) fn start(what: impl Into<String>, total: Option<u64>) -> Self {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(what.clone());
            bar
        });
        Self { what, total, done: 0, told_tenths: 0, bar }
    }

    /// `bytes` more are done.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            return;
        }
        let Some(total) = self.total.filter(|total| *total > 0) else { return };
        let tenths = self.done.saturating_mul(10) / total;
        if tenths > self.told_tenths && tenths < 10 {
            self.told_tenths = tenths;
            crate::terminal::note(&format!(
                "{}: {} of {} ({}0 %)",
                self.what,
                human_bytes(self.done),
                human_bytes(total),
                tenths
            ));
        }
    }

    /// The work has ended, well or not; the bar goes.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bytes for people, in powers of 1024.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn bytes_are_told_in_their_unit() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (98_362_432, "93.8 MiB")] {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
