//! The `#[expose]` attribute of Andiron. Use it through the `andiron` crate, which documents what it builds on.
#![forbid(unsafe_code)]

mod generate;
mod model;
mod types;

use proc_macro::TokenStream;
use quote::quote;

/// Makes the methods of an `impl` block callable from other processes, and a proxy type to call them with.
///
/// The block itself stays as it is. Beside it come `impl Expose for Player` and the type `PlayerProxy`, which has for each
/// method one of the same name that calls it and waits, and one named `start_…` that returns a `Pending` at once. (It is
/// left out where the block has a method of that name itself; so is the proxy's `with_timeout`.)
///
/// - `&self` methods run at the same time as others of their kind; `&mut self` methods take turns.
/// - Arguments need serde's `Serialize` and `Deserialize`. References work: `&str`, `&[u8]` and `&Path` are read straight
///   from the request, `&[T]` and any other `&T` from a decoded `Vec<T>` or `T`. The proxy of another exposed type as a
///   parameter is a callback. The proxies of Rust and the shell pass arguments by
///   position; the protocol takes them by name as well, from programs in other languages.
/// - Results need the same and must be owned. Of a `Result<T, E>` the caller gets the `T`, or an `andiron::Error` of the
///   kind `Application` that carries the message, type and causes of `E`. (`E` is any error that goes into a
///   `Box<dyn Error + Send + Sync>`; an `andiron::Error` is passed on as it is.)
/// - An argument, or the result, may be a `Stream`: one of the arguments at most, and none where the method is one-way.
/// - Doc comments and signatures are carried along, for the proxy and for whoever asks the object what it offers. Proxies are named there by what
///   they stand for (`object<Player>`), and a parameter `_unused` is called `unused`.
///
/// - An `async fn` is polled where its call was read. On a connection that a tokio task drives (`andiron::aio`) it becomes a task of its own when
///   it has to wait; elsewhere it is polled again by threads that run calls, and occupies none while it waits, and what needs a runtime does not work in it. Its future has to be `Send`. When
///   its caller gives up, it ends at the `await` where it waits.
/// - With the feature `tokio` there is a type `PlayerProxyAsync` too, whose methods are awaited.
///
/// Options on a method: `#[expose(skip)]` leaves it out, as is every method whose name begins with `_`;
/// `#[expose(oneway)]` makes a method whose callers do not wait; `#[expose(idempotent)]` allows that
/// a call is repeated although it may have run, when a connection that retries was lost; `#[expose(name = "stop_now")]` is the name by which
/// others call it.
#[proc_macro_attribute]
pub fn expose(options: TokenStream, item: TokenStream) -> TokenStream {
    let (item, object, error) = match model::read(options.into(), item.into()) {
        Ok(model::Reading { item, object, error }) => (quote!(#item), Some(object), error),
        Err((item, error)) => (item, None, Some(error)),
    };
    let generated = object.map(|object| generate::all(&object));
    let error = error.map(|error| error.to_compile_error());
    quote!(#item #generated #error).into()
}
