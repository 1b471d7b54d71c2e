//! What an exposed type offers, for people and for programs that ask.

use std::borrow::Cow;
use std::fmt;

use andiron_proto::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The methods of an exposed type with their signatures and docs, as `andiron describe` prints them.
///
/// [`#[expose]`](macro@crate::expose) makes one at compile time; it also travels, so a caller can ask any object for
/// it. Fields that a reader does not know are skipped.
///
/// ```
/// struct Player;
///
/// /// Plays things.
/// #[andiron::expose]
/// impl Player {
///     /// Moves to `seconds`; returns the new position.
///     fn seek(&self, seconds: f64) -> f64 { seconds }
/// }
///
/// let interface = <Player as andiron::Expose>::interface();
/// assert_eq!(interface.methods[0].parameters[0].type_name, "f64");
/// assert_eq!(
///     interface.to_string(),
///     "Player: Plays things.\n  seek(seconds: f64) -> f64\n      Moves to `seconds`; returns the new position.\n",
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The name of the type, without its path.
    pub name: Cow<'static, str>,
    /// The doc comment on the exposed `impl` block; empty where there is none.
    #[serde(default)]
    pub doc: Cow<'static, str>,
    /// The methods in the order of the source.
    #[serde(default)]
    pub methods: Cow<'static, [Method]>,
}

/// One method of an [`Interface`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// The name by which it is called.
    pub name: Cow<'static, str>,
    /// Its doc comment; empty where there is none.
    #[serde(default)]
    pub doc: Cow<'static, str>,
    /// What it takes, in order.
    #[serde(default)]
    pub parameters: Cow<'static, [Parameter]>,
    /// The type of its result as its language writes it (of a `Result<T, E>` the `T`); empty where it gives nothing.
    #[serde(default)]
    pub returns: Cow<'static, str>,
    /// True where the caller does not wait for an answer.
    #[serde(default)]
    pub oneway: bool,
    /// True where calls take turns (`&mut self`), false where they overlap (`&self`).
    #[serde(default)]
    pub exclusive: bool,
    /// True where a call may be repeated although it may have run.
    #[serde(default)]
    pub idempotent: bool,
    /// Of a property of an object in another language: `read`, or `read and set`. Its name is a method that reads it, and `$set` sets it. Else empty.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub property: Cow<'static, str>,
}

/// One parameter of a [`Method`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// The name by which it can be passed as a keyword argument.
    pub name: Cow<'static, str>,
    /// Its type as its language writes it.
    #[serde(default, rename = "type")]
    pub type_name: Cow<'static, str>,
    /// True where it may be left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

impl Interface {
    /// The method of this name.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// The answer to a call of a method that is not there.
    pub(crate) fn no_method(&self, name: &str) -> Error {
        let known = self.methods.iter().map(|method| format!("`{}`", method.name)).collect::<Vec<_>>();
        let known = if known.is_empty() { "none at all".into() } else { known.join(", ") };
        Error::new(ErrorKind::NoMethod, format!("`{}` has no method `{name}`: it has {known}", self.name))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut doc = self.doc.lines();
        match doc.next() {
            Some(first) => writeln!(f, "{}: {first}", self.name)?,
            None => writeln!(f, "{}", self.name)?,
        }
        write_indented(f, doc, "    ")?;
        for method in self.methods.iter() {
            writeln!(f, "  {method}")?;
            write_indented(f, method.doc.lines(), "      ")?;
        }
        Ok(())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.property.is_empty() {
            write!(f, "{}", self.name)?;
            if !self.returns.is_empty() {
                write!(f, ": {}", self.returns)?;
            }
            return write!(f, "  [property: {}]", self.property);
        }
        write!(f, "{}(", self.name)?;
        for (index, parameter) in self.parameters.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{parameter}")?;
        }
        f.write_str(")")?;
        if !self.returns.is_empty() {
            write!(f, " -> {}", self.returns)?;
        }
        if self.oneway {
            f.write_str("  [one-way]")?;
        }
        if self.idempotent {
            f.write_str("  [idempotent]")?;
        }
        Ok(())
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.type_name {
            "" => f.write_str(&self.name),
            type_name => write!(f, "{}: {type_name}", self.name),
        }?;
        f.write_str(if self.optional { " = .." } else { "" })
    }
}

fn write_indented<'a>(
    f: &mut fmt::Formatter<'_>,
    lines: impl Iterator<Item = &'a str>,
    indent: &str,
) -> fmt::Result {
    for line in lines {
        match line {
            "" => writeln!(f)?,
            line => writeln!(f, "{indent}{line}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_reads_like_its_source() {
        let interface = Interface {
            name: "Player".into(),
            doc: "Plays things.\n\nOne at a time.".into(),
            methods: Cow::Owned(vec![
                Method {
                    name: "seek".into(),
                    doc: "Moves to `seconds`.\nReturns the new position.".into(),
                    parameters: Cow::Owned(vec![Parameter {
                        name: "seconds".into(),
                        type_name: "f64".into(),
                        optional: true,
                    }]),
                    returns: "f64".into(),
                    ..Method::default()
                },
                Method {
                    name: "log".into(),
                    parameters: Cow::Owned(vec![
                        Parameter { name: "line".into(), type_name: "String".into(), optional: false },
                        Parameter { name: "level".into(), ..Parameter::default() },
                    ]),
                    oneway: true,
                    ..Method::default()
                },
                Method {
                    name: "volume".into(),
                    returns: "int".into(),
                    property: "read".into(),
                    ..Method::default()
                },
            ]),
        };
        assert_eq!(
            interface.to_string(),
            "Player: Plays things.\n\n    One at a time.\n  seek(seconds: f64 = ..) -> f64\n      Moves to `seconds`.\n      \
             Returns the new position.\n  log(line: String, level)  [one-way]\n  volume: int  [property: read]\n"
        );
    }
}
