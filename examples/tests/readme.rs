//! The README is true: its programs are the examples, and its shell session prints what it says.

mod common;

use std::fs;
use std::path::Path;

use common::Machine;

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap()
}

/// The blocks of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

#[test]
fn the_programs_in_the_readme_are_those_that_are_tested() {
    let programs = blocks(&readme(), "rust");
    assert_eq!(programs.len(), 2);
    for program in programs {
        let (name, code) = program.split_once('\n').unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name.trim_start_matches("// "));
        let file = fs::read_to_string(&path).unwrap();
        assert_eq!(file.trim(), code.trim(), "README.md and {}", path.display());
    }
}

#[test]
fn the_shell_session_in_the_readme_prints_what_it_says() {
    let mut machine = Machine::new();
    let sessions = blocks(&readme(), "console");
    assert_eq!(sessions.len(), 1);
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in sessions[0].lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push((command.to_owned(), String::new())),
            None => {
                let (_, output) = steps.last_mut().expect("output follows a command");
                output.push_str(line);
                output.push('\n');
            }
        }
    }
    assert!(steps.len() > 5, "the session is shorter than it was");
    for (command, expected) in steps {
        match command.strip_suffix(" &") {
            Some("andiron serve") => machine.serve("andiron serve"),
            Some(program) => machine.provide(program, program),
            None => assert_eq!(machine.run(&command), expected, "$ {command}"),
        }
    }
}
