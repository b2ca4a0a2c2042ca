//! The program.

fn main() -> std::process::ExitCode {
    steled::cli::main()
}
