use super::*;

#[test]
fn smoke() {
    let v = Value::Tuple(vec![
        1.into(),
        Value::Set(vec!["a".into()]),
        Value::from(1u128 << 70),
        Value::Date(Date::from_ymd(2024, 2, 29).unwrap()),
    ]);
    let b = to_vec(&v).unwrap();
    println!("{b:02x?}");
    assert_eq!(from_slice::<Value>(&b).unwrap(), v);
    println!("{}", v.to_json());
    assert_eq!(Value::from_json(&v.to_json().to_string()).unwrap(), v);
}
