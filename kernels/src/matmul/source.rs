//! Where a tile's weights come from: [`Packed`] panels as they lie in memory, for a few tokens, or [`Unpacked`] ones,
//! taken apart once into a thread's scratch and then read by every tile of tokens. Both give the same numbers.
#![allow(unsafe_code, reason = "reads panels through pointers")]

use std::marker::PhantomData;

use super::isa::{Isa, Kernel};
use super::layout::{LINE, Layout, PANEL_ROWS};
use crate::formats::{Format, block};

/// How far ahead of its use a packed panel is fetched, in bytes.
const PREFETCH_BYTES: usize = 8192;

/// A quantized format as a type, so that its kernels are compiled for it.
pub(super) trait Quantized: Copy + Send + Sync {
    const LAYOUT: Layout;

    const GROUPS: usize = Self::LAYOUT.block_len / Self::LAYOUT.group_len;
    /// Pairs of steps in a group.
    const PAIRS: usize = Self::LAYOUT.group_len / 8;
    /// Whether groups have integer scales, and minimums in pairs.
    const SCALED_GROUPS: bool = Self::LAYOUT.block_len == 256;
    const WIDE: bool = Self::LAYOUT.bits == 8;
    /// Whether values are codes, to be looked up, and scales powers of two.
    const CODED: bool = matches!(Self::LAYOUT.format, Format::Mxfp4);
}

macro_rules! quantized {
    ($($name:ident),*) => {
        $(
            #[derive(Clone, Copy)]
            pub(super) struct $name;
            impl Quantized for $name {
                const LAYOUT: Layout = Layout::of(Format::$name);
            }
        )*
    };
}
quantized!(Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Mxfp4, Q4K, Q5K, Q6K);

/// What MXFP4's codes stand for, centred as [`Layout::offset`] says.
const CODES: [u8; 16] = {
    let mut codes = [0; 16];
    let mut code = 0;
    while code < 16 {
        codes[code] = (block::MXFP4_DOUBLED[code] as i32 + block::offset(Format::Mxfp4)) as u8;
        code += 1;
    }
    codes
};

/// The weights of one tile: the rows of one or more panels. All reads are of block `block` of panel `panel`.
///
/// # Safety
/// (of every method) Panels and blocks must be within what the source was made for, groups and pairs within a block.
pub(super) trait Source<I: Isa>: Copy {
    type Format: Quantized;

    /// The bits above the nibbles of a group.
    unsafe fn plane(self, isa: I, panel: usize, block: usize, group: usize) -> I::Int;
    /// Steps `2 * pair` and `2 * pair + 1` of a group, ready for a dot product. Pairs are read in order: each moves
    /// the plane on to the next.
    unsafe fn pair(self, isa: I, at: At, pair: usize, plane: &mut I::Int) -> [I::Int; 2];
    /// A group's integer scales.
    unsafe fn scales(self, isa: I, panel: usize, block: usize, group: usize) -> I::Int;
    /// The integer minimums of groups `2 * pair` and `2 * pair + 1`.
    unsafe fn minimums(self, isa: I, panel: usize, block: usize, pair: usize) -> I::Int;
    /// The block's scales.
    unsafe fn d(self, isa: I, panel: usize, block: usize) -> I::Float;
    /// The block's minimums, or their scales.
    unsafe fn dmin(self, isa: I, panel: usize, block: usize) -> I::Float;
    /// Asks for what will be read somewhat later than this group.
    fn prefetch(self, isa: I, block: usize, group: usize);
}

/// A group of a panel's block.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) panel: usize,
    pub(super) block: usize,
    pub(super) group: usize,
}

/// Panels as they are packed.
#[derive(Clone, Copy)]
pub(super) struct Packed<F> {
    panels: *const u8,
    panel_bytes: usize,
    format: PhantomData<F>,
}

impl<F: Quantized> Packed<F> {
    const BLOCKS: usize = F::LAYOUT.unit_cols / F::LAYOUT.block_len;

    /// Neighbouring panels of `panel_bytes` from `panels` on.
    pub(super) fn new(panels: *const u8, panel_bytes: usize) -> Packed<F> {
        Packed { panels, panel_bytes, format: PhantomData }
    }

    #[inline(always)]
    fn unit(self, panel: usize, block: usize) -> *const u8 {
        self.panels.wrapping_add(panel * self.panel_bytes + block / Self::BLOCKS * F::LAYOUT.unit_bytes)
    }

    /// The group's number within its unit.
    #[inline(always)]
    fn group(block: usize, group: usize) -> usize {
        block % Self::BLOCKS * F::GROUPS + group
    }
}

impl<I: Isa, F: Quantized> Source<I> for Packed<F> {
    type Format = F;

    #[inline(always)]
    unsafe fn plane(self, isa: I, panel: usize, block: usize, group: usize) -> I::Int {
        if !matches!(F::LAYOUT.bits, 5 | 6) {
            return isa.zero();
        }
        let at = F::LAYOUT.planes_at + Self::group(block, group) * LINE;
        // SAFETY: within the unit of that block.
        unsafe { isa.load(self.unit(panel, block).add(at)) }
    }

    #[inline(always)]
    unsafe fn pair(self, isa: I, at: At, pair: usize, plane: &mut I::Int) -> [I::Int; 2] {
        let values = F::LAYOUT.values_at(Self::group(at.block, at.group));
        // SAFETY: within the unit of that block.
        let from = unsafe { self.unit(at.panel, at.block).add(values) };
        if F::WIDE {
            // SAFETY: a group of wide values has a line for each step.
            let steps =
                unsafe { [isa.load(from.add(2 * pair * LINE)), isa.load(from.add((2 * pair + 1) * LINE))] };
            return [isa.prepare_wide(steps[0]), isa.prepare_wide(steps[1])];
        }
        // SAFETY: a group has a line for each pair.
        let nibbles = unsafe { isa.load(from.add(pair * LINE)) };
        let (low, high) = (isa.low_nibbles(nibbles), isa.high_nibbles(nibbles));
        if F::CODED {
            return [isa.look_up(low, &CODES), isa.look_up(high, &CODES)];
        }
        match F::LAYOUT.bits {
            5 => {
                let steps = [isa.with_low_bits(low, *plane, 0x10), isa.with_high_bits(high, *plane, 0x10)];
                *plane = isa.move_down::<1>(*plane);
                steps
            }
            6 => {
                let steps = [isa.with_low_bits(low, *plane, 0x30), isa.with_high_bits(high, *plane, 0x30)];
                *plane = isa.move_down::<2>(*plane);
                steps
            }
            _ => [low, high],
        }
    }

    #[inline(always)]
    unsafe fn scales(self, isa: I, panel: usize, block: usize, group: usize) -> I::Int {
        // SAFETY: within the unit of that block.
        unsafe { isa.load_scales(self.unit(panel, block).add(F::LAYOUT.scales_at + group * PANEL_ROWS)) }
    }

    #[inline(always)]
    unsafe fn minimums(self, isa: I, panel: usize, block: usize, pair: usize) -> I::Int {
        // SAFETY: within the unit of that block.
        unsafe { isa.load_pairs(self.unit(panel, block).add(F::LAYOUT.minimums_at + pair * 2 * PANEL_ROWS)) }
    }

    #[inline(always)]
    unsafe fn d(self, isa: I, panel: usize, block: usize) -> I::Float {
        let first = if F::SCALED_GROUPS { F::LAYOUT.d_at } else { F::LAYOUT.scales_at };
        // SAFETY: within the unit of that block.
        unsafe {
            let at = self.unit(panel, block).add(first + block % Self::BLOCKS * 2 * PANEL_ROWS);
            if F::CODED { isa.load_upper_halves(at) } else { isa.load_halves(at) }
        }
    }

    #[inline(always)]
    unsafe fn dmin(self, isa: I, panel: usize, block: usize) -> I::Float {
        let first = if F::SCALED_GROUPS { F::LAYOUT.d_at + 2 * PANEL_ROWS } else { F::LAYOUT.minimums_at };
        // SAFETY: within the unit of that block.
        unsafe { isa.load_halves(self.unit(panel, block).add(first + block % Self::BLOCKS * 2 * PANEL_ROWS)) }
    }

    #[inline(always)]
    fn prefetch(self, isa: I, block: usize, group: usize) {
        let groups = Self::BLOCKS * F::GROUPS;
        let lines = F::LAYOUT.unit_bytes / LINE;
        let first = Self::group(block, group) * lines / groups;
        let at = self.unit(0, block).wrapping_add(PREFETCH_BYTES + first * LINE);
        for line in 0..lines.div_ceil(groups) {
            isa.prefetch(at.wrapping_add(line * LINE));
        }
    }
}

/// `PANELS` panels taken apart: of each block, a line for each step, group scale and pair of group minimums, then d
/// and dmin in single precision; the panels' lines side by side.
#[derive(Clone, Copy)]
pub(super) struct Unpacked<F, const PANELS: usize> {
    lines: *mut u8,
    format: PhantomData<F>,
}

impl<F: Quantized, const PANELS: usize> Unpacked<F, PANELS> {
    const STEPS: usize = F::LAYOUT.group_len / 4;
    const SCALES_AT: usize = F::GROUPS * Self::STEPS;
    const MINIMUMS_AT: usize = Self::SCALES_AT + if F::SCALED_GROUPS { F::GROUPS } else { 0 };
    const D_AT: usize =
        Self::MINIMUMS_AT + if F::SCALED_GROUPS && F::LAYOUT.minimums { F::GROUPS / 2 } else { 0 };
    const DMIN_AT: usize = Self::D_AT + 1;
    const LINES: usize = Self::DMIN_AT + if F::LAYOUT.minimums { 1 } else { 0 };

    /// Bytes of scratch that `blocks` blocks take.
    pub(super) const fn bytes(blocks: usize) -> usize {
        blocks * Self::LINES * PANELS * LINE
    }

    /// Weights in scratch of [`Self::bytes`].
    pub(super) fn new(scratch: *mut u8) -> Unpacked<F, PANELS> {
        Unpacked { lines: scratch, format: PhantomData }
    }

    #[inline(always)]
    fn line(self, panel: usize, block: usize, line: usize) -> *mut u8 {
        self.lines.wrapping_add(((block * Self::LINES + line) * PANELS + panel) * LINE)
    }
}

impl<I: Isa, F: Quantized, const PANELS: usize> Source<I> for Unpacked<F, PANELS> {
    type Format = F;

    #[inline(always)]
    unsafe fn plane(self, isa: I, _: usize, _: usize, _: usize) -> I::Int {
        isa.zero()
    }

    #[inline(always)]
    unsafe fn pair(self, isa: I, at: At, pair: usize, _: &mut I::Int) -> [I::Int; 2] {
        let step = at.group * Self::STEPS + 2 * pair;
        let [first, second] = [self.line(at.panel, at.block, step), self.line(at.panel, at.block, step + 1)];
        // SAFETY: two lines of that block.
        unsafe { [isa.load(first), isa.load(second)] }
    }

    #[inline(always)]
    unsafe fn scales(self, isa: I, panel: usize, block: usize, group: usize) -> I::Int {
        // SAFETY: a line of that block.
        unsafe { isa.load(self.line(panel, block, Self::SCALES_AT + group)) }
    }

    #[inline(always)]
    unsafe fn minimums(self, isa: I, panel: usize, block: usize, pair: usize) -> I::Int {
        // SAFETY: a line of that block.
        unsafe { isa.load(self.line(panel, block, Self::MINIMUMS_AT + pair)) }
    }

    #[inline(always)]
    unsafe fn d(self, isa: I, panel: usize, block: usize) -> I::Float {
        // SAFETY: a line of that block.
        unsafe { isa.load_floats(self.line(panel, block, Self::D_AT).cast()) }
    }

    #[inline(always)]
    unsafe fn dmin(self, isa: I, panel: usize, block: usize) -> I::Float {
        // SAFETY: a line of that block.
        unsafe { isa.load_floats(self.line(panel, block, Self::DMIN_AT).cast()) }
    }

    #[inline(always)]
    fn prefetch(self, _: I, _: usize, _: usize) {}
}

/// Takes panels apart.
pub(super) struct Unpack<F, const PANELS: usize> {
    pub(super) from: Packed<F>,
    pub(super) to: Unpacked<F, PANELS>,
    pub(super) blocks: usize,
}

impl<F: Quantized, const PANELS: usize> Kernel for Unpack<F, PANELS> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for block in 0..self.blocks {
            for panel in 0..PANELS {
                // SAFETY: whoever made this kernel gave it `PANELS` packed panels of `blocks` blocks, and scratch for
                // as many.
                unsafe { self.block(isa, panel, block) }
            }
        }
    }
}

impl<F: Quantized, const PANELS: usize> Unpack<F, PANELS> {
    /// # Safety
    /// As for [`Source`], of both ends.
    #[inline(always)]
    unsafe fn block<I: Isa>(&self, isa: I, panel: usize, block: usize) {
        type Lines<F, const PANELS: usize> = Unpacked<F, PANELS>;
        let line = |line| self.to.line(panel, block, line);
        // SAFETY: lines of that block, in both.
        unsafe {
            for group in 0..F::GROUPS {
                Source::<I>::prefetch(self.from, isa, block, group);
                let mut plane = self.from.plane(isa, panel, block, group);
                for pair in 0..F::PAIRS {
                    let steps = self.from.pair(isa, At { panel, block, group }, pair, &mut plane);
                    let first = group * Lines::<F, PANELS>::STEPS + 2 * pair;
                    isa.store(line(first), steps[0]);
                    isa.store(line(first + 1), steps[1]);
                }
                if F::SCALED_GROUPS {
                    let scales = self.from.scales(isa, panel, block, group);
                    isa.store(line(Lines::<F, PANELS>::SCALES_AT + group), scales);
                }
            }
            if F::SCALED_GROUPS && F::LAYOUT.minimums {
                for pair in 0..F::GROUPS / 2 {
                    let minimums = self.from.minimums(isa, panel, block, pair);
                    isa.store(line(Lines::<F, PANELS>::MINIMUMS_AT + pair), minimums);
                }
            }
            isa.store_floats(line(Lines::<F, PANELS>::D_AT).cast(), self.from.d(isa, panel, block));
            if F::LAYOUT.minimums {
                isa.store_floats(line(Lines::<F, PANELS>::DMIN_AT).cast(), self.from.dmin(isa, panel, block));
            }
        }
    }
}
