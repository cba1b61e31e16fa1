//! What an exporter that starts now would begin with, by the rules that it begins by ([`crate::turn`]).

use uuid::Uuid;

use super::finding::Finding;
use super::redis::Survey;
use super::store::Held;
use crate::checkpoint::Unreadable;
use crate::turn::{Beginning, choose};

/// What follows from the checkpoint and from what Redis knows. Changes neither.
pub(super) fn look(held: Held, survey: &Survey, shape: (&[String], usize), now_ms: u64) -> Vec<Finding> {
    let id = held.state.as_ref().and_then(|state| state.as_ref().ok()).map(|state| state.id.to_string());
    let mut findings: Vec<_> = owners(&held.place, id.as_deref(), survey).collect();
    // Those that the store's own lines tell of already.
    let is_told = match &held.state {
        Some(Err(Unreadable::TooNew(_) | Unreadable::Damaged(_))) => true,
        Some(Ok(_)) => false,
        None => held.damaged,
    };
    if !is_told {
        let state = held.state.map(|state| state.map_err(|why| why.to_string()));
        let (_, beginning) = choose(state, held.damaged, &survey.acknowledged, shape, Uuid::nil(), now_ms);
        findings.push(told(beginning));
    }
    findings
}

fn owners<'a>(place: &'a str, id: Option<&'a str>, survey: &'a Survey) -> impl Iterator<Item = Finding> + 'a {
    survey.owners.iter().map(move |(stream, owner)| {
        let about = format!("owner of {stream}");
        if Some(owner.as_str()) == id {
            return Finding::ok(about, "the state in the checkpoint: an exporter holds it, or did until just now");
        }
        Finding::failed(
            about,
            format_args!("the state {owner}, which is not the one in {place}: this exporter would wait"),
            "if that exporter is gone for good its claim lapses within 40 s; if not, read other streams, or share its \
             checkpoint",
        )
    })
}

fn told(beginning: Beginning) -> Finding {
    let about = "counting";
    match beginning {
        Beginning::First => Finding::ok(about, "begins at zero: nothing was counted before"),
        Beginning::Continued(discarded) if discarded.is_empty() => {
            Finding::ok(about, "goes on where the checkpoint is")
        }
        Beginning::Continued(discarded) => {
            let families: Vec<_> = discarded.iter().map(|lost| lost.family.clone()).collect();
            let text = format!("goes on where the checkpoint is, except for {}", families.join(", "));
            Finding::warning(about, text, "these begin again at zero: this build counts them otherwise")
        }
        Beginning::Anew(why) => Finding::failed(
            about,
            format_args!("begins anew, all counters from zero: {why}"),
            "if another --checkpoint.dir or --checkpoint.url holds the state, give that one; never one from a backup",
        ),
    }
}
