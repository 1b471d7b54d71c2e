//! Bytes and names as text that people copy and files hold.

use crate::{Error, ErrorKind, Result};

/// Letters and digits of which none looks like another.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Five bits a character, the last one filled up with zeros.
pub(super) fn to_base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut bits, mut count) = (0u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(ALPHABET[(bits >> count & 31) as usize].into());
        }
    }
    if count > 0 {
        text.push(ALPHABET[(bits << (5 - count) & 31) as usize].into());
    }
    text
}

/// The `N` bytes of a text; `None` where it is not exactly what [`to_base32`] makes of `N` bytes.
pub(super) fn from_base32<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (mut bits, mut count, mut filled) = (0u32, 0, 0);
    for char in text.bytes() {
        bits = bits << 5 | ALPHABET.iter().position(|&other| other == char)? as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            *bytes.get_mut(filled)? = (bits >> count) as u8;
            filled += 1;
        }
        bits &= (1 << count) - 1;
    }
    (filled == N && count < 5 && bits == 0).then_some(bytes)
}

/// A name without spaces, commas and what steers a terminal: such characters are `%` and two digits for each of their bytes.
pub(super) fn encode(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for char in name.chars() {
        if char.is_whitespace() || char.is_control() || matches!(char, '%' | ',') {
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                text.push_str(&format!("%{byte:02X}"));
            }
        } else {
            text.push(char);
        }
    }
    text
}

/// The name that [`encode`] made this text of, or any other way to write it so.
pub(super) fn decode(text: &str) -> Result<String> {
    let broken = || {
        let text = "a `%` in a name stands before two hexadecimal digits, and together they are UTF-8: `%25` is `%` itself";
        Error::new(ErrorKind::Authentication, text)
    };
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or_else(broken)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(broken());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| broken())?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| broken())
}
