//! What was probably meant by a word that is not known.
//!
//! Never decides that a word is wrong. Used by `read` and `check`, and by
//! `cli` for names.

/// A hint that names the known word nearest to `word`, if one is near.
#[must_use]
pub fn suggestion<S: AsRef<str>>(word: &str, known: &[S]) -> Option<String> {
    // Longer words than any key are compared with nothing: the comparison is quadratic.
    if word.chars().count() > 64 {
        return None;
    }
    let small = word.to_lowercase();
    known
        .iter()
        .map(AsRef::as_ref)
        .map(|known| (strsim::osa_distance(&small, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= (known.chars().count() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| format!("did you mean {known}?"))
}
