//! Between texts of people and values.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use andiron::Value;
use andiron_proto::codec::DateTime;
use andiron_proto::codec::json::JsonError;

use serde::Serialize;

use crate::failure::Failure;

/// JSON if it can be read as JSON, else a string. A whole number is kept exactly, however long.
pub(crate) fn value(text: &str) -> Result<Value, Failure> {
    let read = match whole_number(text) {
        Some(number) => Value::from_json(&format!("{{\"$int\": \"{number}\"}}")),
        None => Value::from_json(text),
    };
    match read {
        Ok(value) => Ok(value),
        // JSON all the same, so whoever wrote it did not mean a string.
        Err(JsonError::Syntax(error)) if error.to_string().starts_with("number out of range") => {
            let text = shortened(text);
            Err(Failure::Usage(format!(
                "a number in {text} is beyond all that can be told; for a string, give it in quotes of its own: '\"...\"'"
            )))
        }
        Err(JsonError::Syntax(_)) => Ok(Value::from(text)),
        Err(error) => Err(Failure::Usage(format!("{error}, in {}", shortened(text)))),
    }
}

/// The text of a number that JSON has and that is whole. Not of a zero: `-0` is a float.
fn whole_number(text: &str) -> Option<&str> {
    let number = text.trim_matches([' ', '\t', '\n', '\r']);
    let digits = number.strip_prefix('-').unwrap_or(number);
    let whole = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    (whole && !digits.is_empty()).then_some(number)
}

/// A text of others on one line, without what could steer a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}

/// How long ago something was, in its largest unit.
pub(crate) fn age(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

/// A number of bytes in its largest unit.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// A time as people write it, in UTC.
pub(crate) fn time(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let micros = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    match micros.and_then(|micros| DateTime::new(micros, false, None).ok()) {
        Some(time) => format!("{} UTC", time.to_string().replace('T', " ")),
        None => "a time after the year 9999".to_owned(),
    }
}

/// A JSON array with an entry a line, so that whoever reads lines needs no more than one in memory.
pub(crate) fn array<T: Serialize>(
    entries: impl Iterator<Item = Result<T, Failure>>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut before = "[";
    for entry in entries {
        let entry = serde_json::to_string(&entry?).map_err(io::Error::from)?;
        write!(out, "{before}\n  {entry}")?;
        before = ",";
    }
    Ok(writeln!(out, "{}]", if before == "[" { before } else { "\n" })?)
}

/// A text as one word of a shell's command line.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "._/-".contains(char);
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') {
        return text.to_owned();
    }
    format!("'{}'", one_line(text).replace('\'', "'\\''"))
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_a_string() {
        assert_eq!(value("20").unwrap(), Value::Int(20));
        assert_eq!(value("\"20\"").unwrap(), Value::from("20"));
        assert_eq!(value("twenty").unwrap(), Value::from("twenty"));
        assert_eq!(value("").unwrap(), Value::from(""));
        assert_eq!(value("{broken").unwrap(), Value::from("{broken"));
        assert_eq!(value("null").unwrap(), Value::Nil);
    }

    #[test]
    fn whole_numbers_are_exact_at_any_length() {
        let long = "123456789012345678901234567890";
        assert_eq!(value(long).unwrap(), Value::BigInt(long.parse().unwrap()));
        assert_eq!(
            value(&format!(" -{long}\n")).unwrap(),
            Value::BigInt(format!("-{long}").parse().unwrap())
        );
        assert!(matches!(value(&"9".repeat(400)).unwrap(), Value::BigInt(_)), "beyond all floats");
        assert!(matches!(value(&"9".repeat(5000)), Err(Failure::Usage(_))));
        assert_eq!(value("18446744073709551615").unwrap(), Value::UInt(u64::MAX));
        assert_eq!(value("-9223372036854775808").unwrap(), Value::Int(i64::MIN));
        assert_eq!(value("0").unwrap(), Value::Int(0));
        assert_eq!(value("12345678901234567890.0").unwrap(), Value::Float(12345678901234567890.0));
        for text in ["-", "007", "+5", "1_000", "0x10"] {
            assert_eq!(value(text).unwrap(), Value::from(text));
        }
    }

    #[test]
    fn json_that_is_no_value_is_refused_and_not_taken_for_a_string() {
        assert!(matches!(value("{\"$bytes\": 5}"), Err(Failure::Usage(_))));
        assert!(matches!(value(&"[".repeat(200_000)), Err(Failure::Usage(_))));
        for beyond in ["1e400", "-1e400", "[1, 2e999]", "{\"a\": 1e400}"] {
            let Err(Failure::Usage(text)) = value(beyond) else { panic!("{beyond} was taken") };
            assert!(text.contains("quotes"), "{text}");
        }
        assert_eq!(value("\"1e400\"").unwrap(), Value::from("1e400"));
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let ages = [0, 59, 60, 3599, 3600, 86399, 86400, 864_000];
        let told = ages.map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(told, ["0s", "59s", "1m", "59m", "1h", "23h", "1d", "10d"]);
    }

    #[test]
    fn sizes_and_times_are_told_as_people_do() {
        let sizes = [0, 1023, 1024, 1 << 20, (5 << 30) / 2];
        assert_eq!(sizes.map(size), ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "2.5 GiB"]);
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_083_200);
        assert_eq!(time(end), "2026-12-01 00:00:00 UTC");
    }

    #[test]
    fn a_name_is_one_word_for_the_shell() {
        let names = ["kodi", "living room", "it's", "", "-x", "$(x)"];
        let words = ["kodi", "'living room'", "'it'\\''s'", "''", "'-x'", "'$(x)'"];
        assert_eq!(names.map(quoted), words);
    }

    #[test]
    fn control_characters_of_others_are_shown_and_not_obeyed() {
        assert_eq!(one_line("a\nb\u{1b}[2J\u{9b}é"), "a\\nb\\u{1b}[2J\\u{9b}é");
    }
}
