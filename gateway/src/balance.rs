//! Which replica a request goes to, among those with a free slot.
//!
//! Where a replica has few slots, one of the least busy is taken: an idle one
//! while there is any, so that with one slot nobody is ever put behind another
//! request (join-idle-queue). Where there are many, the less busy of two drawn
//! ones (power of two choices): almost as good, at a cost that does not grow.
//! A replica that is warming up is drawn less often.
//!
//! Pure: the draw is an argument. Never chooses a replica it was not told has
//! room. Called by `fleet`'s roster, which charges at the moment of choice.

/// Replicas with at most this many slots are kept in order of what is running
/// on them; past it two are drawn and compared. At most this many lists are
/// looked at for one choice.
pub const FEW: u32 = 8;

/// The weight of a replica that is warm, in thousandths.
pub const WARM: u32 = 1_000;

/// Where a replica stands in the lists.
#[derive(Debug, Clone, Copy)]
struct Place {
    level: usize,
    position: usize,
    busy: u32,
}

/// The replicas that have room, by what is running on them. Keys are small
/// numbers that the owner gives and uses again.
#[derive(Debug, Default)]
pub struct Balance {
    few: bool,
    levels: Vec<Vec<u32>>,
    places: Vec<Option<Place>>,
}

impl Balance {
    /// An empty one for replicas of `slots` slots.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            few: slots <= FEW,
            levels: Vec::new(),
            places: Vec::new(),
        }
    }

    /// How many replicas have room.
    #[must_use]
    pub fn open(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }

    /// Says that `key` has room and runs `busy` requests, or (none) that it
    /// has no room. Constant time.
    pub fn set(&mut self, key: u32, busy: Option<u32>) {
        let index = key as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        let old = self.places.get(index).copied().flatten();
        let level = busy.map(|busy| if self.few { busy as usize } else { 0 });
        if let (Some(old), Some(level)) = (old, level)
            && old.level == level
        {
            if let Some(Some(place)) = self.places.get_mut(index) {
                place.busy = busy.unwrap_or(0);
            }
            return;
        }
        if let Some(old) = old {
            self.take_out(old);
        }
        let place = busy
            .zip(level)
            .map(|(busy, level)| self.put_in(key, busy, level));
        if let Some(slot) = self.places.get_mut(index) {
            *slot = place;
        }
    }

    fn put_in(&mut self, key: u32, busy: u32, level: usize) -> Place {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        let mut position = 0;
        if let Some(list) = self.levels.get_mut(level) {
            position = list.len();
            list.push(key);
        }
        Place {
            level,
            position,
            busy,
        }
    }

    fn take_out(&mut self, place: Place) {
        let Some(list) = self.levels.get_mut(place.level) else {
            return;
        };
        if place.position >= list.len() {
            return;
        }
        list.swap_remove(place.position);
        let moved = list.get(place.position).copied();
        if let Some(Some(moved)) = moved.and_then(|key| self.places.get_mut(key as usize)) {
            moved.position = place.position;
        }
    }

    /// Chooses a replica with room other than `not`; none where there is none.
    ///
    /// `weight` is how warm a replica is, in thousandths (0 counts as 1). The
    /// caller charges it with [`Balance::set`] before anybody chooses again.
    #[must_use]
    pub fn pick(&self, draw: u64, not: Option<u32>, weight: impl Fn(u32) -> u32) -> Option<u32> {
        self.levels.iter().find_map(|level| {
            let (first, second) = two_of(level, draw, not)?;
            let Some(second) = second else {
                return Some(first);
            };
            let (one, two) = (weight(first).clamp(1, WARM), weight(second).clamp(1, WARM));
            if self.few {
                // Equally busy: the weights alone decide, and most often are equal.
                let chance = draw.rotate_left(17) % u64::from(one + two);
                return Some(if one == two || chance < u64::from(one) {
                    first
                } else {
                    second
                });
            }
            // (busy + 1) / weight, without the division; a tie goes to the first drawn.
            let load = |key, other| (u64::from(self.busy(key)) + 1) * u64::from(other);
            Some(if load(first, two) <= load(second, one) {
                first
            } else {
                second
            })
        })
    }

    fn busy(&self, key: u32) -> u32 {
        self.places
            .get(key as usize)
            .copied()
            .flatten()
            .map_or(0, |place| place.busy)
    }
}

/// Two different members of `list` that are not `not`, drawn; one where there
/// is but one.
fn two_of(list: &[u32], draw: u64, not: Option<u32>) -> Option<(u32, Option<u32>)> {
    let len = list.len();
    let at = |position: usize| list.get(position % len.max(1)).copied();
    let first_at = below(draw as u32, len);
    let mut second_at = first_at + 1 + below((draw >> 32) as u32, len.saturating_sub(1));
    let mut first = at(first_at)?;
    let mut second = at(second_at)?;
    if Some(first) == not {
        first = second;
        second_at += 1;
        second = at(second_at)?;
        // With two members the next after the second is the excluded one again.
        if Some(second) == not {
            second = at(second_at + 1)?;
        }
    } else if Some(second) == not {
        second = at(second_at + 1)?;
    }
    if Some(first) == not {
        return None;
    }
    Some((
        first,
        (second != first && Some(second) != not).then_some(second),
    ))
}

/// A number below `len`, from 32 random bits (Lemire's multiplication).
fn below(bits: u32, len: usize) -> usize {
    ((u64::from(bits) * len as u64) >> 32) as usize
}

#[cfg(test)]
mod tests;
