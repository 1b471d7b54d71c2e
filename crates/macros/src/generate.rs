//! Writes `impl Expose` and the proxy.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Ident, Path, Type};

use crate::model::{Method, Object, Parameter};
use crate::types;

pub(crate) fn all(object: &Object) -> TokenStream {
    let name = format_ident!("{}Proxy", object.name.unraw(), span = object.name.span());
    let expose = expose(object, &name);
    let blocking = proxy(object, &name, &Kind::BLOCKING);
    let asynchronous = cfg!(feature = "tokio").then(|| {
        let awaited = format_ident!("{name}Async");
        let (asynchronous, between) =
            (proxy(object, &awaited, &Kind::ASYNC), between_proxies(&name, &awaited));
        quote!(#asynchronous #between)
    });
    quote!(#expose #blocking #asynchronous)
}

/// The two kinds of proxies, which differ in what they are made of, and in how they wait.
struct Kind {
    /// The untyped proxy inside.
    inner: fn() -> TokenStream,
    doc: &'static str,
    /// What there is for a method of the object.
    method: fn(&Object, &Method) -> TokenStream,
}

impl Kind {
    const BLOCKING: Kind = Kind {
        inner: || quote!(::andiron::Proxy),
        doc: "Calls the methods of",
        method: waiting_and_starting,
    };
    const ASYNC: Kind = Kind {
        inner: || quote!(::andiron::aio::Proxy),
        doc: "Calls, for tasks to await, the methods of",
        method: |_, method| awaiting(method),
    };
}

fn proxy(object: &Object, proxy: &Ident, kind: &Kind) -> TokenStream {
    let definition = proxy_definition(object, proxy, kind);
    let methods = proxy_methods(object, proxy, kind);
    let conversions = proxy_conversions(&object.path, proxy, kind);
    quote!(#definition #methods #conversions)
}

fn expose(object: &Object, proxy: &Ident) -> TokenStream {
    let path = &object.path;
    let interface = interface(object);
    let access = object.methods.iter().map(|method| {
        let (conditions, name) = (&method.conditions, &method.name);
        let access = if method.exclusive { quote!(Exclusive) } else { quote!(Shared) };
        quote!(#(#conditions)* #name => ::core::option::Option::Some(::andiron::Access::#access),)
    });
    let arms = |exclusive: bool, asynchronous: bool| {
        let of_this_kind =
            move |method: &&Method| method.exclusive == exclusive && method.asynchronous == asynchronous;
        object.methods.iter().filter(of_this_kind).map(|method| dispatch(path, method)).collect::<Vec<_>>()
    };
    let (shared, exclusive) = (arms(false, false), arms(true, false));
    let start = [
        (false, quote!(start_shared), quote!(&'a self)),
        (true, quote!(start_exclusive), quote!(&'a mut self)),
    ];
    let start =
        start.into_iter().map(|(exclusive, name, receiver)| starting(&arms(exclusive, true), name, receiver));
    let asynchronous = object.methods.iter().filter(|method| method.asynchronous).map(|method| {
        let (conditions, name) = (&method.conditions, &method.name);
        quote!(#(#conditions)* #name => true,)
    });
    let asynchronous = asynchronous.collect::<Vec<_>>();
    let is_async = (!asynchronous.is_empty()).then(|| {
        quote! {
            fn is_async(method: &str) -> bool {
                match method {
                    #(#asynchronous)*
                    _ => false,
                }
            }
        }
    });
    let call_inputs = quote!(method: &str, arguments: &mut ::andiron::Arguments<'_>);
    quote! {
        #[automatically_derived]
        #[allow(unused_variables, deprecated, clippy::all, clippy::pedantic)]
        impl ::andiron::Expose for #path {
            type Proxy = #proxy;

            fn interface() -> &'static ::andiron::Interface {
                #interface
            }

            fn access(method: &str) -> ::core::option::Option<::andiron::Access> {
                match method {
                    #(#access)*
                    _ => ::core::option::Option::None,
                }
            }

            fn call_shared(&self, #call_inputs) -> ::andiron::Result<::andiron::Reply> {
                match method {
                    #(#shared)*
                    _ => ::core::result::Result::Err(::andiron::__private::no_method::<Self>(method)),
                }
            }

            fn call_exclusive(&mut self, #call_inputs) -> ::andiron::Result<::andiron::Reply> {
                match method {
                    #(#exclusive)*
                    _ => ::core::result::Result::Err(::andiron::__private::no_method::<Self>(method)),
                }
            }

            #is_async
            #(#start)*
        }
    }
}

/// The function that starts asynchronous methods; none where there are none.
fn starting(arms: &[TokenStream], name: TokenStream, receiver: TokenStream) -> Option<TokenStream> {
    (!arms.is_empty()).then(|| {
        quote! {
            fn #name<'a>(
                #receiver,
                method: &'a str,
                mut arguments: ::andiron::Arguments<'a>,
            ) -> ::andiron::Answering<'a> {
                ::std::boxed::Box::pin(async move {
                    match method {
                        #(#arms)*
                        _ => ::core::result::Result::Err(::andiron::__private::no_method::<Self>(method)),
                    }
                })
            }
        }
    })
}

/// Statics in blocks, because a list whose items own memory in some other use is not promoted to one by itself.
fn interface(object: &Object) -> TokenStream {
    let (name, doc) = (object.name.unraw().to_string(), &object.doc);
    let methods = object.methods.iter().map(|method| {
        let Method { conditions, name, doc, oneway, idempotent, exclusive, returns, .. } = method;
        let parameters = method.parameters.iter().map(|parameter| {
            let Parameter { name, type_name, .. } = parameter;
            let optional = type_name.starts_with("Option<");
            quote! {
                ::andiron::Parameter {
                    name: ::std::borrow::Cow::Borrowed(#name),
                    type_name: ::std::borrow::Cow::Borrowed(#type_name),
                    optional: #optional,
                }
            }
        });
        quote! {
            #(#conditions)*
            ::andiron::Method {
                name: ::std::borrow::Cow::Borrowed(#name),
                doc: ::std::borrow::Cow::Borrowed(#doc),
                parameters: {
                    static PARAMETERS: &[::andiron::Parameter] = &[#(#parameters),*];
                    ::std::borrow::Cow::Borrowed(PARAMETERS)
                },
                returns: ::std::borrow::Cow::Borrowed(#returns),
                oneway: #oneway,
                exclusive: #exclusive,
                idempotent: #idempotent,
                property: ::std::borrow::Cow::Borrowed(""),
            }
        }
    });
    quote! {
        static METHODS: &[::andiron::Method] = &[#(#methods),*];
        static INTERFACE: ::andiron::Interface = ::andiron::Interface {
            name: ::std::borrow::Cow::Borrowed(#name),
            doc: ::std::borrow::Cow::Borrowed(#doc),
            methods: ::std::borrow::Cow::Borrowed(METHODS),
        };
        &INTERFACE
    }
}

/// One arm: decode the arguments, call, encode the result.
fn dispatch(path: &Path, method: &Method) -> TokenStream {
    let Method { conditions, name, ident, success, .. } = method;
    let locals =
        (0..method.parameters.len()).map(|index| format_ident!("argument_{index}")).collect::<Vec<_>>();
    let decode = method.parameters.iter().enumerate().map(|(index, parameter)| {
        let (Parameter { name, type_name, .. }, local) = (parameter, &locals[index]);
        let passing = Passing::of(parameter);
        let (check, ty) = (passing.check(), passing.decoded());
        let parameter =
            quote_spanned!(spot(&parameter.ty)=> arguments.parameter::<#ty>(#index, #name, #type_name)?);
        quote!(#check let #local = #parameter;)
    });
    let pass = method.parameters.iter().zip(&locals).map(|(parameter, local)| match Passing::of(parameter) {
        Passing::Whole(_) => quote!(#local),
        Passing::Lent(_) | Passing::LentSlice(_) => quote!(&#local),
    });
    let wait = method.asynchronous.then(|| quote!(.await));
    let call = quote!(<#path>::#ident(self, #(#pass),*) #wait);
    let call = match &method.failure {
        None => call,
        Some(failure) => {
            let from_method = quote_spanned!(spot(failure)=> ::andiron::__private::from_method(error));
            quote! {
                match #call {
                    ::core::result::Result::Ok(result) => result,
                    ::core::result::Result::Err(error) => return ::core::result::Result::Err(#from_method),
                }
            }
        }
    };
    let encode = if types::is_bytes(success) {
        quote!(::andiron::Reply::encode(&::andiron::__private::Bytes(&result)))
    } else {
        quote_spanned!(spot(success)=> ::andiron::__private::encode::<#success>(&result))
    };
    quote! {
        #(#conditions)*
        #name => {
            #(#decode)*
            arguments.finish()?;
            let result = #call;
            #encode
        }
    }
}

/// How an argument gets from the caller to the method.
enum Passing<'a> {
    /// As it is; references are read in place.
    Whole(&'a Type),
    /// The decoded value is lent.
    Lent(&'a Type),
    /// The decoded `Vec` of these is lent.
    LentSlice(&'a Type),
}

impl<'a> Passing<'a> {
    fn of(parameter: &'a Parameter) -> Passing<'a> {
        match types::peel(&parameter.ty) {
            Type::Reference(reference) if !types::is_read_in_place(&reference.elem) => {
                match types::peel(&reference.elem) {
                    Type::Slice(slice) => Passing::LentSlice(&slice.elem),
                    target => Passing::Lent(target),
                }
            }
            whole => Passing::Whole(whole),
        }
    }

    fn decoded(&self) -> TokenStream {
        match self {
            Passing::Whole(ty) | Passing::Lent(ty) => ty.to_token_stream(),
            Passing::LentSlice(item) => quote!(::std::vec::Vec<#item>),
        }
    }

    /// Comes first, so that its message is the one that is read; being the same in `Expose` and in the proxy, it is
    /// printed once.
    fn check(&self) -> TokenStream {
        let (Passing::Whole(ty) | Passing::Lent(ty) | Passing::LentSlice(ty)) = self;
        quote_spanned!(spot(ty)=> ::andiron::__private::check_argument::<#ty>();)
    }

    /// What the proxy encodes for the argument in `ident`.
    fn sent(&self, ident: &Ident) -> TokenStream {
        let (Passing::Whole(ty) | Passing::Lent(ty) | Passing::LentSlice(ty)) = self;
        let span = spot(ty);
        match self {
            // As numbers in a list, bytes would cost up to twice their size and a step for each.
            Passing::Whole(ty) if types::is_bytes(ty) => quote!(::andiron::__private::Bytes(&#ident)),
            Passing::Whole(ty) => quote_spanned!(span=> ::andiron::__private::sent::<#ty>(&#ident)),
            Passing::Lent(ty) => quote_spanned!(span=> ::andiron::__private::sent::<#ty>(#ident)),
            Passing::LentSlice(ty) => quote_spanned!(span=> ::andiron::__private::sent_slice::<#ty>(#ident)),
        }
    }
}

fn proxy_definition(object: &Object, proxy: &Ident, kind: &Kind) -> TokenStream {
    let name = object.name.unraw().to_string();
    let (inner, calls) = ((kind.inner)(), kind.doc);
    let mut doc = format!(
        "{calls} a `{name}` that may live in another process. A clone calls the same object; the object is \
         released with the last one."
    );
    if !object.doc.is_empty() {
        doc = format!("{}\n\n{doc}", object.doc);
    }
    quote! {
        #[doc = #doc]
        #[derive(Clone, Debug)]
        #[allow(dead_code, unreachable_pub, rustdoc::all)]
        pub struct #proxy(#inner);
    }
}

fn proxy_methods(object: &Object, proxy: &Ident, kind: &Kind) -> TokenStream {
    let methods = object.methods.iter().map(|method| (kind.method)(object, method));
    let with_timeout = (!object.has("with_timeout")).then(|| {
        quote! {
            /// The same object, but each call fails with the kind `Deadline` when `timeout` has passed.
            pub fn with_timeout(&self, timeout: ::core::time::Duration) -> Self {
                Self(self.0.with_timeout(timeout))
            }
        }
    });
    quote! {
        #[automatically_derived]
        #[allow(
            dead_code, unreachable_pub, private_interfaces, non_snake_case, rustdoc::all, clippy::all, clippy::pedantic
        )]
        impl #proxy {
            #(#methods)*
            #with_timeout
        }
    }
}

/// What the methods of all proxies have in common.
struct Outline {
    /// `cfg`, `deprecated` and the documentation.
    attributes: TokenStream,
    parameters: TokenStream,
    /// What is sent.
    values: TokenStream,
    checks: TokenStream,
    /// The untyped proxy to call.
    proxy: TokenStream,
}

impl Outline {
    fn of(method: &Method) -> Outline {
        let Method { name, conditions, deprecated, .. } = method;
        let parameters = method.parameters.iter().map(|Parameter { ident, ty, .. }| quote!(#ident: #ty));
        let values = method.parameters.iter().map(|parameter| Passing::of(parameter).sent(&parameter.ident));
        let checks = method.parameters.iter().map(|parameter| Passing::of(parameter).check());
        let doc = if method.doc.is_empty() { format!("Calls `{name}`.") } else { method.doc.clone() };
        Outline {
            attributes: quote!(#(#conditions)* #(#deprecated)* #[doc = #doc]),
            parameters: quote!(#(#parameters),*),
            values: quote!(&(#(#values,)*)),
            checks: quote!(#(#checks)*),
            proxy: if method.idempotent { quote!(self.0.idempotent()) } else { quote!(self.0) },
        }
    }
}

/// The method that waits and, where there is an answer to wait for, the one that starts the call.
fn waiting_and_starting(object: &Object, method: &Method) -> TokenStream {
    let Method { ident, name, conditions, deprecated, success, .. } = method;
    let Outline { attributes, parameters, values, checks, proxy } = Outline::of(method);
    let span = spot(success);
    let call = if method.oneway {
        quote!(#proxy.notify(#name, #values))
    } else {
        let call = quote_spanned!(span=> ::andiron::__private::call::<#success>);
        quote!(#call(&#proxy, #name, #values))
    };
    let start = format_ident!("start_{}", ident.unraw(), span = ident.span());
    let start = (!method.oneway && !object.has(&start.to_string())).then(|| {
        let doc = format!(
            "Starts [`{ident}`](Self::{ident}) and returns at once with a handle to wait for its result."
        );
        let call = quote_spanned!(span=> ::andiron::__private::start::<#success>);
        quote! {
            #(#conditions)* #(#deprecated)*
            #[doc = #doc]
            pub fn #start(&self, #parameters) -> ::andiron::Result<::andiron::Pending<#success>> {
                #checks
                #call(&#proxy, #name, #values)
            }
        }
    });
    quote! {
        #attributes
        pub fn #ident(&self, #parameters) -> ::andiron::Result<#success> {
            #checks
            #call
        }
        #start
    }
}

/// The method that is awaited.
fn awaiting(method: &Method) -> TokenStream {
    let Method { ident, name, success, .. } = method;
    let Outline { attributes, parameters, values, checks, proxy } = Outline::of(method);
    let (asynchronous, result, call) = if method.oneway {
        (quote!(async), quote!(::andiron::Result<#success>), quote!(#proxy.notify(#name, #values).await))
    } else {
        (quote!(), quote!(::andiron::Pending<#success>), quote!(#proxy.call::<#success>(#name, #values)))
    };
    quote! {
        #attributes
        pub #asynchronous fn #ident(&self, #parameters) -> #result {
            #checks
            #call
        }
    }
}

fn proxy_conversions(path: &Path, proxy: &Ident, kind: &Kind) -> TokenStream {
    let inner = (kind.inner)();
    let serde = quote!(::andiron::__private::serde);
    quote! {
        #[automatically_derived]
        impl ::core::convert::From<#inner> for #proxy {
            fn from(proxy: #inner) -> Self {
                Self(proxy)
            }
        }

        #[automatically_derived]
        impl ::core::convert::From<#proxy> for #inner {
            fn from(proxy: #proxy) -> Self {
                proxy.0
            }
        }

        #[automatically_derived]
        impl ::core::convert::From<#path> for #proxy {
            fn from(object: #path) -> Self {
                Self(#inner::local(object))
            }
        }

        #[automatically_derived]
        impl ::core::convert::AsRef<#inner> for #proxy {
            fn as_ref(&self) -> &#inner {
                &self.0
            }
        }

        #[automatically_derived]
        impl #serde::Serialize for #proxy {
            fn serialize<S: #serde::Serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                #serde::Serialize::serialize(&self.0, serializer)
            }
        }

        #[automatically_derived]
        impl<'de> #serde::Deserialize<'de> for #proxy {
            fn deserialize<D: #serde::Deserializer<'de>>(deserializer: D) -> ::core::result::Result<Self, D::Error> {
                #serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    }
}

/// A method returns a `PlayerProxy`, and its promise is one, whoever calls it: tasks make a `PlayerProxyAsync` of it.
fn between_proxies(blocking: &Ident, asynchronous: &Ident) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl ::core::convert::From<::andiron::Proxy> for #asynchronous {
            fn from(proxy: ::andiron::Proxy) -> Self {
                Self(proxy.into())
            }
        }

        #[automatically_derived]
        impl ::core::convert::From<#blocking> for #asynchronous {
            fn from(proxy: #blocking) -> Self {
                Self(proxy.0.into())
            }
        }

        #[automatically_derived]
        impl ::core::convert::From<#asynchronous> for #blocking {
            fn from(proxy: #asynchronous) -> Self {
                Self(proxy.0.into())
            }
        }
    }
}

/// Errors of the compiler about this type point at it, while the code keeps the names of the macro.
fn spot(ty: &Type) -> Span {
    Span::call_site().located_at(ty.span())
}
