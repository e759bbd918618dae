//! The file behind `log_requests`: opened anew with each configuration, so that it can be moved away before a reload,
//! and written by a thread of its own.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use lockgate_gateway::RequestLog;
use lockgate_gateway::record::{Entry, PolicyFacts, WAITING_MAX};
use tracing::error;

use crate::config::{Config, LogRequests, RouterConfig};
use crate::models::data_folder;

/// In Lockgate's own folder, where no other file is named.
const FILE: &str = "requests.jsonl";

/// The threads that write, those of older configurations included. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct LogWriters(Arc<Mutex<Vec<Writer>>>);

/// A thread, and the way to tell it that it may end.
type Writer = (SyncSender<Entry>, JoinHandle<()>);

impl LogWriters {
    /// Opens the log that the configuration wants, if it wants one.
    pub(super) fn open(&self, config: &Config) -> Result<Option<Arc<RequestLog>>> {
        let path = match &config.server.log_requests {
            LogRequests::On(false) => return Ok(None),
            LogRequests::On(true) => data_folder().context("log_requests")?.join(FILE),
            LogRequests::File(path) => path.clone(),
        };
        let file = open(&path).with_context(|| format!("log_requests: cannot write {}", path.display()))?;
        let (sender, lines) = sync_channel(WAITING_MAX);
        let name = path.display().to_string();
        let writer = std::thread::Builder::new().name("request-log".to_owned());
        let writer = writer.spawn(move || write(file, &name, &lines)).context("log_requests")?;
        let mut writers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writers.retain(|(_, writer)| !writer.is_finished());
        writers.push((sender.clone(), writer));
        Ok(Some(Arc::new(RequestLog::new(sender, facts(config), now_ms))))
    }

    /// Waits until everything is written. No request may come after this.
    pub(crate) fn finish(&self) {
        let writers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (sender, writer) in writers {
            // One that is gone has said why.
            let _gone = sender.send(Entry::End);
            let _panicked = writer.join();
        }
    }
}

/// Requests are nobody else's business: the file is the owner's alone.
fn open(path: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    // A machine that stopped in the middle of a line must not cost the next one, too.
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn write(mut file: File, name: &str, lines: &Receiver<Entry>) {
    let mut batch = String::new();
    while let Ok(Entry::Line(line)) = lines.recv() {
        batch.clear();
        batch.push_str(&line);
        batch.push('\n');
        let mut is_last = false;
        for entry in lines.try_iter().take(WAITING_MAX) {
            match entry {
                Entry::Line(line) => {
                    batch.push_str(&line);
                    batch.push('\n');
                }
                Entry::End => {
                    is_last = true;
                    break;
                }
            }
        }
        // Whole lines at once, so that two writers of one file do not mix them.
        if let Err(error) = file.write_all(batch.as_bytes()) {
            error!("the request log {name} cannot be written, requests go on without it: {error}");
            return;
        }
        if is_last {
            return;
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What the configuration says of each router.
fn facts(config: &Config) -> BTreeMap<String, PolicyFacts> {
    let plugins = config.routers.iter().flat_map(RouterConfig::plugins);
    let facts = plugins.map(|plugin| {
        let facts = PolicyFacts { settings: plugin.settings.clone(), grants: plugin.grants.clone() };
        (plugin.id.clone(), facts)
    });
    facts.collect()
}
