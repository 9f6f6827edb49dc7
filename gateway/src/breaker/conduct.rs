//! What a busy replica's own requests say of it: it is judged by them and not
//! by probes, which a model server may answer only between requests
//! (SEMANTICS §4).
//!
//! Pure. Counted by `fleet`, asked by `runtime` before it probes.

/// What became of a replica's requests so far; counts wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conduct {
    /// Requests that run.
    pub busy: u32,
    /// Whose head came.
    pub answered: u32,
    /// That got no head in time, or whose connection failed.
    pub unanswered: u32,
    /// Whose slot was given back because the caller left first.
    pub left: u32,
}

/// What requests say between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Nothing, and nothing runs: a probe tells.
    Idle,
    /// It answers.
    Answers,
    /// It took requests and answered none.
    Fails,
    /// Callers left before an answer, which says nothing: a probe tells, or a
    /// replica that hangs would never be found out where slots are given back
    /// at once (`callerGone: abort`).
    Left,
    /// Nothing yet: it computes.
    Waits,
}

impl Conduct {
    /// What was said since `before`, at the look before.
    #[must_use]
    pub fn since(&self, before: &Self) -> Word {
        if self.busy == 0 {
            Word::Idle
        } else if self.answered != before.answered {
            Word::Answers
        } else if self.unanswered != before.unanswered {
            Word::Fails
        } else if self.left != before.left {
            Word::Left
        } else {
            Word::Waits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_outweighs_what_failed_and_only_what_is_new_counts() {
        #[track_caller]
        fn check(busy: u32, new: (u32, u32, u32), expected: Word) {
            let before = Conduct {
                busy: 1,
                answered: u32::MAX,
                unanswered: 7,
                left: 7,
            };
            let now = Conduct {
                busy,
                answered: before.answered.wrapping_add(new.0),
                unanswered: before.unanswered + new.1,
                left: before.left + new.2,
            };
            assert_eq!(now.since(&before), expected, "{busy} {new:?}");
        }
        check(0, (1, 1, 1), Word::Idle);
        check(2, (1, 1, 1), Word::Answers);
        check(2, (0, 1, 1), Word::Fails);
        check(2, (0, 0, 1), Word::Left);
        check(2, (0, 0, 0), Word::Waits);
    }
}
