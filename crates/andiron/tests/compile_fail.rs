//! What cannot be exposed is refused where it stands, with words that say what to do.
#![cfg(not(feature = "tokio"))] // with it the compiler says some of it twice

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
