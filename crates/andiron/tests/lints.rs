//! `#[expose]` adds no warning to the code of its users, however strict they are.
#![deny(warnings, missing_docs, unreachable_pub, unused, nonstandard_style, clippy::all, rust_2018_idioms)]

/// Not public, and so are its types.
mod private {
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Serialize, Deserialize)]
    pub(super) struct Track {
        pub(super) title: String,
    }

    pub(super) struct Player;

    #[andiron::expose]
    impl Player {
        #[deprecated]
        fn play(&self, track: Track) -> Track {
            track
        }
        #[allow(non_snake_case, clippy::too_many_arguments)]
        fn Mix(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8 {
            a ^ b ^ c ^ d ^ e ^ f ^ g ^ h
        }
        /// See [`Self::helper`].
        fn stop(&mut self) {
            self.helper();
        }
        #[expose(skip)]
        fn helper(&self) {}
    }
}

/// Has nothing to call.
pub struct Idle;

#[andiron::expose]
impl Idle {}

/// Made where its name is not imported.
pub mod elsewhere {
    #[andiron::expose]
    impl super::Busy {
        fn same(&self, _other: super::private::Track) -> Option<std::collections::HashMap<String, (u8,)>> {
            None
        }
    }
}

/// Exposed from another module.
pub struct Busy;

/// Types and blocks may come from macros.
macro_rules! exposed {
    ($name:ident, $ty:ty) => {
        /// Made by a macro.
        pub struct $name;

        #[andiron::expose]
        impl $name {
            fn echo(&self, value: $ty) -> $ty {
                value
            }
        }
    };
}

exposed!(Texts, String);
exposed!(Numbers, Vec<f64>);

#[test]
fn strict_code_compiles_and_works() {
    let player = private::PlayerProxy::from(private::Player);
    player.stop().unwrap();
    let track = private::Track { title: "Embers".into() };
    #[allow(deprecated)]
    let played = player.play(track.clone()).unwrap();
    assert_eq!(played.title, track.title);
    assert!(elsewhere::BusyProxy::from(Busy).same(track).unwrap().is_none());
    assert_eq!(TextsProxy::from(Texts).echo("a".into()).unwrap(), "a");
    assert_eq!(NumbersProxy::from(Numbers).echo(vec![1.0]).unwrap(), [1.0]);
    assert_eq!(
        IdleProxy::from(Idle).as_ref().call::<()>("any", &()).unwrap_err().kind(),
        andiron::ErrorKind::NoMethod
    );
}
