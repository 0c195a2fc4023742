//! Names of keys: their sections, those that are librdkafka's, and what a misspelt one was meant to be.

/// The one table whose keys are free: they are librdkafka's.
pub(super) const PROPERTIES: &str = "kafka.properties";

/// The name librdkafka has for a key below [`PROPERTIES`].
pub(super) fn property(key: &str) -> Option<&str> {
    key.strip_prefix(PROPERTIES)?.strip_prefix('.')
}

/// A key's section, and its name there.
pub(super) fn in_section(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or((key, ""))
}

/// What was probably meant: a candidate few typing mistakes away, or one that only lacks its section.
pub(super) fn nearest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mistakes = |candidate: &str| match in_section(candidate) {
        (_, name) if name == typed => 0,
        _ => strsim::levenshtein(typed, candidate),
    };
    let nearest = candidates.map(|candidate| (mistakes(candidate), candidate)).min();
    nearest.filter(|(mistakes, _)| *mistakes <= 1 + typed.len() / 6).map(|(_, candidate)| candidate)
}
