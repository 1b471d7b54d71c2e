use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::marker::code;
use super::*;

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| *b != b' ').collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[track_caller]
fn written<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, hex: &str) {
    let bytes = to_vec(&value).unwrap();
    assert_eq!(bytes, unhex(hex), "{value:?} as {bytes:02x?}");
    assert_eq!(from_slice::<T>(&bytes).unwrap(), value);
}

#[track_caller]
fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> T {
    from_slice(bytes).unwrap()
}

#[track_caller]
fn refused<'de, T: Deserialize<'de> + Debug>(bytes: &'de [u8], class: ErrorClass, message: &str) {
    let error = from_slice::<T>(bytes).expect_err("it was read");
    assert_eq!((error.class(), error.to_string().as_str()), (class, message));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair(i32, i32);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(i32),
    Line(i32, i32),
    Box { w: i32 },
}

#[test]
fn serde_types_are_written_as_documented() {
    written((), "c0");
    written(Marker, "c0");
    written(None::<i32>, "c0");
    written(Some(1), "01");
    written(true, "c3");
    written('é', "a2c3a9");
    written(1.5f32, "ca3fc00000");
    written(1.5f64, "cb3ff8000000000000");
    written(vec![1, 2], "920102");
    written(BTreeSet::from([1, 2]), "920102");
    written((1, 2), "c70302920102");
    written(Pair(1, 2), "c70302920102");
    written([1, 2, 3], "d60293010203");
    written(Meters(2.0), "cb4000000000000000");
    written(Point { x: 1, y: -1 }, "82a17801a179ff");
    written(BTreeMap::from([(1, "a".to_owned())]), "8101a161");
    written(Shape::Empty, "a5456d707479");
    written(Shape::Circle(1), "81a6436972636c6501");
    written(Shape::Line(1, 2), "81a44c696e65 c70302920102");
    written(Shape::Box { w: 1 }, "81a3426f78 81a17701");
    written(i128::from(i64::MIN), "d38000000000000000");
    written(u128::from(u64::MAX), "cfffffffffffffffff");
    written(i128::from(u64::MAX) + 1, "c70901010000000000000000");
    written(i128::MIN, "d80180000000000000000000000000000000");
    written(u128::MAX, "c71101 00ffffffffffffffffffffffffffffffff");
    written(Ref(7), "d50d0007");
}

#[test]
fn lengths_take_the_shortest_header_at_every_boundary() {
    for (len, header) in [(65535, "daffff"), (65536, "db00010000")] {
        let text = "x".repeat(len);
        let bytes = to_vec(&text).unwrap();
        assert!(bytes.starts_with(&unhex(header)));
        assert_eq!(read::<&str>(&bytes), text);
    }
    for (len, header) in [(65535, "c5ffff"), (65536, "c600010000")] {
        let value = Value::Bytes(vec![1; len]);
        let bytes = to_vec(&value).unwrap();
        assert!(bytes.starts_with(&unhex(header)));
        assert_eq!(read::<Value>(&bytes), value);
    }
    for (len, header) in [(65535, "dcffff"), (65536, "dd00010000")] {
        let value = vec![1u8; len];
        let bytes = to_vec(&value).unwrap();
        assert!(bytes.starts_with(&unhex(header)));
        assert_eq!(read::<Vec<u8>>(&bytes), value);
    }
    for (len, header) in [(65535, "deffff"), (65536, "df00010000")] {
        let value: BTreeMap<u32, ()> = (0..len).map(|k| (k, ())).collect();
        let bytes = to_vec(&value).unwrap();
        assert!(bytes.starts_with(&unhex(header)));
        assert_eq!(read::<BTreeMap<u32, ()>>(&bytes), value);
    }
    // The payload is an array header of one byte and a string with one of three.
    for (len, header) in [(65531, "c8ffff02 91da"), (65532, "c90001000002 91da")] {
        let value = ("x".repeat(len),);
        let bytes = to_vec(&value).unwrap();
        assert!(bytes.starts_with(&unhex(header)), "{:02x?}", &bytes[..8]);
        assert_eq!(read::<(String,)>(&bytes), value);
    }
}

#[test]
fn sequences_of_unknown_or_wrong_length_get_the_right_header() {
    struct Liar(usize, Vec<u8>);
    impl Serialize for Liar {
        fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut seq = s.serialize_seq((self.0 > 0).then_some(self.0))?;
            self.1.iter().try_for_each(|v| seq.serialize_element(v))?;
            seq.end()
        }
    }
    for said in [0, 1, 15, 16, 70_000] {
        for len in [0, 1, 15, 16, 65_535, 65_536] {
            let value = vec![1; len];
            assert_eq!(
                to_vec(&Liar(said, value.clone())).unwrap(),
                to_vec(&value).unwrap(),
                "{said} for {len}"
            );
        }
    }
}

#[test]
fn readers_are_lenient_where_documented() {
    assert_eq!(read::<f64>(&unhex("02")), 2.0);
    assert_eq!(read::<f32>(&unhex("ff")), -1.0);
    assert_eq!(read::<(i32, i32)>(&unhex("920102")), (1, 2));
    assert_eq!(read::<Vec<i32>>(&unhex("c70302920102")), [1, 2]);
    assert_eq!(read::<BTreeSet<i32>>(&unhex("c70303920102")), BTreeSet::from([1, 2]));
    assert_eq!(read::<Vec<i32>>(&unhex("c70304920102")), [1, 2]);
    assert_eq!(read::<Vec<u8>>(&unhex("c4020102")), [1, 2]);
    assert_eq!(read::<i64>(&unhex("d40105")), 5);
    assert_eq!(read::<u64>(&unhex("c70901 00ffffffffffffffff")), u64::MAX);
    assert_eq!(read::<&[u8]>(&unhex("d80b00112233445566778899aabbccddeeff"))[15], 0xff);

    let record = Record { name: "P".into(), fields: vec![("y".into(), 2.into()), ("x".into(), 1.into())] };
    let bytes = to_vec(&Value::from(record)).unwrap();
    assert_eq!(read::<Point>(&bytes), Point { x: 1, y: 2 });
    assert_eq!(read::<HashMap<String, i32>>(&bytes), HashMap::from([("x".into(), 1), ("y".into(), 2)]));

    let member =
        EnumMember { type_name: "Shape".into(), member: "Empty".into(), value: vec![Value::Nil].into() };
    assert_eq!(read::<Vec<Shape>>(&to_vec(&[Value::from(member)]).unwrap()), [Shape::Empty]);
}

#[test]
fn unknown_fields_of_any_type_are_skipped() {
    let inner =
        Value::Map(vec![(Value::Tuple(vec![Value::Nil]), Value::Array(vec![1.5.into(), "a".into()]))]);
    for extra in [inner, Value::Set(vec![1.into()]), Value::Ext(99, vec![1]), Value::from(u128::MAX)] {
        let map = Value::Map(vec![("z".into(), extra), ("x".into(), 1.into()), ("y".into(), 2.into())]);
        assert_eq!(read::<Point>(&to_vec(&map).unwrap()), Point { x: 1, y: 2 });
    }
}

#[test]
fn texts_and_bytes_are_borrowed_from_the_input() {
    let bytes = unhex("92a161c40101");
    let (text, data): (&str, &[u8]) = read(&bytes);
    assert!(bytes.as_ptr_range().contains(&text.as_ptr()));
    assert!(bytes.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn mismatches_say_what_was_expected_and_where() {
    use ErrorClass::Mismatch;
    refused::<Vec<String>>(&unhex("92a16105"), Mismatch, "expected a string, found int 5 at byte 3");
    refused::<(i32, String)>(
        &unhex("920192"),
        ErrorClass::Malformed,
        "the data ends inside a value at byte 3",
    );
    refused::<i32>(&unhex("cb4000000000000000"), Mismatch, "expected i32, found float 2.0 at byte 0");
    refused::<u8>(&unhex("cd0100"), Mismatch, "expected u8, found int 256 at byte 0");
    refused::<i64>(
        &unhex("cfffffffffffffffff"),
        Mismatch,
        "expected i64, found int 18446744073709551615 at byte 0",
    );
    refused::<String>(&unhex("d60800000000"), Mismatch, "expected a string, found date at byte 0");
    refused::<String>(&unhex("d5039101"), Mismatch, "expected a string, found set at byte 0");
    refused::<String>(&unhex("9101"), Mismatch, "expected a string, found array at byte 0");
    refused::<bool>(&unhex("c0"), Mismatch, "expected a boolean, found nil at byte 0");
    refused::<(i32, i32)>(&unhex("9101"), Mismatch, "expected a tuple of size 2, found 1 element at byte 0");
    refused::<(i32,)>(&unhex("920102"), Mismatch, "expected 1 element, found 2 elements at byte 0");
    refused::<Point>(&unhex("81a17801"), Mismatch, "missing field `y` at byte 0");
    refused::<Point>(&unhex("9101"), Mismatch, "expected struct Point, found array at byte 0");
    refused::<Point>(
        &unhex("810001"),
        Mismatch,
        "expected the name of a field or variant, a string, found int 0 at byte 1",
    );
    refused::<Point>(&unhex("c70302920102"), Mismatch, "expected struct Point, found tuple at byte 0");
    refused::<Shape>(
        &unhex("a141"),
        Mismatch,
        "unknown variant `A`, expected one of `Empty`, `Circle`, `Line`, `Box` at byte 0",
    );
    refused::<Shape>(
        &unhex("80"),
        Mismatch,
        "expected a map of one entry, variant to content, found 0 elements at byte 0",
    );
    refused::<Date>(&unhex("c0"), Mismatch, "expected a value of type date, found nil at byte 0");
    refused::<Date>(
        &unhex("d50d0000"),
        Mismatch,
        "expected a value of type date, found object reference at byte 0",
    );
    refused::<Ref>(&unhex("01"), Mismatch, "expected an object reference, found int 1 at byte 0");
    refused::<i128>(
        &unhex("c71101 00ffffffffffffffffffffffffffffffff"),
        Mismatch,
        "expected i128, found int 340282366920938463463374607431768211455 at byte 0",
    );
    refused::<i64>(
        &unhex("c709010100000000000000 00"),
        Mismatch,
        "expected i64, found int 18446744073709551616 at byte 0",
    );
    refused::<f64>(
        &unhex("c709010100000000000000 00"),
        Mismatch,
        "expected f64, found int 18446744073709551616 at byte 0",
    );
    refused::<u128>(&unhex("d401ff"), Mismatch, "expected u128, found int -1 at byte 0");
    refused::<i64>(
        &to_vec(&BigInt::from_be_bytes(&[1; 33]).unwrap()).unwrap(),
        Mismatch,
        "expected i64, found an int of 33 bytes at byte 0",
    );
    refused::<u128>(
        &to_vec(&"0x1000000000000000000000000000000000".parse::<BigInt>().unwrap()).unwrap(),
        Mismatch,
        "expected u128, found int 5444517870735015415413993718908291383296 at byte 0",
    );
}

#[test]
fn malformed_data_is_told_from_a_mismatch() {
    use ErrorClass::Malformed;
    refused::<Date>(&unhex("d5080000"), Malformed, "malformed date: it has not 4 bytes at byte 0");
    refused::<(i32,)>(&unhex("d40201"), Malformed, "malformed tuple: it holds no array at byte 0");
    refused::<i32>(&unhex("c1"), Malformed, "no value begins with the byte 0xc1 at byte 0");
    refused::<String>(&unhex("a2ff00"), Malformed, "a string is not valid UTF-8 at byte 1");
    refused::<i32>(
        &unhex("0102"),
        Malformed,
        "nothing should follow the value, found 1 more bytes at byte 1",
    );
    refused::<Vec<Value>>(
        &unhex("9201d40e90"),
        Malformed,
        "malformed record: it is not an array of a name and a map with string keys at byte 2",
    );
    refused::<Point>(
        &unhex("d40e90"),
        Malformed,
        "malformed record: it is not an array of a name and a map at byte 0",
    );
}

#[test]
fn long_strings_are_cut_in_errors() {
    let bytes = to_vec(&"é".repeat(10_000)).unwrap();
    let message = from_slice::<i32>(&bytes).unwrap_err().to_string();
    assert_eq!(message, format!("expected i32, found string \"{}\"... at byte 0", "é".repeat(40)));
}

/// A list in a list in a list ...
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

fn nest(depth: usize) -> Nest {
    (1..depth).fold(Nest(vec![]), |inner, _| Nest(vec![inner]))
}

#[test]
fn nesting_is_limited_both_ways() {
    let deepest = to_vec(&nest(MAX_DEPTH)).unwrap();
    assert_eq!(read::<Nest>(&deepest), nest(MAX_DEPTH));
    assert_eq!(to_vec(&nest(MAX_DEPTH + 1)), Err(EncodeError::TooDeep));

    let mut deeper = vec![0x91];
    deeper.extend(deepest);
    let message = "the value is nested more than 100 deep at byte 100";
    refused::<Nest>(&deeper, ErrorClass::Malformed, message);
    refused::<Value>(&deeper, ErrorClass::Malformed, message);
    refused::<IgnoredAny>(&deeper, ErrorClass::Malformed, message);
    refused::<Vec<IgnoredAny>>(&deeper, ErrorClass::Malformed, message);
}

#[test]
fn every_kind_of_container_counts_once() {
    type Wrap = fn(Value) -> Value;
    let kinds: [(&str, Wrap, usize); 8] = [
        ("array", |v| Value::Array(vec![v]), 1),
        ("map", |v| Value::Map(vec![("k".into(), v)]), 1),
        ("map key", |v| Value::Map(vec![(v, 1.into())]), 1),
        ("tuple", |v| Value::Tuple(vec![v]), 1),
        ("set", |v| Value::Set(vec![v]), 1),
        ("record", |v| Record { name: "R".into(), fields: vec![("f".into(), v)] }.into(), 2),
        ("exception", |v| Exception { type_name: "E".into(), args: vec![v], attributes: vec![] }.into(), 2),
        ("enum", |v| EnumMember { type_name: "T".into(), member: "M".into(), value: v }.into(), 1),
    ];
    for (name, wrap, levels) in kinds {
        let times = MAX_DEPTH / levels;
        let deepest = (0..times).fold(Value::Nil, |inner, _| wrap(inner));
        let bytes = to_vec(&deepest).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(from_slice::<Value>(&bytes).as_ref(), Ok(&deepest), "{name}");
        assert_eq!(Value::from_json(&deepest.to_json().to_string()).unwrap(), deepest, "{name}");
        let deeper = wrap(deepest);
        assert_eq!(to_vec(&deeper), Err(EncodeError::TooDeep), "{name}");
        let json = deeper.to_json().to_string();
        assert!(matches!(Value::from_json(&json), Err(json::JsonError::TooDeep)), "{name}");
    }
}

#[test]
fn variants_count_as_the_map_that_they_are() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Chain {
        End,
        Newtype(Box<Chain>),
        Tuple(Box<Chain>, i32),
        Struct { next: Box<Chain> },
    }
    type Wrap = fn(Box<Chain>) -> Chain;
    fn chain(wrap: Wrap, times: usize) -> Chain {
        (0..times).fold(Chain::End, |inner, _| wrap(Box::new(inner)))
    }
    let kinds: [(Wrap, usize); 3] =
        [(Chain::Newtype, 100), (|next| Chain::Tuple(next, 1), 50), (|next| Chain::Struct { next }, 50)];
    for (wrap, times) in kinds {
        let bytes = to_vec(&chain(wrap, times)).unwrap();
        assert_eq!(read::<Chain>(&bytes), chain(wrap, times));
        read::<Value>(&bytes);
        assert_eq!(to_vec(&chain(wrap, times + 1)), Err(EncodeError::TooDeep));
        // Not only the nesting but also its end is counted.
        to_vec(&[chain(wrap, 2), chain(wrap, 2)]).unwrap();
        read::<Vec<Chain>>(&to_vec(&vec![chain(wrap, times - 1), chain(wrap, times - 1)]).unwrap());
    }
}

#[test]
fn hostile_json_nesting_is_refused() {
    for open in ["[", "{\"a\":", "{\"$tuple\":["] {
        let result = Value::from_json(&open.repeat(1_000_000));
        assert!(matches!(result, Err(json::JsonError::TooDeep)), "{open}");
    }
    let brackets_in_text = format!(r#"["{}\"["]"#, "[".repeat(1000));
    Value::from_json(&brackets_in_text).unwrap();
}

#[test]
fn an_announced_length_allocates_nothing() {
    // Reserving for what these announce would abort the process.
    for hex in ["ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "c9ffffffff02"] {
        let mut bytes = unhex(hex);
        bytes.extend([0x01; 16]);
        let message = format!("the data ends inside a value at byte {}", bytes.len());
        refused::<Vec<[u64; 32]>>(&bytes, ErrorClass::Malformed, &message);
        refused::<Value>(&bytes, ErrorClass::Malformed, &message);
    }
}

#[test]
fn arguments_are_a_plain_array() {
    #[track_caller]
    fn args<T: Serialize>(args: T, hex: &str) {
        let mut out = vec![0xff];
        encode_args(&args, &mut out).unwrap();
        assert_eq!(out[1..], unhex(hex));
    }
    args((), "90");
    args(Marker, "90");
    args((1, (2,)), "9201d5029102");
    args(Pair(1, 2), "920102");
    args(vec![1, 2], "920102");
    args(Value::Tuple(vec![1.into()]), "9101");
    args(Value::Array(vec![1.into()]), "9101");
    // The list itself is no level of nesting.
    let mut out = Vec::new();
    encode_args(&(nest(MAX_DEPTH),), &mut out).unwrap();
    let mut decoder = Decoder::new(&out);
    assert_eq!(decoder.array_len(), Ok(1));
    assert_eq!(decoder.decode::<Nest>(), Ok(nest(MAX_DEPTH)));
    assert!(decoder.is_empty());
}

#[test]
fn what_is_no_list_is_no_argument_list() {
    let mut out = vec![0xff];
    for value in [
        Value::Int(1),
        "a".into(),
        Value::Map(vec![]),
        Value::Set(vec![]),
        Value::Date(read(&unhex("d60800000000"))),
    ] {
        assert_eq!(encode_args(&value, &mut out), Err(EncodeError::NotAList), "{value:?}");
    }
    assert_eq!(encode_args(&Point { x: 1, y: 1 }, &mut out), Err(EncodeError::NotAList));
    assert_eq!(encode_args(&Some((1,)), &mut out), Err(EncodeError::NotAList));
    assert_eq!(out, [0xff]);
}

#[test]
fn a_failed_value_leaves_nothing_behind() {
    let mut out = vec![1, 2, 3];
    assert_eq!(encode(&(1, "two", nest(MAX_DEPTH)), &mut out), Err(EncodeError::TooDeep));
    assert_eq!(out, [1, 2, 3]);

    let mut encoder = Encoder::new(&mut out);
    encoder.array_header(2);
    assert_eq!(encoder.encode(&nest(MAX_DEPTH + 1)), Err(EncodeError::TooDeep));
    encoder.encode(&nest(MAX_DEPTH)).unwrap();
    encoder.map_header(1);
    assert_eq!(out[3], 0x92);
    assert_eq!(out.len(), 3 + 1 + MAX_DEPTH + 1);
}

/// Bytes that serde knows to be bytes.
#[derive(Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        ext::Payload::deserialize(d).map(|payload| Bytes(payload.0.into_owned()))
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "$andiron.ext")]
struct Raw((i8, Bytes));

#[test]
fn a_reserved_name_carries_any_extension() {
    for len in [0, 1, 2, 3, 4, 8, 15, 16, 17, 31, 32, 255, 256, 65_535, 65_536] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let bytes = to_vec(&(0, Raw((-7, Bytes(payload.clone()))), 1)).unwrap();
        assert_eq!(bytes, to_vec(&(0, Value::Ext(-7, payload.clone()), 1)).unwrap(), "{len}");
        assert_eq!(read::<(u8, Raw, u8)>(&bytes), (0, Raw((-7, Bytes(payload))), 1));
    }
    refused::<Raw>(&unhex("01"), ErrorClass::Mismatch, "expected tuple struct Raw, found int 1 at byte 0");
}

#[test]
fn a_reserved_name_with_other_content_is_an_error() {
    #[derive(Serialize)]
    #[serde(rename = "$andiron.ext")]
    struct NoExt(&'static str);
    #[derive(Serialize)]
    #[serde(rename = "$andiron.ref")]
    struct NoRef(u32);
    #[derive(Serialize)]
    #[serde(rename = "$andiron.unknown")]
    struct Unknown(u32);
    assert_eq!(to_vec(&NoExt("")), Err(EncodeError::ReservedName));
    assert_eq!(to_vec(&NoRef(65_536)), Err(EncodeError::ReservedName));
    assert_eq!(to_vec(&NoRef(65_535)).unwrap(), unhex("d50dffff"));
    assert_eq!(to_vec(&Unknown(1)), Err(EncodeError::ReservedName));
}

#[test]
fn an_extension_with_a_variant_of_its_own_is_no_value_ext() {
    for code in -1..=17 {
        let result = to_vec(&Value::Ext(code, vec![0x90]));
        assert_eq!(result.is_ok(), code == 0 || code == 17, "{code}");
        let json = format!(r#"{{"$ext":[{code},"kA=="]}}"#);
        assert_eq!(Value::from_json(&json).is_ok(), code == 0 || code == 17, "{code}");
    }
}

#[test]
fn values_survive_the_buffers_of_serde() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Open {
        x: i32,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Pair(i32, i32),
        Other(Value),
    }
    let record = Value::from(Record { name: "R".into(), fields: vec![("f".into(), Value::Tuple(vec![]))] });
    for value in [
        record,
        Value::Uuid([7; 16]),
        Date::from_days(5).unwrap().into(),
        (1u128 << 80).into(),
        Value::Ref(3),
    ] {
        let open = Open { x: 1, rest: BTreeMap::from([("v".to_owned(), value.clone())]) };
        assert_eq!(read::<Open>(&to_vec(&open).unwrap()), open);
        let either = Either::Other(value);
        assert_eq!(read::<Either>(&to_vec(&either).unwrap()), either);
    }
    assert_eq!(read::<Either>(&to_vec(&Either::Pair(1, 2)).unwrap()), Either::Pair(1, 2));
}

#[test]
fn internally_tagged_enums_with_tuples_round_trip() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Figure {
        Circle { center: (f64, f64), radius: f64 },
    }
    let circle = Figure::Circle { center: (1.0, 2.0), radius: 3.0 };
    assert_eq!(read::<Figure>(&to_vec(&circle).unwrap()), circle);
}

#[test]
fn integers_of_any_size_parse_print_and_convert() {
    let digits = "123456789012345678901234567890123456789012345678901234567890";
    for text in
        [digits, &format!("-{digits}"), "0", "-1", "255", "256", "-128", "-129", "1000000000000000000000"]
    {
        let n: BigInt = text.parse().unwrap();
        assert_eq!(n.to_string(), text);
        assert_eq!(read::<BigInt>(&to_vec(&n).unwrap()), n, "{text}");
    }
    for n in [i128::MIN, i64::MIN.into(), -1, 0, 1, u64::MAX.into(), i128::MAX] {
        assert_eq!(BigInt::from(n).to_string(), n.to_string());
        assert_eq!(BigInt::from(n).to_i128(), Some(n));
        assert_eq!(BigInt::from(n).to_i64(), i64::try_from(n).ok());
        assert_eq!(BigInt::from(n).to_u64(), u64::try_from(n).ok());
        assert_eq!(read::<i128>(&to_vec(&n).unwrap()), n);
        assert_eq!(Value::from(n), read::<Value>(&to_vec(&n).unwrap()));
    }
    assert_eq!(BigInt::from(u128::MAX).to_u128(), Some(u128::MAX));
    assert_eq!(BigInt::from(u128::MAX).to_i128(), None);
    assert_eq!(BigInt::from(-1i64).to_u128(), None);
    assert_eq!("0xff".parse(), Ok(BigInt::from(255i64)));
    assert_eq!("-0x80".parse(), Ok(BigInt::from(-128i64)));
    for text in ["", "-", "0x", "--1", "1a", "0xg", "1.0", " 1", "١"] {
        assert_eq!(text.parse::<BigInt>(), Err(ParseIntError::Digit), "{text:?}");
    }
    assert_eq!("9".repeat(4301).parse::<BigInt>(), Err(ParseIntError::DecimalTooLong));
}

#[test]
fn integers_end_at_64_kib() {
    let mut most = vec![0xff; 65_536];
    most[0] = 0x7f;
    let n = BigInt::from_be_bytes(&most).unwrap();
    assert_eq!(read::<Value>(&to_vec(&n).unwrap()), Value::BigInt(n.clone()));
    assert_eq!(n.to_string().parse(), Ok(n.clone()));
    assert_eq!(format!("-{n}").parse::<BigInt>().unwrap().to_string(), format!("-{n}"));
    assert_eq!(format!("0x80{}", "00".repeat(65_535)).parse::<BigInt>(), Err(ParseIntError::TooLong));

    most.insert(0, 0);
    assert_eq!(BigInt::from_be_bytes(&most), Err(ParseIntError::TooLong));
    let mut bytes = unhex("c90001000101");
    bytes.extend(most);
    let message = "malformed int beyond 64 bits: it is longer than 64 KiB at byte 0";
    refused::<Value>(&bytes, ErrorClass::Malformed, message);
}

#[test]
fn every_day_of_the_calendar_is_that_day() {
    let mut days = -719_162;
    for year in 1..=9999 {
        for month in 1..=12 {
            for day in 1..=31 {
                let Ok(date) = Date::from_ymd(year, month, day) else { continue };
                assert_eq!((date.days(), date.ymd()), (days, (year, month, day)));
                days += 1;
            }
        }
    }
    assert_eq!(days, 2_932_897);
}

#[test]
fn wrong_dates_and_times_are_refused_as_text() {
    for text in
        ["2026-02-29", "2026-13-01", "2026-1-01", "0000-01-01", "2026-01-01 ", "+026-01-01", "", "é026-01-01"]
    {
        assert!(text.parse::<Date>().is_err(), "{text}");
    }
    for text in [
        "24:00",
        "23:60",
        "23:59:60",
        "1:00",
        "12:00:00.",
        "12:00:00.1234567",
        "12:00+24:00",
        "12:00[Z]",
        "12:00x",
    ] {
        assert!(text.parse::<Time>().is_err(), "{text}");
    }
    for text in ["2026-01-01", "2026-01-01T", "2026-01-01T12:00+01:00[", "2026-01-01T12:00+01:00] fold=1"] {
        assert!(text.parse::<DateTime>().is_err(), "{text}");
    }
    let short: DateTime = "2026-01-01 12:00Z".parse().unwrap();
    assert_eq!(short.to_string(), "2026-01-01T12:00:00+00:00");
}

#[test]
fn wrong_dollar_objects_say_what_they_must_hold() {
    for (json, message) in [
        (r#"{"$bytes":"?"}"#, "$bytes must hold base64"),
        (r#"{"$tuple":{}}"#, "$tuple must hold an array"),
        (r#"{"$int":5}"#, "$int must hold a string"),
        (r#"{"$float":"1"}"#, r#"$float must hold "nan", "inf" or "-inf""#),
        (r#"{"$complex":[1]}"#, "$complex must hold two numbers"),
        (r#"{"$complex":[1,"a"]}"#, "$complex must hold two numbers"),
        (r#"{"$ref":65536}"#, "$ref must hold a number from 0 to 65535"),
        (
            r#"{"$uuid":"00112233445566778899aabbccddeeff"}"#,
            "$uuid must hold 32 hexadecimal digits as 8-4-4-4-12",
        ),
        (r#"{"$record":{"name":"R"}}"#, r#"$record must hold "name" and "fields""#),
        (r#"{"$record":{"name":"R","fields":[]}}"#, "$record must hold fields as an object"),
        (r#"{"$map":[[1]]}"#, "$map must hold an array of pairs, key and value"),
        (r#"{"$timedelta":[0,86400,0]}"#, "$timedelta must hold a timedelta is |days| <= 999999999"),
    ] {
        let error = Value::from_json(json).unwrap_err().to_string();
        assert!(error.starts_with(message), "{json}: {error}");
    }
    assert_eq!(Value::from_json(r#"{"$complex":[1,2.5]}"#).unwrap(), Value::Complex(1.0, 2.5));
    assert_eq!(Value::from_json(r#"{"$int":"5"}"#).unwrap(), Value::Int(5));
    assert!(matches!(Value::from_json("[1"), Err(json::JsonError::Syntax(_))));
    assert!(matches!(Value::from_json("[1] 2"), Err(json::JsonError::Syntax(_))));
}

#[test]
fn a_value_equals_itself() {
    let nan = Value::Array(vec![f64::NAN.into(), Value::Complex(f64::NAN, 0.0)]);
    assert_eq!(nan, nan.clone());
    assert_ne!(Value::Array(vec![]), Value::Tuple(vec![]));
    assert_ne!(Value::Int(1), Value::Float(1.0));
    assert!(size_of::<Value>() <= 32, "lists of values should stay small");
}

#[test]
fn what_holds_nothing_costs_no_depth() {
    for payload in [2usize, 20, 1025] {
        let mut bytes = vec![0x91; MAX_DEPTH];
        bytes.extend([0xc8, (payload >> 8) as u8, payload as u8, 1, 0, 0x80]);
        bytes.extend(vec![0; payload - 2]);
        let value: Value = from_slice(&bytes).unwrap();
        let again = to_vec(&value).unwrap_or_else(|error| panic!("{payload}: {error}"));
        assert_eq!(from_slice::<Value>(&again).unwrap(), value);
    }
}

#[test]
fn bytes_that_are_put_where_they_are_absent_make_the_same_as_bytes_that_are_written() {
    for len in [0, 1, 13, 200, 255, 256, 65_520, 65_536, 70_000] {
        let bytes = vec![7; len];
        let write = |out: &mut Vec<u8>, absent: bool| {
            let mut encoder = Encoder::new(out);
            let outer = encoder.open_ext(code::TUPLE);
            encoder.array_header(3);
            for part in ["before", "between"] {
                encoder.str(part).unwrap();
                let inner = encoder.open_ext(code::SET);
                encoder.array_header(1);
                if absent {
                    encoder.absent_bytes(len).unwrap()
                } else {
                    encoder.bytes(&bytes).unwrap()
                }
                encoder.close_ext(inner).unwrap();
            }
            encoder.close_ext(outer).unwrap();
            encoder.absent()
        };
        let (mut expected, mut out) = (Vec::new(), Vec::new());
        assert_eq!(write(&mut expected, false), []);
        let absent = write(&mut out, true);
        for (at, len) in absent.into_iter().rev() {
            out.splice(at..at, bytes[..len].iter().copied());
        }
        assert!(out == expected, "{len}");
    }
}
