//! The two ends of a method: its arguments as they arrive, its result as it leaves.

use std::fmt;

use andiron_proto::ErrorKind;
use andiron_proto::codec::{self, DecodeError, Decoder, ErrorClass, Reason};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::target::{Beside, Carried, collecting, with_incoming};
use crate::{Error, Result};

/// More keyword arguments than any method has parameters.
const MAX_KEYWORDS: usize = 64;
/// How many parameters a method has at most; `#[expose]` sees to it.
const MAX_PARAMETERS: usize = 16;
/// A missing argument of an optional type is read from this.
const NIL: &[u8] = &[0xc0];

/// Reads the arguments of a call, one parameter after the other, straight from the request.
///
/// The request holds an array of positional arguments and, where there are any, a map of keyword arguments.
///
/// ```
/// use andiron::Arguments;
///
/// let body = [0x92, 0xa1, b'a', 0x05]; // ["a", 5]
/// let mut arguments = Arguments::new(&body, "Player.title")?;
/// let prefix: &str = arguments.parameter(0, "prefix", "&str")?;
/// let length: u8 = arguments.parameter(1, "length", "u8")?;
/// let suffix: Option<&str> = arguments.parameter(2, "suffix", "Option<&str>")?;
/// arguments.finish()?;
/// assert_eq!((prefix, length, suffix), ("a", 5, None));
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Debug)]
pub struct Arguments<'a> {
    /// Stands at the next positional argument, and after the last of them at the keyword arguments.
    decoder: Decoder<'a>,
    /// What the decoder reads, from its start.
    body: &'a [u8],
    method: &'a str,
    positional: usize,
    /// The parameters that were asked for.
    names: [&'a str; MAX_PARAMETERS],
    asked: usize,
    /// `None` until they are needed.
    keywords: Option<Vec<Keyword<'a>>>,
    /// The call that they belong to; it begins when all are read.
    call: Option<&'a Call>,
}

#[derive(Debug)]
struct Keyword<'a> {
    name: &'a str,
    value: &'a [u8],
    taken: bool,
}

impl<'a> Arguments<'a> {
    /// Reads `body`, the arguments of a call of `method` (named `Player.seek`, for error messages).
    ///
    /// # Errors
    /// `BadArguments` where it is no list of arguments.
    pub fn new(body: &'a [u8], method: &'a str) -> Result<Arguments<'a>> {
        Arguments::read(body, method, None)
    }

    /// The arguments of a call, with the objects that they name.
    pub(crate) fn of(call: &'a Call) -> Result<Arguments<'a>> {
        Arguments::read(call.arguments()?, call.method(), Some(call))
    }

    #[inline]
    fn read(body: &'a [u8], method: &'a str, call: Option<&'a Call>) -> Result<Arguments<'a>> {
        let mut decoder = Decoder::new(body);
        let positional = decoder.array_len().map_err(|error| malformed(method, &error))?;
        Ok(Arguments {
            decoder,
            body,
            method,
            positional,
            names: [""; MAX_PARAMETERS],
            asked: 0,
            keywords: None,
            call,
        })
    }

    fn beside(&self) -> Beside<'a> {
        self.call.map_or(Beside { targets: &[], attached: &[], stream: None }, Call::beside)
    }

    /// The next parameter: the one at `index`, counted from 0, which must be asked for in order. `type_name` is for
    /// people. An argument that is missing is `None` where `T` is an `Option`.
    ///
    /// # Errors
    /// `BadArguments` where the argument is missing or no `T`.
    #[inline]
    pub fn parameter<T: Deserialize<'a>>(
        &mut self,
        index: usize,
        name: &'a str,
        type_name: &str,
    ) -> Result<T> {
        debug_assert_eq!(index, self.asked, "parameters are asked for in order");
        if let Some(slot) = self.names.get_mut(index) {
            *slot = name;
        }
        self.asked = index + 1;
        if index >= self.positional {
            return self.keyword(name, type_name);
        }
        let start = self.decoder.position();
        let decoded = with_incoming(self.beside(), || self.decoder.decode());
        decoded.map_err(|unread| unread.or(|error| self.misfit(&error, start, name, type_name)))
    }

    /// Says that all parameters were asked for.
    ///
    /// # Errors
    /// `BadArguments` where arguments are left over.
    #[inline]
    pub fn finish(&mut self) -> Result<()> {
        if self.positional > self.asked || self.keywords.is_some() || !self.decoder.is_empty() {
            self.leftovers()?;
        }
        if let Some(call) = self.call {
            call.begin();
        }
        Ok(())
    }

    #[cold]
    fn keyword<T: Deserialize<'a>>(&mut self, name: &str, type_name: &str) -> Result<T> {
        self.read_keywords()?;
        let found = self.keywords.iter_mut().flatten().find(|keyword| keyword.name == name);
        let Some(keyword) = found else {
            return codec::from_slice(NIL)
                .map_err(|_| self.error(format!("missing argument `{name}` ({type_name})")));
        };
        keyword.taken = true;
        let value = keyword.value;
        let decoded = with_incoming(self.beside(), || codec::from_slice(value));
        decoded.map_err(|unread| unread.or(|error| self.misfit(&error, 0, name, type_name)))
    }

    /// Once all positional arguments are read.
    fn read_keywords(&mut self) -> Result<()> {
        if self.keywords.is_some() {
            return Ok(());
        }
        let mut keywords = Vec::new();
        if !self.decoder.is_empty() {
            let count = self.keyword_count()?;
            if count > MAX_KEYWORDS {
                return Err(self.error("too many keyword arguments".into()));
            }
            for _ in 0..count {
                let keyword = self.read_keyword().map_err(|error| malformed(self.method, &error))?;
                if keywords.iter().any(|other: &Keyword<'_>| other.name == keyword.name) {
                    return Err(self.error(format!("argument `{}` is given twice", keyword.name)));
                }
                keywords.push(keyword);
            }
            self.decoder.finish().map_err(|error| malformed(self.method, &error))?;
        }
        self.keywords = Some(keywords);
        Ok(())
    }

    /// Reads the header of the map, whose keys and values the decoder then reads one by one.
    fn keyword_count(&mut self) -> Result<usize> {
        let rest = &self.body[self.decoder.position()..];
        let (count, rest) = match *rest {
            [marker @ 0x80..=0x8f, ref rest @ ..] => (usize::from(marker & 0x0f), rest),
            [0xde, high, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
            [0xdf, ..] => return Err(self.error("too many keyword arguments".into())),
            _ => return Err(self.error("malformed arguments: no map of keyword arguments follows".into())),
        };
        self.body = rest;
        self.decoder = Decoder::new(rest);
        Ok(count)
    }

    fn read_keyword(&mut self) -> Result<Keyword<'a>, DecodeError> {
        let name = self.decoder.decode()?;
        let start = self.decoder.position();
        self.decoder.decode::<IgnoredAny>()?;
        Ok(Keyword { name, value: &self.body[start..self.decoder.position()], taken: false })
    }

    #[cold]
    fn leftovers(&mut self) -> Result<()> {
        if self.positional > self.asked {
            let (takes, found) = (self.asked, self.positional);
            let plural = if takes == 1 { "" } else { "s" };
            return Err(self.error(format!("takes {takes} argument{plural}, found {found}")));
        }
        self.read_keywords()?;
        let Some(left) = self.keywords.iter().flatten().find(|keyword| !keyword.taken) else {
            return Ok(());
        };
        let names = &self.names[..self.asked.min(MAX_PARAMETERS)];
        Err(self.error(if names.contains(&left.name) {
            format!("argument `{}` is given twice, by position and by name", left.name)
        } else if names.is_empty() {
            format!("unknown argument `{}`: there are none", left.name)
        } else {
            format!("unknown argument `{}`: there are `{}`", left.name, names.join("`, `"))
        }))
    }

    /// `start` is where the argument begins in what was decoded.
    #[cold]
    fn misfit(&self, error: &DecodeError, start: usize, name: &str, type_name: &str) -> Error {
        if error.class() == ErrorClass::Malformed {
            return malformed(self.method, error);
        }
        self.error(match error.reason() {
            Reason::Unexpected { found, .. } if error.position() == Some(start) => {
                format!("argument `{name}`: expected {type_name}, found {found}")
            }
            inside => format!("argument `{name}` ({type_name}): {inside}"),
        })
    }

    #[cold]
    fn error(&self, message: String) -> Error {
        Error::new(ErrorKind::BadArguments, message).during(self.method.to_owned())
    }
}

#[cold]
fn malformed(method: &str, error: &DecodeError) -> Error {
    Error::new(ErrorKind::BadArguments, format!("malformed arguments: {error}")).during(method.to_owned())
}

/// The encoded result of a method.
#[derive(Default)]
pub struct Reply {
    bytes: Vec<u8>,
    /// The objects that the value names, and its stream.
    carried: Carried,
}

impl Reply {
    /// Encodes what a method returned.
    ///
    /// # Errors
    /// `Encoding` where the value cannot be encoded.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Reply> {
        let (bytes, carried) = collecting(|| codec::to_vec(value));
        match bytes {
            Ok(bytes) => Ok(Reply { bytes, carried }),
            Err(error) => {
                let text = format!("the result cannot be encoded: {error}");
                Err(Error::new(ErrorKind::Encoding, text).with_source(error))
            }
        }
    }

    /// The encoded value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The encoded value.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn into_parts(self) -> (Vec<u8>, Carried) {
        (self.bytes, self.carried)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `seek(seconds: f64, mode: Option<&str>)`.
    fn read(body: &[u8]) -> Result<(f64, Option<&str>)> {
        let mut arguments = Arguments::new(body, "Player.seek")?;
        let seconds = arguments.parameter(0, "seconds", "f64")?;
        let mode = arguments.parameter(1, "mode", "Option<&str>")?;
        arguments.finish()?;
        Ok((seconds, mode))
    }

    fn complaint(body: &[u8]) -> String {
        let error = read(body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArguments);
        error.to_string()
    }

    const SECONDS: &[u8] = b"\xa7seconds";
    const MODE: &[u8] = b"\xa4mode";

    #[test]
    fn arguments_go_by_position_by_name_or_both() {
        assert_eq!(read(b"\x92\x05\xa1x").unwrap(), (5.0, Some("x")));
        assert_eq!(read(&[b"\x91\x05\x81", MODE, b"\xa1x"].concat()).unwrap().1, Some("x"));
        let both_by_name = [b"\x90\x82", MODE, b"\xa1x", SECONDS, b"\x05"].concat();
        assert_eq!(read(&both_by_name).unwrap(), (5.0, Some("x")));
        let long_header = [b"\xdc\x00\x01\x05\xde\x00\x01", MODE, b"\xa1x"].concat();
        assert_eq!(read(&long_header).unwrap(), (5.0, Some("x")));
        assert_eq!(read(b"\x91\x05\x80").unwrap(), (5.0, None));
    }

    #[test]
    fn an_optional_argument_may_be_missing_and_no_other() {
        assert_eq!(read(b"\x91\x05").unwrap(), (5.0, None));
        assert_eq!(read(b"\x92\x05\xc0").unwrap(), (5.0, None));
        assert_eq!(complaint(b"\x90"), "Player.seek: missing argument `seconds` (f64)");
        assert_eq!(
            complaint(&[b"\x90\x81", MODE, b"\xa1x"].concat()),
            "Player.seek: missing argument `seconds` (f64)"
        );
    }

    #[test]
    fn surplus_arguments_are_refused() {
        assert_eq!(complaint(b"\x93\x05\xa1x\xc0"), "Player.seek: takes 2 arguments, found 3");
        assert_eq!(
            complaint(b"\x91\x05\x81\xa4sped\xc0"),
            "Player.seek: unknown argument `sped`: there are `seconds`, `mode`"
        );
        assert_eq!(
            complaint(&[b"\x91\x05\x81", SECONDS, b"\x06"].concat()),
            "Player.seek: argument `seconds` is given twice, by position and by name"
        );
        assert_eq!(
            complaint(&[b"\x90\x82", SECONDS, b"\x05", SECONDS, b"\x06"].concat()),
            "Player.seek: argument `seconds` is given twice"
        );
        let mut nothing = Arguments::new(b"\x90\x81\xa1x\x01", "Player.stop").unwrap();
        let error = nothing.finish().unwrap_err();
        assert_eq!(error.to_string(), "Player.stop: unknown argument `x`: there are none");
    }

    #[test]
    fn a_wrong_type_is_named_with_what_was_found() {
        assert_eq!(
            complaint(b"\x91\xa3far"),
            "Player.seek: argument `seconds`: expected f64, found string \"far\""
        );
        assert_eq!(
            complaint(&[b"\x91\x05\x81", MODE, b"\x07"].concat()),
            "Player.seek: argument `mode`: expected Option<&str>, found int 7"
        );
        let mut list = Arguments::new(b"\x91\x92\x01\xc2", "Player.queue").unwrap();
        let error = list.parameter::<Vec<u8>>(0, "tracks", "Vec<u8>").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Player.queue: argument `tracks` (Vec<u8>): expected u8, found bool false"
        );
    }

    #[test]
    fn malformed_arguments_are_refused() {
        let name_is_no_string = b"\x91\x05\x81\x01\x01";
        let surplus = b"\x91\x05\x80\x01";
        let bodies: [&[u8]; 12] = [
            b"",
            b"\x80",
            b"\xc1",
            b"\x05",
            b"\x91",
            b"\x91\xc1",
            b"\x91\x05\x05",
            b"\x91\x05\x81",
            b"\x91\x05\xde\x00",
            b"\xdd\xff\xff\xff\xff\x05",
            name_is_no_string,
            surplus,
        ];
        for body in bodies {
            let complaint = complaint(body);
            assert!(complaint.starts_with("Player.seek: malformed arguments: "), "{body:x?}: {complaint}");
        }
        assert_eq!(complaint(b"\x91\x05\xdf\xff\xff\xff\xff"), "Player.seek: too many keyword arguments");
        assert_eq!(complaint(b"\x91\x05\xde\xff\xff"), "Player.seek: too many keyword arguments");
    }

    #[test]
    fn no_prefix_of_good_arguments_and_no_changed_byte_is_fatal() {
        let good = [b"\x91\x05\x81", MODE, b"\xa1x"].concat();
        assert!(read(&good).is_ok());
        for end in 0..good.len() {
            // Without its keywords the call is complete too.
            assert_eq!(read(&good[..end]).is_ok(), end == 2, "{end}");
            for byte in 0..=u8::MAX {
                let mut changed = good.clone();
                changed[end] = byte;
                let _ = read(&changed);
            }
        }
    }

    #[test]
    fn a_result_that_cannot_be_encoded_says_so() {
        struct Stubborn;
        impl Serialize for Stubborn {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("will not"))
            }
        }
        let error = Reply::encode(&Stubborn).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encoding);
        assert_eq!(error.to_string(), "the result cannot be encoded: will not");
        assert_eq!(Reply::encode("a").unwrap().as_bytes(), b"\xa1a");
    }
}
