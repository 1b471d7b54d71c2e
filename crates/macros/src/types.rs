//! What the macro needs to know about types as they are written.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::visit::Visit;
use syn::visit_mut::VisitMut;
use syn::{
    GenericArgument, Lifetime, Path, PathArguments, PathSegment, ReturnType, Type, TypeReference, parse_quote,
};

/// What a method returns, as the caller sees it.
pub(crate) struct Outcome {
    pub(crate) success: Type,
    /// Where the method can fail, the type that says so: the `E`, or what hides it.
    pub(crate) failure: Option<Type>,
}

impl Outcome {
    /// Any type whose last path segment is `Result` is one; without arguments (`fmt::Result`) its success is `()`.
    pub(crate) fn of(output: &ReturnType) -> Outcome {
        let ReturnType::Type(_, written) = output else {
            return Outcome { success: parse_quote!(()), failure: None };
        };
        let last = match peel(written) {
            Type::Path(path) => path.path.segments.last().filter(|last| last.ident == "Result"),
            _ => None,
        };
        let Some(last) = last else {
            return Outcome { success: peel(written).clone(), failure: None };
        };
        let arguments = match &last.arguments {
            PathArguments::AngleBracketed(arguments) => arguments.args.iter().collect(),
            _ => Vec::new(),
        };
        let mut types = arguments.into_iter().filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(peel(ty).clone()),
            _ => None,
        });
        let success = types.next().unwrap_or_else(|| parse_quote!(()));
        Outcome { success, failure: Some(types.next().unwrap_or_else(|| peel(written).clone())) }
    }
}

/// `ty` without the invisible groups of macro variables and without parentheses.
pub(crate) fn peel(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            other => return other,
        }
    }
}

pub(crate) fn is_unit(ty: &Type) -> bool {
    matches!(peel(ty), Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// True for the targets of references that serde reads in place.
pub(crate) fn is_read_in_place(target: &Type) -> bool {
    match peel(target) {
        Type::Path(path) => {
            path.path.segments.last().is_some_and(|last| last.ident == "str" || last.ident == "Path")
        }
        Type::Slice(slice) => is_byte(&slice.elem),
        _ => false,
    }
}

/// True for `[u8]`, `Vec<u8>` and what holds one of them, which travel as bytes and not as a list of numbers.
pub(crate) fn is_bytes(ty: &Type) -> bool {
    match peel(ty) {
        Type::Slice(slice) => is_byte(&slice.elem),
        Type::Reference(reference) => is_bytes(&reference.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { return false };
            let inner = arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(inner) => Some(inner),
                _ => None,
            });
            inner.is_some_and(|inner| {
                (last.ident == "Vec" && is_byte(inner))
                    || (["Option", "Box", "Cow"].iter().any(|holder| last.ident == holder) && is_bytes(inner))
            })
        }),
        _ => false,
    }
}

fn is_byte(ty: &Type) -> bool {
    matches!(peel(ty), Type::Path(path) if path.path.is_ident("u8"))
}

/// How many streams a value of this type has, as far as that can be seen: types named `Stream` with an argument.
pub(crate) fn streams(ty: &Type) -> usize {
    struct Count(usize);
    impl Visit<'_> for Count {
        fn visit_path_segment(&mut self, segment: &PathSegment) {
            let of_items = matches!(segment.arguments, PathArguments::AngleBracketed(_));
            self.0 += usize::from(segment.ident == "Stream" && of_items);
            syn::visit::visit_path_segment(self, segment);
        }
    }
    let mut count = Count(0);
    count.visit_type(ty);
    count.0
}

/// Writes the exposed type for `Self`, which means another type in the proxy.
pub(crate) fn replace_self(ty: &mut Type, own: &Path) {
    struct Replace<'a>(&'a Path);
    impl VisitMut for Replace<'_> {
        fn visit_path_mut(&mut self, path: &mut Path) {
            syn::visit_mut::visit_path_mut(self, path);
            if path.leading_colon.is_none() && path.segments[0].ident == "Self" {
                let rest = path.segments.iter().skip(1).cloned().collect::<Vec<_>>();
                *path = self.0.clone();
                path.segments.extend(rest);
            }
        }
    }
    Replace(own).visit_type_mut(ty);
}

/// Takes the names from lifetimes: those of the method mean nothing elsewhere.
pub(crate) fn elide_lifetimes(ty: &mut Type) {
    struct Elide;
    impl VisitMut for Elide {
        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            reference.lifetime = None;
            syn::visit_mut::visit_type_mut(self, &mut reference.elem);
        }
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident != "static" {
                *lifetime = Lifetime::new("'_", lifetime.span());
            }
        }
    }
    Elide.visit_type_mut(ty);
}

/// What keeps a type from being a parameter or a result.
#[derive(Default)]
pub(crate) struct Obstacles {
    pub(crate) impl_trait: Option<TokenStream>,
    pub(crate) exclusive_reference: Option<TokenStream>,
    pub(crate) static_reference: Option<TokenStream>,
    /// A reference, or a lifetime other than `'static`.
    pub(crate) borrow: Option<TokenStream>,
}

impl Obstacles {
    pub(crate) fn of(ty: &Type) -> Obstacles {
        let mut obstacles = Obstacles::default();
        obstacles.visit_type(ty);
        obstacles
    }
}

impl Visit<'_> for Obstacles {
    fn visit_type_impl_trait(&mut self, found: &syn::TypeImplTrait) {
        self.impl_trait.get_or_insert(found.to_token_stream());
    }

    fn visit_type_reference(&mut self, found: &TypeReference) {
        self.borrow.get_or_insert(found.to_token_stream());
        if found.mutability.is_some() {
            self.exclusive_reference.get_or_insert(found.to_token_stream());
        }
        if found.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static") {
            self.static_reference.get_or_insert(found.to_token_stream());
        }
        self.visit_type(&found.elem);
    }

    fn visit_lifetime(&mut self, found: &Lifetime) {
        if found.ident != "static" {
            self.borrow.get_or_insert(found.to_token_stream());
        }
    }
}

/// The type as a person writes it: `Vec<String>`, `&mut [u8]`, `HashMap<String, u32>`. A proxy is what it stands for: `object<Disc>`.
pub(crate) fn text(ty: &Type) -> String {
    let mut ty = ty.clone();
    replace_proxies(&mut ty);
    let mut text = Text { written: String::new(), last: Last::Open };
    text.tokens(ty.to_token_stream());
    text.written
}

/// The name of a proxy's type says what it is in Rust; others have other words for that.
fn replace_proxies(ty: &mut Type) {
    struct Replace;
    impl VisitMut for Replace {
        fn visit_path_mut(&mut self, path: &mut Path) {
            syn::visit_mut::visit_path_mut(self, path);
            let Some(last) = path.segments.last() else { return };
            let name = last.ident.to_string();
            match name.strip_suffix("Async").unwrap_or(&name).strip_suffix("Proxy") {
                Some("") => *path = parse_quote!(object),
                Some(object) => {
                    let object = format_ident!("{object}");
                    *path = parse_quote!(object<#object>);
                }
                None => {}
            }
        }
    }
    Replace.visit_type_mut(ty);
}

struct Text {
    written: String,
    last: Last,
}

/// What the last token asks of the next one.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    /// Nothing may stand between.
    Open,
    /// A word or a lifetime's end: another word needs a space.
    Word,
    /// A keyword or lifetime before a type: all but a closing mark needs a space.
    Prefix,
    /// A closing angle bracket: a word needs a space.
    Closed,
    /// There is a space already.
    Space,
}

impl Text {
    fn tokens(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        let mut in_lifetime = false;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.group(&group),
                TokenTree::Ident(word) => {
                    let word = word.to_string();
                    let prefix =
                        in_lifetime || matches!(&*word, "mut" | "dyn" | "const" | "as" | "for" | "impl");
                    self.word(&word, if prefix { Last::Prefix } else { Last::Word });
                }
                TokenTree::Literal(literal) => self.word(&literal.to_string(), Last::Word),
                TokenTree::Punct(mark) => match (mark.as_char(), tokens.peek()) {
                    ('-', Some(TokenTree::Punct(next))) if next.as_char() == '>' => {
                        tokens.next();
                        self.spaced("->");
                    }
                    (':', Some(TokenTree::Punct(next)))
                        if mark.spacing() == Spacing::Joint && next.as_char() == ':' =>
                    {
                        tokens.next();
                        self.mark("::", Last::Open);
                    }
                    ('\'', _) => {
                        self.before_type();
                        self.mark("'", Last::Open);
                        in_lifetime = true;
                        continue;
                    }
                    ('+' | '=', _) => self.spaced(&mark.to_string()),
                    (',', Some(TokenTree::Punct(next))) if next.as_char() == '>' => {}
                    (mark @ (',' | ';' | ':'), Some(_)) => self.mark(&format!("{mark} "), Last::Space),
                    ('>', _) => self.mark(">", Last::Closed),
                    ('<', _) => self.mark("<", Last::Open),
                    (mark, _) => {
                        self.before_type();
                        self.mark(&mark.to_string(), Last::Open);
                    }
                },
            }
            in_lifetime = false;
        }
    }

    fn group(&mut self, group: &proc_macro2::Group) {
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::None => return self.tokens(group.stream()),
        };
        self.before_type();
        self.mark(open, Last::Open);
        self.tokens(group.stream());
        self.mark(close, Last::Closed);
    }

    fn before_type(&mut self) {
        if self.last == Last::Prefix {
            self.mark(" ", Last::Space);
        }
    }

    fn word(&mut self, word: &str, then: Last) {
        if matches!(self.last, Last::Word | Last::Prefix | Last::Closed) {
            self.written.push(' ');
        }
        self.mark(word, then);
    }

    fn spaced(&mut self, mark: &str) {
        self.mark(&format!(" {mark} "), Last::Space);
    }

    fn mark(&mut self, mark: &str, then: Last) {
        self.written.push_str(mark);
        self.last = then;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: &str) -> String {
        text(&syn::parse_str(source).unwrap())
    }

    #[test]
    fn types_are_written_as_a_person_writes_them() {
        for source in [
            "f64",
            "&str",
            "&[u8]",
            "&mut Vec<String>",
            "Vec<Option<u8>>",
            "HashMap<String, (u32, bool)>",
            "&'a str",
            "&'a [u8]",
            "Cow<'_, str>",
            "std::io::Error",
            "[u8; 4]",
            "()",
            "(f64,)",
            "(HashMap<u8, u8>, f64)",
            "(HashMap<u8, u8>,)",
            "fn(u8, &str) -> bool",
            "Box<dyn Fn(u8) -> u8 + Send + 'static>",
            "<Vec<u8> as IntoIterator>::Item",
            "*const u8",
            "&mut &str",
            "Box<dyn for<'a> Fn(&'a str)>",
            "Box<dyn Iterator<Item = u8>>",
        ] {
            assert_eq!(written(source), source);
        }
        assert_eq!(written("Vec < Vec <u8 , > >"), "Vec<Vec<u8>>");
        assert_eq!(written("( u8 ,& 'a  mut u8 )"), "(u8, &'a mut u8)");
    }

    #[test]
    fn proxies_are_written_as_what_they_stand_for() {
        assert_eq!(written("DiscProxy"), "object<Disc>");
        assert_eq!(written("Vec<DiscProxyAsync>"), "Vec<object<Disc>>");
        assert_eq!(written("Option<andiron::Proxy>"), "Option<object>");
        assert_eq!(written("Async"), "Async");
    }

    #[test]
    fn bytes_are_told_from_numbers() {
        let bytes = |source: &str| is_bytes(&syn::parse_str(source).unwrap());
        for source in
            ["Vec<u8>", "&[u8]", "&Vec<u8>", "Option<&[u8]>", "std::borrow::Cow<'_, [u8]>", "Box<[u8]>"]
        {
            assert!(bytes(source), "{source}");
        }
        for source in ["Vec<u16>", "[u8; 4]", "Vec<Vec<u8>>", "Option<u8>", "u8", "HashMap<u8, u8>", "&str"] {
            assert!(!bytes(source), "{source}");
        }
    }

    #[test]
    fn a_result_is_told_by_its_last_segment() {
        let outcome = |source: &str| {
            let outcome = Outcome::of(&syn::parse_str(source).unwrap());
            (text(&outcome.success), outcome.failure.is_some())
        };
        assert_eq!(outcome(""), ("()".into(), false));
        assert_eq!(outcome("-> Vec<u8>"), ("Vec<u8>".into(), false));
        assert_eq!(outcome("-> Result<Vec<u8>, E>"), ("Vec<u8>".into(), true));
        assert_eq!(outcome("-> std::io::Result<u8>"), ("u8".into(), true));
        assert_eq!(outcome("-> (fmt::Result)"), ("()".into(), true));
    }

    #[test]
    fn self_means_the_exposed_type_wherever_it_stands() {
        let mut ty = syn::parse_str("HashMap<Self, [u8; Self::LENGTH]>").unwrap();
        replace_self(&mut ty, &syn::parse_str("music::Player").unwrap());
        assert_eq!(text(&ty), "HashMap<music::Player, [u8; music::Player::LENGTH]>");
    }
}
