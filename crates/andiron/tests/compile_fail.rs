//! What cannot be exposed is refused where it stands, with words that say what to do.

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
