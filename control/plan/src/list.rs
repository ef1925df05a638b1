//! Named id lists, as files hold them.
//!
//! One id per line. Of a line with commas the first column counts, and it may stand in double quotes, in which `""`
//! is one quote. Blanks around an id, blank lines and lines that begin with `#` are skipped, and so is a first line
//! whose column says what ids these are, like `id`, `Teller-ID` or `柜员号`. An id that occurs twice counts once.

use crate::id::{BLANKS, check_id};
use crate::problem::{Problem, Problems};
use graylane_rules::limits::MAX_SET_IDS;
use graylane_rules::{IdSet, IdSetBuilder};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Lines with an id of one list: as many as one set of a rule set can have.
pub const MAX_LIST_IDS: usize = MAX_SET_IDS;

/// Bytes of the text of one list.
pub const MAX_LIST_BYTES: usize = 64 << 20;

/// The path of what is wrong with a list.
const PATH: &str = "list";

/// What the heading of the id column can be, in lower case and without `_`, `-` and blanks.
const HEADINGS: [&str; 14] = [
    "id",
    "teller",
    "tellerid",
    "branch",
    "branchid",
    "region",
    "regionid",
    "柜员",
    "柜员号",
    "网点",
    "网点号",
    "区域",
    "区域号",
    "机构号",
];

/// The heading of a written list, where it needs one.
const HEADING: &str = "id";

/// Why a line has no id.
#[derive(Debug, thiserror::Error)]
enum LineError {
    /// The line is not blank, but its first column is.
    #[error("the first column is empty; put the id there, or remove the line")]
    NoId,
    /// A quote that is not closed, or that something follows.
    #[error("the quoted id does not end with a quote and a comma or the end of the line; close it with \"")]
    OpenQuote,
    /// The id is none.
    #[error(transparent)]
    Id(#[from] crate::id::IdError),
}

/// The ids of a list's text.
///
/// # Errors
/// Every line that holds no valid id, with its number; and a text over [`MAX_LIST_BYTES`], over [`MAX_LIST_IDS`] or
/// without any id. The path is always `list`.
pub fn parse_list(text: &str) -> Result<IdSet, Vec<Problem>> {
    if text.len() > MAX_LIST_BYTES {
        let message =
            format!("the list has {} bytes, over the limit of {MAX_LIST_BYTES}; split it in two", text.len());
        return Err(vec![Problem::error(PATH, message)]);
    }
    let mut problems = Problems::default();
    let mut ids = IdSetBuilder::default();
    let mut count = 0_usize;
    for (number, line) in id_lines(text) {
        count += 1;
        if count > MAX_LIST_IDS {
            problems.push(at_line(
                number,
                format!("more than {MAX_LIST_IDS} ids, the limit; split the list in two"),
            ));
            break;
        }
        match id_of(line) {
            Ok(id) => ids.push(id.as_bytes()),
            Err(error) => problems.push(at_line(number, error.to_string())),
        }
    }
    if count == 0 {
        problems.error(PATH, "the list has no id; write one per line");
    }
    if !problems.has_errors() {
        return Ok(ids.build());
    }
    // How many more problems there were has no path of its own.
    let at_list = |problem| Problem { path: PATH.to_owned(), ..problem };
    Err(problems.in_order().into_iter().map(at_list).collect())
}

/// The text of a list: what [`parse_list`] reads the same ids from. Ids that are not UTF-8 cannot come from a list.
#[must_use]
pub fn write_list(ids: &IdSet) -> String {
    let mut text = String::with_capacity(written_bytes(ids));
    let first = ids.iter().next().map(String::from_utf8_lossy);
    if first.is_some_and(|id| is_heading(&id)) {
        text.push_str(HEADING);
        text.push('\n');
    }
    for id in ids.iter().map(String::from_utf8_lossy) {
        if !needs_quotes(id.as_bytes()) {
            text.push_str(&id);
        } else {
            text.extend(["\"", &id.replace('"', "\"\""), "\""]);
        }
        text.push('\n');
    }
    text
}

/// Bytes of the text of a list, but for a heading.
pub(crate) fn written_bytes(ids: &IdSet) -> usize {
    let quotes =
        |id: &[u8]| if needs_quotes(id) { 2 + id.iter().filter(|byte| **byte == b'"').count() } else { 0 };
    ids.iter().map(|id| id.len() + quotes(id) + 1).sum()
}

fn needs_quotes(id: &[u8]) -> bool {
    id.starts_with(b"#") || id.iter().any(|byte| matches!(byte, b',' | b'"'))
}

/// The address of a list's content: the SHA-256, in hex, of its ids in ascending order, each with a line feed after it.
#[must_use]
pub fn list_hash(ids: &IdSet) -> String {
    let mut hash = Sha256::new();
    for id in ids.iter() {
        hash.update(id);
        hash.update(b"\n");
    }
    format!("{:x}", hash.finalize())
}

/// The lines that should hold an id, trimmed, with their numbers.
fn id_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines =
        text.lines().map(|line| line.trim_matches(BLANKS)).zip(1..).map(|(line, number)| (number, line));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).peekable();
    lines.next_if(|(_, line)| first_column(line).is_ok_and(|column| is_heading(&column)));
    lines
}

/// Whether a column says what ids stand below it.
fn is_heading(column: &str) -> bool {
    let letters = column.chars().filter(|letter| ![' ', '_', '-'].contains(letter));
    let name: String = letters.flat_map(char::to_lowercase).collect();
    HEADINGS.contains(&name.as_str())
}

fn id_of(line: &str) -> Result<Cow<'_, str>, LineError> {
    let id = first_column(line)?;
    if id.is_empty() {
        return Err(LineError::NoId);
    }
    check_id(&id)?;
    Ok(id)
}

fn first_column(line: &str) -> Result<Cow<'_, str>, LineError> {
    Ok(match line.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?.into(),
        None => line.split(',').next().unwrap_or_default().trim_matches(BLANKS).into(),
    })
}

/// What stands before the closing quote.
fn unquoted(quoted: &str) -> Result<String, LineError> {
    let mut id = String::new();
    let mut rest = quoted;
    while let Some((part, tail)) = rest.split_once('"') {
        id.push_str(part);
        match tail.strip_prefix('"') {
            Some(_) => id.push('"'),
            None if is_column_end(tail) => return Ok(id),
            None => return Err(LineError::OpenQuote),
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    Err(LineError::OpenQuote)
}

fn is_column_end(tail: &str) -> bool {
    let tail = tail.trim_start_matches(BLANKS);
    tail.is_empty() || tail.starts_with(',')
}

fn at_line(number: usize, message: String) -> Problem {
    Problem { line: u64::try_from(number).ok(), ..Problem::error(PATH, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(text: &str) -> Vec<String> {
        let set = parse_list(text).unwrap();
        set.iter().map(|id| String::from_utf8_lossy(id).into_owned()).collect()
    }

    fn problems(text: &str) -> Vec<String> {
        parse_list(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn headings_comments_columns_and_blanks_are_skipped() {
        let text =
            "\u{feff}# pilot\r\n\r\n ID , name\r\nB2,Lane \"2\"\r\n\tB1 \r\n\"a,\"\"b\" , x\nB1\nid\n0012";
        assert_eq!(ids(text), ["0012", "B1", "B2", "a,\"b", "id"]);
    }

    #[test]
    fn a_first_line_that_says_what_ids_these_are_is_none() {
        for heading in
            ["id", "\"ID\",\"name\"", "teller_id", "Teller ID,name", "branchId", "柜员号", "\"网点\""]
        {
            assert_eq!(ids(&format!("{heading}\nT1,x\n")), ["T1"], "{heading}");
        }
        assert_eq!(ids("T1\nteller\n"), ["T1", "teller"]);
        assert_eq!(ids("teller-7\n"), ["teller-7"]);
    }

    #[test]
    fn every_bad_line_is_told_with_its_number() {
        let text = "B1\n,name\n\"B2\n\"B3\"x\n\"\"\nB\u{1}4\n\" B5\"\n";
        let told = problems(text);
        assert_eq!(told.len(), 6);
        assert_eq!(told[0], "list: the first column is empty; put the id there, or remove the line (line 2)");
        assert!(
            told[1].ends_with("(line 3)") && told[2].ends_with("(line 4)") && told[3].ends_with("(line 5)")
        );
        assert_eq!(
            told[4],
            r#"list: "B\u{1}4" has a control character, which no header carries; remove it (line 6)"#
        );
        assert!(told[5].contains(r#"write "B5" (line 7)"#));
    }

    #[test]
    fn a_flood_of_bad_lines_is_counted() {
        let told = problems(&",\n".repeat(250));
        assert_eq!(told.len(), crate::MAX_PROBLEMS + 1);
        assert_eq!(told.last().unwrap(), "list: and 150 more errors; cure those above first");
    }

    #[test]
    fn lists_with_nothing_or_too_much_are_refused() {
        assert_eq!(problems("id\n# nothing\n"), ["list: the list has no id; write one per line"]);
        assert!(problems(&"1\n".repeat(MAX_LIST_IDS + 1))[0].ends_with("(line 4000001)"));
        assert!(problems(&" ".repeat(MAX_LIST_BYTES + 1))[0].contains("over the limit of 67108864"));
    }

    #[test]
    fn the_hash_is_of_the_sorted_lines() {
        let hash = list_hash(&parse_list("b\na\n").unwrap());
        assert_eq!(hash, format!("{:x}", Sha256::digest("a\nb\n")));
    }

    proptest! {
        #[test]
        fn a_written_list_reads_the_same(ids in prop::collection::vec("(id|柜员|[#\",ab网]{1,4})", 1..20)) {
            let set: IdSet = ids.iter().collect();
            prop_assert_eq!(parse_list(&write_list(&set)).unwrap(), set);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[#\", \t\r\nab\u{0}]{0,40}") {
            if let Ok(set) = parse_list(&text) {
                prop_assert_eq!(parse_list(&write_list(&set)).unwrap(), set);
            }
        }
    }
}
