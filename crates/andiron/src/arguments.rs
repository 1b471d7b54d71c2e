//! The two ends of a method: its arguments as they arrive, its result as it leaves.

use andiron_proto::ErrorKind;
use andiron_proto::codec::{self, DecodeError, Decoder, ErrorClass, Reason};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// More keyword arguments than any method has parameters.
const MAX_KEYWORDS: u32 = 64;
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
    body: &'a [u8],
    method: &'a str,
    positional: usize,
    /// The parameters that were asked for.
    names: [&'a str; MAX_PARAMETERS],
    asked: usize,
    /// `None` until they are needed.
    keywords: Option<Vec<Keyword<'a>>>,
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
        let mut decoder = Decoder::new(body);
        let positional = decoder.array_header().map_err(|error| malformed(method, &error))?;
        Ok(Arguments {
            decoder,
            body,
            method,
            positional: positional as usize,
            names: [""; MAX_PARAMETERS],
            asked: 0,
            keywords: None,
        })
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
        self.decoder.decode().map_err(|error| self.misfit(&error, start, name, type_name))
    }

    /// Says that all parameters were asked for.
    ///
    /// # Errors
    /// `BadArguments` where arguments are left over.
    #[inline]
    pub fn finish(&mut self) -> Result<()> {
        if self.positional <= self.asked && self.keywords.is_none() && self.decoder.is_at_end() {
            return Ok(());
        }
        self.leftovers()
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
        codec::from_slice(value).map_err(|error| self.misfit(&error, 0, name, type_name))
    }

    /// Once all positional arguments are read.
    fn read_keywords(&mut self) -> Result<()> {
        if self.keywords.is_some() {
            return Ok(());
        }
        let mut keywords = Vec::new();
        if !self.decoder.is_at_end() {
            let count = self.decoder.map_header().map_err(|error| malformed(self.method, &error))?;
            if count > MAX_KEYWORDS {
                return Err(self.error(format!("{count} keyword arguments are too many")));
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

    fn read_keyword(&mut self) -> Result<Keyword<'a>, DecodeError> {
        let name = self.decoder.decode()?;
        let start = self.decoder.position();
        self.decoder.skip()?;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply(Vec<u8>);

impl Reply {
    /// Encodes what a method returned.
    ///
    /// # Errors
    /// `Encoding` where the value cannot be encoded.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Reply> {
        codec::to_vec(value).map(Reply).map_err(|error| {
            Error::new(ErrorKind::Encoding, format!("the result cannot be encoded: {error}"))
                .with_source(error)
        })
    }

    /// The encoded value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoded value.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
