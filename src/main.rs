//! Arguments in, exit code out.

fn main() -> std::process::ExitCode {
    tierwatch::cli::main()
}
