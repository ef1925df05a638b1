//! The nearest known name to one that is not known: most such names are slips of the hand.

use crate::problem::shown;

/// `; did you mean "branch"?`, or nothing when no name is near.
#[must_use]
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean {}?", shown(near))).unwrap_or_default()
}

/// The first of the names that differ least, if one differs in at most a third of its letters.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.chars().take(graylane_rules::limits::MAX_NAME_BYTES).collect();
    let folded = name.to_lowercase();
    let edits = |known: &&str| strsim::damerau_levenshtein(&folded, &known.to_lowercase());
    let best = known.into_iter().map(|known| (edits(&known), known)).min_by_key(|(edits, _)| *edits);
    best.filter(|(edits, known)| *edits <= (known.chars().count() / 3).max(1)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_and_a_stranger_is_not() {
        let known = ["teller", "branch", "region"];
        assert_eq!(nearest("brnach", known), Some("branch"));
        assert_eq!(nearest("Tellers", known), Some("teller"));
        assert_eq!(nearest("customer", known), None);
        assert_eq!(did_you_mean("x", []), "");
    }
}
