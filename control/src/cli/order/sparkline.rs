//! Shares over time as a line of blocks.

/// From none to the largest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A block for each share, as high as its part of `largest`; a blank where there is none. Only a share of zero lies on the ground.
pub(super) fn sparkline(shares: impl IntoIterator<Item = Option<f64>>, largest: f64) -> String {
    let above_ground = (BLOCKS.len() - 1) as f64;
    let block = |share: f64| {
        let height = if largest > 0.0 { (share / largest).clamp(0.0, 1.0) * above_ground } else { 0.0 };
        BLOCKS.get(height.ceil() as usize).copied().unwrap_or_default()
    };
    shares.into_iter().map(|share| share.map_or(' ', block)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_is_as_high_as_its_part_of_the_largest() {
        let line = |shares: &[f64], largest| sparkline(shares.iter().copied().map(Some), largest);
        assert_eq!(line(&[0.0, 0.001, 0.25, 0.5, 0.75, 1.0], 1.0), "▁▂▃▅▇█");
        assert_eq!(line(&[0.0, 0.001, 0.01, 0.02], 0.02), "▁▂▅█");
        assert_eq!(line(&[0.0, 0.0], 0.0), "▁▁", "nothing failed");
        assert_eq!(line(&[f64::NAN, -1.0, 7.0], 1.0), "▁▁█");
    }

    #[test]
    fn where_nobody_asked_the_line_has_a_gap() {
        assert_eq!(sparkline([Some(0.0), None, Some(1.0)], 1.0), "▁ █");
        assert_eq!(sparkline([], 1.0), "");
    }
}
