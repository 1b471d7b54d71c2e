//! Any value that the codec can carry.

use super::bigint::BigInt;
use super::decimal::Decimal;
use super::ext::Ref;
use super::time::{Date, DateTime, Time, TimeDelta};

/// Any value that the codec can carry. It is written and read without loss.
///
/// Integers have one form each: [`Int`](Value::Int) if an `i64` holds it, else [`UInt`](Value::UInt) if a `u64`
/// does, else [`BigInt`](Value::BigInt). `From` chooses it; other forms are read back as that one.
///
/// Equality is that of the parts, in order; every NaN equals every other, so that any value equals itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Value {
    /// Nothing; Python's `None`.
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    /// An integer beyond 64 bits.
    BigInt(BigInt),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// Keys and values in the order sent. A reader keeps duplicate keys.
    Map(Vec<(Value, Value)>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A set; nobody checks that its elements differ.
    Set(Vec<Value>),
    /// A set that does not change.
    FrozenSet(Vec<Value>),
    /// Real and imaginary part.
    Complex(f64, f64),
    /// A decimal number.
    Decimal(Decimal),
    /// A date and time.
    DateTime(Box<DateTime>),
    /// A day.
    Date(Date),
    /// A time of day.
    Time(Box<Time>),
    /// A span of time.
    TimeDelta(TimeDelta),
    /// A UUID.
    Uuid([u8; 16]),
    /// An error that was raised.
    Exception(Box<Exception>),
    /// A reference to an object: its place in the message's table of references.
    Ref(u16),
    /// An instance of a registered class, dataclass or namedtuple.
    Record(Box<Record>),
    /// An array of numbers, or raw memory.
    Buffer(Box<Buffer>),
    /// A member of an enumeration.
    Enum(Box<EnumMember>),
    /// An extension of a code that the specification leaves open, with its payload. Other codes are not encoded.
    Ext(i8, Vec<u8>),
}

/// An error that was raised, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The name of its class.
    pub type_name: String,
    /// What it was made with.
    pub args: Vec<Value>,
    /// Its attributes by name.
    pub attributes: Vec<(String, Value)>,
}

/// An instance of a registered class, dataclass or namedtuple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The name of its class.
    pub name: String,
    /// Its fields by name, in order.
    pub fields: Vec<(String, Value)>,
}

/// An array of numbers, or raw memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// What its elements are, as in Python's `struct` module: `<f8`.
    pub format: String,
    /// Elements in each dimension, the last varies fastest.
    pub shape: Vec<u64>,
    /// The bytes of the elements, or where they are.
    pub data: BufferData,
}

/// Where the bytes of a [`Buffer`] are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BufferData {
    /// Here.
    Inline(Vec<u8>),
    /// In the attachment of that index that came with the message.
    Attachment(u64),
}

/// A member of an enumeration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnumMember {
    /// The name of the enumeration.
    pub type_name: String,
    /// The name of the member.
    pub member: String,
    /// Its value.
    pub value: Value,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        use Value::*;
        match (self, other) {
            (Nil, Nil) => true,
            (Bool(a), Bool(b)) => a == b,
            (Int(a), Int(b)) => a == b,
            (UInt(a), UInt(b)) => a == b,
            (BigInt(a), BigInt(b)) => a == b,
            (Float(a), Float(b)) => same(*a, *b),
            (Str(a), Str(b)) => a == b,
            (Bytes(a), Bytes(b)) => a == b,
            (Array(a), Array(b)) | (Tuple(a), Tuple(b)) | (Set(a), Set(b)) | (FrozenSet(a), FrozenSet(b)) => {
                a == b
            }
            (Map(a), Map(b)) => a == b,
            (Complex(a, b), Complex(c, d)) => same(*a, *c) && same(*b, *d),
            (Decimal(a), Decimal(b)) => a == b,
            (DateTime(a), DateTime(b)) => a == b,
            (Date(a), Date(b)) => a == b,
            (Time(a), Time(b)) => a == b,
            (TimeDelta(a), TimeDelta(b)) => a == b,
            (Uuid(a), Uuid(b)) => a == b,
            (Exception(a), Exception(b)) => a == b,
            (Ref(a), Ref(b)) => a == b,
            (Record(a), Record(b)) => a == b,
            (Buffer(a), Buffer(b)) => a == b,
            (Enum(a), Enum(b)) => a == b,
            (Ext(a, b), Ext(c, d)) => a == c && b == d,
            _ => false,
        }
    }
}

impl Eq for Value {}

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

macro_rules! from {
    ($($type:ty, $v:ident => $value:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($v: $type) -> Self {
                $value
            }
        }
    )*};
}

from! {
    (), _v => Value::Nil;
    bool, v => Value::Bool(v);
    i8, v => Value::Int(v.into());
    i16, v => Value::Int(v.into());
    i32, v => Value::Int(v.into());
    i64, v => Value::Int(v);
    u8, v => Value::Int(v.into());
    u16, v => Value::Int(v.into());
    u32, v => Value::Int(v.into());
    u64, v => i64::try_from(v).map_or(Value::UInt(v), Value::Int);
    i128, v => BigInt::from(v).into();
    u128, v => BigInt::from(v).into();
    f32, v => Value::Float(v.into());
    f64, v => Value::Float(v);
    char, v => Value::Str(v.into());
    &str, v => Value::Str(v.into());
    String, v => Value::Str(v);
    &[u8], v => Value::Bytes(v.into());
    Vec<u8>, v => Value::Bytes(v);
    Vec<Value>, v => Value::Array(v);
    Vec<(Value, Value)>, v => Value::Map(v);
    Decimal, v => Value::Decimal(v);
    DateTime, v => Value::DateTime(v.into());
    Date, v => Value::Date(v);
    Time, v => Value::Time(v.into());
    TimeDelta, v => Value::TimeDelta(v);
    Ref, v => Value::Ref(v.0);
    Exception, v => Value::Exception(v.into());
    Record, v => Value::Record(v.into());
    Buffer, v => Value::Buffer(v.into());
    EnumMember, v => Value::Enum(v.into());
}

impl From<BigInt> for Value {
    fn from(v: BigInt) -> Self {
        match (v.to_i64(), v.to_u64()) {
            (Some(v), _) => Value::Int(v),
            (_, Some(v)) => Value::UInt(v),
            _ => Value::BigInt(v),
        }
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Value::Nil, Into::into)
    }
}
