//! Integers of any size.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ext::{Scalar, deserialize_scalar, serialize_scalar};
use super::marker::code;

/// The longest integer that is read or written, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// From this many bytes on, integers are shown in hexadecimal: turning n bytes into decimal digits takes n² steps.
const MAX_DECIMAL_BYTES: usize = 1024;

/// The most decimal digits that are parsed.
const MAX_DECIMAL_DIGITS: usize = 4300;

const MAX_HEX_DIGITS: usize = 2 * MAX_BYTES;

/// An integer of any size up to 64 KiB.
///
/// It prints and parses as decimal digits. Integers of more than 1 KiB print in hexadecimal, as `0x…` or `-0x…`,
/// which parses too; more than 4300 decimal digits are refused.
///
/// ```
/// use andiron_proto::codec::BigInt;
///
/// let n: BigInt = "340282366920938463463374607431768211456".parse()?;
/// assert_eq!(n.to_string(), "340282366920938463463374607431768211456");
/// assert_eq!(n.to_u128(), None);
/// # Ok::<(), andiron_proto::codec::ParseIntError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BigInt {
    /// Two's complement, big-endian, of minimal length.
    bytes: Vec<u8>,
}

/// Why a text or bytes are no [`BigInt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIntError {
    /// There is a character that belongs to no integer, or none at all.
    #[error("an integer is decimal digits, or 0x and hexadecimal digits, after an optional sign")]
    Digit,
    /// It has too many decimal digits.
    #[error("integers of more than {MAX_DECIMAL_DIGITS} digits must be in hexadecimal, as 0x...")]
    DecimalTooLong,
    /// It has more than 64 KiB.
    #[error("integers have at most {MAX_BYTES} bytes")]
    TooLong,
}

impl BigInt {
    /// The integer that `bytes` are in two's complement, big-endian; they need not be minimal.
    ///
    /// # Errors
    /// When there is no byte, or more than 64 KiB.
    pub fn from_be_bytes(bytes: &[u8]) -> Result<Self, ParseIntError> {
        match bytes.len() {
            0 => Err(ParseIntError::Digit),
            1..=MAX_BYTES => Ok(BigInt { bytes: minimal(bytes).to_vec() }),
            _ => Err(ParseIntError::TooLong),
        }
    }

    /// Two's complement, big-endian, of minimal length.
    pub fn as_be_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.bytes[0] >= 0x80
    }

    /// Its value, if it fits.
    pub fn to_i64(&self) -> Option<i64> {
        self.to_i128()?.try_into().ok()
    }

    /// Its value, if it fits.
    pub fn to_u64(&self) -> Option<u64> {
        self.to_i128()?.try_into().ok()
    }

    /// Its value, if it fits.
    pub fn to_i128(&self) -> Option<i128> {
        let mut wide = if self.is_negative() { [0xff; 16] } else { [0; 16] };
        wide[16usize.checked_sub(self.bytes.len())?..].copy_from_slice(&self.bytes);
        Some(i128::from_be_bytes(wide))
    }

    /// Its value, if it fits.
    pub fn to_u128(&self) -> Option<u128> {
        match (self.to_i128(), self.bytes.as_slice()) {
            (Some(v), _) => v.try_into().ok(),
            (None, [0, rest @ ..]) => Some(u128::from_be_bytes(rest.try_into().ok()?)),
            _ => None,
        }
    }

    /// Reads the payload of an extension.
    pub(super) fn from_payload(payload: &[u8]) -> Result<Self, &'static str> {
        BigInt::from_be_bytes(payload)
            .map_err(|e| if e == ParseIntError::TooLong { "it is longer than 64 KiB" } else { "it is empty" })
    }

    /// The absolute value, big-endian.
    fn magnitude(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if self.is_negative() {
            // -2^n needs no further bit here: without a sign n bits and a one fit the same bytes.
            negate(&mut bytes);
        }
        bytes
    }

    fn from_magnitude(negative: bool, mut bytes: Vec<u8>) -> Result<Self, ParseIntError> {
        bytes.insert(0, 0);
        if negative {
            negate(&mut bytes);
        }
        BigInt::from_be_bytes(minimal(&bytes))
    }
}

/// The shortest form of the same integer.
pub(super) fn minimal(mut bytes: &[u8]) -> &[u8] {
    while let [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] = bytes {
        bytes = &bytes[1..];
    }
    bytes
}

fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(carry.into());
    }
}

impl Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.magnitude();
        let mut text = String::new();
        if self.bytes.len() > MAX_DECIMAL_BYTES {
            for byte in magnitude {
                write!(text, "{byte:02x}")?;
            }
            f.pad_integral(!self.is_negative(), "", &format!("0x{}", text.trim_start_matches('0')))
        } else {
            f.pad_integral(!self.is_negative(), "", &decimal_digits(&magnitude))
        }
    }
}

fn decimal_digits(magnitude: &[u8]) -> String {
    const BASE: u64 = 1_000_000_000;
    let mut limbs: Vec<u32> =
        magnitude.rchunks(4).rev().map(|limb| limb.iter().fold(0, |v, b| v << 8 | u32::from(*b))).collect();
    let mut groups = Vec::new();
    let mut top = 0;
    while top < limbs.len() {
        let mut remainder = 0u64;
        for limb in &mut limbs[top..] {
            let v = remainder << 32 | u64::from(*limb);
            *limb = (v / BASE) as u32;
            remainder = v % BASE;
        }
        groups.push(remainder);
        while limbs.get(top) == Some(&0) {
            top += 1;
        }
    }
    let mut text = groups.pop().unwrap_or(0).to_string();
    for group in groups.iter().rev() {
        write!(text, "{group:09}").expect("writing to a String cannot fail");
    }
    text
}

impl fmt::Debug for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BigInt({self})")
    }
}

impl FromStr for BigInt {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (negative, digits) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let magnitude = match digits {
            [b'0', b'x', hex @ ..] => parse_hex(hex)?,
            _ => parse_decimal(digits)?,
        };
        BigInt::from_magnitude(negative, magnitude)
    }
}

fn digit(byte: u8, radix: u32) -> Result<u32, ParseIntError> {
    char::from(byte).to_digit(radix).ok_or(ParseIntError::Digit)
}

fn parse_hex(digits: &[u8]) -> Result<Vec<u8>, ParseIntError> {
    match digits.len() {
        0 => return Err(ParseIntError::Digit),
        1..=MAX_HEX_DIGITS => {}
        _ => return Err(ParseIntError::TooLong),
    }
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    for pair in digits.rchunks(2) {
        let byte = pair.iter().try_fold(0, |v, d| Ok(v << 4 | digit(*d, 16)?))?;
        bytes.push(byte as u8);
    }
    bytes.reverse();
    Ok(bytes)
}

fn parse_decimal(digits: &[u8]) -> Result<Vec<u8>, ParseIntError> {
    match digits.len() {
        0 => return Err(ParseIntError::Digit),
        1..=MAX_DECIMAL_DIGITS => {}
        _ => return Err(ParseIntError::DecimalTooLong),
    }
    // Little-endian while it grows.
    let mut limbs: Vec<u32> = Vec::new();
    for group in digits.chunks(9) {
        let mut carry = u64::from(group.iter().try_fold(0, |v, d| Ok(v * 10 + digit(*d, 10)?))?);
        for limb in &mut limbs {
            let v = u64::from(*limb) * 10u64.pow(group.len() as u32) + carry;
            *limb = v as u32;
            carry = v >> 32;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    Ok(limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect())
}

impl From<i128> for BigInt {
    fn from(v: i128) -> Self {
        BigInt { bytes: minimal(&v.to_be_bytes()).to_vec() }
    }
}

impl From<u128> for BigInt {
    fn from(v: u128) -> Self {
        let mut bytes = [0; 17];
        bytes[1..].copy_from_slice(&v.to_be_bytes());
        BigInt { bytes: minimal(&bytes).to_vec() }
    }
}

impl From<i64> for BigInt {
    fn from(v: i64) -> Self {
        i128::from(v).into()
    }
}

impl From<u64> for BigInt {
    fn from(v: u64) -> Self {
        i128::from(v).into()
    }
}

impl Scalar for BigInt {
    const NAME: &'static str = "int";

    fn to_ext(&self) -> (i8, Cow<'_, [u8]>) {
        (code::BIGINT, Cow::Borrowed(&self.bytes))
    }

    fn from_ext(code: i8, payload: &[u8]) -> Option<Result<Self, &'static str>> {
        (code == code::BIGINT).then(|| BigInt::from_payload(payload))
    }

    fn from_int(v: i128) -> Option<Self> {
        Some(v.into())
    }
}

/// As a plain int where 64 bits hold it.
impl Serialize for BigInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(v) = self.to_i64() {
            serializer.serialize_i64(v)
        } else if let Some(v) = self.to_u64() {
            serializer.serialize_u64(v)
        } else {
            serialize_scalar(self, serializer)
        }
    }
}

impl<'de> Deserialize<'de> for BigInt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_scalar(deserializer)
    }
}
