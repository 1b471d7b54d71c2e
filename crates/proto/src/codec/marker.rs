//! The bytes of MessagePack, and the codes of the extension types.

pub(super) const FIXMAP: u8 = 0x80;
pub(super) const FIXARRAY: u8 = 0x90;
pub(super) const FIXSTR: u8 = 0xa0;
pub(super) const NIL: u8 = 0xc0;
pub(super) const FALSE: u8 = 0xc2;
pub(super) const TRUE: u8 = 0xc3;
pub(super) const BIN8: u8 = 0xc4;
pub(super) const BIN16: u8 = 0xc5;
pub(super) const BIN32: u8 = 0xc6;
pub(super) const EXT8: u8 = 0xc7;
pub(super) const EXT16: u8 = 0xc8;
pub(super) const EXT32: u8 = 0xc9;
pub(super) const F32: u8 = 0xca;
pub(super) const F64: u8 = 0xcb;
pub(super) const U8: u8 = 0xcc;
pub(super) const U16: u8 = 0xcd;
pub(super) const U32: u8 = 0xce;
pub(super) const U64: u8 = 0xcf;
pub(super) const I8: u8 = 0xd0;
pub(super) const I16: u8 = 0xd1;
pub(super) const I32: u8 = 0xd2;
pub(super) const I64: u8 = 0xd3;
pub(super) const FIXEXT1: u8 = 0xd4;
pub(super) const FIXEXT2: u8 = 0xd5;
pub(super) const FIXEXT4: u8 = 0xd6;
pub(super) const FIXEXT8: u8 = 0xd7;
pub(super) const FIXEXT16: u8 = 0xd8;
pub(super) const STR8: u8 = 0xd9;
pub(super) const STR16: u8 = 0xda;
pub(super) const STR32: u8 = 0xdb;
pub(super) const ARRAY16: u8 = 0xdc;
pub(super) const ARRAY32: u8 = 0xdd;
pub(super) const MAP16: u8 = 0xde;
pub(super) const MAP32: u8 = 0xdf;

/// The codes of the extension types.
pub(super) mod code {
    pub(in super::super) const TIMESTAMP: i8 = -1;
    pub(in super::super) const BIGINT: i8 = 1;
    pub(in super::super) const TUPLE: i8 = 2;
    pub(in super::super) const SET: i8 = 3;
    pub(in super::super) const FROZENSET: i8 = 4;
    pub(in super::super) const COMPLEX: i8 = 5;
    pub(in super::super) const DECIMAL: i8 = 6;
    pub(in super::super) const DATETIME: i8 = 7;
    pub(in super::super) const DATE: i8 = 8;
    pub(in super::super) const TIME: i8 = 9;
    pub(in super::super) const TIMEDELTA: i8 = 10;
    pub(in super::super) const UUID: i8 = 11;
    pub(in super::super) const EXCEPTION: i8 = 12;
    pub(in super::super) const REF: i8 = 13;
    pub(in super::super) const RECORD: i8 = 14;
    pub(in super::super) const BUFFER: i8 = 15;
    pub(in super::super) const ENUM: i8 = 16;
}

/// Whether the specification gives extensions of this code a meaning.
pub(super) fn is_known(code: i8) -> bool {
    matches!(code, code::TIMESTAMP | code::BIGINT..=code::ENUM)
}

/// What a reader calls a value of this extension type.
pub(super) fn ext_name(code: i8) -> &'static str {
    match code {
        code::BIGINT => "int beyond 64 bits",
        code::TUPLE => "tuple",
        code::SET => "set",
        code::FROZENSET => "frozenset",
        code::COMPLEX => "complex",
        code::DECIMAL => "decimal",
        code::DATETIME | code::TIMESTAMP => "datetime",
        code::DATE => "date",
        code::TIME => "time",
        code::TIMEDELTA => "timedelta",
        code::UUID => "UUID",
        code::EXCEPTION => "exception",
        code::REF => "object reference",
        code::RECORD => "record",
        code::BUFFER => "buffer",
        code::ENUM => "enum member",
        _ => "unknown extension",
    }
}
