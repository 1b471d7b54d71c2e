//! Reading bytes: one value after another, down to the tokens of MessagePack.

use serde::Deserialize;
use serde::de::{Error as _, Expected, Unexpected};

use super::MAX_DEPTH;
use super::error::{DecodeError, Reason};
use super::marker::{self as m, ext_name};

type Result<T> = std::result::Result<T, DecodeError>;

/// Reads values one after another; `&mut Decoder` is the serde deserializer.
///
/// ```
/// use andiron_proto::codec::Decoder;
///
/// let mut decoder = Decoder::new(&[0x92, 0x01, 0xa1, b'a']);
/// assert_eq!(decoder.array_len()?, 2);
/// assert_eq!(decoder.decode::<u8>()?, 1);
/// assert_eq!(decoder.decode::<&str>()?, "a");
/// decoder.finish()?;
/// # Ok::<(), andiron_proto::codec::DecodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder<'de> {
    rest: &'de [u8],
    len: usize,
    depth: usize,
}

impl<'de> Decoder<'de> {
    /// Reads from the start of `input`.
    #[inline]
    pub fn new(input: &'de [u8]) -> Self {
        Decoder { rest: input, len: input.len(), depth: 0 }
    }

    /// Reads the next value.
    ///
    /// # Errors
    /// When the data is malformed, ends, or is not what `T` expects. The decoder then stands somewhere inside the
    /// value and should not be used any more.
    #[inline]
    pub fn decode<T: Deserialize<'de>>(&mut self) -> Result<T> {
        let at = self.position();
        T::deserialize(self).map_err(|e| e.at(at))
    }

    /// Reads the header of an array; as many values follow.
    ///
    /// # Errors
    /// When the next value is no array.
    #[inline]
    pub fn array_len(&mut self) -> Result<usize> {
        let at = self.position();
        if let Some(len) = self.quick_len(m::FIXARRAY) {
            return Ok(len);
        }
        match self.token()? {
            Token::Array(len) => Ok(len),
            other => Err(other.unexpected(&"an array", at)),
        }
    }

    /// Whether all of the input is read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are read.
    #[inline]
    pub fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Checks that all of the input is read.
    ///
    /// # Errors
    /// When bytes are left.
    #[inline]
    pub fn finish(&self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::new(Reason::Trailing(left), self.position())),
        }
    }

    /// The bytes that are left.
    #[inline]
    pub(super) fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// A level of nesting begins, at this position.
    ///
    /// # Errors
    /// When there are too many.
    #[inline]
    pub fn enter(&mut self, at: usize) -> Result<()> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeError::new(Reason::TooDeep, at));
        }
        self.depth += 1;
        Ok(())
    }

    /// A level of nesting ends.
    #[inline]
    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'de [u8]> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.truncated()),
        }
    }

    #[inline]
    pub(super) fn string(&mut self, len: usize) -> Result<&'de str> {
        let at = self.position();
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::new(Reason::Utf8, at))
    }

    /// Reads the next value if it is an integer that is not negative, by far the most frequent numbers.
    #[inline]
    pub(super) fn quick_uint(&mut self) -> Option<u64> {
        let (v, rest) = match self.rest {
            [v @ 0..=0x7f, rest @ ..] => (u64::from(*v), rest),
            [m::U8, a, rest @ ..] => (u64::from(*a), rest),
            [m::U16, a, b, rest @ ..] => (u16::from_be_bytes([*a, *b]).into(), rest),
            [m::U32, a, b, c, d, rest @ ..] => (u32::from_be_bytes([*a, *b, *c, *d]).into(), rest),
            _ => return None,
        };
        self.rest = rest;
        Some(v)
    }

    /// Reads the next value if it is a string of up to 31 bytes, as names and most texts are.
    #[inline]
    pub(super) fn quick_str(&mut self) -> Option<&'de str> {
        let (marker, rest) = self.rest.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(marker.checked_sub(m::FIXSTR)?))?;
        if *marker >= m::NIL {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        self.rest = rest;
        Some(text)
    }

    /// Reads the header of an array or map of up to 15 elements, whose first length has the marker `empty`, if that
    /// comes next. So few need no check that the input can hold them.
    #[inline]
    pub(super) fn quick_len(&mut self, empty: u8) -> Option<usize> {
        let (marker, rest) = self.rest.split_first()?;
        let len = marker.wrapping_sub(empty);
        if len > 15 {
            return None;
        }
        self.rest = rest;
        Some(len.into())
    }

    /// Reads the next value, or for arrays, maps and extensions its header.
    ///
    /// # Errors
    /// When the data is malformed or ends.
    pub fn token(&mut self) -> Result<Token<'de>> {
        let Some((&marker, rest)) = self.rest.split_first() else { return Err(self.truncated()) };
        let at = self.position();
        self.rest = rest;
        Ok(match marker {
            0..=0x7f => Token::Uint(marker.into()),
            0xe0.. => Token::Int((marker as i8).into()),
            0x80..=0x8f => self.map((marker & 0x0f).into())?,
            0x90..=0x9f => self.array((marker & 0x0f).into())?,
            0xa0..=0xbf => Token::Str(self.string((marker & 0x1f).into())?),
            m::NIL => Token::Nil,
            0xc1 => return Err(DecodeError::new(Reason::UnusedByte, at)),
            m::FALSE => Token::Bool(false),
            m::TRUE => Token::Bool(true),
            m::BIN8 => self.sized::<1>(Self::bin)?,
            m::BIN16 => self.sized::<2>(Self::bin)?,
            m::BIN32 => self.sized::<4>(Self::bin)?,
            m::EXT8 => self.sized::<1>(Self::ext)?,
            m::EXT16 => self.sized::<2>(Self::ext)?,
            m::EXT32 => self.sized::<4>(Self::ext)?,
            m::F32 => Token::F32(f32::from_be_bytes(self.bytes()?)),
            m::F64 => Token::F64(f64::from_be_bytes(self.bytes()?)),
            m::U8 => Token::Uint(u8::from_be_bytes(self.bytes()?).into()),
            m::U16 => Token::Uint(u16::from_be_bytes(self.bytes()?).into()),
            m::U32 => Token::Uint(u32::from_be_bytes(self.bytes()?).into()),
            m::U64 => Token::Uint(u64::from_be_bytes(self.bytes()?)),
            m::I8 => Token::Int(i8::from_be_bytes(self.bytes()?).into()),
            m::I16 => Token::Int(i16::from_be_bytes(self.bytes()?).into()),
            m::I32 => Token::Int(i32::from_be_bytes(self.bytes()?).into()),
            m::I64 => Token::Int(i64::from_be_bytes(self.bytes()?)),
            m::FIXEXT1 => self.ext(1)?,
            m::FIXEXT2 => self.ext(2)?,
            m::FIXEXT4 => self.ext(4)?,
            m::FIXEXT8 => self.ext(8)?,
            m::FIXEXT16 => self.ext(16)?,
            m::STR8 => self.sized::<1>(Self::str)?,
            m::STR16 => self.sized::<2>(Self::str)?,
            m::STR32 => self.sized::<4>(Self::str)?,
            m::ARRAY16 => self.sized::<2>(Self::array)?,
            m::ARRAY32 => self.sized::<4>(Self::array)?,
            m::MAP16 => self.sized::<2>(Self::map)?,
            m::MAP32 => self.sized::<4>(Self::map)?,
        })
    }

    /// Reads past the next value, without looking into extensions.
    pub(super) fn skip(&mut self) -> Result<()> {
        // How many values are left to skip at each level, in place of recursion.
        let mut left = [0usize; MAX_DEPTH + 1];
        let mut level = 0;
        left[0] = 1;
        loop {
            while left[level] == 0 {
                if level == 0 {
                    return Ok(());
                }
                level -= 1;
            }
            left[level] -= 1;
            let at = self.position();
            let inside = match self.token()? {
                Token::Array(len) => len,
                Token::Map(len) => 2 * len,
                Token::Ext { len, .. } => {
                    self.take(len)?;
                    continue;
                }
                _ => continue,
            };
            if self.depth + level == MAX_DEPTH {
                return Err(DecodeError::new(Reason::TooDeep, at));
            }
            level += 1;
            left[level] = inside;
        }
    }

    /// What follows a length of `N` bytes.
    #[inline]
    fn sized<const N: usize>(
        &mut self,
        body: fn(&mut Self, usize) -> Result<Token<'de>>,
    ) -> Result<Token<'de>> {
        let len = self.bytes::<N>()?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        body(self, len)
    }

    #[inline]
    fn str(&mut self, len: usize) -> Result<Token<'de>> {
        self.string(len).map(Token::Str)
    }

    #[inline]
    fn bin(&mut self, len: usize) -> Result<Token<'de>> {
        self.take(len).map(Token::Bin)
    }

    /// An announced length is believed only if the input can hold as many elements of one byte each, so nobody
    /// allocates for what is not there.
    #[inline]
    fn array(&mut self, len: usize) -> Result<Token<'de>> {
        if len > self.rest.len() { Err(self.truncated()) } else { Ok(Token::Array(len)) }
    }

    #[inline]
    fn map(&mut self, len: usize) -> Result<Token<'de>> {
        if len > self.rest.len() / 2 { Err(self.truncated()) } else { Ok(Token::Map(len)) }
    }

    #[inline]
    fn ext(&mut self, len: usize) -> Result<Token<'de>> {
        let [code] = self.bytes()?;
        if len > self.rest.len() { Err(self.truncated()) } else { Ok(Token::Ext { code: code as i8, len }) }
    }

    #[inline]
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest.split_first_chunk() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => Err(self.truncated()),
        }
    }

    #[cold]
    fn truncated(&self) -> DecodeError {
        DecodeError::new(Reason::Truncated, self.len)
    }
}

/// A scalar, or the header of an array, a map or an extension.
#[derive(Debug, Clone, Copy)]
pub enum Token<'de> {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer that is not negative.
    Uint(u64),
    /// An integer.
    Int(i64),
    /// A floating-point number of 32 bits.
    F32(f32),
    /// A floating-point number of 64 bits.
    F64(f64),
    /// A text.
    Str(&'de str),
    /// Bytes.
    Bin(&'de [u8]),
    /// An array; so many values follow.
    Array(usize),
    /// A map; so many pairs of key and value follow.
    Map(usize),
    /// An extension; so many bytes of payload follow.
    Ext {
        /// What it is.
        code: i8,
        /// Bytes of payload.
        len: usize,
    },
}

impl Token<'_> {
    /// The error that this is not what is wanted.
    #[cold]
    pub(super) fn unexpected(self, expected: &dyn Expected, at: usize) -> DecodeError {
        let found = match self {
            Token::Nil => Unexpected::Unit,
            Token::Bool(v) => Unexpected::Bool(v),
            Token::Uint(v) => Unexpected::Unsigned(v),
            Token::Int(v) => Unexpected::Signed(v),
            Token::F32(v) => Unexpected::Float(v.into()),
            Token::F64(v) => Unexpected::Float(v),
            Token::Str(v) => Unexpected::Str(v),
            Token::Bin(v) => Unexpected::Bytes(v),
            Token::Array(_) => Unexpected::Seq,
            Token::Map(_) => Unexpected::Map,
            Token::Ext { code, .. } => Unexpected::Other(ext_name(code)),
        };
        DecodeError::invalid_type(found, expected).at(at)
    }
}
