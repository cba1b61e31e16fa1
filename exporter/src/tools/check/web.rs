//! The web configuration and the certificates: whether they can be used, and for how long still.

use std::path::Path;

use techsapo_tls::ClientTls;

use super::finding::Finding;
use crate::web::config::Settings;

const DAY_S: i64 = 86_400;
/// Who renews at two thirds of 90 days has this much left at least.
const SOON_DAYS: i64 = 14;

/// Looks at the file of `--web.config.file`, if there is one, and at the exporter's own certificates, if they can be read.
pub(super) fn look(file: Option<&Path>, tls: Option<&ClientTls>, now_ms: u64) -> Vec<Finding> {
    let now_s = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
    let mut findings = Vec::new();
    if let Some(file) = file {
        let about = format!("web.config.file {}", file.display());
        findings.push(match Settings::read(file) {
            Ok(Settings { tls: Some(tls), .. }) => certificate(about, tls.not_after, now_s),
            Ok(Settings { tls: None, .. }) => {
                let advice = "add tls_server_config, or keep it on a private network";
                Finding::warning(about, "the pages are served in clear", advice)
            }
            Err(error) => Finding::failed(about, error, "docs/tls.md tells what stands in it"),
        });
    }
    if let Some(not_after) = tls.and_then(ClientTls::not_after) {
        findings.push(certificate("tls.cert-file".to_owned(), not_after, now_s));
    }
    findings
}

fn certificate(about: String, not_after: i64, now_s: i64) -> Finding {
    let left = not_after - now_s;
    let days = left.abs() / DAY_S;
    match left {
        ..=0 => Finding::failed(about, format_args!("its certificate ran out {days} days ago"), "renew it"),
        _ if days < SOON_DAYS => {
            Finding::warning(about, format_args!("its certificate runs out in {days} days"), "renew it")
        }
        _ => Finding::ok(about, format_args!("it can be used; its certificate runs out in {days} days")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::check::finding::Verdict;

    #[test]
    fn a_certificate_is_judged_by_what_is_left_of_it() {
        let now_s = 1_790_000_000;
        for (left_days, verdict) in
            [(-1, Verdict::Failed), (0, Verdict::Failed), (5, Verdict::Warning), (30, Verdict::Ok)]
        {
            let finding = certificate(String::new(), now_s + left_days * DAY_S, now_s);
            assert_eq!(finding.verdict, verdict, "{left_days}");
        }
    }
}
