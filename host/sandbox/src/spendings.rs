//! What the asks of each plugin have taken, by its id, over all of its versions; shown among the metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use lockgate_api::{Spending, Spent};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// The counters of all plugins. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spendings(Arc<Mutex<BTreeMap<String, Arc<Spending>>>>);

impl Spendings {
    /// The counters of one plugin.
    pub(crate) fn of(&self, id: &str) -> Arc<Spending> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(id.to_owned()).or_default())
    }

    /// All of them at this moment.
    pub(crate) fn spent(&self) -> BTreeMap<String, Spent> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(id, spending)| (id.clone(), spending.spent())).collect()
    }
}

impl Collector for Spendings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.spent();
        let mut column =
            |name: &str, help: &str, cell: fn(&Spent) -> u64| counters(&mut encoder, name, help, &all, cell);
        column("plugin_asks", "Asks of models and clouds by plugins", |spent| spent.asks)?;
        column("plugin_ask_failures", "Those that had no whole answer", |spent| spent.failures)?;
        column("plugin_input_tokens", "Tokens of their prompts", |spent| spent.input_tokens)?;
        column("plugin_output_tokens", "Tokens of their answers", |spent| spent.output_tokens)?;
        counters(&mut encoder, "plugin_usd", "What they cost, by the configured prices", &all, |spent| {
            spent.usd
        })
    }
}

fn counters<N: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    all: &BTreeMap<String, Spent>,
    cell: fn(&Spent) -> N,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (id, spent) in all {
        let labels = [("plugin", id.as_str())];
        ConstCounter::new(cell(spent)).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
