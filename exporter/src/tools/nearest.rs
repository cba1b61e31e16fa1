//! What somebody may have meant who mistyped a name. Pure.

/// How like the name must be, from 0 to 1, to be worth suggesting.
const LIKE: f64 = 0.6;
/// Most suggestions.
const MOST: usize = 3;

/// Those of `names` that `typed` may have meant, the likeliest first: those that it is a part of, else those that are
/// spelled much like it. Case does not matter.
pub(super) fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let typed = typed.to_ascii_lowercase();
    let likeness = |name: &str| {
        let name = name.to_ascii_lowercase();
        let part = if typed.len() > 2 && name.contains(&typed) { 1.0 } else { 0.0 };
        part + strsim::normalized_damerau_levenshtein(&typed, &name)
    };
    let mut scored: Vec<_> = names.into_iter().map(|name| (likeness(name), name)).collect();
    scored.retain(|&(likeness, _)| likeness >= LIKE);
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().map(|(_, name)| name).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] =
        ["llm_requests_total", "http_requests_total", "wallbounce_cost_usd", "errors_total"];

    #[test]
    fn slips_of_the_keys_and_parts_of_names_are_understood() {
        assert_eq!(nearest("lmm_request_total", NAMES)[0], "llm_requests_total");
        assert_eq!(nearest("Cost", NAMES), ["wallbounce_cost_usd"]);
        assert_eq!(nearest("requests", NAMES), ["llm_requests_total", "http_requests_total"]);
        assert!(nearest("zzz", NAMES).is_empty());
        assert!(nearest("", NAMES).is_empty());
    }
}
