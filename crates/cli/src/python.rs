//! What an object offers as Python's type checkers read it: a `Protocol` class.
//!
//! The words come from whoever provides the object, and somebody runs the text: what is not surely a name, or a type that everybody has, is left out of it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use andiron::{Interface, Method, Parameter};

/// Types that need no import.
const BUILTINS: [&str; 14] = [
    "None",
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "memoryview",
    "object",
    "set",
    "str",
];
/// The same with a meaning of its own.
const TUPLE: &str = "tuple";
/// Types by the module that has them.
const IMPORTS: [(&str, &[&str]); 5] = [
    (
        "collections.abc",
        &[
            "Callable",
            "Collection",
            "Generator",
            "Iterable",
            "Iterator",
            "Mapping",
            "MutableMapping",
            "Sequence",
            "Set",
        ],
    ),
    ("datetime", &["date", "datetime", "time", "timedelta"]),
    ("decimal", &["Decimal"]),
    ("typing", &["Any", "Literal", "Optional", "Protocol", "Union"]),
    ("uuid", &["UUID"]),
];
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];
/// What makes an object a function or a container, and what Python calls it.
const SPECIAL: [(&str, &str); 7] = [
    ("$call", "__call__"),
    ("$len", "__len__"),
    ("$iterate", "__iter__"),
    ("$contains", "__contains__"),
    ("$item", "__getitem__"),
    ("$set_item", "__setitem__"),
    ("$delete_item", "__delitem__"),
];

/// Classes for these objects, each with a name to fall back on, as one module.
pub(crate) fn module(interfaces: &[(String, Interface)]) -> String {
    let mut used = Used::default();
    used.names.insert(("typing", "Protocol"));
    let mut taken = BTreeSet::new();
    let classes: String =
        interfaces.iter().map(|(name, interface)| class(name, interface, &mut used, &mut taken)).collect();
    let mut module: String = used.modules.iter().map(|module| format!("import {module}\n")).collect();
    for (from, _) in IMPORTS {
        let names: Vec<_> = used.names.iter().filter(|(of, _)| *of == from).map(|(_, name)| *name).collect();
        if !names.is_empty() {
            let _ = writeln!(module, "from {from} import {}", names.join(", "));
        }
    }
    module + &classes
}

/// What has to be imported.
#[derive(Default)]
struct Used {
    names: BTreeSet<(&'static str, &'static str)>,
    modules: BTreeSet<&'static str>,
    /// What stands for something else in the class that is being written.
    methods: BTreeSet<String>,
}

impl Used {
    /// A known type as it is written here.
    fn name(&mut self, name: &str) -> String {
        let imported = IMPORTS.iter().find_map(|(module, names)| {
            let name = names.iter().find(|known| **known == name)?;
            Some((*module, *name))
        });
        let module = imported.map_or("builtins", |(module, _)| module);
        if self.methods.contains(name) && name != "None" {
            self.modules.insert(module);
            return format!("{module}.{name}");
        }
        self.names.extend(imported);
        name.to_owned()
    }
}

fn class(fallback: &str, interface: &Interface, used: &mut Used, taken: &mut BTreeSet<String>) -> String {
    let name = [&*interface.name, fallback].into_iter().find(|name| is_name(name)).unwrap_or("Object");
    let mut name = capitalized(name);
    while is_known(&name) || !taken.insert(name.clone()) {
        name.push('_');
    }
    let mut class = format!("\n\nclass {name}(Protocol):\n");
    let empty = class.len();
    used.methods = interface.methods.iter().map(|method| method.name.to_string()).collect();
    docstring(&interface.doc, "    ", &mut class);
    for told in interface.methods.iter() {
        method(told, used, &mut class);
    }
    if class.len() == empty {
        class.push_str("    pass\n");
    }
    class
}

fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn method(method: &Method, used: &mut Used, class: &mut String) {
    let special = SPECIAL.iter().find(|(wire, _)| *wire == method.name).map(|(_, name)| *name);
    let Some(name) = special.or_else(|| Some(&*method.name).filter(|name| is_name(name))) else {
        return; // no Python can write it so, as `$set`, which properties stand for
    };
    let returns = match &*method.returns {
        _ if method.oneway => Cow::Borrowed("None"),
        "" => Cow::Borrowed("None"),
        told => type_of(told, used),
    };
    let mut end = " ...\n".to_owned();
    if !method.doc.is_empty() {
        end = "\n".to_owned();
        docstring(&method.doc, "        ", &mut end);
    }
    if !method.property.is_empty() {
        // Of what nobody said anything.
        let returns = if method.returns.is_empty() { type_of("Any", used) } else { returns };
        let _ = write!(class, "    @property\n    def {name}(self) -> {returns}:{end}");
        if method.property == "read and set" {
            let _ =
                write!(class, "    @{name}.setter\n    def {name}(self, value: {returns}) -> None: ...\n");
        }
        return;
    }
    let parameters = parameters(&method.parameters, used);
    let _ = write!(class, "    def {name}({parameters}) -> {returns}:{end}");
}

fn parameters(told: &[Parameter], used: &mut Used) -> String {
    let mut names = BTreeSet::from(["self"]);
    let all_are_names = told.iter().all(|parameter| {
        let bare = parameter.name.trim_start_matches('*');
        matches!(&*parameter.name, "*" | "/") || is_name(bare) && names.insert(bare)
    });
    if !all_are_names {
        let any = type_of("Any", used);
        return format!("self, *args: {any}, **kwargs: {any}");
    }
    // One that may be left out is followed by no other that may not, up to those that are passed by name.
    let by_name = told.iter().position(|parameter| parameter.name.starts_with('*')).unwrap_or(told.len());
    let last_needed =
        told[..by_name].iter().rposition(|parameter| parameter.name != "/" && !may_be_left_out(parameter));
    let mut written = "self".to_owned();
    for (index, parameter) in told.iter().enumerate() {
        let name = &parameter.name;
        if matches!(&**name, "*" | "/") {
            let _ = write!(written, ", {name}");
            continue;
        }
        let type_name = if parameter.type_name.is_empty() { "Any" } else { &parameter.type_name };
        let _ = write!(written, ", {name}: {}", type_of(type_name, used));
        let behind_all = index > by_name || last_needed.is_none_or(|last| index > last);
        if may_be_left_out(parameter) && behind_all && !name.starts_with('*') {
            written.push_str(" = ...");
        }
    }
    written
}

fn may_be_left_out(parameter: &Parameter) -> bool {
    parameter.optional || parameter.type_name.starts_with("Option<")
}

fn docstring(doc: &str, indent: &str, out: &mut String) {
    if doc.is_empty() {
        return;
    }
    let escaped = doc.replace('\\', "\\\\").replace("\"\"\"", "\\\"\\\"\\\"");
    let lines: Vec<_> = escaped.lines().map(|line| line.replace(char::is_control, " ")).collect();
    let _ = write!(out, "{indent}\"\"\"{}", lines.first().map_or("", String::as_str));
    for line in lines.iter().skip(1) {
        let _ = write!(out, "\n{}", if line.is_empty() { String::new() } else { format!("{indent}{line}") });
    }
    let end = if lines.len() > 1 {
        format!("\n{indent}")
    } else if escaped.ends_with('"') {
        " ".to_owned()
    } else {
        String::new()
    };
    let _ = writeln!(out, "{end}\"\"\"");
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !KEYWORDS.contains(&text)
}

fn is_known(name: &str) -> bool {
    BUILTINS.contains(&name) || IMPORTS.iter().any(|(_, names)| names.contains(&name))
}

/// A type as Python writes it; `Any` for one that not everybody has.
fn type_of(told: &str, used: &mut Used) -> Cow<'static, str> {
    let python = of_rust(told).or_else(|| of_python(told)).unwrap_or_else(|| "Any".to_owned());
    let (mut written, mut rest) = (String::new(), &*python);
    while let Some((at, word)) = first_word(rest) {
        written.push_str(&rest[..at]);
        written.push_str(&used.name(word));
        rest = &rest[at + word.len()..];
    }
    (written + rest).into()
}

fn first_word(text: &str) -> Option<(usize, &str)> {
    let word = words(text).next()?;
    Some((text.find(word)?, word))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| !word.is_empty())
}

/// A type of Python's own, where all of its parts are known.
fn of_python(told: &str) -> Option<String> {
    let mut plain = told.to_owned();
    for (module, _) in IMPORTS {
        plain = plain.replace(&format!("{module}."), "");
    }
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_ ,|[].".contains(letter);
    let balanced = plain.matches('[').count() == plain.matches(']').count();
    let known = words(&plain).all(|word| is_known(word) || word == TUPLE);
    let dots = plain.replace("...", "").contains('.');
    (plain.chars().all(allowed) && balanced && known && !dots && !plain.is_empty() && is_balanced(&plain))
        .then_some(plain)
}

/// Brackets are closed in order, and nothing stands empty: else it is no Python.
fn is_balanced(text: &str) -> bool {
    let mut depth = 0;
    let compact: String = text.split_whitespace().collect();
    let empty = ["[]", "[,", ",,", "|,", "[|", "||", ",|", "|]"].iter().any(|pair| compact.contains(pair));
    let ordered = text.chars().all(|letter| {
        depth += i32::from(letter == '[') - i32::from(letter == ']');
        depth >= 0
    });
    // Two words beside each other.
    let beside = text.split([',', '|', '[', ']']).any(|part| part.split_whitespace().count() > 1);
    let ends = |text: &str| text.starts_with(['|', ',', '[', ']']) || text.ends_with(['|', ',', '[']);
    depth == 0 && ordered && !empty && !beside && !ends(&compact)
}

/// A type of Rust.
fn of_rust(told: &str) -> Option<String> {
    let told = told.trim().trim_start_matches('&').trim_start_matches("'static ").trim();
    let python = match told {
        "bool" => "bool",
        "f32" | "f64" => "float",
        "char" | "str" | "String" => "str",
        "()" => "None",
        "Blob" | "Bytes" => "bytes",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" | "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => {
            "int"
        }
        _ => {
            let (name, rest) = told.split_once('<')?;
            let parts = split(rest.strip_suffix('>')?);
            let of = |index: usize| {
                parts.get(index).and_then(|part| of_rust(part)).unwrap_or_else(|| "Any".to_owned())
            };
            return Some(match name {
                "Option" => format!("{} | None", of(0)),
                "Vec" | "VecDeque" => format!("list[{}]", of(0)),
                "Stream" => format!("Iterator[{}]", of(0)),
                "HashSet" | "BTreeSet" => format!("set[{}]", of(0)),
                "HashMap" | "BTreeMap" => format!("dict[{}, {}]", of(0), of(1)),
                "Box" | "Arc" | "Rc" => of(0),
                _ => return None,
            });
        }
    };
    Some(python.to_owned())
}

/// The parts between commas that stand in no brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        depth += i32::from(matches!(letter, '<' | '(' | '[')) - i32::from(matches!(letter, '>' | ')' | ']'));
        if letter == ',' && depth == 0 {
            parts.push(&text[from..at]);
            from = at + 1;
        }
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &'static str, type_name: &'static str) -> Parameter {
        Parameter { name: name.into(), type_name: type_name.into(), ..Parameter::default() }
    }

    fn written(methods: Vec<Method>) -> String {
        let interface =
            Interface { name: "Player".into(), doc: "Plays things.".into(), methods: methods.into() };
        module(&[("player".to_owned(), interface)])
    }

    #[test]
    fn methods_properties_and_containers_become_a_protocol() {
        let module = written(vec![
            Method {
                name: "seek".into(),
                doc: "Moves.\n\nAt once.".into(),
                parameters: vec![
                    parameter("seconds", "float"),
                    parameter("*", ""),
                    Parameter { optional: true, ..parameter("fast", "bool") },
                ]
                .into(),
                returns: "float".into(),
                ..Method::default()
            },
            Method {
                name: "volume".into(),
                returns: "int".into(),
                property: "read and set".into(),
                ..Method::default()
            },
            Method { name: "$set".into(), ..Method::default() },
            Method { name: "$len".into(), returns: "int".into(), ..Method::default() },
            Method { name: "when".into(), returns: "datetime.datetime | None".into(), ..Method::default() },
        ]);
        assert_eq!(
            module,
            r#"from datetime import datetime
from typing import Protocol


class Player(Protocol):
    """Plays things."""
    def seek(self, seconds: float, *, fast: bool = ...) -> float:
        """Moves.

        At once.
        """
    @property
    def volume(self) -> int: ...
    @volume.setter
    def volume(self, value: int) -> None: ...
    def __len__(self) -> int: ...
    def when(self) -> datetime | None: ...
"#
        );
    }

    #[test]
    fn a_method_that_is_called_like_a_type_leaves_the_type_what_it_is() {
        let module = written(vec![
            Method { name: "list".into(), returns: "list[Any]".into(), ..Method::default() },
            Method { name: "date".into(), returns: "date".into(), ..Method::default() },
        ]);
        assert!(
            module.starts_with("import builtins\nimport datetime\nfrom typing import Any, Protocol\n"),
            "{module}"
        );
        assert!(module.contains("def list(self) -> builtins.list[Any]: ..."), "{module}");
        assert!(module.contains("def date(self) -> datetime.date: ..."), "{module}");
    }

    #[test]
    fn types_of_rust_are_told_in_python() {
        let mut used = Used::default();
        for (rust, python) in [
            ("&str", "str"),
            ("Option<Vec<u8>>", "list[int] | None"),
            ("HashMap<String, Vec<f64>>", "dict[str, list[float]]"),
            ("Stream<u32>", "Iterator[int]"),
            ("Disc", "Any"),
            ("object<Book>", "Any"),
            ("Vec<Disc>", "list[Any]"),
            ("(u8, u8)", "Any"),
        ] {
            assert_eq!(type_of(rust, &mut used), python, "{rust}");
        }
    }

    #[test]
    fn what_is_no_plain_type_of_python_is_any() {
        let mut used = Used::default();
        for told in [
            "np.ndarray",
            "Disc",
            "__import__('os').system('x')",
            "int]",
            "list[",
            "int; x",
            "[]",
            "int int",
            "str |",
            "int\n",
            "collections.abc",
            ".",
            "list[]",
            "",
            "typing.evil",
        ] {
            assert_eq!(type_of(told, &mut used), "Any", "{told}");
        }
        for told in ["tuple[int, ...]", "dict[str, list[int]]", "int | None", "Iterator[int]"] {
            assert_eq!(type_of(told, &mut used), told);
        }
    }

    #[test]
    fn no_words_of_a_peer_are_more_than_words() {
        let evil = "x\"\"\"\nimport os  # \\";
        let module = written(vec![
            Method { name: "f(self): pass\nimport os\ndef g".into(), ..Method::default() },
            Method { name: "class".into(), ..Method::default() },
            Method {
                name: "good".into(),
                doc: evil.into(),
                parameters: vec![parameter("x=__import__('os')", "")].into(),
                ..Method::default()
            },
            Method {
                name: "twice".into(),
                parameters: vec![parameter("x", ""), parameter("x", "")].into(),
                ..Method::default()
            },
        ]);
        assert!(!module.lines().any(|line| line.trim_start().starts_with("import os  # \\\n")), "{module}");
        assert_eq!(
            module,
            "from typing import Any, Protocol\n\n\nclass Player(Protocol):\n    \"\"\"Plays things.\"\"\"\n    \
             def good(self, *args: Any, **kwargs: Any) -> None:\n        \"\"\"x\\\"\\\"\\\"\n        import os  # \\\\\n        \"\"\"\n    \
             def twice(self, *args: Any, **kwargs: Any) -> None: ...\n"
        );
        let object = Interface { name: "object:\n x".into(), ..Interface::default() };
        assert_eq!(
            class("9", &object, &mut Used::default(), &mut BTreeSet::new()),
            "\n\nclass Object(Protocol):\n    pass\n"
        );
    }
}
