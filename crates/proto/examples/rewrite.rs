//! Reads values in the native codec, one a line in hexadecimal, and says of each what it is: the bytes as this codec writes them and the value in JSON, or
//! why it is none. So other implementations are held against this one.

use std::fmt::Write as _;
use std::io::{BufRead as _, Write as _};

use andiron_proto::codec::{Value, from_slice, to_vec};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        match rewritten(&line?) {
            Ok((hex, json)) => writeln!(out, "{hex} {json}")?,
            Err(why) => writeln!(out, "- {why}")?,
        }
        out.flush()?;
    }
    Ok(())
}

fn rewritten(hex: &str) -> Result<(String, String), String> {
    let bytes: Result<Vec<u8>, _> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16))
        .collect();
    let value: Value =
        from_slice(&bytes.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    let written = to_vec(&value).map_err(|error| error.to_string())?;
    let mut hex = String::new();
    for byte in written {
        let _ = write!(hex, "{byte:02x}"); // to a string
    }
    Ok((hex, value.to_json().to_string()))
}
