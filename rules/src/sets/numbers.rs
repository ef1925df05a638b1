//! Numbers of one width: the smallest of three forms.

use super::bits::{self, MAX_BITS};
use super::directory::Directory;
use crate::load::LoadError;
use crate::wire::{Reader, Writer};
use alloc::vec::Vec;
use core::ops::Range;

/// Entries that a search may have to pass in a directory. Where ids cluster more than this, Elias-Fano is not taken,
/// so that no request waits for more than some 64 words.
const MAX_PASSED: usize = 4_096;

/// Entries of a bucket that are compared one by one; of more, a binary search asks few.
const FEW: usize = 8;

/// Numbers from `min` on, in one of three forms.
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
    /// One bit for each distance.
    Bitmap {
        /// Where the bits lie.
        bits: Range<usize>,
    },
    /// The first and last distance of each run of neighbours.
    Runs {
        /// How many runs.
        count: usize,
        /// Bits of a distance.
        width: u32,
        /// Where the firsts lie, each with its last behind it.
        ends: Range<usize>,
    },
    /// Elias-Fano: the upper bits as buckets of a directory, the lower ones in a row.
    EliasFano {
        /// Bits of the lower part.
        low_bits: u32,
        /// The entries of each upper part.
        directory: Directory,
        /// Where the lower parts lie.
        lows: Range<usize>,
    },
}

/// What the encoder can choose from, with its size.
enum Plan {
    Bitmap,
    Runs(Vec<(u64, u64)>, u32),
    EliasFano(u32),
}

// === impl Numbers ===

impl Numbers {
    /// Takes `count` numbers from where the reader stands.
    pub(super) fn read(reader: &mut Reader<'_>, count: usize) -> Result<Self, LoadError> {
        let offset = reader.at();
        let invalid = LoadError::Invalid { what: "numbers", offset };
        let (min, reach) = (reader.u64("smallest number")?, reader.u64("largest distance")?);
        let (form, width) = (reader.u8("form")?, u32::from(reader.u8("width")?));
        let form = match form {
            0 => {
                let bytes = usize::try_from(reach / 8).ok().and_then(|bytes| bytes.checked_add(1));
                Form::Bitmap { bits: reader.span(bytes.ok_or(invalid)?, "bitmap")? }
            }
            1 if width <= MAX_BITS => {
                let runs = reader.u32("runs")? as usize;
                let bytes =
                    runs.checked_mul(2).and_then(|ends| bits::bytes_of(ends, width)).ok_or(invalid)?;
                Form::Runs { count: runs, width, ends: reader.span(bytes, "runs")? }
            }
            2 if width <= MAX_BITS => {
                let buckets = usize::try_from(reach >> width).ok().and_then(|last| last.checked_add(1));
                let directory = Directory::read(reader, count, buckets.ok_or(invalid.clone())?)?;
                let bytes = bits::bytes_of(count, width).ok_or(invalid)?;
                Form::EliasFano { low_bits: width, directory, lows: reader.span(bytes, "lower bits")? }
            }
            _ => return Err(invalid),
        };
        Ok(Self { min, reach, form })
    }

    /// Writes ascending numbers in their smallest form. None when none is quick enough with at most `limit` bytes.
    pub(super) fn write(out: &mut Writer, numbers: &[u64], limit: usize) -> Option<()> {
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let reach = max - min;
        let distances = || numbers.iter().map(|number| number - min);
        let plan = Plan::smallest(distances(), reach, limit)?;
        out.u64(min);
        out.u64(reach);
        match plan {
            Plan::Bitmap => {
                out.u8(0);
                out.u8(0);
                let start = out.bytes.len();
                out.bytes.resize(start + reach as usize / 8 + 1, 0);
                for distance in distances() {
                    if let Some(byte) = out.bytes.get_mut(start + distance as usize / 8) {
                        *byte |= 1 << (distance % 8);
                    }
                }
            }
            Plan::Runs(runs, width) => {
                out.u8(1);
                out.u8(width as u8);
                out.u32(runs.len() as u32);
                let ends: Vec<u64> = runs.iter().flat_map(|(first, last)| [*first, *last]).collect();
                out.bytes.extend(bits::write(ends.into_iter(), width));
            }
            Plan::EliasFano(low_bits) => {
                out.u8(2);
                out.u8(low_bits as u8);
                let buckets = (reach >> low_bits) as usize + 1;
                Directory::write(out, buckets, distances().map(|distance| (distance >> low_bits) as usize));
                let lows = distances().map(|distance| distance & ((1 << low_bits) - 1));
                out.bytes.extend(bits::write(lows, low_bits));
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
            Form::Bitmap { bits } => {
                let bits = bytes.get(bits.clone()).unwrap_or_default();
                bits.get((distance / 8) as usize).is_some_and(|byte| byte >> (distance % 8) & 1 == 1)
            }
            Form::Runs { count, width, ends } => {
                let ends = bytes.get(ends.clone()).unwrap_or_default();
                let end = |at: usize| bits::read(ends, at * *width as usize, *width);
                let after = partition_point(0..*count, |run| end(2 * run) <= distance);
                after.checked_sub(1).is_some_and(|run| distance <= end(2 * run + 1))
            }
            Form::EliasFano { low_bits, directory, lows } => {
                let lows = bytes.get(lows.clone()).unwrap_or_default();
                let entries = directory.entries_of(bytes, (distance >> low_bits) as usize);
                let low = distance & ((1 << low_bits) - 1);
                let low_at = |at: usize| bits::read(lows, at * *low_bits as usize, *low_bits);
                match entries.len() {
                    0..=FEW => entries.into_iter().any(|at| low_at(at) == low),
                    _ => {
                        let end = entries.end;
                        let at = partition_point(entries, |at| low_at(at) < low);
                        at < end && low_at(at) == low
                    }
                }
            }
        }
    }

    /// The numbers in ascending order, for `visit`; at most `limit` of them, because forged bytes may claim any number.
    pub(super) fn for_each(&self, bytes: &[u8], limit: usize, mut visit: impl FnMut(u64)) {
        let visit = |distance: u64| visit(self.min.wrapping_add(distance));
        match &self.form {
            Form::Bitmap { bits } => {
                let bits = bytes.get(bits.clone()).unwrap_or_default();
                let is_set = |distance: &u64| {
                    bits.get((distance / 8) as usize).is_some_and(|byte| byte >> (distance % 8) & 1 == 1)
                };
                (0..bits.len() as u64 * 8).filter(is_set).take(limit).for_each(visit);
            }
            Form::Runs { count, width, ends } => {
                let ends = bytes.get(ends.clone()).unwrap_or_default();
                let end = |at: usize| bits::read(ends, at * *width as usize, *width);
                (0..*count).flat_map(|run| end(2 * run)..=end(2 * run + 1)).take(limit).for_each(visit);
            }
            Form::EliasFano { low_bits, directory, lows } => {
                let lows = bytes.get(lows.clone()).unwrap_or_default();
                let low_at = |at: usize| bits::read(lows, at * *low_bits as usize, *low_bits);
                let buckets = 0..directory.buckets();
                let distances = buckets.flat_map(|bucket| {
                    directory
                        .entries_of(bytes, bucket)
                        .map(move |at| (bucket as u64) << low_bits | low_at(at))
                });
                distances.take(limit).for_each(visit);
            }
        }
    }
}

// === impl Plan ===

impl Plan {
    fn smallest(
        distances: impl ExactSizeIterator<Item = u64> + Clone,
        reach: u64,
        limit: usize,
    ) -> Option<Self> {
        let count = distances.len();
        let width = u64::BITS - reach.leading_zeros();
        let mut plans = Vec::new();
        if let Ok(bytes) = usize::try_from(reach / 8) {
            plans.push((bytes + 1, Self::Bitmap));
        }
        if width <= MAX_BITS {
            let runs = runs(distances.clone());
            if let Some(bytes) = bits::bytes_of(2 * runs.len(), width) {
                plans.push((bytes, Self::Runs(runs, width)));
            }
        }
        let low_bits = (0..=MAX_BITS).filter_map(|low_bits| {
            let buckets = usize::try_from(reach >> low_bits).ok()?.checked_add(1)?;
            let (samples, words) = Directory::bytes_of(count, buckets)?;
            Some((samples + words + bits::bytes_of(count, low_bits)?, low_bits))
        });
        if let Some((bytes, low_bits)) = low_bits.min() {
            let buckets = distances.map(|distance| (distance >> low_bits) as usize);
            if Directory::most_in_a_step(buckets) <= MAX_PASSED {
                plans.push((bytes, Self::EliasFano(low_bits)));
            }
        }
        let smallest = plans.into_iter().min_by_key(|(bytes, _)| *bytes);
        smallest.filter(|(bytes, _)| *bytes <= limit).map(|(_, plan)| plan)
    }
}

/// The first and last of each run of neighbours.
fn runs(distances: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for distance in distances {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == distance => *last = distance,
            _ => runs.push((distance, distance)),
        }
    }
    runs
}

/// The first of `range` for which `is_before` does not hold, when it holds for all before that.
#[inline]
fn partition_point(range: Range<usize>, is_before: impl Fn(usize) -> bool) -> usize {
    let Range { start: mut low, end: mut high } = range;
    while low < high {
        let middle = low + (high - low) / 2;
        match is_before(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}
