//! Dates and times as Python has them: wall-clock fields, an offset, the name of a zone.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ext::{Scalar, deserialize_scalar, serialize_scalar};
use super::marker::code;

const DAY_MICROS: i64 = 86_400_000_000;

/// Days from 0001-01-01 to 1970-01-01.
const EPOCH_DAYS: i32 = 719_162;

/// The days since 1970-01-01 of 0001-01-01 and of 9999-12-31.
const MIN_DAYS: i32 = -EPOCH_DAYS;
const MAX_DAYS: i32 = 2_932_896;

const FOLD: u8 = 1;
const HAS_ZONE: u8 = 2;

/// A field of a date or time is out of its range, or a text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTime(pub(super) &'static str);

/// A day of the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date {
    days: i32,
}

/// A time of day, with or without a zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Time {
    micros: u64,
    fold: bool,
    zone: Option<Zone>,
}

/// A date and time of the years 1 to 9999, with or without a zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DateTime {
    micros: i64,
    fold: bool,
    zone: Option<Zone>,
}

/// The offset from UTC of a date and time, and the name of its zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Zone {
    offset: i64,
    name: String,
}

/// A span of time of up to 999999999 days either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeDelta {
    days: i32,
    seconds: u32,
    micros: u32,
}

impl Date {
    /// The day that is `days` after 1970-01-01.
    ///
    /// # Errors
    /// Outside the years 1 to 9999.
    pub fn from_days(days: i32) -> Result<Self, InvalidTime> {
        match days {
            MIN_DAYS..=MAX_DAYS => Ok(Date { days }),
            _ => Err(InvalidTime("the year is not within 1 to 9999")),
        }
    }

    /// The day of that year, month (1 to 12) and day of the month.
    ///
    /// # Errors
    /// When there is no such day in the years 1 to 9999.
    pub fn from_ymd(year: u16, month: u8, day: u8) -> Result<Self, InvalidTime> {
        let (y, m, d) = (i32::from(year), usize::from(month), i32::from(day));
        if !(1..=9999).contains(&y) || !(1..=12).contains(&m) || !(1..=month_days(y)[m - 1]).contains(&d) {
            return Err(InvalidTime("there is no such day in the years 1 to 9999"));
        }
        let before: i32 = month_days(y)[..m - 1].iter().sum();
        Ok(Date { days: days_before_year(y) + before + d - 1 - EPOCH_DAYS })
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i32 {
        self.days
    }

    /// Year, month (1 to 12) and day of the month.
    pub fn ymd(self) -> (u16, u8, u8) {
        let days = self.days + EPOCH_DAYS;
        // The mean year makes the guess wrong by one at most.
        let mut year = (i64::from(days) * 400 / 146_097) as i32 + 1;
        if days < days_before_year(year) {
            year -= 1;
        } else if days >= days_before_year(year + 1) {
            year += 1;
        }
        let (mut day, mut month) = (days - days_before_year(year), 1);
        for len in month_days(year) {
            if day < len {
                break;
            }
            day -= len;
            month += 1;
        }
        (year as u16, month, day as u8 + 1)
    }
}

/// Days from 0001-01-01 to the first day of that year.
fn days_before_year(year: i32) -> i32 {
    let y = year - 1;
    y * 365 + y / 4 - y / 100 + y / 400
}

fn month_days(year: i32) -> [i32; 12] {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    [31, 28 + i32::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

impl Time {
    /// The time `micros` microseconds after midnight. `fold` tells the second of two equal times apart, when a
    /// clock is set back.
    ///
    /// # Errors
    /// When that is a day or more.
    pub fn new(micros: u64, fold: bool, zone: Option<Zone>) -> Result<Self, InvalidTime> {
        if micros >= DAY_MICROS as u64 {
            return Err(InvalidTime("a time of day is less than 24 hours"));
        }
        Ok(Time { micros, fold, zone })
    }

    /// Microseconds since midnight.
    pub fn micros(&self) -> u64 {
        self.micros
    }

    /// Whether it is the second of two equal times, when a clock is set back.
    pub fn fold(&self) -> bool {
        self.fold
    }

    /// The zone, if it has one.
    pub fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }
}

impl DateTime {
    /// The date and time whose wall clock is `micros` microseconds after 1970-01-01T00:00:00. `fold` tells the
    /// second of two equal times apart, when a clock is set back.
    ///
    /// # Errors
    /// Outside the years 1 to 9999.
    pub fn new(micros: i64, fold: bool, zone: Option<Zone>) -> Result<Self, InvalidTime> {
        let days = i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or(i32::MAX);
        Date::from_days(days)?;
        Ok(DateTime { micros, fold, zone })
    }

    /// Microseconds of the wall clock since 1970-01-01T00:00:00, whatever the offset.
    pub fn micros(&self) -> i64 {
        self.micros
    }

    /// Whether it is the second of two equal times, when a clock is set back.
    pub fn fold(&self) -> bool {
        self.fold
    }

    /// The zone, if it has one.
    pub fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    /// The day, and the microseconds since its midnight.
    pub fn split(&self) -> (Date, u64) {
        let date = Date { days: self.micros.div_euclid(DAY_MICROS) as i32 };
        (date, self.micros.rem_euclid(DAY_MICROS) as u64)
    }

    /// Reads a MessagePack timestamp, cut to microseconds.
    fn from_timestamp(payload: &[u8]) -> Result<Self, &'static str> {
        let (seconds, nanos) = if let Ok(seconds) = payload.try_into() {
            (i64::from(u32::from_be_bytes(seconds)), 0)
        } else if let Ok(both) = payload.try_into() {
            let both = u64::from_be_bytes(both);
            ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
        } else if let Some((nanos, seconds)) = payload.split_first_chunk() {
            let seconds = seconds.try_into().map_err(|_| "a timestamp has 4, 8 or 12 bytes")?;
            (i64::from_be_bytes(seconds), u32::from_be_bytes(*nanos))
        } else {
            return Err("a timestamp has 4, 8 or 12 bytes");
        };
        if nanos >= 1_000_000_000 {
            return Err("its nanoseconds are a second or more");
        }
        let micros = seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos / 1000));
        let utc = Zone { offset: 0, name: "UTC".into() };
        DateTime::new(micros, false, Some(utc)).map_err(|e| e.0)
    }
}

impl Zone {
    /// An offset from UTC in microseconds, east is positive, and a name, which may be empty.
    ///
    /// # Errors
    /// When the offset is 24 hours or more.
    pub fn new(offset: i64, name: impl Into<String>) -> Result<Self, InvalidTime> {
        if offset.unsigned_abs() >= DAY_MICROS as u64 {
            return Err(InvalidTime("an offset from UTC is less than 24 hours"));
        }
        Ok(Zone { offset, name: name.into() })
    }

    /// The offset from UTC in microseconds, east is positive.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The name of the zone; may be empty.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl TimeDelta {
    /// A span of that many days, seconds and microseconds; only the days may be negative.
    ///
    /// # Errors
    /// When the days are more than 999999999 either way, the seconds a day or the microseconds a second or more.
    pub fn new(days: i32, seconds: u32, micros: u32) -> Result<Self, InvalidTime> {
        if days.unsigned_abs() > 999_999_999 || seconds >= 86_400 || micros >= 1_000_000 {
            return Err(InvalidTime(
                "a timedelta is |days| <= 999999999, seconds < 86400, microseconds < 1000000",
            ));
        }
        Ok(TimeDelta { days, seconds, micros })
    }

    /// Whole days, rounded down.
    pub fn days(self) -> i32 {
        self.days
    }

    /// Seconds beyond the days.
    pub fn seconds(self) -> u32 {
        self.seconds
    }

    /// Microseconds beyond the seconds.
    pub fn micros(self) -> u32 {
        self.micros
    }
}

/// Appends the flags, offset and zone name that end a date and time or a time.
fn write_zone(payload: &mut Vec<u8>, fold: bool, zone: Option<&Zone>) {
    payload.push(if fold { FOLD } else { 0 } | if zone.is_some() { HAS_ZONE } else { 0 });
    if let Some(zone) = zone {
        payload.extend_from_slice(&zone.offset.to_be_bytes());
        payload.extend_from_slice(zone.name.as_bytes());
    }
}

fn read_zone(bytes: &[u8]) -> Result<(bool, Option<Zone>), &'static str> {
    let (&flags, rest) = bytes.split_first().ok_or("it is too short")?;
    if flags & !(FOLD | HAS_ZONE) != 0 {
        return Err("it has unknown flags");
    }
    if flags & HAS_ZONE == 0 {
        return if rest.is_empty() { Ok((flags & FOLD != 0, None)) } else { Err("it is too long") };
    }
    let (offset, name) = rest.split_first_chunk().ok_or("it is too short")?;
    let name = std::str::from_utf8(name).map_err(|_| "its zone name is not UTF-8")?;
    let zone = Zone::new(i64::from_be_bytes(*offset), name).map_err(|e| e.0)?;
    Ok((flags & FOLD != 0, Some(zone)))
}

impl Scalar for DateTime {
    const NAME: &'static str = "datetime";

    fn to_ext(&self) -> (i8, Cow<'_, [u8]>) {
        let mut payload = self.micros.to_be_bytes().to_vec();
        write_zone(&mut payload, self.fold, self.zone());
        (code::DATETIME, payload.into())
    }

    fn from_ext(code: i8, payload: &[u8]) -> Option<Result<Self, &'static str>> {
        let read = || {
            let (micros, rest) = payload.split_first_chunk().ok_or("it is too short")?;
            let (fold, zone) = read_zone(rest)?;
            DateTime::new(i64::from_be_bytes(*micros), fold, zone).map_err(|e| e.0)
        };
        match code {
            code::DATETIME => Some(read()),
            code::TIMESTAMP => Some(DateTime::from_timestamp(payload)),
            _ => None,
        }
    }
}

impl Scalar for Date {
    const NAME: &'static str = "date";

    fn to_ext(&self) -> (i8, Cow<'_, [u8]>) {
        (code::DATE, self.days.to_be_bytes().to_vec().into())
    }

    fn from_ext(code: i8, payload: &[u8]) -> Option<Result<Self, &'static str>> {
        let read = || {
            let days = payload.try_into().map_err(|_| "it has not 4 bytes")?;
            Date::from_days(i32::from_be_bytes(days)).map_err(|e| e.0)
        };
        (code == code::DATE).then(read)
    }
}

impl Scalar for Time {
    const NAME: &'static str = "time";

    fn to_ext(&self) -> (i8, Cow<'_, [u8]>) {
        let mut payload = self.micros.to_be_bytes().to_vec();
        write_zone(&mut payload, self.fold, self.zone());
        (code::TIME, payload.into())
    }

    fn from_ext(code: i8, payload: &[u8]) -> Option<Result<Self, &'static str>> {
        let read = || {
            let (micros, rest) = payload.split_first_chunk().ok_or("it is too short")?;
            let (fold, zone) = read_zone(rest)?;
            Time::new(u64::from_be_bytes(*micros), fold, zone).map_err(|e| e.0)
        };
        (code == code::TIME).then(read)
    }
}

impl Scalar for TimeDelta {
    const NAME: &'static str = "timedelta";

    fn to_ext(&self) -> (i8, Cow<'_, [u8]>) {
        let parts = [self.days.to_be_bytes(), self.seconds.to_be_bytes(), self.micros.to_be_bytes()];
        (code::TIMEDELTA, parts.concat().into())
    }

    fn from_ext(code: i8, payload: &[u8]) -> Option<Result<Self, &'static str>> {
        let read = || {
            let payload: &[u8; 12] = payload.try_into().map_err(|_| "it has not 12 bytes")?;
            let part = |i: usize| [payload[i], payload[i + 1], payload[i + 2], payload[i + 3]];
            let (days, seconds) = (i32::from_be_bytes(part(0)), u32::from_be_bytes(part(4)));
            TimeDelta::new(days, seconds, u32::from_be_bytes(part(8))).map_err(|e| e.0)
        };
        (code == code::TIMEDELTA).then(read)
    }
}

macro_rules! serde_as_ext {
    ($($type:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_scalar(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_scalar(deserializer)
            }
        }
    )*};
}

serde_as_ext!(Date, Time, DateTime, TimeDelta);
