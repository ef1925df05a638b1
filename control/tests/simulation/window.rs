//! Windows of time as plans write them, and when they are open: in plain minutes, with no library of calendars.

use fastrand::Rng;
use jiff::{Timestamp, ToSpan as _, civil};
use serde_json::{Map, Value, json};

/// Time zones with what they are ahead of UTC, in minutes, in the days of the simulation.
const ZONES: [(&str, i64); 6] = [
    ("UTC", 0),
    ("Asia/Shanghai", 480),
    ("Asia/Kolkata", 330),
    ("Pacific/Kiritimati", 840),
    ("Pacific/Pago_Pago", -660),
    ("America/New_York", -300),
];

/// The days of the week, from the one on which the epoch began.
const WEEK: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];

/// Minutes of a day.
const DAY: i64 = 24 * 60;

/// A window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    zone: (&'static str, i64),
    allow: Vec<Slot>,
    deny: Vec<Slot>,
    /// Whether an opening that nobody saw is used all the same.
    pub starts_late: bool,
}

/// A part of some days. Days are counted from the epoch, times of day in minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    days: Vec<&'static str>,
    dates: Vec<i64>,
    from: Option<i64>,
    to: Option<i64>,
}

/// Which days are workdays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    weekend: Vec<&'static str>,
    holidays: Vec<i64>,
    workdays: Vec<i64>,
}

// === impl Window ===

impl Window {
    /// One that opens and closes around a time.
    pub fn random(now: Timestamp, rng: &mut Rng) -> Self {
        let zone = ZONES[rng.usize(..ZONES.len())];
        let minute = minute(now) + zone.1;
        let allowed = rng.usize(..3);
        let denied = if allowed == 0 { 1 } else { rng.usize(..2) };
        let allow = (0..allowed).map(|_| Slot::random(minute + rng.i64(-8..8), 15, rng)).collect();
        let deny = (0..denied).map(|_| Slot::random(minute + rng.i64(-4..8), 6, rng)).collect();
        Self { zone, allow, deny, starts_late: rng.u8(..3) == 0 }
    }

    /// The window as people write it.
    pub fn to_json(&self) -> Value {
        let slots = |slots: &[Slot]| slots.iter().map(Slot::to_json).collect::<Vec<_>>();
        json!({
            "timeZone": self.zone.0,
            "allow": slots(&self.allow),
            "deny": slots(&self.deny),
            "missed": if self.starts_late { "late-start" } else { "skip" },
        })
    }

    /// Whether it is open.
    pub fn is_open(&self, now: Timestamp, calendar: Option<&Calendar>) -> bool {
        let minute = minute(now) + self.zone.1;
        let covers = |slot: &Slot| slot.covers(minute, calendar);
        (self.allow.is_empty() || self.allow.iter().any(covers)) && !self.deny.iter().any(covers)
    }
}

// === impl Slot ===

impl Slot {
    /// One that begins about at a minute, on that day among others or not.
    fn random(minute: i64, longest: i64, rng: &mut Rng) -> Self {
        let (day, from) = (minute.div_euclid(DAY), minute.rem_euclid(DAY));
        let to = (from + rng.i64(1..longest)).rem_euclid(DAY);
        let (days, dates) = match rng.u8(..8) {
            0 => (vec![weekday(day)], Vec::new()),
            1 => (vec!["workday"], Vec::new()),
            2 => (vec!["holiday"], Vec::new()),
            3 => (vec![weekday(day + 1)], vec![day]),
            _ => (Vec::new(), Vec::new()),
        };
        let (from, to) = (Some(from).filter(|_| rng.u8(..9) > 0), Some(to).filter(|_| rng.u8(..9) > 0));
        Self { days, dates, from, to }
    }

    fn to_json(&self) -> Value {
        let time = |minute: i64| json!(format!("{:02}:{:02}", minute / 60, minute % 60));
        let mut fields = Map::new();
        fields.insert("days".to_owned(), json!(self.days));
        fields.insert("dates".to_owned(), dates(&self.dates));
        fields.extend(self.from.map(|from| ("from".to_owned(), time(from))));
        fields.extend(self.to.map(|to| ("to".to_owned(), time(to))));
        Value::Object(fields)
    }

    /// Whether a minute, counted from the epoch, is in it. It may have begun on the day before.
    fn covers(&self, minute: i64, calendar: Option<&Calendar>) -> bool {
        let today = minute.div_euclid(DAY);
        let from = self.from.unwrap_or(0);
        let end = self.to.map_or(DAY, |to| if to > from { to } else { to + DAY });
        let is_in = |day: i64| (day * DAY + from..day * DAY + end).contains(&minute);
        [today - 1, today].into_iter().any(|day| self.is_on(day, calendar) && is_in(day))
    }

    fn is_on(&self, day: i64, calendar: Option<&Calendar>) -> bool {
        let is_named = |name: &&str| match *name {
            "workday" => is_workday(day, calendar),
            "holiday" => !is_workday(day, calendar),
            name => name == weekday(day),
        };
        let is_every = self.days.is_empty() && self.dates.is_empty();
        is_every || self.days.iter().any(is_named) || self.dates.contains(&day)
    }
}

// === impl Calendar ===

impl Calendar {
    /// One in which the days around a time are this or that.
    pub fn random(now: Timestamp, rng: &mut Rng) -> Self {
        let today = minute(now).div_euclid(DAY);
        let mut days = vec![today - 1, today, today + 1];
        rng.shuffle(&mut days);
        let workdays = days.split_off(rng.usize(1..=3));
        days.truncate(rng.usize(..3));
        let weekend = if rng.bool() { vec!["sat", "sun"] } else { vec![weekday(today), "sun"] };
        Self { weekend, holidays: days, workdays }
    }

    /// The calendar as people write it.
    pub fn to_json(&self) -> Value {
        json!({
            "weekend": self.weekend,
            "holidays": dates(&self.holidays),
            "workdays": dates(&self.workdays),
        })
    }
}

fn is_workday(day: i64, calendar: Option<&Calendar>) -> bool {
    match calendar {
        None => !["sat", "sun"].contains(&weekday(day)),
        Some(calendar) if calendar.workdays.contains(&day) => true,
        Some(calendar) => !calendar.holidays.contains(&day) && !calendar.weekend.contains(&weekday(day)),
    }
}

/// The minutes of the epoch, in UTC.
fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

fn weekday(day: i64) -> &'static str {
    WEEK[usize::try_from(day.rem_euclid(7)).unwrap()]
}

fn dates(days: &[i64]) -> Value {
    let epoch = civil::date(1970, 1, 1);
    json!(days.iter().map(|day| (epoch + day.days()).to_string()).collect::<Vec<_>>())
}
