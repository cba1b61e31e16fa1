//! Variables of the environment that look like the exporter's and are none: a mistyped one is a setting that nobody
//! gets. Pure.

use super::finding::Finding;
use crate::tools::nearest::nearest;

const PREFIX: &str = "TECHSAPO_EXPORTER_";
/// The app's: where it finds an exporter.
const OF_THE_APP: &str = "TECHSAPO_EXPORTER_URL";

/// What is wrong with the variables `names`, of which `known` are read.
pub(super) fn look(names: impl IntoIterator<Item = String>, known: &[String]) -> Vec<Finding> {
    let mut unknown: Vec<_> = names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && name != OF_THE_APP && !known.contains(name))
        .collect();
    unknown.sort();
    unknown
        .iter()
        .map(|name| Finding::warning("settings", format!("{name} is read by nobody"), advice(name, known)))
        .collect()
}

fn advice(name: &str, known: &[String]) -> String {
    let bare = |name: &'_ str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let known: Vec<_> = known.iter().map(|name| bare(name)).collect();
    match nearest(&bare(name), known.iter().map(String::as_str)).first() {
        Some(near) => format!("did you mean {PREFIX}{near}?"),
        None => "techsapo-exporter --help names them all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::paint::{Paint, When};

    #[test]
    fn mistyped_variables_are_told_with_what_was_meant() {
        let known = ["TECHSAPO_EXPORTER_REDIS_URL", "TECHSAPO_EXPORTER_CHECKPOINT_DIR"].map(str::to_owned);
        let names = [
            "PATH",
            "TECHSAPO_LISTEN",
            "TECHSAPO_EXPORTER_URL",
            "TECHSAPO_EXPORTER_REDIS_URL",
            "TECHSAPO_EXPORTER_REDIS_ULR",
            "TECHSAPO_EXPORTER_ZZZZ",
        ];
        let paint = Paint::of(When::Never, &std::io::stdout());
        let lines: Vec<_> =
            look(names.map(str::to_owned), &known).iter().map(|finding| finding.line(paint)).collect();
        assert_eq!(
            lines,
            [
                "warning  settings: TECHSAPO_EXPORTER_REDIS_ULR is read by nobody; did you mean TECHSAPO_EXPORTER_REDIS_URL?",
                "warning  settings: TECHSAPO_EXPORTER_ZZZZ is read by nobody; techsapo-exporter --help names them all",
            ]
        );
    }
}
