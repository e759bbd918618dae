//! Causal attention over a paged key-value cache: a whole batch of sequences in one call, each with one query row
//! (decode) or many (a chunk of a prompt), query heads grouped over fewer key-value heads.
//!
//! ```text
//! queries, out  f32 [rows][heads][head_dim], the rows of the sequences one after another
//! for each row at position p, each head:   s[t] = scale · q · k[t]  for t = 0..=p
//!                                          out  = Σ softmax(s)[t] · v[t]
//! ```
//! Keys and values are F16 or 8 bits with scales, everything else f32. **The order of operations of a row is fixed**: scores sum over the
//! dimension in order; an online softmax walks blocks of 64 tokens, outputs sum over tokens in order; every 512
//! tokens it starts afresh and the parts are merged in order. Blocks and parts begin at position 0. So a row's bits
//! depend on its own query and the keys and values it sees, never on chunking, batch, threads or level, and a token
//! that it may not see is not even multiplied by zero.
//!
//! Limits: decode reads 4 bytes (2.125 with 8 bits) a token, key-value head and dimension, and should run at memory bandwidth; prefill
//! does 4 flops a query row, token, head and dimension and is bound by the f32 peak.
//!
//! `pages` holds the cache, `plan` divides the work, `tile` walks a part of it, `step` is the arithmetic.

mod element;
mod pages;
mod plan;
mod step;
mod tile;

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};

pub use pages::{KvFormat, KvLayout, KvPages, PAGE_TOKENS, Slot};

use half::f16;

use crate::cpu::Level;
use crate::cpu::simd::Enter;
use crate::disjoint::DisjointMut;
use crate::memory::{Buffer, OutOfMemory};
use crate::pool::ThreadPool;

/// The tokens between two updates of the online softmax: four pages.
const BLOCK_TOKENS: usize = 64;
/// The tokens after which the online softmax starts afresh, so that parts of a long sequence can be computed at the
/// same time.
const PART_TOKENS: usize = 512;

/// The query rows of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// The pages of its tokens, in order; there may be more than are needed.
    pub pages: &'a [u32],
    /// The position of the first query row. All tokens up to each row's own position must have been appended.
    pub first_position: usize,
    /// How many query rows it has; none is fine.
    pub rows: usize,
}

/// One layer's attention for a batch.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// The layer's cache.
    pub pages: &'a KvPages,
    /// Query heads, a multiple of the cache's key-value heads; head h reads key-value head h / (heads / kv_heads).
    pub heads: usize,
    /// What scores are multiplied by, usually 1 / √head_dim.
    pub scale: f32,
    /// The sequences, in the order of their rows in `queries`.
    pub sequences: &'a [Sequence<'a>],
    /// Rotated queries, `[rows][heads][head_dim]`.
    pub queries: &'a [f32],
}

/// Scratch memory that calls reuse; it grows to what the largest call needs.
#[derive(Default)]
pub struct Workspace {
    threads: Vec<Mutex<tile::Scratch>>,
    plan: plan::Plan,
    partials: Buffer<f32>,
}

/// Computes `out`, `[rows][heads][head_dim]`, on all threads of the pool.
///
/// # Errors
/// When there is no memory for scratch.
///
/// # Panics
/// When lengths, heads or page tables do not fit together; `out` is untouched then.
pub fn attend(
    pool: &ThreadPool,
    level: Level,
    job: &Attention,
    workspace: &mut Workspace,
    out: &mut [f32],
) -> Result<(), OutOfMemory> {
    attend_with(pool, level, job, workspace, out)
}

fn attend_with<E: Enter>(
    pool: &ThreadPool,
    enter: E,
    job: &Attention,
    workspace: &mut Workspace,
    out: &mut [f32],
) -> Result<(), OutOfMemory> {
    check(job, out);
    let Workspace { threads, plan, partials } = workspace;
    plan.prepare(job, pool.threads());
    threads.resize_with(threads.len().max(pool.threads()), Mutex::default);
    for scratch in threads.iter_mut() {
        scratch.get_mut().unwrap_or_else(PoisonError::into_inner).prepare(job, plan)?;
    }
    partials.grow(plan.partials_len)?;
    let tiles = if plan.partials_len == 0 { &[] } else { plan.tiles.as_slice() };
    let pending: Vec<AtomicUsize> = tiles.iter().map(|tile| AtomicUsize::new(tile.tasks)).collect();
    let shared = tile::Shared {
        job,
        plan,
        pending: &pending,
        partials: DisjointMut::new(partials),
        out: DisjointMut::new(out),
    };
    pool.for_each(plan.tasks.len(), &|thread, task| {
        let scratch = &mut *threads[thread].lock().unwrap_or_else(PoisonError::into_inner);
        match job.pages.layout().format {
            KvFormat::F16 => tile::run::<f16, E>(enter, &shared, &plan.tasks[task], scratch),
            KvFormat::Q8_0 => tile::run::<i8, E>(enter, &shared, &plan.tasks[task], scratch),
        }
    });
    Ok(())
}

/// Refuses what does not fit together, before any memory is touched.
fn check(job: &Attention, out: &[f32]) {
    let KvLayout { kv_heads, head_dim, .. } = job.pages.layout();
    assert!(
        job.heads > 0 && job.heads.is_multiple_of(kv_heads),
        "{} query heads cannot share {kv_heads} key-value heads",
        job.heads
    );
    let rows: usize = job.sequences.iter().map(|sequence| sequence.rows).sum();
    let expected = rows.checked_mul(job.heads * head_dim);
    assert_eq!(Some(job.queries.len()), expected, "queries are not [{rows}][{}][{head_dim}]", job.heads);
    assert_eq!(out.len(), job.queries.len(), "the output's shape is not the queries'");
    for (index, sequence) in job.sequences.iter().enumerate() {
        let tokens = sequence.first_position.saturating_add(sequence.rows);
        let needed = tokens.div_ceil(PAGE_TOKENS);
        assert!(
            sequence.rows == 0 || needed <= sequence.pages.len(),
            "sequence {index} has {} pages for {tokens} tokens",
            sequence.pages.len()
        );
        for &page in &sequence.pages[..needed.min(sequence.pages.len())] {
            assert!(
                (page as usize) < job.pages.pages(),
                "sequence {index} names page {page}, which does not exist"
            );
        }
    }
}
