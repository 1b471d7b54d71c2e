//! The codec against `spec/vectors/codec.json`, and against what nobody thought of.

use std::collections::BTreeMap;

use andiron_proto::codec::{DecodeError, ErrorClass, Value, from_slice, to_vec};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

#[derive(Deserialize)]
struct Vectors {
    good: Vec<Good>,
    bad: Vec<Bad>,
}

#[derive(Deserialize)]
struct Good {
    name: String,
    hex: String,
    json: Json,
    canonical: bool,
}

#[derive(Deserialize)]
struct Bad {
    name: String,
    hex: String,
    why: String,
}

#[test]
fn good_vectors_mean_what_their_json_says() {
    for vector in vectors().good {
        let bytes = unhex(&vector.hex);
        let name = &vector.name;
        let value: Value = from_slice(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        // As text: that tells 0.0 from -0.0, 1 from 1.0 and the order of keys.
        assert_eq!(value.to_json().to_string(), vector.json.to_string(), "{name}");

        let from_json = Value::from_json(&vector.json.to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(from_json, value, "{name}");

        let written = to_vec(&value).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(written == bytes, vector.canonical, "{name} was written as {}", hex(&written));
        assert_eq!(from_slice::<Value>(&written).unwrap(), value, "{name}");
        assert_eq!(to_vec(&from_json).unwrap(), written, "{name}");
    }
}

#[derive(Deserialize)]
struct Arrives {
    value: String,
    hex: String,
    rust: String,
}

#[test]
fn what_python_sends_arrives_as_its_table_says_and_is_sent_on_as_it_was() {
    #[derive(Deserialize)]
    struct Table {
        arrives: Vec<Arrives>,
    }
    let table = include_str!("../../../spec/vectors/values.json");
    let table: Table = serde_json::from_str(table).expect("spec/vectors/values.json");
    for Arrives { value: name, hex, rust } in table.arrives {
        let bytes = unhex(&hex);
        let value: Value = from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let shown = format!("{value:?}");
        let variant = shown.split(|char: char| !char.is_alphanumeric()).next();
        assert_eq!(variant, Some(&*rust), "{name}: {shown}");
        assert_eq!(to_vec(&value).unwrap(), bytes, "{name}");
    }
}

#[test]
fn good_vectors_can_be_skipped() {
    for vector in vectors().good {
        from_slice::<IgnoredAny>(&unhex(&vector.hex)).unwrap_or_else(|e| panic!("{}: {e}", vector.name));
    }
}

#[test]
fn bad_vectors_are_malformed() {
    for vector in vectors().bad {
        let decoded: Result<Value, DecodeError> = from_slice(&unhex(&vector.hex));
        let error = match decoded {
            Ok(value) => panic!("{} was read as {value:?}, but {}", vector.name, vector.why),
            Err(error) => error,
        };
        assert_eq!(error.class(), ErrorClass::Malformed, "{}: {error}", vector.name);
        assert!(error.position().is_some(), "{}: {error}", vector.name);
    }
}

#[test]
fn every_prefix_of_a_good_vector_is_malformed() {
    for vector in vectors().good {
        let bytes = unhex(&vector.hex);
        for len in 0..bytes.len() {
            let error = from_slice::<Value>(&bytes[..len]).expect_err(&vector.name);
            assert_eq!(error.class(), ErrorClass::Malformed, "{} cut to {len}: {error}", vector.name);
        }
    }
}

/// Whatever arrives is refused, or is a value that survives being written and read, as bytes and as JSON.
#[test]
fn mutated_and_random_bytes_do_no_harm() {
    let iterations: u32 = std::env::var("ANDIRON_FUZZ_ITERATIONS")
        .map_or(20_000, |n| n.parse().expect("ANDIRON_FUZZ_ITERATIONS"));
    let seed =
        std::env::var("ANDIRON_FUZZ_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().expect("a seed"));
    println!("ANDIRON_FUZZ_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let all = vectors();
    let good: Vec<Vec<u8>> = all.good.iter().map(|v| unhex(&v.hex)).collect();
    let bad: Vec<Vec<u8>> = all.bad.iter().map(|v| unhex(&v.hex)).collect();
    let mut read = 0;
    for _ in 0..iterations {
        let bytes = mutate(&good, &bad, &mut rng);
        let _ = from_slice::<(i64, Option<f64>, String)>(&bytes);
        let _ = from_slice::<BTreeMap<String, Vec<u128>>>(&bytes);
        let skipped = from_slice::<IgnoredAny>(&bytes);
        let Ok(value) = from_slice::<Value>(&bytes) else { continue };
        read += 1;
        skipped.unwrap_or_else(|e| panic!("{}: {e}", hex(&bytes)));
        let written = to_vec(&value).unwrap_or_else(|e| panic!("{}: {e}", hex(&bytes)));
        assert_eq!(from_slice::<Value>(&written).as_ref(), Ok(&value), "{}", hex(&bytes));
        let json = value.to_json().to_string();
        let from_json = Value::from_json(&json).unwrap_or_else(|e| panic!("{}: {json}: {e}", hex(&bytes)));
        assert_eq!(from_json, value, "{}: {json}", hex(&bytes));
    }
    assert!(
        iterations < 1000 || read > iterations / 20,
        "only {read} of {iterations} inputs were values: the mutations are too wild"
    );
}

fn mutate(good: &[Vec<u8>], bad: &[Vec<u8>], rng: &mut fastrand::Rng) -> Vec<u8> {
    if rng.u8(..) < 16 {
        return (0..rng.usize(..64)).map(|_| rng.u8(..)).collect();
    }
    let pick = |rng: &mut fastrand::Rng| {
        let seeds = if rng.u8(..16) == 0 { bad } else { good };
        seeds[rng.usize(..seeds.len())].clone()
    };
    let mut bytes = pick(rng);
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..6) {
            0 if at < bytes.len() => bytes[at] = rng.u8(..),
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            2 => bytes.insert(at, rng.u8(..)),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => drop(bytes.splice(at..at, pick(rng))),
            // Two values in an array: so the whole is well formed more often.
            5 => {
                bytes.insert(0, 0x92);
                bytes.extend(pick(rng));
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn vectors() -> Vectors {
    let text = include_str!("../../../spec/vectors/codec.json");
    serde_json::from_str(text).expect("spec/vectors/codec.json")
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
