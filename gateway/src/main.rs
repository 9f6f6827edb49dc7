//! The binary `tidegate`: hands each verb to who knows it.
//!
//! A replica's guard comes first, before anything is set up: it needs none of
//! it, and its arguments are a model's command.

use std::process::ExitCode;

use tidegate::runtime::guard;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|verb| verb == guard::VERB) {
        return guard::main(args);
    }
    ExitCode::from(2)
}
