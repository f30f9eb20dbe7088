//! The container runtime without its agent: what the tests give `Shims` as its program.

use std::path::Path;
use std::process::ExitCode;

use agent_container::attach::{Session, SessionOptions};
use agent_container::{ContainerSpec, Shims, run_init, run_nursery, run_shim};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["shim", dir] => run_shim(Path::new(dir)),
        ["nursery"] => run_nursery(),
        ["init"] => run_init(),
        ["spawn", dir, command] => spawn(Path::new(dir), command),
        ["attach", socket, flags] => attach(Path::new(socket), flags),
        _ => ExitCode::from(2),
    }
}

/// What an agent does, which then goes.
fn spawn(dir: &Path, command: &str) -> ExitCode {
    let spec = ContainerSpec {
        command: command.split(' ').map(str::to_owned).collect(),
        ..ContainerSpec::default()
    };
    match Shims::new("/proc/self/exe".into())
        .with_nursery()
        .spawn(dir, &spec)
    {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A foreground session, started at once. Flags: `i`, `t`, both, or `-`.
fn attach(socket: &Path, flags: &str) -> ExitCode {
    let options = SessionOptions {
        tty: flags.contains('t'),
        interactive: flags.contains('i'),
    };
    let outcome = Session::open(socket, options).and_then(|mut session| {
        session.start();
        session.run()
    });
    match outcome {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(125)
        }
    }
}
