//! `cargo xtask bench --steps`: where the instructions of a request go.
//!
//! Runs the gateway under callgrind, once without plugins and once with three,
//! and gives what it executes to the steps of a request's life. Instructions
//! hang on the build alone, not on what else the machine does; what the kernel
//! does for the gateway is not in them. Called by `bench`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::gateway::{self, GATEWAYS, Setting, binary};
use super::profile::{Chains, Profile};
use super::{load, machine, proxy, report};
use crate::run::{Steps, command, output, target};
use crate::setup::{self, Package};

/// Connections of the load.
const CONNECTIONS: u32 = 16;
/// Seconds until what is called often has been translated and pools are full.
const WARM_SECONDS: u32 = 8;
/// Fewer requests than that say nothing.
const REQUESTS_MIN: f64 = 300.0;

/// The steps, in the order of a request's life, and what their functions are
/// called. Of names that a function has in it, the first counts; where two begin
/// there, the longer one.
const STEPS: [(&str, &[&str]); 17] = [
    (
        "the caller's connection: guard, timers, serve",
        &[
            "tidegate::listen",
            "tidegate::exchange::serve",
            "tidegate::exchange::live",
        ],
    ),
    (
        "HTTP/1.1 on both sides (hyper)",
        &["hyper::", "httparse::", "hyper_util::"],
    ),
    (
        "tasks, timers, sockets (tokio, mio)",
        &["tokio::", "mio::", "tokio_util::"],
    ),
    (
        "admit",
        &[
            "tidegate::exchange::admit",
            "tidegate::exchange::target",
            "tidegate::exchange::head",
        ],
    ),
    ("route", &["tidegate::exchange::route", "tidegate::table"]),
    (
        "authenticate",
        &[
            "tidegate::exchange::authenticate",
            "tidegate::policy::grants",
        ],
    ),
    (
        "choose: candidates, draw, pin",
        &[
            "tidegate::exchange::choose",
            "tidegate::exchange::draw",
            "tidegate::split",
            "tidegate::exchange::chance",
            "tidegate::fleet::Fleet>::look",
            "tidegate::fleet::figures",
        ],
    ),
    (
        "a call of a plugin: records, limits, instance",
        &["tidegate::policy", "tidegate::exchange::outlive"],
    ),
    ("a call of a plugin: wasmtime", &["wasmtime", "cranelift"]),
    ("a call of a plugin: its own code", &[]),
    (
        "slot",
        &[
            "tidegate::fleet",
            "tidegate::balance",
            "tidegate::queue",
            "tidegate::breaker",
        ],
    ),
    (
        "forward",
        &[
            "tidegate::exchange::forward",
            "tidegate::exchange::flight",
            "tidegate::exchange::mirror",
            "tidegate::exchange::head::outgoing",
            "tidegate::exchange::head::ForwardedCache",
            "tidegate::upstream",
        ],
    ),
    (
        "relay",
        &[
            "tidegate::exchange::relay",
            "tidegate::exchange::body",
            "tidegate::exchange::head::strip_answer",
            "tidegate::exchange::head::check_answer",
        ],
    ),
    (
        "ledger and record",
        &[
            "tidegate::exchange::ledger",
            "tidegate::exchange::record",
            "tidegate::metrics",
            "tidegate::log",
        ],
    ),
    (
        "keep what is collected, hand it over",
        &[
            "tidegate::outbox",
            "tidegate::exchange::choose::keep",
            "tidegate::exchange::choose::copy",
            "tidegate::exchange::record::collect",
            "tidegate::exchange::relay::keep_head",
        ],
    ),
    ("collector: batches", &["tidegate::collector"]),
    (
        "journal: JSON check, lines, files",
        &["tidegate::journal", "serde_json"],
    ),
];
const ADMIT: usize = 3;
const JITTED: usize = 9;
/// Functions of a step that are printed, and what they cost at least.
const DEAREST: usize = 14;
const DEAR: f64 = 100.0;
const REST: usize = STEPS.len();

/// The step of a function.
fn rule(name: &str) -> Option<usize> {
    let found = STEPS.iter().enumerate().flat_map(|(step, (_, patterns))| {
        let at = move |pattern: &&str| {
            let begin = name.find(pattern)?;
            Some((begin, usize::MAX - pattern.len(), step))
        };
        patterns.iter().filter_map(at)
    });
    found.min().map(|(_, _, step)| step)
}

/// Instructions per request, by thread and step.
#[derive(Default)]
struct Account {
    worker: BTreeMap<usize, f64>,
    others: BTreeMap<usize, f64>,
    /// Of all threads.
    functions: BTreeMap<(usize, String), f64>,
}

/// Measures, prints the table and writes it.
///
/// # Errors
///
/// Where valgrind cannot run the gateway, or an answer was not 200.
pub(super) fn steps(seconds: u32) -> Result<()> {
    let mut steps = Steps::new();
    steps.step("packages", || {
        setup::packages(&[
            Package("nginx", "nginx-light"),
            Package("wrk", "wrk"),
            Package("valgrind", "valgrind"),
            Package("llvm-symbolizer", "llvm"),
            Package("openssl", "openssl"),
            Package("taskset", "util-linux"),
            setup::CURL,
        ])
    })?;
    super::build(&mut steps)?;
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let upstream = steps.step("start", || {
        proxy::certificate(&folder)?;
        proxy::upstream(&folder)
    })?;
    let mut accounts = Vec::new();
    for setting in [GATEWAYS.first(), GATEWAYS.last()].into_iter().flatten() {
        let at = upstream.address();
        let count = || account(&folder, setting, &at, seconds);
        accounts.push((setting.name, steps.step(setting.name, count)?));
    }
    for (name, account) in &accounts {
        println!("\n{name}: the dearest functions");
        print_functions(account);
    }
    let table = table(&accounts);
    println!("\n{table}");
    let head = format!(
        "`cargo xtask bench --steps --seconds {seconds}` on {}: instructions per request, \
         counted by {}, {CONNECTIONS} plain connections, 1 KB of JSON each way.\n{}.",
        machine::today()?,
        machine::version("valgrind", "--version"),
        machine::kind()?,
    );
    report::put("bench --steps", &format!("{head}\n\n{table}"))?;
    steps.table();
    Ok(())
}

/// One setting of the gateway under callgrind.
fn account(folder: &Path, setting: &Setting, at: &str, seconds: u32) -> Result<Account> {
    let out = format!("steps-{}.out", setting.short());
    for old in dumps(folder, &out)? {
        fs::remove_file(old)?;
    }
    let under = [
        "valgrind",
        "--tool=callgrind",
        "--instr-atstart=no",
        "--fair-sched=yes",
        "--separate-threads=yes",
        "--dump-instr=yes",
        &format!("--callgrind-out-file={}", folder.join(&out).display()),
    ];
    let under = under.map(str::to_owned);
    let gateway = gateway::start(folder, setting, at, &under)?;
    let pid = gateway.pids.first().context("no process")?.to_string();
    let control = |arguments: &[&str]| {
        let mut control = command("callgrind_control");
        output(control.args(arguments).arg(&pid)).map(drop)
    };
    control(&["--instr=on"])?;
    load::requests(&gateway, CONNECTIONS, WARM_SECONDS)?;
    control(&["--zero"])?;
    let requests = load::requests(&gateway, CONNECTIONS, seconds)?;
    control(&["--dump"])?;
    ensure!(
        requests >= REQUESTS_MIN,
        "{requests} requests in {seconds} s are too few: let it load for longer by --seconds"
    );
    drop(gateway);
    let first = format!("{out}.1-");
    let mut account = Account::default();
    for file in dumps(folder, &first)? {
        let profile = Profile::read(&file)?;
        if profile.all() == 0.0 {
            continue;
        }
        let chains = Chains::of(&binary(), profile.addresses())?;
        let cost = profile.by_step(&chains, rule, JITTED, REST);
        // Exchanges run on the worker alone: only there is a request admitted.
        let worker = cost.keys().any(|(step, _)| *step == ADMIT);
        let kind = if worker {
            &mut account.worker
        } else {
            &mut account.others
        };
        for ((step, function), cost) in cost {
            *kind.entry(step).or_default() += cost / requests;
            *account.functions.entry((step, function)).or_default() += cost / requests;
        }
    }
    Ok(account)
}

/// The files of the folder whose names begin so.
fn dumps(folder: &Path, start: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(start) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The dearest functions of each step, for whoever wants to make it cheaper.
fn print_functions(account: &Account) {
    for (step, (name, _)) in STEPS.iter().enumerate() {
        let mut functions: Vec<_> = account
            .functions
            .iter()
            .filter(|((of, _), cost)| *of == step && **cost >= DEAR)
            .collect();
        functions.sort_by(|a, b| b.1.total_cmp(a.1));
        for ((_, function), cost) in functions.into_iter().take(DEAREST) {
            println!("{cost:>8.0}  {name}: {function:.120}");
        }
    }
}

fn table(accounts: &[(&str, Account)]) -> String {
    let mut text = String::from("| step |");
    for (name, _) in accounts {
        let _ = write!(text, " {name}: worker | other threads |");
    }
    text.push_str("\n| --- |");
    text.push_str(&" ---: | ---: |".repeat(accounts.len()));
    let mut line = |name: &str, of: &dyn Fn(&BTreeMap<usize, f64>) -> f64| {
        let _ = write!(text, "\n| {name} |");
        for (_, account) in accounts {
            for cost in [&account.worker, &account.others] {
                match of(cost) {
                    cost if cost < 0.5 => text.push_str(" |"),
                    cost => {
                        let _ = write!(text, " {cost:.0} |");
                    }
                }
            }
        }
    };
    for (step, (name, _)) in STEPS.iter().enumerate() {
        line(name, &|cost| cost.get(&step).copied().unwrap_or(0.0));
    }
    line("what belongs to none", &|cost| {
        cost.get(&REST).copied().unwrap_or(0.0)
    });
    line("all", &|cost| cost.values().sum());
    text.push('\n');
    text
}
