//! The load of the last hour, a cell per minute: what `tidegate plan` goes by.
//!
//! Bounded: 60 cells, used again in turn.

use std::time::{Duration, Instant};

/// Cells.
const MINUTES: usize = 60;

/// One minute's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Minute {
    /// How many minutes ago it was; 0 is the running one.
    pub ago: u32,
    /// Requests that came.
    pub requests: u64,
    /// Requests that ended.
    pub finished: u64,
    /// For how long those held their slots, summed up.
    pub held: Duration,
    /// The most that ran and waited at one moment.
    pub peak: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Load {
    start: Instant,
    minute: u64,
    arrived: u64,
    /// None until the first request: of ten thousand endpoints most are quiet.
    cells: Option<Box<[Minute; MINUTES]>>,
}

impl Load {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            minute: 0,
            arrived: 0,
            cells: None,
        }
    }

    /// Takes what runs and waits at `now`; `arrived` is the number of requests
    /// that ever came.
    pub(super) fn at(&mut self, now: Instant, arrived: u64, busy: u32, queued: u32) {
        self.turn(now);
        let came = arrived.saturating_sub(self.arrived);
        self.arrived = arrived;
        if self.cells.is_none() && (came, busy, queued) == (0, 0, 0) {
            return;
        }
        if let Some(cell) = self.cell() {
            cell.requests += came;
            cell.peak = cell.peak.max(busy.saturating_add(queued));
        }
    }

    /// Takes the time one request held its slot. After [`Load::at`] of the same
    /// moment.
    pub(super) fn held(&mut self, held: Duration) {
        if let Some(cell) = self.cell() {
            cell.finished += 1;
            cell.held = cell.held.saturating_add(held);
        }
    }

    /// All 60 minutes, the oldest first; those before the fleet began are empty.
    pub(super) fn minutes(&mut self, now: Instant) -> Vec<Minute> {
        self.turn(now);
        let newest = self.minute as usize % MINUTES;
        let cell = |ago: usize| {
            let place = (newest + MINUTES - ago) % MINUTES;
            let cells = self.cells.as_ref();
            let cell =
                cells.map_or_else(|| Some(Minute::default()), |all| all.get(place).copied())?;
            let ago = u32::try_from(ago).ok()?;
            Some(Minute { ago, ..cell })
        };
        (0..MINUTES).rev().filter_map(cell).collect()
    }

    fn cell(&mut self) -> Option<&mut Minute> {
        let cells = self
            .cells
            .get_or_insert_with(|| Box::new([Minute::default(); MINUTES]));
        cells.get_mut(self.minute as usize % MINUTES)
    }

    /// Empties the cells of minutes that began since the last time.
    fn turn(&mut self, now: Instant) {
        let minute = now.duration_since(self.start).as_secs() / 60;
        if minute <= self.minute {
            return;
        }
        let Some(cells) = &mut self.cells else {
            self.minute = minute;
            return;
        };
        let empty = (minute - self.minute).min(MINUTES as u64);
        for back in 0..empty {
            if let Some(cell) = cells.get_mut((minute - back) as usize % MINUTES) {
                *cell = Minute::default();
            }
        }
        self.minute = minute;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_hour_is_sixty_empty_minutes_and_holds_no_cells() {
        let start = Instant::now();
        let mut load = Load::new(start);
        load.at(start + Duration::from_secs(90), 0, 0, 0);
        assert!(load.cells.is_none());
        let minutes = load.minutes(start + Duration::from_secs(180));
        assert_eq!(minutes.len(), 60);
        let agos = (0..60).rev().collect::<Vec<_>>();
        assert!(minutes.iter().map(|one| one.ago).eq(agos));
        assert!(minutes.iter().all(|one| (one.requests, one.peak) == (0, 0)));
        // The first request after it falls into its own minute.
        load.at(start + Duration::from_secs(200), 1, 1, 0);
        let minutes = load.minutes(start + Duration::from_secs(200));
        assert_eq!(minutes[59].requests, 1);
        assert_eq!(minutes.iter().map(|one| one.requests).sum::<u64>(), 1);
    }

    #[test]
    fn minutes_that_are_over_an_hour_old_are_forgotten() {
        let start = Instant::now();
        let mut load = Load::new(start);
        load.at(start, 3, 2, 1);
        load.held(Duration::from_secs(2));
        load.at(start + Duration::from_secs(61), 5, 1, 0);
        let minutes = load.minutes(start + Duration::from_secs(61));
        assert_eq!(minutes.len(), 60);
        assert!(minutes[..58].iter().all(|minute| minute.requests == 0));
        let first = Minute {
            ago: 1,
            requests: 3,
            finished: 1,
            held: Duration::from_secs(2),
            peak: 3,
        };
        assert_eq!(minutes[58], first);
        assert_eq!(minutes[59].requests, 2);
        let later = load.minutes(start + Duration::from_secs(60 * 60 + 30));
        assert_eq!(later.len(), 60);
        assert_eq!(later[0].requests, 2);
        let all: u64 = load
            .minutes(start + Duration::from_secs(9_000))
            .iter()
            .map(|m| m.requests)
            .sum();
        assert_eq!(all, 0);
    }
}
