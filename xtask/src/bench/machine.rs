//! What the machine was and what else it did while something was measured.
//!
//! Looks twice: before anything of the bench runs, and at its end, when only
//! idle proxies do. Called by `bench`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run::{command, output};

/// How long it looks each time.
const LOOK: Duration = Duration::from_secs(3);
/// Percent of the CPUs that others may use before the table says so.
const QUIET_PERCENT: f64 = 3.0;

/// Ticks of all CPUs since the start of the machine.
#[derive(Clone, Copy)]
struct Ticks {
    all: f64,
    idle: f64,
    stolen: f64,
}

impl Ticks {
    fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        let numbers: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        let at = |place: usize| numbers.get(place).copied().unwrap_or(0.0);
        Ok(Self {
            all: numbers.iter().take(8).sum(),
            idle: at(3) + at(4),
            stolen: at(7),
        })
    }

    /// Percent of the time since `before` that was not idle, and that was stolen.
    fn since(self, before: Self) -> (f64, f64) {
        let all = (self.all - before.all).max(1.0);
        let used = all - (self.idle - before.idle);
        let percent = |part: f64| part / all * 100.0;
        (percent(used), percent(self.stolen - before.stolen))
    }
}

fn used() -> Result<f64> {
    let before = Ticks::now()?;
    std::thread::sleep(LOOK);
    Ok(Ticks::now()?.since(before).0)
}

/// The state of the machine before a run.
pub(super) struct Before {
    used: f64,
    load: String,
    begun: Ticks,
}

/// Looks at the machine before anything of the bench runs.
pub(super) fn look() -> Result<Before> {
    Ok(Before {
        used: used()?,
        load: load()?,
        begun: Ticks::now()?,
    })
}

impl Before {
    /// Looks again, and says in what state the run was made.
    pub(super) fn told(&self) -> Result<String> {
        let stolen = Ticks::now()?.since(self.begun).1;
        let after = used()?;
        let cpus = std::thread::available_parallelism()?;
        let others = if self.used.max(after) > QUIET_PERCENT {
            " **Others were at work: only figures of one round can be compared.**"
        } else {
            ""
        };
        Ok(format!(
            "The machine: {cpus} CPUs, {}; before the run others used {:.0} % of them (load {}), \
             after it {after:.0} %; {stolen:.1} % were stolen meanwhile.{others}",
            governor(),
            self.used,
            self.load,
        ))
    }
}

fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" "))
}

fn governor() -> String {
    let file = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    fs::read_to_string(file).map_or_else(
        |_| "no frequency governor to be seen".to_owned(),
        |name| format!("governor {}", name.trim()),
    )
}

/// What it ran on.
pub(super) fn kind() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or(": unknown")
        .trim_start_matches([' ', '\t', ':']);
    let kernel = output(command("uname").arg("-r"))?;
    Ok(format!("{model}, Linux {}", kernel.trim()))
}

/// The first line of what a program says of itself.
pub(super) fn version(program: &str, argument: &str) -> String {
    let said = command(program).arg(argument).output().ok();
    let said = said
        .map(|out| [out.stdout, out.stderr].concat())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&said);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Today, in UTC.
pub(super) fn today() -> Result<String> {
    Ok(output(command("date").args(["-u", "+%Y-%m-%d"]))?
        .trim()
        .to_owned())
}
