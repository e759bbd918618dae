//! One forward pass on a card: what each operation launches. Up to eight rows go through kernels that read weights once
//! for all of them (`gemv`), more through matrix products (`gemm`); sequences of few rows through decode attention,
//! prompts through prefill attention, both in one pass. A pass that only decodes is captured and launched as one.

use std::sync::Arc;

use lockgate_kernels::attention::{PAGE_TOKENS, Sequence, Slot};
use lockgate_kernels::cuda::attention::{self, DeviceAttention, DeviceKv, DeviceRope};
use lockgate_kernels::cuda::driver::{DriverError, Graph};
use lockgate_kernels::cuda::gemm::gemm;
use lockgate_kernels::cuda::lora::{AdapterTables, DeviceAdapters, NO_ADAPTER, RowAdapters};
use lockgate_kernels::cuda::matrix::{DeviceMatrix, MatrixFormat};
use lockgate_kernels::cuda::memory::{Device, DeviceBuffer};
use lockgate_kernels::cuda::products::{Job, gemv, gemv_swiglu};
use lockgate_kernels::cuda::rows::{activate, embed, gather, rms_norm};
use lockgate_kernels::cuda::split::Splitting;

use super::buffers::{Buffers, Inputs};
use super::graphs::{Graphs, Key, Way};
use super::{Cuda, State, adapters};
use crate::arch::Network;
use crate::processor::{Batch, Heads, Linear, Outputs, Pass, PassError};

/// A pass on a card.
pub(crate) struct CudaPass<'a> {
    pub(super) device: Device,
    first_layer: usize,
    graphs: &'a mut Graphs,
    layers: &'a mut [DeviceKv],
    pub(super) buffers: &'a mut Buffers,
    pub(super) outputs: &'a mut Outputs,
    pub(super) batch: &'a Batch<'a>,
    decoding: Sequences,
    prefilling: Sequences,
    /// Where the pass only decodes: which graph computes it.
    key: Option<Key>,
    /// Heads that share one of keys.
    group: usize,
    splitting: Splitting,
    pub(super) vocabulary: usize,
    /// Rows in the residual stream.
    rows: usize,
    /// The wanted rows, those whose logits are wanted before those whose states are.
    pub(super) order: Vec<u32>,
    pub(super) logits_rows: usize,
    /// Of each of the batch's choices, whether the card makes it.
    pub(super) chosen_here: Vec<bool>,
    /// Whether the residual is what was kept of it.
    kept: bool,
    /// Whether the inputs of the next projection to the residual are the gated ones.
    gated: bool,
}

/// Sequences that one kernel attends for.
#[derive(Debug, Default)]
struct Sequences {
    count: usize,
    rows_max: usize,
    /// Of the one that has the most, where each is split.
    parts: usize,
}

/// The rows of heads that a decode's tile has room for.
const DECODE_TILE_ROWS: usize = 16;

impl<'a> CudaPass<'a> {
    /// A pass over `batch`: puts on the card what its kernels look up. It begins with the batch's tokens, or goes on from
    /// the residual that other layers left. `adapters` are the copies of the batch's adapters, in its order.
    pub(crate) fn begin(
        state: &'a mut State,
        heads: (usize, usize),
        outputs: &'a mut Outputs,
        batch: &'a Batch<'a>,
        adapters: &[Arc<DeviceAdapters>],
        residual: Option<&[f32]>,
    ) -> Result<Self, PassError> {
        let State { device, first_layer, graphs, layers, buffers, extent, vocabulary } = state;
        let few = heads.0 / heads.1 <= DECODE_TILE_ROWS;
        let splitting = Splitting::new(device.multiprocessors(), heads.1);
        let key = Key::of(batch, *extent, buffers.parts_rows, splitting).filter(|_| few);
        let mut pass = Self {
            device: device.clone(),
            first_layer: *first_layer,
            graphs,
            layers,
            buffers,
            outputs,
            batch,
            decoding: Sequences::default(),
            prefilling: Sequences::default(),
            key,
            group: heads.0 / heads.1,
            splitting,
            vocabulary: *vocabulary,
            rows: key.map_or(batch.positions.len(), |key| key.rows),
            order: Vec::new(),
            logits_rows: 0,
            chosen_here: Vec::new(),
            kept: false,
            gated: false,
        };
        match residual {
            None => pass.buffers.tokens.set(&pass.padded(batch.tokens, 0))?,
            Some(residual) => pass.buffers.residual.write(0, residual)?,
        }
        pass.place(batch.slots, batch.positions)?;
        pass.share_out(0)?;
        pass.choose_wanted()?;
        pass.set_rules()?;
        pass.name_adapters(adapters)?;
        Ok(pass)
    }

    /// An entry a row, and one for each row that was added.
    fn padded(&self, entries: &[u32], of_added: u32) -> Vec<u32> {
        let mut padded = entries.to_vec();
        padded.resize(self.rows, of_added);
        padded
    }

    /// Computes the pass, and hands out what was wanted.
    pub(crate) fn run(mut self, network: &dyn Network<Cuda>) -> Result<(), PassError> {
        match self.key.map(|key| (key, self.graphs.way(key))) {
            None | Some((_, Way::Plainly)) => network.forward(&mut self)?,
            Some((key, Way::Capturing)) => match self.capture(key, network) {
                Err(PassError::Device(problem)) => {
                    self.graphs.give_up(&problem);
                    network.forward(&mut self)?;
                }
                captured => self.device.driver().launch_graph(captured?)?,
            },
            Some((_, Way::Launching(graph))) => {
                self.poll()?;
                self.device.driver().launch_graph(graph)?;
            }
        }
        // Behind the graph, which so is the same whatever is chosen by.
        self.choose()?;
        self.hand_out()
    }

    fn capture(&mut self, key: Key, network: &dyn Network<Cuda>) -> Result<Graph, PassError> {
        let driver = Arc::clone(self.device.driver());
        driver.begin_capture()?;
        let forwarded = network.forward(self);
        // Ended in any case: nothing can be done while it goes on.
        let graph = driver.end_capture()?;
        if let Err(error) = forwarded {
            driver.free_graph(graph);
            return Err(error);
        }
        self.graphs.keep(key, graph);
        Ok(graph)
    }

    /// Where each row is.
    fn place(&mut self, slots: &[Slot], positions: &[u32]) -> Result<(), DriverError> {
        let slot = |slot: &Slot| {
            let at = slot.page.checked_mul(PAGE_TOKENS as u32)?.checked_add(slot.offset as u32)?;
            (at != attention::NO_SLOT).then_some(at)
        };
        let slots: Option<Vec<u32>> = slots.iter().map(slot).collect();
        let slots = slots.ok_or_else(|| DriverError::failed("place", "a page's number is too large"))?;
        self.buffers.slots.set(&self.padded(&slots, attention::NO_SLOT))?;
        self.buffers.positions.set(&self.padded(positions, 0))
    }

    /// Puts on the card where the rows of the next decode of the same sequences are and what they see. Whether there is
    /// one, with room reserved for it.
    pub(super) fn go_on(&mut self) -> Result<bool, DriverError> {
        if self.key.is_none() {
            return Ok(false);
        }
        let next = |sequence: &Sequence<'_>| Slot::of(sequence.pages, sequence.first_position + 1);
        let slots: Option<Vec<Slot>> = self.batch.sequences.iter().map(next).collect();
        let Some(slots) = slots else { return Ok(false) };
        let positions: Vec<u32> = self.batch.positions.iter().map(|position| position + 1).collect();
        self.place(&slots, &positions)?;
        self.share_out(1)?;
        Ok(true)
    }

    /// Which kernel attends for which sequence, now or so many tokens later.
    fn share_out(&mut self, later: usize) -> Result<(), DriverError> {
        let group = self.group;
        let (mut decoding_kind, mut prefilling_kind) = (Sequences::default(), Sequences::default());
        let (mut decoding, mut prefilling, mut pages) = (Vec::new(), Vec::new(), Vec::new());
        let mut first_row = 0;
        for sequence in self.batch.sequences {
            let first_position = sequence.first_position + later;
            let tokens = first_position + sequence.rows;
            let end = first_row + sequence.rows;
            let few = sequence.rows * group <= DECODE_TILE_ROWS && end <= self.buffers.parts_rows;
            let (list, kind) = match few {
                true => (&mut decoding, &mut decoding_kind),
                false => (&mut prefilling, &mut prefilling_kind),
            };
            let part_tokens = self.splitting.part_tokens(tokens);
            let numbers = [first_row, sequence.rows, first_position, pages.len(), part_tokens];
            list.extend(numbers.map(|number| number as u32));
            kind.count += 1;
            kind.rows_max = kind.rows_max.max(sequence.rows);
            kind.parts = kind.parts.max(self.splitting.parts(tokens));
            pages.extend_from_slice(&sequence.pages[..tokens.div_ceil(PAGE_TOKENS)]);
            first_row = end;
        }
        if let Some(key) = self.key {
            // Rows that were added see the first token of the first sequence.
            for row in first_row..key.rows {
                decoding.extend([row as u32, 1, 0, 0, self.splitting.part_tokens(1) as u32]);
            }
            decoding_kind = Sequences { count: key.rows, rows_max: 1, parts: key.parts };
        }
        if later == 0 {
            (self.decoding, self.prefilling) = (decoding_kind, prefilling_kind);
        }
        self.buffers.pages.set(&pages)?;
        self.buffers.decoding.set(&decoding)?;
        self.buffers.prefilling.set(&prefilling)
    }

    fn choose_wanted(&mut self) -> Result<(), DriverError> {
        let (wanted, states) = (self.batch.wanted, self.batch.states);
        let of = |range: std::ops::Range<usize>| wanted[range].iter().map(|row| *row as u32);
        let mut done = 0;
        for states in states.iter() {
            self.order.extend(of(done..states.start));
            done = states.end;
        }
        self.order.extend(of(done..wanted.len()));
        self.logits_rows = self.order.len();
        states.iter().for_each(|states| self.order.extend(of(states.clone())));
        if let Some(key) = self.key {
            self.order.extend(self.order.len() as u32..key.rows as u32);
            self.logits_rows = key.rows;
        }
        self.buffers.order.set(&self.order)
    }

    fn name_adapters(&mut self, adapters: &[Arc<DeviceAdapters>]) -> Result<(), DriverError> {
        self.buffers.adapters.set(adapters)?;
        if adapters.is_empty() {
            return Ok(());
        }
        let mut names = vec![NO_ADAPTER; self.rows];
        for (name, adapted) in self.batch.adapted.iter().enumerate() {
            adapted.ranges.iter().for_each(|range| names[range.clone()].fill(name as u32));
        }
        let kept: Vec<u32> = self.order.iter().map(|row| names[*row as usize]).collect();
        self.buffers.row_adapters.set(&names)?;
        self.buffers.kept_adapters.set(&kept)
    }
}

/// Multiplies what was written last of these inputs by each matrix, adding to what is there if `add`.
fn multiply(
    device: &Device,
    rows: usize,
    inputs: &Inputs,
    add: bool,
    jobs: Vec<Job<'_>>,
) -> Result<(), DriverError> {
    if rows == 0 {
        return Ok(());
    }
    if !inputs.is_few() {
        return jobs
            .into_iter()
            .try_for_each(|job| gemm(device, rows, inputs.written(), job.weights, job.bias, add, job.out));
    }
    let (mut planes, mut floats): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| in_planes(job.weights));
    for jobs in [&mut planes, &mut floats] {
        if !jobs.is_empty() {
            gemv(device, rows, inputs.written(), add, jobs)?;
        }
    }
    Ok(())
}

fn in_planes(matrix: &DeviceMatrix) -> bool {
    matches!(matrix.format(), MatrixFormat::Planes(_))
}

/// What adds adapters' products: the tables, and which adapter each row has.
struct Adapting<'a> {
    tables: &'a mut AdapterTables,
    names: &'a RowAdapters,
}

impl Adapting<'_> {
    /// Adds what adapters make of the inputs to a projection's output.
    fn add(
        &mut self,
        device: &Device,
        rows: usize,
        linear: &Linear<Cuda>,
        inputs: &Inputs,
        out: &mut DeviceBuffer<f32>,
    ) -> Result<(), DriverError> {
        if rows == 0 || self.tables.is_empty() {
            return Ok(());
        }
        let projection = adapters::projection(linear.layer, linear.module);
        self.tables.add(device, projection, inputs.written(), self.names, out)
    }
}

fn job<'a>(linear: &'a Linear<Cuda>, out: &'a mut DeviceBuffer<f32>) -> Job<'a> {
    Job { weights: &linear.weights, bias: linear.bias.as_ref(), out }
}

impl Pass<Cuda> for CudaPass<'_> {
    fn poll(&self) -> Result<(), PassError> {
        if (self.batch.stop)() { Err(PassError::Stopped) } else { Ok(()) }
    }

    fn embed(&mut self, embedding: &DeviceMatrix) -> Result<(), PassError> {
        let Buffers { tokens, residual, .. } = &mut *self.buffers;
        Ok(embed(&self.device, self.rows, embedding, tokens.there(), residual)?)
    }

    fn normalize(&mut self, weight: &DeviceBuffer<f32>, epsilon: f32) -> Result<(), PassError> {
        let Buffers { residual, kept, normalized, .. } = &mut *self.buffers;
        let x = if self.kept { kept } else { residual };
        let to = normalized.of(self.rows);
        Ok(rms_norm(&self.device, self.rows, x, None, weight, epsilon, to)?)
    }

    fn project_heads(&mut self, _: Heads, projections: [&Linear<Cuda>; 3]) -> Result<(), PassError> {
        let (device, rows) = (&self.device, self.rows);
        let Buffers { adapters: tables, row_adapters: names, normalized, queries, keys, values, .. } =
            &mut *self.buffers;
        let [query, key, value] = projections;
        let jobs = vec![job(query, &mut *queries), job(key, &mut *keys), job(value, &mut *values)];
        multiply(device, rows, normalized, false, jobs)?;
        let mut adapting = Adapting { tables, names };
        for (linear, out) in [(query, queries), (key, keys), (value, values)] {
            adapting.add(device, rows, linear, normalized, out)?;
        }
        Ok(())
    }

    fn rotate_and_keep(&mut self, heads: Heads, rope: &DeviceRope) -> Result<(), PassError> {
        let Buffers { queries, keys, values, positions, slots, rotated, .. } = &mut *self.buffers;
        let layer = &mut self.layers[heads.layer - self.first_layer];
        let rows = attention::Heads {
            rows: self.rows,
            heads: heads.heads,
            q: queries,
            k: keys,
            v: values,
            norms: None,
            epsilon: 0.0,
            positions: positions.there(),
            slots: slots.there(),
        };
        Ok(attention::rope_and_keep(&self.device, &rows, rope, layer, rotated)?)
    }

    fn attend(&mut self, heads: Heads) -> Result<(), PassError> {
        let (device, rows) = (&self.device, self.rows);
        let Buffers {
            rotated, decoding, prefilling, pages, parts, parts_rows, attended, attended_rows, ..
        } = &mut *self.buffers;
        let layer = &self.layers[heads.layer - self.first_layer];
        let job = |sequences, of: &Sequences, rows| DeviceAttention {
            heads: heads.heads,
            rows,
            scale: 1.0 / (heads.head_dim as f32).sqrt(),
            cap: 0.0,
            window: 0,
            queries: rotated,
            sequences,
            pages: pages.there(),
            count: of.count,
            rows_max: of.rows_max,
            parts: of.parts,
        };
        if self.decoding.count > 0 {
            let job = job(decoding.there(), &self.decoding, rows.min(*parts_rows));
            attention::decode(device, &job, layer, parts, attended)?;
        }
        if self.prefilling.count > 0 {
            attention::prefill(device, &job(prefilling.there(), &self.prefilling, rows), layer, attended)?;
        }
        self.gated = false;
        Ok(activate(device, rows, attended, None, attended_rows.of(rows))?)
    }

    fn project_gated(&mut self, gate: &Linear<Cuda>, up: &Linear<Cuda>) -> Result<(), PassError> {
        let (device, rows) = (&self.device, self.rows);
        self.gated = true;
        let Buffers {
            adapters: tables,
            row_adapters,
            kept_adapters,
            normalized,
            gated,
            gate: gates,
            up: ups,
            ..
        } = &mut *self.buffers;
        let names = if self.kept { kept_adapters } else { row_adapters };
        let alike = gate.weights.format() == up.weights.format();
        if rows > 0 && normalized.is_few() && alike && tables.is_empty() {
            gemv_swiglu(device, rows, normalized.written(), &gate.weights, &up.weights, gates)?;
            return Ok(activate(device, rows, gates, None, gated.of(rows))?);
        }
        multiply(device, rows, normalized, false, vec![job(gate, &mut *gates), job(up, &mut *ups)])?;
        let mut adapting = Adapting { tables, names };
        adapting.add(device, rows, gate, normalized, gates)?;
        adapting.add(device, rows, up, normalized, ups)?;
        Ok(activate(device, rows, gates, Some(ups), gated.of(rows))?)
    }

    fn add_projection(&mut self, projection: &Linear<Cuda>) -> Result<(), PassError> {
        let (device, rows) = (&self.device, self.rows);
        let Buffers {
            adapters: tables,
            row_adapters,
            kept_adapters,
            residual,
            kept,
            attended_rows,
            gated,
            ..
        } = &mut *self.buffers;
        let (out, names) = if self.kept { (kept, kept_adapters) } else { (residual, row_adapters) };
        let inputs = if self.gated { gated } else { attended_rows };
        multiply(device, rows, inputs, true, vec![job(projection, &mut *out)])?;
        Ok(Adapting { tables, names }.add(device, rows, projection, inputs, out)?)
    }

    fn keep_wanted(&mut self) -> Result<(), PassError> {
        let everything = self.order.len() == self.rows && self.order.is_sorted();
        self.rows = self.order.len();
        if everything {
            return Ok(());
        }
        self.kept = true;
        let Buffers { residual, kept, order, .. } = &mut *self.buffers;
        Ok(gather(&self.device, self.rows, self.batch.hidden, residual, order.there(), kept)?)
    }

    fn normalize_output(&mut self, weight: &DeviceBuffer<f32>, epsilon: f32) -> Result<(), PassError> {
        self.normalize(weight, epsilon)
    }

    fn project_logits(&mut self, output: &DeviceMatrix) -> Result<(), PassError> {
        let Buffers { normalized, logits, .. } = &mut *self.buffers;
        let jobs = vec![Job { weights: output, bias: None, out: logits }];
        Ok(multiply(&self.device, self.logits_rows, normalized, false, jobs)?)
    }

    fn choose(&mut self) -> Result<(), PassError> {
        let Buffers { logits, draws, tokens, .. } = &mut *self.buffers;
        Ok(draws.draw(&self.device, logits, self.vocabulary, Some(tokens))?)
    }
}
