//! `cargo xtask bench --endpoints`: what thousands of endpoints cost.
//!
//! Gateways with one, ten and many endpoints run side by side on one core, load
//! and upstream on another. Says how long they take to start, what they have in
//! memory, what they use when idle, what a request costs and what a change of
//! one endpoint costs. Called by `bench`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::crowd::{Crowd, Memory, Running, Start, script};
use super::{machine, proxy, report};
use crate::run::{Steps, target};
use crate::setup::{self, Package};

/// Connections of the load.
const CONNECTIONS: u32 = 16;
/// One endpoint alone and one of many are measured this often, in turn.
const PAIRS: usize = 9;
/// Loads that are spread over endpoints are measured this often. After the pairs:
/// what they leave behind (connections, instances) would be part of those.
const ROUNDS: usize = 3;
/// Rounds of changes; each changes [`CHANGES`] endpoints of either gateway.
const CHANGE_ROUNDS: usize = 15;
const CHANGES: usize = 10;
/// How long a gateway is left alone to see what it uses then.
const IDLE: Duration = Duration::from_secs(10);
/// Until what a start left to do is done.
const SETTLE: Duration = Duration::from_secs(5);
/// Of many endpoints so many have load in the second case.
const SOME: usize = 100;

/// A gateway at work, and what was measured of it alone.
struct Stand {
    crowd: Crowd,
    running: Running,
    first: Start,
    again: Start,
    memory: Memory,
    /// CPUs it uses while nobody asks it anything.
    idle: f64,
}

/// A load on one of the gateways.
struct Case {
    /// Which gateway.
    stand: usize,
    spread: usize,
    script: PathBuf,
    /// CPU per request in µs, one a round: of the whole process without what it
    /// uses when idle, and of the threads that serve requests.
    all: Vec<f64>,
    workers: Vec<f64>,
}

/// What changes of one endpoint cost.
#[derive(Default)]
struct Changes {
    /// Each, in ms.
    wall: Vec<f64>,
    /// The mean of each round, in ms.
    cpu: Vec<f64>,
}

/// Measures, prints the tables and writes them.
///
/// # Errors
///
/// Where a gateway does not start, or an answer is not what it should be.
pub(super) fn endpoints(count: usize, seconds: u32) -> Result<()> {
    ensure!(count >= SOME, "--count {count} is too few: at least {SOME}");
    ensure!(count < 100_000, "--count {count} is too many: below 100000");
    let mut steps = Steps::new();
    steps.step("packages", || {
        setup::packages(&[
            Package("nginx", "nginx-light"),
            Package("wrk", "wrk"),
            Package("taskset", "util-linux"),
            setup::CURL,
        ])
    })?;
    super::build(&mut steps)?;
    let before = steps.step("state of the machine", machine::look)?;
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let upstream = proxy::upstream(&folder)?;
    let mut stands = Vec::new();
    for (name, count) in [("one", 1), ("ten", 10), ("many", count)] {
        let crowd = Crowd::new(&folder, name, count, &upstream.address())?;
        stands.push(steps.step(&format!("{count} endpoints"), || stand(crowd))?);
    }
    let mut loads = Vec::new();
    for (kind, pinned) in [("no plugin", true), ("`weighted-split`", false)] {
        let mut cases = cases(&folder, count, pinned, &[1])?;
        steps.step(&format!("requests, {kind}"), || {
            (0..PAIRS).try_for_each(|_| round(&stands, &mut cases, seconds))
        })?;
        loads.push((kind, cases));
    }
    for (kind, pinned) in [("no plugin", true), ("`weighted-split`", false)] {
        let mut cases = cases(&folder, count, pinned, &[SOME, count])?;
        steps.step(&format!("requests to many, {kind}"), || {
            (0..ROUNDS).try_for_each(|_| round(&stands, &mut cases, seconds))
        })?;
        loads.push((kind, cases));
    }
    let changes = steps.step("changes", || changes(&stands))?;
    let state = before.told()?;
    let tables = [
        start_table(&stands),
        load_table(&stands, &loads),
        change_table(&stands, &changes),
    ];
    let text = tables.join("\n");
    println!("{text}\n{state}");
    let head = format!(
        "`cargo xtask bench --endpoints --count {count} --seconds {seconds}` on {}.\n{}; {}.\n{state}",
        machine::today()?,
        machine::kind()?,
        machine::version("nginx", "-v"),
    );
    report::put("bench --endpoints", &format!("{head}\n\n{text}"))?;
    steps.table();
    Ok(())
}

/// Starts a gateway, twice, and looks what it uses.
fn stand(crowd: Crowd) -> Result<Stand> {
    let (running, first) = crowd.start()?;
    drop(running);
    let (running, again) = crowd.start()?;
    std::thread::sleep(SETTLE);
    let before = running.cpu();
    std::thread::sleep(IDLE);
    let idle = (running.cpu() - before) / IDLE.as_secs_f64();
    Ok(Stand {
        memory: running.memory(),
        crowd,
        running,
        first,
        again,
        idle,
    })
}

/// One endpoint alone, and loads that are spread over so many of many.
fn cases(folder: &Path, count: usize, pinned: bool, spread: &[usize]) -> Result<Vec<Case>> {
    let case = |stand, of, spread| {
        Ok(Case {
            stand,
            spread,
            script: script(folder, of, spread, pinned)?,
            all: Vec::new(),
            workers: Vec::new(),
        })
    };
    let many = spread.iter().map(|spread| case(2, count, *spread));
    std::iter::once(case(0, 1, 1)).chain(many).collect()
}

/// Every load once.
fn round(stands: &[Stand], cases: &mut [Case], seconds: u32) -> Result<()> {
    for case in cases {
        let stand = stands.get(case.stand).context("no such gateway")?;
        // Warm: connections to the upstream, plugin instances, caches.
        stand.running.load(&case.script, CONNECTIONS, 2)?;
        let cpu = || anyhow::Ok((stand.running.cpu(), stand.running.cpu_of_workers()?));
        let (begun, before) = (Instant::now(), cpu()?);
        let requests = stand.running.load(&case.script, CONNECTIONS, seconds)?;
        let after = cpu()?;
        let idle = stand.idle * begun.elapsed().as_secs_f64();
        case.all.push((after.0 - before.0 - idle) * 1e6 / requests);
        case.workers.push((after.1 - before.1) * 1e6 / requests);
    }
    Ok(())
}

/// Changes the traffic of endpoints among ten and among many, in turn.
fn changes(stands: &[Stand]) -> Result<Vec<(usize, Changes)>> {
    let mut found = [1, 2].map(|stand| (stand, Changes::default()));
    for round in 0..CHANGE_ROUNDS {
        for (stand, changes) in &mut found {
            let stand = stands.get(*stand).context("no such gateway")?;
            let (begun, before) = (Instant::now(), stand.running.cpu_of_threads()?);
            for change in 0..CHANGES {
                // Spread, and each time another share than before.
                let number = (round * 7_919 + change * 104_729) % stand.crowd.count + 1;
                let one = u32::try_from(50 + (round * CHANGES + change) % 50)?;
                let took = stand.running.change(number, one)?;
                changes.wall.push(took.as_secs_f64() * 1e3);
            }
            // What it does after the answer is part of it.
            std::thread::sleep(Duration::from_millis(300));
            let used = stand.running.cpu_of_threads()? - before;
            let idle = stand.idle * begun.elapsed().as_secs_f64();
            changes.cpu.push((used - idle) * 1e3 / CHANGES as f64);
        }
    }
    Ok(found.into())
}

fn median(of: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = of.into_iter().collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn start_table(stands: &[Stand]) -> String {
    let mut text = "| endpoints | first start: `readyz`, s | all healthy, s | again, on its state: `readyz`, s | all healthy, s | RSS MB | PSS MB | KB an endpoint | idle: % of a core |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let least = stands.first().map_or(0.0, |stand| stand.memory.pss);
    for stand in stands {
        let count = stand.crowd.count;
        let each = (stand.memory.pss - least) * 1024.0 / count as f64;
        let each = if count > 10 {
            format!("{each:.0}")
        } else {
            "–".to_owned()
        };
        let seconds = |time: Duration| time.as_secs_f64();
        let _ = writeln!(
            text,
            "| {count} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {each} | {:.1} |",
            seconds(stand.first.ready),
            seconds(stand.first.healthy),
            seconds(stand.again.ready),
            seconds(stand.again.healthy),
            stand.memory.rss,
            stand.memory.pss,
            stand.idle * 100.0,
        );
    }
    text
}

fn load_table(stands: &[Stand], loads: &[(&str, Vec<Case>)]) -> String {
    let mut text = "| asked | endpoints | with load | CPU µs/request, without idle | ÷ one endpoint | of it, workers | ÷ one endpoint |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for (kind, cases) in loads {
        let Some(alone) = cases.first() else { continue };
        for case in cases {
            let ratio = |of: fn(&Case) -> &Vec<f64>| {
                let pairs = of(case).iter().zip(of(alone));
                median(pairs.map(|(case, alone)| case / alone))
            };
            let count = stands.get(case.stand).map_or(0, |stand| stand.crowd.count);
            let _ = writeln!(
                text,
                "| {kind} | {count} | {} | {:.1} | {:.2} | {:.1} | {:.2} |",
                case.spread,
                median(case.all.iter().copied()),
                ratio(|case| &case.all),
                median(case.workers.iter().copied()),
                ratio(|case| &case.workers),
            );
        }
    }
    text
}

fn change_table(stands: &[Stand], found: &[(usize, Changes)]) -> String {
    let mut text = "| a change of one endpoint among | wall ms | ÷ 10 | CPU ms | ÷ 10 |\n\
         | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let medians = |changes: &Changes| {
        let of = |all: &Vec<f64>| median(all.iter().copied());
        (of(&changes.wall), of(&changes.cpu))
    };
    let Some((_, few)) = found.first() else {
        return text;
    };
    let few = medians(few);
    for (stand, changes) in found {
        let count = stands.get(*stand).map_or(0, |stand| stand.crowd.count);
        let (wall, cpu) = medians(changes);
        let _ = writeln!(
            text,
            "| {count} | {wall:.2} | {:.2} | {cpu:.2} | {:.2} |",
            wall / few.0,
            cpu / few.1,
        );
    }
    text
}
