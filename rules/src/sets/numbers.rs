//! Numbers of one width: as runs of neighbours or in blocks, whichever is smaller.

use super::bits::{self, MAX_BITS};
use super::blocks::Blocks;
use crate::load::LoadError;
use crate::wire::{Reader, Writer};
use alloc::vec::Vec;
use core::ops::Range;

/// Numbers from `min` on.
#[derive(Clone)]
pub(crate) struct Numbers {
    /// The smallest number. All others are kept as their distance to it.
    min: u64,
    /// The distance of the largest.
    reach: u64,
    form: Form,
}

/// How the distances are kept.
#[derive(Clone)]
enum Form {
    /// The first and last distance of each run of neighbours.
    Runs {
        /// How many runs.
        count: usize,
        /// Bits of a distance.
        width: u32,
        /// Where the firsts lie, each with its last behind it.
        ends: Range<usize>,
    },
    /// In blocks.
    Blocks(Blocks),
}

// === impl Numbers ===

impl Numbers {
    /// Takes numbers from where the reader stands.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, LoadError> {
        let (min, reach) = (reader.u64("smallest number")?, reader.u64("largest distance")?);
        let offset = reader.at();
        let form = match reader.u8("form")? {
            0 => {
                let (width, count) = (u32::from(reader.u8("width")?), reader.u32("runs")? as usize);
                let bytes = bits::packed(count.saturating_mul(2), width).saturating_add(bits::PADDING);
                if width > MAX_BITS {
                    return Err(LoadError::Invalid { what: "width", offset });
                }
                Form::Runs { count, width, ends: reader.span(bytes, "runs")? }
            }
            1 => Form::Blocks(Blocks::read(reader, reach)?),
            _ => return Err(LoadError::Invalid { what: "form", offset }),
        };
        Ok(Self { min, reach, form })
    }

    /// Writes ascending numbers in the smaller form. None when either takes more than `limit` bytes.
    pub(super) fn write(out: &mut Writer, numbers: &[u64], limit: usize) -> Option<()> {
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let distances: Vec<u64> = numbers.iter().map(|number| number - min).collect();
        let reach = max - min;
        let width = u64::BITS - reach.leading_zeros();
        let runs = runs(&distances);
        let of_runs = bits::packed(2 * runs.len(), width);
        let as_runs = (width <= MAX_BITS && of_runs <= limit).then_some(of_runs);
        let as_blocks = Blocks::smallest(&distances).filter(|(_, bytes)| *bytes <= limit);
        if as_runs.is_none() && as_blocks.is_none() {
            return None;
        }
        out.u64(min);
        out.u64(reach);
        match as_blocks {
            Some((bits, bytes)) if as_runs.is_none_or(|of_runs| bytes <= of_runs) => {
                out.u8(1);
                Blocks::write(out, &distances, bits);
            }
            _ => {
                out.u8(0);
                out.u8(width as u8);
                out.u32(runs.len() as u32);
                let ends = runs.iter().flat_map(|(first, last)| [*first, *last]);
                bits::write(&mut out.bytes, ends, width);
                out.bytes.extend([0; bits::PADDING]);
            }
        }
        Some(())
    }

    /// Whether `number` is among them.
    #[inline]
    pub(super) fn contains(&self, bytes: &[u8], number: u64) -> bool {
        let distance = number.wrapping_sub(self.min);
        if distance > self.reach {
            return false;
        }
        match &self.form {
            Form::Blocks(blocks) => blocks.contains(bytes, distance),
            Form::Runs { count, width, ends } => {
                let ends = bytes.get(ends.clone()).unwrap_or_default();
                let end = |at: usize| bits::read(ends, at * *width as usize, *width);
                let after = bits::partition_point(*count, |run| end(2 * run) <= distance);
                after.checked_sub(1).is_some_and(|run| distance <= end(2 * run + 1))
            }
        }
    }

    /// The numbers in ascending order, for `visit`; at most `limit` of them, because forged bytes may claim any number.
    pub(super) fn for_each(&self, bytes: &[u8], limit: usize, mut visit: impl FnMut(u64)) {
        let mut left = limit;
        let visit = |distance: u64| {
            if let Some(fewer) = left.checked_sub(1) {
                left = fewer;
                visit(self.min.wrapping_add(distance));
            }
        };
        match &self.form {
            Form::Blocks(blocks) => blocks.for_each(bytes, visit),
            Form::Runs { count, width, ends } => {
                let ends = bytes.get(ends.clone()).unwrap_or_default();
                let end = |at: usize| bits::read(ends, at * *width as usize, *width);
                (0..*count).flat_map(|run| end(2 * run)..=end(2 * run + 1)).take(limit).for_each(visit);
            }
        }
    }
}

/// The first and last of each run of neighbours.
fn runs(distances: &[u64]) -> Vec<(u64, u64)> {
    let runs = distances.chunk_by(|a, b| a + 1 == *b);
    runs.filter_map(|run| Some((*run.first()?, *run.last()?))).collect()
}
