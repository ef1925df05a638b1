//! A rule set for people to read.

use crate::loaded::{LoadedTable, Rules};
use alloc::string::String;
use core::fmt;

/// Ids of one group that a listing shows; of the others it gives the number.
const MAX_IDS_SHOWN: usize = 12;

/// See [`Rules::listing`].
struct Listing<'a>(&'a Rules);

// === impl Rules ===

impl Rules {
    /// Everything in this rule set as text, except that long id lists are cut.
    #[must_use]
    pub fn listing(&self) -> impl fmt::Display {
        Listing(self)
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rules) = self;
        writeln!(f, "tenant {}, revision {}", rules.tenant(), rules.revision())?;
        writeln!(f, "content {:016x}, {} bytes", rules.content_hash(), rules.bytes().len())?;
        for dimension in rules.dimensions() {
            writeln!(f, "dimension {} from header {}", dimension.name, dimension.header)?;
        }
        writeln!(f, "version to header {}", rules.output_header())?;
        for (number, service) in rules.services().iter().enumerate() {
            let hosts: alloc::vec::Vec<&str> = rules.hosts_of(number).collect();
            write!(f, "service {} at {}: stable {}", service.name, hosts.join(", "), service.stable)?;
            if service.route_default != service.stable {
                write!(f, " by header, as routes choose {}", service.route_default)?;
            }
            match service.release.as_ref().and_then(|(gray, table)| Some((gray, rules.tables.get(*table)?))) {
                Some((gray, table)) => {
                    writeln!(f, ", gray {gray} by plan {}", table.plan)?;
                    write_table(f, rules, table)?;
                }
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, rules: &Rules, table: &LoadedTable) -> fmt::Result {
    for (dimension, groups) in rules.dimensions().iter().zip(&table.levels) {
        for (entry, set) in groups {
            write!(f, "  {} {} by {}:", dimension.name, entry.action, table.stage_name(*entry))?;
            for id in rules.ids(*set).iter().take(MAX_IDS_SHOWN) {
                write!(f, " {}", String::from_utf8_lossy(id))?;
            }
            match rules.set_len(*set).saturating_sub(MAX_IDS_SHOWN) {
                0 => writeln!(f)?,
                more => writeln!(f, " and {more} more")?,
            }
        }
    }
    match table.all {
        Some(entry) => writeln!(f, "  all {} by {}", entry.action, table.stage_name(entry)),
        None => Ok(()),
    }
}
