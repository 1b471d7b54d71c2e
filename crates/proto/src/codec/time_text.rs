//! Dates and times as text: ISO 8601, then the name of the zone in brackets, then ` fold=1`, each if there is one.
//!
//! `2026-10-25T02:30:00.5+01:00[Europe/Berlin] fold=1`

use std::fmt::{self, Display};
use std::str::FromStr;

use super::time::{Date, DateTime, InvalidTime, Time, Zone};

const FOLD: &str = " fold=1";

const INVALID: InvalidTime =
    InvalidTime("a date is like 2026-01-31, a time like 23:59:59.5 or 23:59+01:00[Zone]");

impl Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_clock(f, self.micros(), true)?;
        write_zone(f, self.fold(), self.zone())
    }
}

impl Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, micros) = self.split();
        write!(f, "{date}T")?;
        write_clock(f, micros, true)?;
        write_zone(f, self.fold(), self.zone())
    }
}

fn write_clock(f: &mut fmt::Formatter<'_>, micros: u64, always_seconds: bool) -> fmt::Result {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    write!(f, "{:02}:{:02}", seconds / 3600, seconds / 60 % 60)?;
    if always_seconds || seconds % 60 != 0 || micros != 0 {
        write!(f, ":{:02}", seconds % 60)?;
    }
    if micros != 0 { write!(f, ".{micros:06}") } else { Ok(()) }
}

fn write_zone(f: &mut fmt::Formatter<'_>, fold: bool, zone: Option<&Zone>) -> fmt::Result {
    if let Some(zone) = zone {
        f.write_str(if zone.offset() < 0 { "-" } else { "+" })?;
        write_clock(f, zone.offset().unsigned_abs(), false)?;
        if !zone.name().is_empty() {
            write!(f, "[{}]", zone.name())?;
        }
    }
    f.write_str(if fold { FOLD } else { "" })
}

impl FromStr for Date {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let mut cursor = Cursor(text);
        let date = cursor.date()?;
        cursor.end()?;
        Ok(date)
    }
}

impl FromStr for Time {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let (text, fold) = split_fold(text);
        let mut cursor = Cursor(text);
        let micros = cursor.clock()?;
        Time::new(micros, fold, cursor.zone()?)
    }
}

impl FromStr for DateTime {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let (text, fold) = split_fold(text);
        let mut cursor = Cursor(text);
        let date = cursor.date()?;
        if !cursor.eat('T') && !cursor.eat(' ') {
            return Err(INVALID);
        }
        let micros = i64::from(date.days()) * 86_400_000_000 + cursor.clock()? as i64;
        DateTime::new(micros, fold, cursor.zone()?)
    }
}

fn split_fold(text: &str) -> (&str, bool) {
    text.strip_suffix(FOLD).map_or((text, false), |text| (text, true))
}

/// The text that is left to parse.
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn eat(&mut self, wanted: char) -> bool {
        self.0.strip_prefix(wanted).map(|rest| self.0 = rest).is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), InvalidTime> {
        if self.eat(wanted) { Ok(()) } else { Err(INVALID) }
    }

    fn end(&self) -> Result<(), InvalidTime> {
        if self.0.is_empty() { Ok(()) } else { Err(INVALID) }
    }

    /// Exactly that many decimal digits.
    fn number(&mut self, digits: usize) -> Result<u32, InvalidTime> {
        let (number, rest) = self.0.split_at_checked(digits).ok_or(INVALID)?;
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(INVALID);
        }
        self.0 = rest;
        number.parse().map_err(|_| INVALID)
    }

    fn date(&mut self) -> Result<Date, InvalidTime> {
        let year = self.number(4)?;
        self.expect('-')?;
        let month = self.number(2)?;
        self.expect('-')?;
        let day = self.number(2)?;
        Date::from_ymd(year as u16, month as u8, day as u8)
    }

    /// Hours, minutes and optional seconds with up to six digits of a fraction, in microseconds.
    fn clock(&mut self) -> Result<u64, InvalidTime> {
        let hours = self.number(2)?;
        self.expect(':')?;
        let minutes = self.number(2)?;
        let seconds = if self.eat(':') { self.number(2)? } else { 0 };
        if hours > 23 || minutes > 59 || seconds > 59 {
            return Err(INVALID);
        }
        let mut micros = 0;
        if self.eat('.') {
            let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=6).contains(&digits) {
                return Err(INVALID);
            }
            micros = self.number(digits)? * 10u32.pow(6 - digits as u32);
        }
        Ok(u64::from(hours * 3600 + minutes * 60 + seconds) * 1_000_000 + u64::from(micros))
    }

    /// All that follows the clock.
    fn zone(&mut self) -> Result<Option<Zone>, InvalidTime> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let offset = if self.eat('Z') {
            0
        } else if self.eat('+') {
            self.clock()? as i64
        } else {
            self.expect('-')?;
            -(self.clock()? as i64)
        };
        if self.0.is_empty() {
            return Zone::new(offset, "").map(Some);
        }
        let name = self.0.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or(INVALID)?;
        Zone::new(offset, name).map(Some)
    }
}
