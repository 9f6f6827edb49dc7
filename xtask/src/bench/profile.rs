//! What callgrind counted of one thread, given to the steps of a request.
//!
//! An instruction belongs to the innermost function around it, inlined ones
//! included, that is part of a step; what all steps use (memory, maps, the
//! clock) goes to those that called it, by what the calls cost. The call graph
//! alone would not do: release builds inline whole steps, and a plugin call
//! switches stacks, after which callgrind takes what follows for a part of it.
//! Called by `steps`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::run::command;

/// Instructions by step and function; `via NAME` is what the function NAME, which
/// all steps use, did for the step.
pub(super) type Cost<S> = BTreeMap<(S, String), f64>;

/// Rounds in which shared functions pass their cost on to callers.
const ROUNDS: usize = 40;

/// One thread's counts.
#[derive(Default)]
pub(super) struct Profile {
    /// Names of functions; those of a plugin's code have none.
    names: Vec<Option<String>>,
    places: HashMap<(bool, String), usize>,
    /// Instructions of a function at an address.
    own: Vec<(usize, u64, f64)>,
    /// Calls of a function at an address: the callee, instructions in it.
    calls: Vec<(usize, u64, usize, f64)>,
}

/// The numbers that stand for names in a file.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// `(3) name` tells a name, `(3)` repeats it.
    fn resolve(&mut self, text: &str) -> String {
        let (number, name) = text.split_once(' ').unwrap_or((text, ""));
        if !name.is_empty() {
            self.0.insert(number.to_owned(), name.to_owned());
        }
        self.0.get(number).cloned().unwrap_or_default()
    }
}

/// A position: absolute, or relative to the one before.
fn position(word: &str, last: u64) -> Result<u64> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Ok(if word == "*" {
        last
    } else if let Some(more) = word.strip_prefix('+') {
        last + number(more)?
    } else if let Some(less) = word.strip_prefix('-') {
        last.saturating_sub(number(less)?)
    } else {
        number(word)?
    })
}

impl Profile {
    /// Reads a file that was written with `--dump-instr=yes`.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file)?;
        ensure!(text.contains("positions: instr line"), "no instructions");
        let mut profile = Self::default();
        let (mut objects, mut functions) = (Names::default(), Names::default());
        let (mut object, mut other, mut callee) = (String::new(), None, None);
        let (mut function, mut last, mut calling) = (0, 0, false);
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("ob=") {
                object = objects.resolve(rest);
            } else if let Some(rest) = line.strip_prefix("cob=") {
                other = Some(objects.resolve(rest));
            } else if let Some(rest) = line.strip_prefix("fn=") {
                function = profile.place(&object, &functions.resolve(rest));
            } else if let Some(rest) = line.strip_prefix("cfn=") {
                let object = other.take().unwrap_or_else(|| object.clone());
                callee = Some(profile.place(&object, &functions.resolve(rest)));
            } else if line.starts_with("calls=") {
                calling = true;
            } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
                let mut words = line.split(' ');
                last = position(words.next().unwrap_or_default(), last)?;
                let cost: f64 = words.nth(1).unwrap_or("0").parse()?;
                match callee.filter(|_| calling) {
                    Some(callee) => profile.calls.push((function, last, callee, cost)),
                    None => profile.own.push((function, last, cost)),
                }
                calling = false;
            }
        }
        Ok(profile)
    }

    fn place(&mut self, object: &str, name: &str) -> usize {
        // Frames of a recursion are told apart by callgrind, not here.
        let (name, number) = name.rsplit_once('\'').unwrap_or((name, ""));
        let name = if number.parse::<u32>().is_ok() {
            name.to_owned()
        } else {
            format!("{name}{number}")
        };
        let jitted = object == "???";
        let next = self.names.len();
        let names = &mut self.names;
        *self.places.entry((jitted, name)).or_insert_with_key(|key| {
            names.push((!jitted).then(|| key.1.clone()));
            next
        })
    }

    /// Instructions of the whole thread.
    pub(super) fn all(&self) -> f64 {
        self.own.iter().map(|(_, _, cost)| cost).sum()
    }

    /// Addresses that cost something.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> {
        let named = |place: &usize| self.names.get(*place).is_some_and(Option::is_some);
        let own = self.own.iter().map(|(place, at, _)| (place, *at));
        let calls = self.calls.iter().map(|(place, at, ..)| (place, *at));
        own.chain(calls)
            .filter(move |(place, _)| named(place))
            .map(|(_, at)| at)
    }

    /// Gives every instruction to a step. `rule` knows the step of a function by
    /// its name, `jitted` is that of plugins' code, `rest` that of what nobody
    /// of a step called.
    pub(super) fn by_step<S: Copy + Ord>(
        &self,
        chains: &Chains,
        rule: impl Fn(&str) -> Option<S>,
        jitted: S,
        rest: S,
    ) -> Cost<S> {
        let mut known: HashMap<(usize, u64), Option<(S, String)>> = HashMap::new();
        let mut step = |place: usize, at: u64| {
            let found = known.entry((place, at)).or_insert_with(|| {
                let Some(Some(name)) = self.names.get(place) else {
                    return Some((jitted, String::new()));
                };
                let chain = chains.0.get(&at).map(Vec::as_slice).unwrap_or_default();
                let mut names = chain.iter().chain([name]);
                names.find_map(|name| Some((rule(name)?, name.clone())))
            });
            found.clone()
        };
        let mut cost: Cost<S> = Cost::new();
        let mut shared = vec![0.0; self.names.len()];
        for &(place, at, own) in &self.own {
            match step(place, at) {
                Some(key) => *cost.entry(key).or_default() += own,
                None => {
                    if let Some(shared) = shared.get_mut(place) {
                        *shared += own;
                    }
                }
            }
        }
        // Of each function's callers: how much of it is theirs.
        let mut callers: Vec<Vec<(Option<S>, usize, f64)>> = vec![Vec::new(); self.names.len()];
        for &(caller, at, callee, weight) in &self.calls {
            if let Some(callers) = callers.get_mut(callee).filter(|_| caller != callee) {
                callers.push((step(caller, at).map(|(step, _)| step), caller, weight));
            }
        }
        self.pass_on(shared, &callers, rest, &mut cost);
        cost
    }

    /// Gives what shared functions cost to the steps that called them.
    fn pass_on<S: Copy + Ord>(
        &self,
        mut shared: Vec<f64>,
        callers: &[Vec<(Option<S>, usize, f64)>],
        rest: S,
        cost: &mut Cost<S>,
    ) {
        for round in 0..ROUNDS {
            let mut passed = vec![0.0; self.names.len()];
            for ((callers, amount), name) in callers.iter().zip(&shared).zip(&self.names) {
                let sum: f64 = callers.iter().map(|(.., weight)| weight).sum();
                if *amount == 0.0 {
                    continue;
                }
                let via = || format!("via {}", name.as_deref().unwrap_or_default());
                if sum == 0.0 || round + 1 == ROUNDS {
                    *cost.entry((rest, via())).or_default() += amount;
                    continue;
                }
                for (step, caller, weight) in callers {
                    let part = amount * weight / sum;
                    match (step, passed.get_mut(*caller)) {
                        (Some(step), _) => *cost.entry((*step, via())).or_default() += part,
                        (None, Some(passed)) => *passed += part,
                        (None, None) => {}
                    }
                }
            }
            shared = passed;
        }
    }
}

/// The functions around an address, the innermost first.
pub(super) struct Chains(HashMap<u64, Vec<String>>);

impl Chains {
    /// Asks llvm-symbolizer, which knows what was inlined.
    pub(super) fn of(binary: &Path, addresses: impl Iterator<Item = u64>) -> Result<Self> {
        let mut wanted: Vec<u64> = addresses.collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut symbolizer = command("llvm-symbolizer");
        symbolizer
            .args(["--inlines", "--demangle", "--functions=linkage", "--obj"])
            .arg(binary);
        let mut child = symbolizer
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("no llvm-symbolizer")?;
        let mut input = child.stdin.take().context("no input")?;
        let lines: String = wanted.iter().map(|at| format!("{at:#x}\n")).collect();
        // From a thread of its own: it answers while it is asked.
        let asking = std::thread::spawn(move || input.write_all(lines.as_bytes()));
        let answer = child.wait_with_output()?;
        asking.join().ok().context("the asking thread ended")??;
        let text = String::from_utf8_lossy(&answer.stdout);
        let mut chains = HashMap::new();
        // An empty line ends an address; names and places alternate.
        for (at, answer) in wanted.into_iter().zip(text.split("\n\n")) {
            let names = answer.lines().step_by(2).map(str::to_owned);
            chains.insert(at, names.collect());
        }
        Ok(Self(chains))
    }
}
