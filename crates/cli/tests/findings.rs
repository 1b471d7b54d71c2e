//! Pages in `docs` name tests; they are there.

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_findings_name_is_there() {
    let named = tests_of("docs/findings.md");
    assert!(named > 40, "only {named} tests are named");
}

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    let named = tests_of("docs/security.md");
    assert!(named > 15, "only {named} tests are named");
}

/// How many tests a page names. Fails where one is not there.
fn tests_of(page: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join(page)).unwrap();
    let mut named = 0;
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let mut file = None;
        for quoted in line.split('`').skip(1).step_by(2) {
            if quoted.ends_with(".rs") || quoted.ends_with(".py") {
                file = Some(
                    fs::read_to_string(root.join(quoted)).unwrap_or_else(|_| panic!("{quoted} is gone")),
                );
            } else if let Some(text) = &file
                && quoted.contains('_')
            {
                let (rust, python) = (format!("fn {quoted}()"), format!("def {quoted}("));
                assert!(text.contains(&rust) || text.contains(&python), "there is no test {quoted}: {line}");
                named += 1;
            }
        }
    }
    named
}
