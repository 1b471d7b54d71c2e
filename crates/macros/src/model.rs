//! Reads an `impl` block into what the generated code needs, or says at the right place why it cannot.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, GenericParam, Ident, ImplItem, ImplItemConst, ImplItemFn, Item,
    ItemImpl, Lit, LitStr, Meta, Pat, PatType, Path, PathArguments, Type,
};

use crate::types::{self, Obstacles, Outcome};

/// serde knows tuples of up to this length, and arguments travel as one.
const MAX_PARAMETERS: usize = 16;
/// The longest name of a method, in bytes.
const MAX_NAME: usize = 255;

/// An exposed type.
pub(crate) struct Object {
    pub(crate) path: Path,
    pub(crate) name: Ident,
    pub(crate) doc: String,
    pub(crate) methods: Vec<Method>,
}

/// An exposed method.
pub(crate) struct Method {
    pub(crate) ident: Ident,
    /// The name by which it is called.
    pub(crate) name: String,
    pub(crate) doc: String,
    /// `cfg` and `deprecated`, which hold for what is generated too.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) deprecated: Vec<Attribute>,
    pub(crate) exclusive: bool,
    /// An `async fn`.
    pub(crate) asynchronous: bool,
    pub(crate) oneway: bool,
    pub(crate) idempotent: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) success: Type,
    /// Where the method can fail, the type that says so.
    pub(crate) failure: Option<Type>,
    /// The success type as it is written, but for those of objects.
    pub(crate) returns: String,
}

/// A parameter of an exposed method.
pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    /// The name by which it can be passed.
    pub(crate) name: String,
    /// The type as it is written, but for those of objects.
    pub(crate) type_name: String,
    /// The same, valid outside of the `impl` block and without names of lifetimes.
    pub(crate) ty: Type,
}

/// What was found: the block without our attributes, and what it exposes as far as it is right.
pub(crate) struct Reading {
    pub(crate) item: ItemImpl,
    pub(crate) object: Object,
    pub(crate) error: Option<Error>,
}

/// Gives back the item as it was where it is no `impl` block that can be exposed.
pub(crate) fn read(options: TokenStream, tokens: TokenStream) -> Result<Reading, (TokenStream, Error)> {
    let item = match syn::parse2::<Item>(tokens.clone()) {
        Ok(item) => item,
        Err(error) => return Err((tokens, error)),
    };
    let mut item = match item {
        Item::Impl(item) => item,
        other => {
            let message =
                "`#[expose]` goes on the `impl` block whose methods can be called: `impl Player { .. }`";
            return Err((tokens, Error::new_spanned(outline(&other), message)));
        }
    };
    let mut errors = Errors::default();
    if !options.is_empty() {
        let message =
            "`#[expose]` takes no options on an `impl` block; those of a method stand on the method";
        errors.add(options, message);
    }
    let methods = read_methods(&mut item, &mut errors);
    match read_type(&item) {
        Ok((path, name)) => {
            let mut object = Object { path, name, doc: doc(&item.attrs), methods };
            object.adapt_types();
            errors.check_names(&mut object.methods);
            Ok(Reading { item, object, error: errors.0 })
        }
        Err(error) => Err((item.to_token_stream(), error)),
    }
}

impl Object {
    /// True where it has a method of this name in Rust.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.methods.iter().any(|method| method.ident.unraw() == name)
    }

    /// The types of the block hold in the proxy too, where `Self` is another type.
    fn adapt_types(&mut self) {
        for method in &mut self.methods {
            types::replace_self(&mut method.success, &self.path);
            for parameter in &mut method.parameters {
                types::replace_self(&mut parameter.ty, &self.path);
                types::elide_lifetimes(&mut parameter.ty);
            }
        }
    }
}

/// All that is wrong, so that the user sees it at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn add(&mut self, place: impl ToTokens, message: impl std::fmt::Display) {
        self.push(Error::new_spanned(place, message));
    }

    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Two methods under different conditions may have one name.
    fn check_names(&mut self, methods: &mut Vec<Method>) {
        let mut kept = Vec::<Method>::new();
        for method in methods.drain(..) {
            let clash = kept.iter().find(|other| {
                other.name == method.name && other.conditions.is_empty() && method.conditions.is_empty()
            });
            match clash {
                Some(other) => {
                    let (name, ident) = (&method.name, &other.ident);
                    self.add(&method.ident, format!("`{ident}` is exposed as `{name}` already"));
                }
                None => kept.push(method),
            }
        }
        *methods = kept;
    }
}

fn read_type(item: &ItemImpl) -> Result<(Path, Ident), Error> {
    if let Some((_, path, _)) = &item.trait_ {
        let message = "the methods of a trait cannot be exposed: put `#[expose]` on an inherent `impl` block that calls \
                       them";
        return Err(Error::new_spanned(path, message));
    }
    let generic = "a generic type cannot be exposed: its callers elsewhere could not know the type. Expose a type of its \
                   own that holds it";
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics.params, generic));
    }
    let named = match types::peel(&item.self_ty) {
        Type::Path(ty) if ty.qself.is_none() => ty.path.segments.last().map(|last| (&ty.path, last)),
        _ => None,
    };
    let Some((path, last)) = named else {
        return Err(Error::new_spanned(&item.self_ty, "`#[expose]` needs a type with a name"));
    };
    if !matches!(last.arguments, PathArguments::None) {
        return Err(Error::new_spanned(&last.arguments, generic));
    }
    Ok((path.clone(), last.ident.clone()))
}

/// Takes our attributes out of the block.
fn read_methods(item: &mut ItemImpl, errors: &mut Errors) -> Vec<Method> {
    let mut methods = Vec::new();
    for item in &mut item.items {
        match item {
            ImplItem::Fn(function) => {
                let ours = take_ours(&mut function.attrs);
                match read_method(function, &ours) {
                    Ok(method) => methods.extend(method),
                    Err(error) => errors.push(error),
                }
            }
            ImplItem::Const(ImplItemConst { attrs, .. }) => {
                for ours in take_ours(attrs) {
                    errors.add(ours, "`#[expose(..)]` goes on methods only");
                }
            }
            _ => {}
        }
    }
    methods
}

fn take_ours(attributes: &mut Vec<Attribute>) -> Vec<Attribute> {
    let is_ours =
        |attribute: &Attribute| attribute.path().segments.last().is_some_and(|last| last.ident == "expose");
    let (ours, others) = std::mem::take(attributes).into_iter().partition(is_ours);
    *attributes = others;
    ours
}

/// `None` where the method is not exposed.
fn read_method(function: &ImplItemFn, ours: &[Attribute]) -> Result<Option<Method>, Error> {
    let options = Options::read(ours)?;
    let signature = &function.sig;
    let name = signature.ident.unraw().to_string();
    if options.skip {
        return Ok(None);
    }
    if name.starts_with('_') {
        let message = "a name that begins with `_` is never exposed; give the method another name";
        return ours.first().map_or(Ok(None), |ours| Err(Error::new_spanned(ours, message)));
    }
    let Some(receiver) = signature.receiver() else {
        let message = "only a method with `&self` or `&mut self` can be exposed";
        return ours.first().map_or(Ok(None), |ours| Err(Error::new_spanned(ours, message)));
    };
    let exclusive = match types::peel(&receiver.ty) {
        Type::Reference(reference) if is_self(&reference.elem) => reference.mutability.is_some(),
        _ => {
            let message = "an exposed method takes `&self` or `&mut self`: others hold references to the object. \
                           `#[expose(skip)]` leaves a method out";
            return Err(Error::new_spanned(receiver, message));
        }
    };
    check_signature(signature)?;
    let outcome = Outcome::of(&signature.output);
    check_result(&outcome, signature, options.oneway)?;
    let typed = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    let parameters = read_parameters(typed)?;
    check_streams(&parameters, &outcome, options.oneway)?;
    Ok(Some(Method {
        ident: signature.ident.clone(),
        name: options.name.unwrap_or(name),
        doc: doc(&function.attrs),
        conditions: named(&function.attrs, "cfg"),
        deprecated: named(&function.attrs, "deprecated"),
        exclusive,
        asynchronous: signature.asyncness.is_some(),
        oneway: options.oneway,
        idempotent: options.idempotent,
        parameters,
        returns: if types::is_unit(&outcome.success) { String::new() } else { types::text(&outcome.success) },
        success: outcome.success,
        failure: outcome.failure,
    }))
}

fn is_self(ty: &Type) -> bool {
    matches!(types::peel(ty), Type::Path(path) if path.path.is_ident("Self"))
}

fn check_signature(signature: &syn::Signature) -> Result<(), Error> {
    if let Some(keyword) = &signature.unsafety {
        return Err(Error::new_spanned(
            keyword,
            "an unsafe method cannot be exposed: others could not keep its promises",
        ));
    }
    let generic =
        signature.generics.params.iter().find(|&generic| !matches!(generic, GenericParam::Lifetime(_)));
    if let Some(generic) = generic {
        let message = "a generic method cannot be exposed: the caller elsewhere could not choose the type. Name the types";
        return Err(Error::new_spanned(generic, message));
    }
    // The receiver is one of the inputs.
    if let Some(surplus) = signature.inputs.iter().nth(MAX_PARAMETERS + 1) {
        let message =
            format!("an exposed method has at most {MAX_PARAMETERS} parameters; put some into a struct");
        return Err(Error::new_spanned(surplus, message));
    }
    Ok(())
}

fn check_result(outcome: &Outcome, signature: &syn::Signature, oneway: bool) -> Result<(), Error> {
    if oneway && !types::is_unit(&outcome.success) {
        let message =
            "a one-way method has no result: its caller does not wait. Return nothing or `Result<(), E>`";
        return Err(Error::new_spanned(&signature.output, message));
    }
    let obstacles = Obstacles::of(&outcome.success);
    if let Some(found) = obstacles.impl_trait {
        return Err(Error::new_spanned(found, "an exposed method must name the type of its result"));
    }
    if let Some(found) = obstacles.borrow {
        return Err(Error::new_spanned(found, "a reference cannot travel: return an owned value"));
    }
    Ok(())
}

/// A message has a place for one stream, and an answer to open it behind.
fn check_streams(parameters: &[Parameter], outcome: &Outcome, oneway: bool) -> Result<(), Error> {
    let mut taken = parameters.iter().filter(|parameter| types::streams(&parameter.ty) > 0);
    let one = taken.next();
    let crowded = one.filter(|one| types::streams(&one.ty) > 1);
    if let Some(surplus) = taken.next().or(crowded) {
        let message = "a method takes one stream at most: pass the others by calls of their own";
        return Err(Error::new_spanned(&surplus.ty, message));
    }
    if let Some(one) = one.filter(|_| oneway) {
        let message = "a one-way method cannot take a stream, which flows while its call is waited for: leave out `oneway`";
        return Err(Error::new_spanned(&one.ty, message));
    }
    if types::streams(&outcome.success) > 1 {
        let message = "a method returns one stream at most: return the others by calls of their own";
        return Err(Error::new_spanned(&outcome.success, message));
    }
    Ok(())
}

fn read_parameters<'a>(typed: impl Iterator<Item = &'a PatType>) -> Result<Vec<Parameter>, Error> {
    let mut parameters = typed.map(read_parameter).collect::<Result<Vec<_>, _>>()?;
    let names = parameters.iter().map(|parameter| parameter.name.clone()).collect::<Vec<_>>();
    for parameter in &mut parameters {
        // `_a` beside `a`.
        if names.iter().filter(|name| **name == parameter.name).count() > 1 {
            parameter.name = parameter.ident.unraw().to_string();
        }
    }
    Ok(parameters)
}

fn read_parameter(typed: &PatType) -> Result<Parameter, Error> {
    let ident = match &*typed.pat {
        Pat::Ident(pattern) if pattern.subpat.is_none() && pattern.by_ref.is_none() => pattern.ident.clone(),
        pattern => {
            let message = "an exposed method's parameter needs a plain name, by which it can be passed";
            return Err(Error::new_spanned(pattern, message));
        }
    };
    let obstacles = Obstacles::of(&typed.ty);
    if let Some(found) = obstacles.impl_trait {
        let message = "a generic method cannot be exposed: the caller elsewhere could not choose the type. Name the type";
        return Err(Error::new_spanned(found, message));
    }
    if let Some(found) = obstacles.exclusive_reference {
        let message = "a `&mut` reference cannot travel: take the value and return the changed one";
        return Err(Error::new_spanned(found, message));
    }
    if let Some(found) = obstacles.static_reference {
        let message =
            "an argument lives as long as its call: borrow without `'static`, or take an owned value";
        return Err(Error::new_spanned(found, message));
    }
    // Who calls does not care whether the method uses it.
    let name = ident.unraw().to_string().trim_start_matches('_').to_owned();
    Ok(Parameter { ident, name, type_name: types::text(&typed.ty), ty: (*typed.ty).clone() })
}

/// The options of a method.
#[derive(Default)]
struct Options {
    skip: bool,
    oneway: bool,
    idempotent: bool,
    name: Option<String>,
}

impl Options {
    fn read(attributes: &[Attribute]) -> Result<Options, Error> {
        let mut options = Options::default();
        for attribute in attributes {
            let Meta::List(_) = &attribute.meta else {
                let message = "methods of the block are exposed already; options are `oneway`, `idempotent`, `skip` and `name = \"..\"`";
                return Err(Error::new_spanned(attribute, message));
            };
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    options.skip = true;
                } else if meta.path.is_ident("oneway") {
                    options.oneway = true;
                } else if meta.path.is_ident("idempotent") {
                    options.idempotent = true;
                } else if meta.path.is_ident("name") {
                    let name = meta.value()?.parse::<LitStr>()?;
                    check_name(&name)?;
                    options.name = Some(name.value());
                } else {
                    return Err(meta.error(
                        "unknown option; there are `oneway`, `idempotent`, `skip` and `name = \"..\"`",
                    ));
                }
                Ok(())
            })?;
            if options.oneway && options.idempotent {
                let message = "nobody learns whether a one-way call arrived, so it is never repeated: leave out one of the two";
                return Err(Error::new_spanned(attribute, message));
            }
            if options.skip && (options.oneway || options.idempotent || options.name.is_some()) {
                return Err(Error::new_spanned(attribute, "a method that is skipped has no other options"));
            }
        }
        Ok(options)
    }
}

fn check_name(literal: &LitStr) -> Result<(), Error> {
    let name = literal.value();
    let message = match name.as_bytes() {
        [] => "the name of a method cannot be empty".into(),
        [b'_', ..] => "a name that begins with `_` is private and cannot be called".into(),
        [b'$', ..] => "names that begin with `$` are Andiron's own".into(),
        long if long.len() > MAX_NAME => format!("the name of a method has at most {MAX_NAME} bytes"),
        _ => return Ok(()),
    };
    Err(Error::new_spanned(literal, message))
}

/// The doc comment, without the space that follows its slashes.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n").trim().into()
}

fn named(attributes: &[Attribute], name: &str) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident(name)).cloned().collect()
}

/// Where to say that `item` is the wrong thing: at its keyword and name, not all of its body.
fn outline(item: &Item) -> TokenStream {
    match item {
        Item::Struct(item) => item.ident.to_token_stream(),
        Item::Enum(item) => item.ident.to_token_stream(),
        Item::Trait(item) => item.ident.to_token_stream(),
        Item::Fn(item) => item.sig.to_token_stream(),
        other => other.to_token_stream(),
    }
}
