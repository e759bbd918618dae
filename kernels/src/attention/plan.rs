//! Divides a call's work into tasks that threads take from a queue. A *tile* is the query rows of a few adjacent
//! positions for one key-value head, which share what is read from the cache; a *task* is a tile over all its parts
//! of 512 tokens, or over one of them where there are too few tiles for the threads.
//!
//! Nothing here changes a result: a row's arithmetic is the same in any tile, and parts are merged in order.

use std::ops::Range;

use super::{Attention, KvLayout, PART_TOKENS};

/// The most rows of a tile (positions times heads of a group): what it accumulates must stay in the second cache.
const ROWS_MAX: usize = 96;
/// The fewest rows of a tile that is made smaller so that all threads get some; four steps still share each page.
const ROWS_MIN: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) sequence: usize,
    pub(super) kv_head: usize,
    /// The first row, counted over all sequences.
    pub(super) first_row: usize,
    pub(super) first_position: usize,
    pub(super) positions: usize,
    /// Into how many tasks the tile is split.
    pub(super) tasks: usize,
    /// Where its partial results begin, if it is split.
    pub(super) partials: usize,
}

impl Tile {
    /// The tokens that its last row sees.
    pub(super) fn tokens(&self) -> usize {
        self.first_position + self.positions
    }

    pub(super) fn parts(&self) -> usize {
        self.tokens().div_ceil(PART_TOKENS)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) tile: usize,
    pub(super) parts: Range<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) tiles: Vec<Tile>,
    /// The longest first, so that the threads finish at about the same time.
    pub(super) tasks: Vec<Task>,
    /// Query heads that share a key-value head.
    pub(super) group: usize,
    /// The most rows (positions times group) of any tile.
    pub(super) rows_max: usize,
    /// How many numbers the partial results of split tiles take.
    pub(super) partials_len: usize,
}

/// The numbers that one part of a tile of `rows` rows leaves behind: greatest score, sum and outputs of each row.
pub(super) fn partial_len(layout: KvLayout, rows: usize) -> usize {
    // The outputs come first; rounding up keeps every part on vectors of its own.
    (rows * (layout.value_width() + 2)).next_multiple_of(16)
}

/// How many tiles there are with so many positions in each.
fn tiles(job: &Attention, positions_max: usize) -> usize {
    let of_one_head: usize = job.sequences.iter().map(|sequence| sequence.rows.div_ceil(positions_max)).sum();
    of_one_head * job.pages.layout().kv_heads
}

impl Plan {
    /// Plans a call, reusing memory.
    pub(super) fn prepare(&mut self, job: &Attention, threads: usize) {
        let layout = job.pages.layout();
        self.group = job.heads / layout.kv_heads;
        let mut positions = (ROWS_MAX / self.group).max(1);
        while positions / 2 * self.group >= ROWS_MIN && tiles(job, positions) < 4 * threads {
            positions /= 2;
        }
        self.tile(job, positions);
        self.rows_max = self.tiles.iter().map(|tile| tile.positions * self.group).max().unwrap_or(0);
        let split = threads > 1 && self.tiles.len() < 4 * threads;
        self.partials_len = 0;
        self.tasks.clear();
        for (index, tile) in self.tiles.iter_mut().enumerate() {
            let parts = tile.parts();
            if split && parts > 1 {
                tile.tasks = parts;
                tile.partials = self.partials_len;
                self.partials_len += parts * partial_len(layout, tile.positions * self.group);
                self.tasks.extend((0..parts).map(|part| Task { tile: index, parts: part..part + 1 }));
            } else {
                self.tasks.push(Task { tile: index, parts: 0..parts });
            }
        }
        let cost = |task: &Task| {
            let tile = &self.tiles[task.tile];
            let tokens = tile.tokens().min(task.parts.end * PART_TOKENS) - task.parts.start * PART_TOKENS;
            tile.positions * tokens
        };
        self.tasks.sort_by_key(|task| std::cmp::Reverse(cost(task)));
    }

    fn tile(&mut self, job: &Attention, positions_max: usize) {
        self.tiles.clear();
        let mut first_row = 0;
        for (sequence, one) in job.sequences.iter().enumerate() {
            for skipped in (0..one.rows).step_by(positions_max) {
                for kv_head in 0..job.pages.layout().kv_heads {
                    self.tiles.push(Tile {
                        sequence,
                        kv_head,
                        first_row: first_row + skipped,
                        first_position: one.first_position + skipped,
                        positions: positions_max.min(one.rows - skipped),
                        tasks: 1,
                        partials: 0,
                    });
                }
            }
            first_row += one.rows;
        }
    }
}
