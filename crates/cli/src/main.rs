//! The `andiron` program.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    andiron_cli::main(std::env::args_os())
}
