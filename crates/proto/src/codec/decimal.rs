//! Decimal numbers.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ext::{Scalar, deserialize_scalar, serialize_scalar};
use super::marker::code;

/// A decimal number as its text, in the form of Python's `str(Decimal)`: `1.50`, `-2E+7`, `Infinity`, `NaN`, `sNaN`.
///
/// Nothing is calculated or rounded; equality is that of the text, so `1.5` is not `1.50`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal(String);

/// The text is no decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a decimal is like 1.50, -2E+7, Infinity, NaN or sNaN")]
pub struct InvalidDecimal;

impl Decimal {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Decimal {
    type Error = InvalidDecimal;

    fn try_from(text: String) -> Result<Self, InvalidDecimal> {
        if is_decimal(&text) { Ok(Decimal(text)) } else { Err(InvalidDecimal) }
    }
}

impl FromStr for Decimal {
    type Err = InvalidDecimal;

    fn from_str(text: &str) -> Result<Self, InvalidDecimal> {
        text.to_owned().try_into()
    }
}

impl Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let unsigned = |s| str::strip_prefix(s, ['+', '-']).unwrap_or(s);
    let text = unsigned(text);
    if text == "Infinity" {
        return true;
    }
    if let Some(diagnostic) = text.strip_prefix("sNaN").or_else(|| text.strip_prefix("NaN")) {
        return diagnostic.is_empty() || digits(diagnostic);
    }
    let (number, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    digits(whole) && digits(fraction) && digits(unsigned(exponent))
}

impl Scalar for Decimal {
    const NAME: &'static str = "decimal";

    fn to_ext(&self) -> (i8, Cow<'_, [u8]>) {
        (code::DECIMAL, Cow::Borrowed(self.0.as_bytes()))
    }

    fn from_ext(code: i8, payload: &[u8]) -> Option<Result<Self, &'static str>> {
        let parse = || std::str::from_utf8(payload).ok()?.parse().ok();
        (code == code::DECIMAL).then(|| parse().ok_or("its text is not a decimal number"))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_scalar(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_scalar(deserializer)
    }
}
