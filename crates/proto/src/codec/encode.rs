//! Writing values.

use serde::Serialize;

use super::MAX_DEPTH;
use super::bigint;
use super::decode::Decoder;
use super::error::EncodeError;
use super::ext::{EXT_NAME, REF_NAME, container_code};
use super::list::List;
use super::marker::{self as m, code};

type Result<T = ()> = std::result::Result<T, EncodeError>;

/// Writes values one after another to the end of a buffer; `&mut Encoder` is the serde serializer.
///
/// ```
/// use andiron_proto::codec::Encoder;
///
/// let mut out = Vec::new();
/// let mut encoder = Encoder::new(&mut out);
/// encoder.array_header(2);
/// encoder.encode(&1)?;
/// encoder.encode("a")?;
/// assert_eq!(out, [0x92, 0x01, 0xa1, b'a']);
/// # Ok::<(), andiron_proto::codec::EncodeError>(())
/// ```
#[derive(Debug)]
pub struct Encoder<'a> {
    pub(super) out: &'a mut Vec<u8>,
    depth: usize,
    /// Where bytes are missing that belong there, and how many.
    absent: Vec<(usize, usize)>,
}

impl<'a> Encoder<'a> {
    /// Writes to the end of `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Encoder { out, depth: 0, absent: Vec::new() }
    }

    /// Writes the header of an array, to be followed by `len` values.
    #[inline]
    pub fn array_header(&mut self, len: u32) {
        header(self.out, Shape::Array, len);
    }

    /// Writes the header of a map, to be followed by `len` times a key and a value.
    #[inline]
    pub fn map_header(&mut self, len: u32) {
        header(self.out, Shape::Map, len);
    }

    /// Writes one value. On error nothing is written.
    ///
    /// # Errors
    /// As [`to_vec`](super::to_vec).
    #[inline]
    pub fn encode<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        let start = self.out.len();
        value.serialize(&mut *self).inspect_err(|_| self.reset(start))
    }

    /// Writes an argument list, see [`encode_args`](super::encode_args). On error nothing is written.
    ///
    /// # Errors
    /// As [`encode_args`](super::encode_args).
    #[inline]
    pub fn encode_args<T: Serialize + ?Sized>(&mut self, args: &T) -> Result {
        let start = self.out.len();
        args.serialize(List::arguments(self)).inspect_err(|_| self.reset(start))
    }

    /// How many bytes stand in `out`, without those that are absent.
    #[must_use]
    #[inline]
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Writes nothing; Python's `None`.
    #[inline]
    pub fn nil(&mut self) {
        self.out.push(m::NIL);
    }

    /// Writes true or false.
    #[inline]
    pub fn bool(&mut self, v: bool) {
        self.out.push(if v { m::TRUE } else { m::FALSE });
    }

    /// Writes an integer that is not negative.
    #[inline]
    pub fn uint(&mut self, v: u64) {
        uint(self.out, v);
    }

    /// Writes an integer.
    #[inline]
    pub fn int(&mut self, v: i64) {
        int(self.out, v);
    }

    /// Writes an integer of any size, given as two's complement, big-endian, that 64 bits do not hold.
    ///
    /// # Errors
    /// When it is longer than MessagePack can say.
    pub fn wide_int(&mut self, bytes: &[u8]) -> Result {
        wide_int(self.out, bytes)
    }

    /// Writes a floating-point number.
    #[inline]
    pub fn float(&mut self, v: f64) {
        let v = if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() };
        self.out.extend_from_slice(&with_u64(m::F64, v));
    }

    /// Writes a text.
    ///
    /// # Errors
    /// When it is longer than MessagePack can say.
    #[inline]
    pub fn str(&mut self, v: &str) -> Result {
        string(self.out, v)
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// When they are longer than MessagePack can say.
    #[inline]
    pub fn bytes(&mut self, v: &[u8]) -> Result {
        bin(self.out, v)
    }

    /// Writes all of so many bytes but the bytes themselves, which whoever has the buffer puts there: at the positions that [`absent`](Encoder::absent) tells in the end.
    ///
    /// # Errors
    /// When they are longer than MessagePack can say.
    pub fn absent_bytes(&mut self, len: usize) -> Result {
        bin_header(self.out, len)?;
        self.absent.push((self.out.len(), len));
        Ok(())
    }

    /// Where in the buffer bytes are absent, in their order, and how many each time.
    pub fn absent(self) -> Vec<(usize, usize)> {
        self.absent
    }

    /// Writes an extension with this payload, which is not looked at.
    ///
    /// # Errors
    /// When it is longer than MessagePack can say.
    pub fn ext(&mut self, code: i8, payload: &[u8]) -> Result {
        ext(self.out, code, payload)
    }

    /// Begins an extension whose payload is written next; [`close_ext`](Encoder::close_ext) ends it.
    #[inline]
    pub fn open_ext(&mut self, code: i8) -> usize {
        open_ext(self.out, code)
    }

    /// Ends the extension that [`open_ext`](Encoder::open_ext) began there.
    ///
    /// # Errors
    /// When it is longer than MessagePack can say.
    #[inline]
    pub fn close_ext(&mut self, began: usize) -> Result {
        if self.absent.is_empty() { close_ext(self.out, began, 0) } else { self.close_ext_with_absent(began) }
    }

    #[cold]
    fn close_ext_with_absent(&mut self, began: usize) -> Result {
        let (payload, end) = (began + OPEN_EXT, self.out.len());
        let within = self.absent.iter().filter(|(at, _)| *at >= payload);
        close_ext(self.out, began, within.map(|(_, len)| *len).sum())?;
        let moved = self.out.len() as isize - end as isize;
        for (at, _) in self.absent.iter_mut().filter(|(at, _)| *at >= payload) {
            *at = at.saturating_add_signed(moved);
        }
        Ok(())
    }

    #[cold]
    fn reset(&mut self, len: usize) {
        self.out.truncate(len);
        self.depth = 0;
    }

    /// A level of nesting ends.
    #[inline]
    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// A level of nesting begins.
    ///
    /// # Errors
    /// When there are too many.
    #[inline]
    pub fn enter(&mut self) -> Result {
        if self.depth == MAX_DEPTH {
            return Err(EncodeError::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    /// Begins an array or map. The length may be unknown or wrong: the end of the compound corrects it.
    #[inline]
    pub(super) fn open<'e>(
        &'e mut self,
        shape: Shape,
        len: Option<usize>,
        levels: usize,
    ) -> Result<Compound<'e, 'a>> {
        if levels > 0 {
            self.enter()?;
        }
        let declared = u32::try_from(len.unwrap_or(0)).map_err(|_| EncodeError::TooLong)?;
        let header_at = self.out.len();
        header(self.out, shape, declared);
        Ok(Compound { encoder: self, shape, header_at, declared, count: 0, ext_at: None, levels })
    }

    #[inline]
    pub(super) fn open_tuple<'e>(&'e mut self, len: usize) -> Result<Compound<'e, 'a>> {
        let ext_at = open_ext(self.out, code::TUPLE);
        Ok(Compound { ext_at: Some(ext_at), ..self.open(Shape::Array, Some(len), 1)? })
    }

    /// Begins the map of one entry that an enum variant with content is.
    #[inline]
    pub(super) fn open_variant(&mut self, variant: &str) -> Result {
        self.enter()?;
        self.map_header(1);
        string(self.out, variant)
    }

    /// Writes the content of an extension that holds one array.
    fn container<T: Serialize + ?Sized>(&mut self, code: i8, content: &T) -> Result {
        let ext_at = open_ext(self.out, code);
        content.serialize(List::payload(self))?;
        close_ext(self.out, ext_at, 0)
    }

    /// Writes a newtype struct whose name is reserved. The content is written as an ordinary value first and then
    /// turned into the extension in place, which is never longer.
    #[cold]
    pub(super) fn reserved<T: Serialize + ?Sized>(&mut self, name: &str, content: &T) -> Result {
        if let Some(code) = container_code(name) {
            return self.container(code, content);
        }
        let (start, depth) = (self.out.len(), self.depth);
        // The pair that is written first is no level of the value.
        self.depth = depth.saturating_sub(1);
        content.serialize(&mut *self)?;
        self.depth = depth;
        let mut decoder = Decoder::new(&self.out[start..]);
        match name {
            EXT_NAME => {
                let (code, payload): (i8, &[u8]) = decoder.decode().map_err(|_| EncodeError::ReservedName)?;
                let len = payload.len();
                let from = self.out.len() - len;
                let (head, head_len) =
                    ext_header(code, u32::try_from(len).map_err(|_| EncodeError::TooLong)?);
                self.out.copy_within(from.., start + head_len);
                self.out[start..start + head_len].copy_from_slice(&head[..head_len]);
                self.out.truncate(start + head_len + len);
            }
            REF_NAME => {
                let index: u16 = decoder.decode().map_err(|_| EncodeError::ReservedName)?;
                self.out.truncate(start);
                ext(self.out, code::REF, &index.to_be_bytes())?;
            }
            _ => return Err(EncodeError::ReservedName),
        }
        Ok(())
    }
}

/// Whether a header counts elements or entries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Array,
    Map,
}

/// An array or map being written.
#[derive(Debug)]
pub struct Compound<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    shape: Shape,
    header_at: usize,
    declared: u32,
    count: usize,
    ext_at: Option<usize>,
    /// How many levels of nesting end with this compound.
    levels: usize,
}

impl Compound<'_, '_> {
    /// This is the content of a variant, and ends the map that names the variant too.
    pub(super) fn in_variant(mut self) -> Self {
        self.levels += 1;
        self
    }

    #[inline]
    pub(super) fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.count += 1;
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    pub(super) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    pub(super) fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result {
        self.count += 1;
        string(self.encoder.out, key)?;
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    pub(super) fn close(mut self) -> Result {
        if self.count != self.declared as usize {
            self.correct_header()?;
        }
        if let Some(at) = self.ext_at {
            close_ext(self.encoder.out, at, 0)?;
        }
        self.encoder.depth -= self.levels;
        Ok(())
    }

    #[cold]
    fn correct_header(&mut self) -> Result {
        let count = u32::try_from(self.count).map_err(|_| EncodeError::TooLong)?;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        header(&mut old, self.shape, self.declared);
        header(&mut new, self.shape, count);
        self.encoder.out.splice(self.header_at..self.header_at + old.len(), new);
        Ok(())
    }
}

#[inline]
fn header(out: &mut Vec<u8>, shape: Shape, len: u32) {
    let (fix, marker16, marker32) = match shape {
        Shape::Array => (m::FIXARRAY, m::ARRAY16, m::ARRAY32),
        Shape::Map => (m::FIXMAP, m::MAP16, m::MAP32),
    };
    match len {
        0..=15 => out.push(fix | len as u8),
        16..=0xffff => out.extend_from_slice(&with_u16(marker16, len as u16)),
        _ => out.extend_from_slice(&with_u32(marker32, len)),
    }
}

#[inline]
pub(super) fn uint(out: &mut Vec<u8>, v: u64) {
    match v {
        0..=0x7f => out.push(v as u8),
        0x80..=0xff => out.extend_from_slice(&[m::U8, v as u8]),
        0x100..=0xffff => out.extend_from_slice(&with_u16(m::U16, v as u16)),
        0x1_0000..=0xffff_ffff => out.extend_from_slice(&with_u32(m::U32, v as u32)),
        _ => out.extend_from_slice(&with_u64(m::U64, v)),
    }
}

#[inline]
pub(super) fn int(out: &mut Vec<u8>, v: i64) {
    match v {
        0.. => uint(out, v as u64),
        -32..=-1 => out.push(v as u8),
        -0x80..=-33 => out.extend_from_slice(&[m::I8, v as u8]),
        -0x8000..=-0x81 => out.extend_from_slice(&with_u16(m::I16, v as u16)),
        -0x8000_0000..=-0x8001 => out.extend_from_slice(&with_u32(m::I32, v as u32)),
        _ => out.extend_from_slice(&with_u64(m::I64, v as u64)),
    }
}

/// Writes an integer given as two's complement, big-endian, that 64 bits may not hold.
pub(super) fn wide_int(out: &mut Vec<u8>, bytes: &[u8]) -> Result {
    ext(out, code::BIGINT, bigint::minimal(bytes))
}

#[inline]
pub(super) fn string(out: &mut Vec<u8>, v: &str) -> Result {
    let len = v.len();
    match len {
        0..=31 => out.push(m::FIXSTR | len as u8),
        32..=0xff => out.extend_from_slice(&[m::STR8, len as u8]),
        0x100..=0xffff => out.extend_from_slice(&with_u16(m::STR16, len as u16)),
        _ => {
            out.extend_from_slice(&with_u32(m::STR32, u32::try_from(len).map_err(|_| EncodeError::TooLong)?))
        }
    }
    out.extend_from_slice(v.as_bytes());
    Ok(())
}

#[inline]
pub(super) fn bin(out: &mut Vec<u8>, v: &[u8]) -> Result {
    bin_header(out, v.len())?;
    out.extend_from_slice(v);
    Ok(())
}

#[inline]
fn bin_header(out: &mut Vec<u8>, len: usize) -> Result {
    match len {
        0..=0xff => out.extend_from_slice(&[m::BIN8, len as u8]),
        0x100..=0xffff => out.extend_from_slice(&with_u16(m::BIN16, len as u16)),
        _ => {
            out.extend_from_slice(&with_u32(m::BIN32, u32::try_from(len).map_err(|_| EncodeError::TooLong)?))
        }
    }
    Ok(())
}

fn ext(out: &mut Vec<u8>, code: i8, payload: &[u8]) -> Result {
    let (head, head_len) = ext_header(code, u32::try_from(payload.len()).map_err(|_| EncodeError::TooLong)?);
    out.extend_from_slice(&head[..head_len]);
    out.extend_from_slice(payload);
    Ok(())
}

/// The shortest header of an extension, and how many of these bytes it takes.
fn ext_header(code: i8, len: u32) -> ([u8; 6], usize) {
    let code = code as u8;
    let [a, b, c, d] = len.to_be_bytes();
    match len {
        1 => ([m::FIXEXT1, code, 0, 0, 0, 0], 2),
        2 => ([m::FIXEXT2, code, 0, 0, 0, 0], 2),
        4 => ([m::FIXEXT4, code, 0, 0, 0, 0], 2),
        8 => ([m::FIXEXT8, code, 0, 0, 0, 0], 2),
        16 => ([m::FIXEXT16, code, 0, 0, 0, 0], 2),
        0..=0xff => ([m::EXT8, d, code, 0, 0, 0], 3),
        0x100..=0xffff => ([m::EXT16, c, d, code, 0, 0], 4),
        _ => ([m::EXT32, a, b, c, d, code], 6),
    }
}

/// The header that an extension of yet unknown length begins with: the one that most tuples end up with.
const OPEN_EXT: usize = 3;

#[inline]
fn open_ext(out: &mut Vec<u8>, code: i8) -> usize {
    let at = out.len();
    out.extend_from_slice(&[m::EXT8, 0, code as u8]);
    at
}

/// Gives the extension that began at `at` the header that its length asks for, to which so many bytes belong that are not there.
#[inline]
fn close_ext(out: &mut Vec<u8>, at: usize, absent: usize) -> Result {
    let payload = at + OPEN_EXT;
    let len = out.len() - payload;
    let all = u32::try_from(len.saturating_add(absent)).map_err(|_| EncodeError::TooLong)?;
    let (head, head_len) = ext_header(out[at + 2] as i8, all);
    if head_len > OPEN_EXT {
        out.resize(out.len() + head_len - OPEN_EXT, 0);
    }
    if head_len != OPEN_EXT {
        out.copy_within(payload..payload + len, at + head_len);
        out.truncate(at + head_len + len);
    }
    out[at..at + head_len].copy_from_slice(&head[..head_len]);
    Ok(())
}

#[inline]
fn with_u16(marker: u8, v: u16) -> [u8; 3] {
    let [a, b] = v.to_be_bytes();
    [marker, a, b]
}

#[inline]
pub(super) fn with_u32(marker: u8, v: u32) -> [u8; 5] {
    let [a, b, c, d] = v.to_be_bytes();
    [marker, a, b, c, d]
}

#[inline]
pub(super) fn with_u64(marker: u8, v: u64) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = v.to_be_bytes();
    [marker, a, b, c, d, e, f, g, h]
}
