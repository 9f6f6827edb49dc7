//! What `reconcile` does to a roster: replicas come, become ready, drain and go.
//!
//! Keeps the sums right at each change; never chooses a replica. After every
//! public call whoever can be served by the change is.

use std::time::Instant;

use super::{Balance, Handed, Health, Member, Roster, Rules};
use crate::breaker::BROKEN_PAUSE;

impl<W> Roster<W> {
    /// Other rules from now on. Who waits keeps its deadline.
    pub fn update(&mut self, now: Instant, rules: Rules) -> Vec<Handed<W>> {
        let same = rules.slots == self.rules.slots;
        if rules.cold_start_wait.is_some() != self.rules.cold_start_wait.is_some() {
            self.cold = rules.cold_start_wait.is_some();
        }
        self.rules = rules;
        if !same {
            self.balance = Balance::new(self.rules.slots.get());
            self.sums.slots = 0;
            self.sums.free = 0;
            for key in 0..u32::try_from(self.members.len()).unwrap_or(0) {
                let Some(member) = self.member(key) else {
                    continue;
                };
                if member.ready && !member.draining {
                    let busy = member.busy;
                    self.sums.slots += self.rules.slots.get();
                    self.sums.free += self.rules.slots.get().saturating_sub(busy);
                }
                self.place(now, key);
            }
        }
        self.settle(now)
    }

    /// A replica that is not ready yet; its key.
    pub fn add(&mut self) -> u32 {
        self.lives = self.lives.wrapping_add(1);
        let member = Member {
            life: self.lives,
            ready: false,
            draining: false,
            busy: 0,
            ready_since: None,
            watched: false,
            health: Health::default(),
        };
        if let Some(key) = self.free_keys.pop()
            && let Some(slot) = self.members.get_mut(key as usize)
        {
            *slot = Some(member);
            return key;
        }
        self.members.push(Some(member));
        u32::try_from(self.members.len() - 1).unwrap_or(u32::MAX)
    }

    /// Says whether a replica is ready. One that becomes so has a clean record.
    pub fn set_ready(&mut self, now: Instant, key: u32, ready: bool) -> Vec<Handed<W>> {
        self.leave_sums(key);
        if let Some(Some(member)) = self.members.get_mut(key as usize) {
            if ready && !member.ready {
                member.health = Health::default();
                member.ready_since = Some(now);
            }
            member.ready = ready;
        }
        self.enter_sums(key);
        self.changed(now, key)
    }

    /// How many are being started.
    pub fn set_starting(&mut self, now: Instant, starting: u32) -> Vec<Handed<W>> {
        self.starting = starting;
        self.settle(now)
    }

    /// Whether a request may start the first replica; no where the last start
    /// failed and waits for its next attempt.
    pub fn set_cold(&mut self, now: Instant, cold: bool) -> Vec<Handed<W>> {
        self.cold = cold && self.rules.cold_start_wait.is_some();
        self.settle(now)
    }

    /// The replica gets nothing new; what runs on it goes on.
    pub fn set_draining(&mut self, now: Instant, key: u32) -> Vec<Handed<W>> {
        self.leave_sums(key);
        if let Some(Some(member)) = self.members.get_mut(key as usize) {
            member.draining = true;
        }
        self.enter_sums(key);
        self.changed(now, key)
    }

    /// Forgets a replica. Seats of it that are still out are worth nothing.
    pub fn remove(&mut self, now: Instant, key: u32) -> Vec<Handed<W>> {
        self.leave_sums(key);
        if let Some(slot) = self.members.get_mut(key as usize)
            && let Some(member) = slot.take()
        {
            self.sums.busy -= member.busy;
            self.free_keys.push(key);
        }
        self.changed(now, key)
    }

    fn changed(&mut self, now: Instant, key: u32) -> Vec<Handed<W>> {
        self.spare_half(now);
        self.place(now, key);
        self.settle(now)
    }

    /// Takes a member out of the sums before it changes; `enter_sums` puts it
    /// back as it then is.
    pub(super) fn leave_sums(&mut self, key: u32) {
        let slots = self.rules.slots.get();
        let Some(Some(member)) = self.members.get(key as usize) else {
            return;
        };
        let sums = &mut self.sums;
        if member.draining {
            sums.draining -= 1;
            sums.leaving -= member.busy;
        } else if member.ready {
            sums.ready -= 1;
            sums.slots -= slots;
            sums.free -= slots.saturating_sub(member.busy);
            sums.ejected -= u32::from(member.health.ejected());
            self.erring -= usize::from(member.health.erring());
        }
    }

    pub(super) fn enter_sums(&mut self, key: u32) {
        let slots = self.rules.slots.get();
        let Some(Some(member)) = self.members.get(key as usize) else {
            return;
        };
        let sums = &mut self.sums;
        if member.draining {
            sums.draining += 1;
            sums.leaving += member.busy;
        } else if member.ready {
            sums.ready += 1;
            sums.slots += slots;
            sums.free += slots.saturating_sub(member.busy);
            sums.ejected += u32::from(member.health.ejected());
            self.erring += usize::from(member.health.erring());
        }
    }

    /// Takes ejections back, the soonest over first, until at most half are out;
    /// those are found again at once.
    fn spare_half(&mut self, now: Instant) {
        while self.sums.ejected * 2 > self.sums.ready {
            let soonest = (0_u32..)
                .zip(&self.members)
                .filter_map(|(key, slot)| slot.as_ref().map(|member| (key, member)))
                .filter(|(_, member)| member.ready && !member.draining)
                .filter_map(|(key, member)| Some((member.health.ejected_until()?, key)))
                .min();
            let Some((_, key)) = soonest else { return };
            if let Some(Some(member)) = self.members.get_mut(key as usize) {
                member.health.readmit();
                self.sums.ejected -= 1;
            }
            self.place(now, key);
        }
    }

    /// Whether one that asks now would be turned away only because the
    /// connections of all replicas that could take it broke a moment ago. While
    /// one of them takes requests, it has them.
    pub(super) fn would_refuse_for_a_break(&self, now: Instant) -> bool {
        let full = self.queue.len() >= self.rules.queue_capacity;
        if !full && self.patience() >= BROKEN_PAUSE {
            return false;
        }
        let slots = self.rules.slots.get();
        let members = self.members.iter().flatten();
        let mut all = members.filter(|member| member.ready && !member.draining);
        let mut broken = false;
        all.all(|member| {
            broken |= member.health.broken();
            member.health.allowed(slots, now) == 0
        }) && broken
    }

    /// Ends those moments now; those who wait are served first.
    pub(super) fn trust_all(&mut self, now: Instant) -> Vec<Handed<W>> {
        for key in 0..u32::try_from(self.members.len()).unwrap_or(0) {
            if let Some(Some(member)) = self.members.get_mut(key as usize) {
                member.health.trust();
            }
            self.place(now, key);
        }
        self.settle(now)
    }

    /// Puts a replica where `balance` finds it, or takes it out of there.
    pub(super) fn place(&mut self, now: Instant, key: u32) {
        let slots = self.rules.slots.get();
        let Some(Some(member)) = self.members.get_mut(key as usize) else {
            self.balance.set(key, None);
            return;
        };
        let takes = member.ready && !member.draining;
        let room = takes && member.busy < member.health.allowed(slots, now);
        self.balance.set(key, room.then_some(member.busy));
        let Some(due) = member.health.due(slots, now).filter(|_| takes) else {
            return;
        };
        self.next_due = Some(self.next_due.map_or(due, |before| before.min(due)));
        if !member.watched {
            member.watched = true;
            self.watched.push(key);
        }
    }
}
