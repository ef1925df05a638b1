//! When a window is open: its slots on the days of a calendar, in its time zone.

use crate::gate::{Calendar, MAX_DATES, MAX_DAYS, MAX_SLOTS, Slot, WindowSpec};
use crate::nearest::did_you_mean;
use crate::problem::{Problems, element, field, shown};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use std::collections::BTreeSet;

/// Days that are searched for the next or the last opening: a year and its holidays.
const MAX_SEARCHED_DAYS: usize = 400;

/// The days of the week as plans write them, Monday first.
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A window that can be asked.
#[derive(Clone, Debug)]
pub struct Window {
    zone: TimeZone,
    allow: Vec<Times>,
    deny: Vec<Times>,
    days: Workdays,
}

/// A slot, read.
#[derive(Clone, Debug)]
struct Times {
    weekdays: [bool; 7],
    workdays: bool,
    holidays: bool,
    dates: BTreeSet<Date>,
    from: Time,
    /// None is the end of the day.
    to: Option<Time>,
    /// Whether they are denied.
    denied: bool,
}

/// A calendar, read.
#[derive(Clone, Debug)]
struct Workdays {
    weekend: [bool; 7],
    holidays: BTreeSet<Date>,
    workdays: BTreeSet<Date>,
}

// === impl Window ===

impl Window {
    /// Reads a window as a plan writes it. None when something is wrong with it, which checking the plan tells.
    #[must_use]
    pub fn new(spec: &WindowSpec, calendar: Option<&Calendar>) -> Option<Self> {
        let mut problems = Problems::default();
        let days = Workdays::read("", calendar, &mut problems);
        let window = Self::read("", spec, days, &mut problems);
        window.filter(|_| !problems.has_errors())
    }

    /// Says what is wrong with a window.
    pub(crate) fn check(spec: &WindowSpec, calendar: Option<&Calendar>, path: &str, problems: &mut Problems) {
        // What is wrong with the calendar is told once, and not for each window.
        let days = Workdays::read("", calendar, &mut Problems::default());
        Self::read(path, spec, days, problems);
    }

    fn read(path: &str, spec: &WindowSpec, days: Workdays, problems: &mut Problems) -> Option<Self> {
        let zone = TimeZone::get(&spec.time_zone).ok();
        if zone.is_none() {
            let zone = shown(&spec.time_zone);
            problems.error(
                field(path, "timeZone"),
                format!("{zone} is no time zone; write an IANA name like Asia/Shanghai"),
            );
        }
        let mut slots = |name: &str, slots: &[Slot], denied: bool| {
            let path = field(path, name);
            if slots.len() > MAX_SLOTS {
                let count = slots.len();
                problems.error(&path, format!("{count} slots are over the limit of {MAX_SLOTS}; merge some"));
            }
            let slots = slots.iter().take(MAX_SLOTS).enumerate();
            let read = |(at, slot)| Times { denied, ..Times::read(&element(&path, at), slot, problems) };
            slots.map(read).collect()
        };
        let (allow, deny) = (slots("allow", &spec.allow, false), slots("deny", &spec.deny, true));
        Some(Self { zone: zone?, allow, deny, days })
    }

    /// Whether it is open at a time.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        let covers =
            |times: &Times| self.spans(times, self.date(at)).any(|(from, to)| (from..to).contains(&at));
        (self.allow.is_empty() || self.allow.iter().any(covers)) && !self.deny.iter().any(covers)
    }

    /// When it opens next after a time; none when that is more than a year away.
    #[must_use]
    pub fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        let mut day = self.date(at).yesterday().ok()?;
        let mut found: Option<Timestamp> = None;
        for _ in 0..MAX_SEARCHED_DAYS {
            // What begins on the days behind cannot be earlier, but what ends there can.
            let known = found;
            let edges = self.edges(day).filter(|edge| *edge > at && self.opens_at(*edge));
            found = found.into_iter().chain(edges).min();
            if known.is_some() {
                break;
            }
            day = day.tomorrow().ok()?;
        }
        found
    }

    /// When it opened, if it is open at a time; none when that was more than a year before.
    #[must_use]
    pub fn opened_before(&self, at: Timestamp) -> Option<Timestamp> {
        if !self.is_open(at) {
            return None;
        }
        let mut day = self.date(at);
        let mut found: Option<Timestamp> = None;
        for _ in 0..MAX_SEARCHED_DAYS {
            let known = found;
            let edges = self.edges(day).filter(|edge| *edge <= at && self.opens_at(*edge));
            found = found.into_iter().chain(edges).max();
            if known.is_some() {
                break;
            }
            day = day.yesterday().ok()?;
        }
        found
    }

    fn opens_at(&self, edge: Timestamp) -> bool {
        self.is_open(edge) && !self.is_open(edge - 1.millisecond())
    }

    /// When it may open because of what stands on a day: as an allowed slot begins, or a denied one ends.
    fn edges(&self, day: Date) -> impl Iterator<Item = Timestamp> {
        let from = self.allow.iter().filter_map(move |times| Some(self.span(times, day)?.0));
        let to = self.deny.iter().filter_map(move |times| Some(self.span(times, day)?.1));
        from.chain(to)
    }

    /// The times of a slot that begin on a day or the one before.
    fn spans(&self, times: &Times, day: Date) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        [day.yesterday().ok(), Some(day)].into_iter().flatten().filter_map(|day| self.span(times, day))
    }

    /// The time of a slot that begins on a day. Where a change of the clocks leaves a time of day out, or makes it come twice,
    /// what is denied begins at the earlier and ends at the later of the two times that it can be; what is allowed goes by
    /// the time after the change and by the first of two.
    fn span(&self, times: &Times, day: Date) -> Option<(Timestamp, Timestamp)> {
        if !times.is_on(day, &self.days) {
            return None;
        }
        let (last, to) = match times.to {
            Some(to) if to > times.from => (day, to),
            Some(to) => (day.tomorrow().ok()?, to),
            None => (day.tomorrow().ok()?, Time::midnight()),
        };
        let at = |day: Date, time: Time| self.zone.to_ambiguous_timestamp(day.to_datetime(time));
        let (from, to) = (at(day, times.from), at(last, to));
        match times.denied {
            true => Some((from.earlier().ok()?, to.later().ok()?)),
            false => Some((from.compatible().ok()?, to.compatible().ok()?)),
        }
    }

    fn date(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(at).date()
    }
}

// === impl Times ===

impl Times {
    fn read(path: &str, slot: &Slot, problems: &mut Problems) -> Self {
        let every = slot.days.is_empty() && slot.dates.is_empty();
        let mut times = Self {
            weekdays: [every; 7],
            workdays: false,
            holidays: false,
            denied: false,
            dates: read_dates(&field(path, "dates"), &slot.dates, problems),
            from: slot.from.as_deref().map_or(Time::midnight(), |from| {
                read_time(&field(path, "from"), from, problems).unwrap_or_default()
            }),
            to: slot
                .to
                .as_deref()
                .filter(|to| *to != "24:00")
                .and_then(|to| read_time(&field(path, "to"), to, problems)),
        };
        for (at, day) in few_days(&field(path, "days"), &slot.days, problems).iter().enumerate() {
            match day.as_str() {
                "workday" => times.workdays = true,
                "holiday" => times.holidays = true,
                day if mark(day, &mut times.weekdays) => {}
                day => {
                    problems.error(element(&field(path, "days"), at), no_day(day, &["workday", "holiday"]))
                }
            }
        }
        if slot.from.is_some() && times.to == Some(times.from) {
            problems.error(path, "begins and ends at the same time; leave both out for the whole day");
        }
        times
    }

    fn is_on(&self, day: Date, days: &Workdays) -> bool {
        let is_workday = days.is_workday(day);
        weekday(&self.weekdays, day)
            || (self.workdays && is_workday)
            || (self.holidays && !is_workday)
            || self.dates.contains(&day)
    }
}

// === impl Workdays ===

impl Workdays {
    pub(crate) fn read(path: &str, calendar: Option<&Calendar>, problems: &mut Problems) -> Self {
        let calendar = calendar.cloned().unwrap_or_default();
        let mut weekend = [false; 7];
        for (at, day) in few_days(&field(path, "weekend"), &calendar.weekend, problems).iter().enumerate() {
            if !mark(day, &mut weekend) {
                problems.error(element(&field(path, "weekend"), at), no_day(day, &[]));
            }
        }
        let holidays = read_dates(&field(path, "holidays"), &calendar.holidays, problems);
        let workdays = read_dates(&field(path, "workdays"), &calendar.workdays, problems);
        if let Some(day) = holidays.intersection(&workdays).next() {
            problems.error(
                field(path, "workdays"),
                format!("{day} is a holiday, too; remove it from one of them"),
            );
        }
        Self { weekend, holidays, workdays }
    }

    fn is_workday(&self, day: Date) -> bool {
        self.workdays.contains(&day) || !(self.holidays.contains(&day) || weekday(&self.weekend, day))
    }
}

/// Checks a calendar.
pub(crate) fn check_calendar(path: &str, calendar: &Calendar, problems: &mut Problems) {
    Workdays::read(path, Some(calendar), problems);
}

fn weekday(days: &[bool; 7], day: Date) -> bool {
    days.get(usize::from(day.weekday().to_monday_zero_offset().unsigned_abs())).copied().unwrap_or_default()
}

/// The days of a list, if they are not more than there are.
fn few_days<'a>(path: &str, days: &'a [String], problems: &mut Problems) -> &'a [String] {
    if days.len() <= MAX_DAYS {
        return days;
    }
    let count = days.len();
    problems.error(path, format!("{count} days are over the limit of {MAX_DAYS}; name each once"));
    &[]
}

/// Marks a day of the week, if it is one.
fn mark(day: &str, days: &mut [bool; 7]) -> bool {
    let marked = WEEKDAYS.iter().position(|known| *known == day).and_then(|at| days.get_mut(at));
    marked.map(|marked| *marked = true).is_some()
}

fn no_day(day: &str, more: &[&str]) -> String {
    let known = [&WEEKDAYS, more].concat();
    let hint = did_you_mean(day, known.iter().copied());
    format!("{} is no day{hint}; write one of {}", shown(day), known.join(", "))
}

fn read_time(path: &str, text: &str, problems: &mut Problems) -> Option<Time> {
    let time = Time::strptime("%H:%M", text).ok().filter(|_| text.len() == 5);
    if time.is_none() {
        problems.error(path, format!("{} is no time of day; write one like 09:30", shown(text)));
    }
    time
}

fn read_dates(path: &str, texts: &[String], problems: &mut Problems) -> BTreeSet<Date> {
    if texts.len() > MAX_DATES {
        let count = texts.len();
        problems.error(
            path,
            format!("{count} dates are over the limit of {MAX_DATES}; remove those that are past"),
        );
        return BTreeSet::new();
    }
    let mut dates = BTreeSet::new();
    for (at, text) in texts.iter().enumerate() {
        match Date::strptime("%Y-%m-%d", text) {
            Ok(date) if text.len() == 10 => drop(dates.insert(date)),
            _ => {
                let message = format!("{} is no date; write one like 2026-12-31", shown(text));
                problems.error(element(path, at), message);
            }
        }
    }
    dates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Missed;
    use jiff::SignedDuration;
    use proptest::prelude::*;

    fn slot(days: &[&str], from: &str, to: &str) -> Slot {
        let time = |time: &str| Some(time.to_owned()).filter(|time| !time.is_empty());
        let days = days.iter().map(|day| (*day).to_owned()).collect();
        Slot { days, dates: Vec::new(), from: time(from), to: time(to) }
    }

    fn window(zone: &str, allow: Vec<Slot>, deny: Vec<Slot>, calendar: Option<&Calendar>) -> Window {
        let spec = WindowSpec { time_zone: zone.into(), allow, deny, missed: Missed::Skip };
        Window::new(&spec, calendar).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn workdays_follow_the_calendar_and_its_exchanged_days() {
        let calendar = Calendar {
            holidays: vec!["2026-10-01".into(), "2026-10-02".into()],
            workdays: vec!["2026-10-10".into()],
            ..Calendar::default()
        };
        let evening = slot(&["workday"], "20:00", "23:30");
        let window = window("Asia/Shanghai", vec![evening], vec![], Some(&calendar));
        for (time, open) in [
            ("2026-09-30T20:00+08", true),
            ("2026-09-30T19:59:59+08", false),
            ("2026-09-30T23:30+08", false),
            ("2026-10-01T21:00+08", false),
            ("2026-10-03T21:00+08", false),
            ("2026-10-10T21:00+08", true),
        ] {
            assert_eq!(window.is_open(at(time)), open, "{time}");
        }
        assert_eq!(window.opens_after(at("2026-09-30T20:00+08")), Some(at("2026-10-05T20:00+08")));
        assert_eq!(window.opened_before(at("2026-10-10T23:29+08")), Some(at("2026-10-10T20:00+08")));
        assert_eq!(window.opened_before(at("2026-10-10T23:30+08")), None);
    }

    #[test]
    fn a_slot_lasts_over_midnight_and_what_is_denied_wins() {
        let night = slot(&["fri"], "22:00", "02:00");
        let year_end = Slot { dates: vec!["2026-12-25".into()], ..Slot::default() };
        let window = window("Europe/Berlin", vec![night], vec![year_end], None);
        assert!(window.is_open(at("2026-12-19T01:59+01")), "Saturday, but it began on Friday");
        assert!(!window.is_open(at("2026-12-20T01:59+01")));
        assert!(!window.is_open(at("2026-12-25T23:00+01")));
        assert_eq!(window.opens_after(at("2026-12-19T02:00+01")), Some(at("2026-12-26T00:00+01")));
    }

    #[test]
    fn a_change_of_the_clocks_moves_no_day() {
        let window = window("Europe/Berlin", vec![slot(&[], "02:30", "03:30")], vec![], None);
        // 02:30 is left out on 2026-03-29, when 03:30 is the same time, and comes twice on 2026-10-25.
        assert_eq!(window.opens_after(at("2026-03-28T12:00+01")), Some(at("2026-03-30T02:30+02")));
        assert_eq!(window.opens_after(at("2026-10-24T12:00+02")), Some(at("2026-10-25T02:30+02")));
        assert!(window.is_open(at("2026-10-25T03:29+01")), "until 03:30, which comes once");
    }

    #[test]
    fn what_is_denied_has_no_hole_where_the_clocks_change() {
        let until = window("Europe/Berlin", vec![], vec![slot(&[], "00:00", "02:30")], None);
        assert!(!until.is_open(at("2026-10-25T02:15+01")), "the second 02:15");
        assert!(until.is_open(at("2026-10-25T02:30+01")));
        let from = window("Europe/Berlin", vec![], vec![slot(&[], "02:30", "03:30")], None);
        assert!(!from.is_open(at("2026-03-29T03:15+02")), "02:30 is left out, and 03:15 is behind it");
    }

    #[test]
    fn a_window_that_is_always_or_never_open_has_no_opening() {
        let always = window("UTC", vec![], vec![], None);
        let now = at("2026-11-25T00:00Z");
        assert!(always.is_open(now));
        assert_eq!((always.opens_after(now), always.opened_before(now)), (None, None));
        let never = window("UTC", vec![], vec![Slot::default()], None);
        assert_eq!((never.is_open(now), never.opens_after(now)), (false, None));
    }

    fn any_slot() -> impl Strategy<Value = Slot> {
        let days = prop::collection::vec(
            prop::sample::select(vec!["mon", "tue", "sat", "sun", "workday", "holiday"]),
            0..3,
        );
        let time = || prop::sample::select(vec!["", "00:00", "01:30", "02:30", "09:00", "20:00", "23:30"]);
        (days, time(), time()).prop_map(|(days, from, to)| {
            let to = if from == to { "" } else { to };
            slot(&days, from, to)
        })
    }

    proptest! {
        /// The oracle asks each half hour, which is where everything begins and ends.
        #[test]
        fn openings_are_where_asking_all_the_time_finds_them(
            allow in prop::collection::vec(any_slot(), 0..3),
            deny in prop::collection::vec(any_slot(), 0..3),
            zone in prop::sample::select(vec!["Asia/Shanghai", "Europe/Berlin", "America/New_York", "UTC"]),
            start in 0_i64..365 * 48,
        ) {
            let window = window(zone, allow, deny, None);
            let step = SignedDuration::from_mins(30);
            let now = at("2026-01-01T00:00Z") + step * i32::try_from(start).unwrap();
            let after = (1..48 * 12).map(|steps| now + step * steps);
            let opens = after.clone().find(|at| window.is_open(*at) && !window.is_open(*at - step));
            let found = window.opens_after(now).filter(|at| *at <= now + step * (48 * 12 - 1));
            prop_assert_eq!(found, opens);
            let before = (0..48 * 12).map(|steps| now - step * steps);
            let opened = before.take_while(|at| window.is_open(*at)).last();
            let opened = opened.filter(|at| *at > now - step * (48 * 12 - 1));
            let found = window.opened_before(now).filter(|at| *at > now - step * (48 * 12 - 1));
            prop_assert_eq!(found, opened);
        }
    }
}
