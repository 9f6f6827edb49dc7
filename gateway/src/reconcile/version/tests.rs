use super::*;
use crate::name::Name;

#[test]
fn those_that_do_not_answer_go_first_then_the_least_busy_then_the_youngest() {
    let blue = Name::parse("blue").unwrap();
    let ids: Vec<ReplicaId> = (1..=4).map(|n| ReplicaId::new(&blue, n)).collect();
    let mut state = VersionState::new(1);
    state.place(ids.clone());
    for id in &ids[..3] {
        state.take(&ReplicaEvent::Ready { id: id.clone() });
    }
    // Of the fourth there is no news yet.
    assert_eq!(state.starting(), 1);
    let busy = |id: &ReplicaId| u32::from(*id == ids[1]);
    let out = state.take_out(1, busy);
    assert_eq!(out, [ids[3].clone(), ids[2].clone(), ids[0].clone()]);
    assert_eq!((state.count(Phase::Draining), state.starting()), (3, 0));
    assert!(state.take_out(1, busy).is_empty());
    // News of one that leaves does not bring it back.
    state.take(&ReplicaEvent::Ready { id: ids[3].clone() });
    assert_eq!(state.count(Phase::Draining), 3);
    // A new one of its name is starting, whatever is told of the old one.
    state.place(vec![ids[1].clone(), ids[3].clone()]);
    assert_eq!(state.starting(), 1);
    state.take(&ReplicaEvent::Stopped { id: ids[3].clone() });
    assert_eq!((state.count(Phase::Draining), state.starting()), (2, 1));
}

#[test]
fn a_version_of_none_that_cannot_start_is_failed_and_says_why() {
    let mut state = VersionState::new(0);
    for _ in 0..FAILURES_MAX {
        state.take(&exited());
        state.take(&ReplicaEvent::BackOff {
            id: id(),
            reason: "exit 3: no module".to_owned(),
            wait: Duration::from_millis(100),
            no_room: false,
        });
    }
    let failed = "0 of 1 replicas ready: exit 3: no module".to_owned();
    assert_eq!(state.state(), (State::Failed, failed));
    state.take(&ReplicaEvent::Ready { id: id() });
    assert_eq!(state.state(), (State::Healthy, String::new()));
}

fn id() -> ReplicaId {
    ReplicaId::new(&Name::parse("blue").unwrap(), 1)
}

fn exited() -> ReplicaEvent {
    ReplicaEvent::Exited {
        id: id(),
        reason: "exit 3: no module".to_owned(),
    }
}

#[test]
fn a_version_is_healthy_when_its_replicas_are_ready() {
    let mut state = VersionState::new(1);
    assert_eq!(state.state().0, State::Transitioning);
    state.take(&ReplicaEvent::Ready { id: id() });
    assert_eq!(state.state(), (State::Healthy, String::new()));
    state.take(&ReplicaEvent::NotReady {
        id: id(),
        reason: "no answer".to_owned(),
    });
    assert_eq!(state.state().0, State::Unhealthy);
}

#[test]
fn a_version_that_leaves_zero_by_a_change_is_on_its_way() {
    // `minReplicas` 0 to 1, after it had replicas.
    let mut state = VersionState::new(0);
    state.take(&ReplicaEvent::Ready { id: id() });
    state.take_out(0, |_| 0);
    state.take(&ReplicaEvent::Stopped { id: id() });
    assert_eq!(state.state().0, State::Healthy);
    state.need(1);
    assert_eq!(state.state().0, State::Transitioning);
    state.take(&ReplicaEvent::Ready { id: id() });
    assert_eq!(state.state().0, State::Healthy);
    // From then on a loss is one.
    state.take(&exited());
    assert_eq!(state.state().0, State::Unhealthy);
    // A replica that is there and does not answer is no start.
    let mut state = VersionState::new(0);
    state.take(&ReplicaEvent::Ready { id: id() });
    state.take(&exited());
    state.need(1);
    assert_eq!(state.state().0, State::Unhealthy);
}

#[test]
fn a_version_that_keeps_exiting_is_failed_and_says_why() {
    let mut state = VersionState::new(1);
    for _ in 0..FAILURES_MAX {
        assert_eq!(state.state().0, State::Transitioning);
        state.take(&exited());
        state.take(&ReplicaEvent::BackOff {
            id: id(),
            reason: "exit 3: no module".to_owned(),
            wait: Duration::from_millis(100),
            no_room: false,
        });
    }
    let (word, reason) = state.state();
    assert_eq!(word, State::Failed);
    assert_eq!(reason, "0 of 1 replicas ready: exit 3: no module");
}

fn without_room(n: u64) -> ReplicaEvent {
    ReplicaEvent::BackOff {
        id: ReplicaId::new(&Name::parse("blue").unwrap(), n),
        reason: "the machine has no room for it: no port".to_owned(),
        wait: Duration::from_secs(30),
        no_room: true,
    }
}

/// Also with one that is ready, and not by how often it was tried.
#[tokio::test(start_paused = true)]
async fn a_version_without_room_is_unschedulable_at_once_and_failed_after_5_minutes() {
    let mut state = VersionState::new(2);
    state.take(&ReplicaEvent::Ready { id: id() });
    let reason = "1 of 2 replicas ready: the machine has no room for it: no port";
    for _ in 0..9 {
        state.take(&without_room(2));
        assert_eq!(state.state(), (State::Unschedulable, reason.to_owned()));
        tokio::time::advance(Duration::from_secs(30)).await;
    }
    tokio::time::advance(Duration::from_secs(30)).await;
    let failed = format!("{reason}; so it has been for 5 minutes");
    assert_eq!(state.state(), (State::Failed, failed));
    // Room again: it is on its way, whatever it was.
    let two = ReplicaId::new(&Name::parse("blue").unwrap(), 2);
    let address = ([127, 0, 0, 1], 1).into();
    state.take(&ReplicaEvent::Starting {
        id: two.clone(),
        address,
        tls: None,
    });
    assert_eq!(state.state().0, State::Transitioning);
    state.take(&ReplicaEvent::Ready { id: two });
    assert_eq!(state.state(), (State::Healthy, String::new()));
    // Of none that are needed, the one that a request asks for has no room.
    let mut state = VersionState::new(0);
    state.take(&without_room(1));
    assert_eq!(state.state().0, State::Unschedulable);
}

#[test]
fn one_that_becomes_ready_does_not_hide_why_another_is_not() {
    let mut state = VersionState::new(2);
    state.take(&ReplicaEvent::NotYet {
        id: ReplicaId::new(&Name::parse("blue").unwrap(), 2),
        reason: "refused".to_owned(),
    });
    state.take(&ReplicaEvent::Ready { id: id() });
    let reason = "1 of 2 replicas ready: refused".to_owned();
    assert_eq!(state.state(), (State::Transitioning, reason));
}

#[test]
fn a_version_of_no_replicas_is_healthy() {
    assert_eq!(VersionState::new(0).state().0, State::Healthy);
}
