//! From a capped similarity to a share of pairs that agree: a monotone map, fitted by isotonic regression.
//!
//! [`fit`] makes the points from the tuning half of the labelled pairs (app/data/agreement/tune.jsonl); they stand in
//! `points.rs`, which `UPDATE_GENERATED=1 cargo test -p techsapo calibration` writes. Between the points the map is linear.

mod points;

use points::POINTS;

/// The least and the most that is ever claimed of two answers that are not equal: a table of a few hundred pairs knows no
/// certainty.
const LEAST: f64 = 0.01;
const MOST: f64 = 0.99;
/// Pairs that a step of the map rests on at least.
const PAIRS_A_STEP: usize = 12;

/// The share of pairs of this capped similarity that agree.
pub fn agreement(capped: f64) -> f64 {
    interpolate(&POINTS, capped).clamp(LEAST, MOST)
}

fn interpolate(points: &[(f64, f64)], x: f64) -> f64 {
    let after = points.partition_point(|(known, _)| *known <= x);
    match (after.checked_sub(1).and_then(|before| points.get(before)), points.get(after)) {
        (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * (x - x0) / (x1 - x0),
        (Some((_, y)), None) | (None, Some((_, y))) => *y,
        (None, None) => 0.0,
    }
}

/// Isotonic regression by pooling adjacent violators: from scores and labels to the points of a map that never falls.
/// Each step is the mean score and the share that agrees of at least a dozen pairs, one pair of each kind added so that
/// none is 0 or 1.
pub fn fit(pairs: &[(f64, bool)]) -> Vec<(f64, f64)> {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Steps of (sum of scores, agreeing, pairs).
    let mut steps: Vec<(f64, f64, f64)> = Vec::new();
    let mut open: Option<(f64, f64, f64)> = None;
    let mut last = f64::NAN;
    for (score, agrees) in sorted {
        // Pairs of one score stay together, so that their order says nothing.
        if let Some(step) = open.take_if(|step| step.2 >= PAIRS_A_STEP as f64 && score != last) {
            steps.push(step);
        }
        let step = open.get_or_insert_default();
        *step = (step.0 + score, step.1 + f64::from(u8::from(agrees)), step.2 + 1.0);
        last = score;
    }
    match (steps.last_mut(), open) {
        (Some(full), Some(rest)) if rest.2 < PAIRS_A_STEP as f64 => *full = sum(*full, rest),
        (_, Some(rest)) => steps.push(rest),
        _ => {}
    }
    let mut pooled: Vec<(f64, f64, f64)> = Vec::new();
    for step in steps {
        let mut step = step;
        while let Some(before) = pooled.pop_if(|before| before.1 / before.2 >= step.1 / step.2) {
            step = sum(before, step);
        }
        pooled.push(step);
    }
    let point = |(scores, agreeing, pairs): (f64, f64, f64)| {
        let round = |value: f64| (value * 1e4).round() / 1e4;
        (round(scores / pairs), round((agreeing + 1.0) / (pairs + 2.0)))
    };
    let mut points: Vec<_> = pooled.into_iter().map(point).collect();
    // The smoothing must not undo the order.
    for at in 1..points.len() {
        points[at].1 = points[at].1.max(points[at - 1].1);
    }
    points.dedup_by(|next, before| next.0 <= before.0);
    points
}

fn sum(a: (f64, f64, f64), b: (f64, f64, f64)) -> (f64, f64, f64) {
    (a.0 + b.0, a.1 + b.1, a.2 + b.2)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::analysis::agreement::evaluation;
    use crate::analysis::agreement::tests::check_generated;

    #[test]
    fn the_points_are_those_of_the_tuning_half() {
        let pairs = evaluation::labelled(include_str!("../../../data/agreement/tune.jsonl"));
        let scores: Vec<_> = pairs.iter().map(|pair| (pair.comparison.capped, pair.agrees)).collect();
        let points = fit(&scores);
        let mut text = String::from(
            "//! Points of the calibration: capped similarity, share of the pairs that agree. Generated from\n\
             //! app/data/agreement/tune.jsonl by `UPDATE_GENERATED=1 cargo test -p techsapo calibration`.\n\n",
        );
        let _ = writeln!(text, "/// In order.\npub(super) static POINTS: [(f64, f64); {}] = [", points.len());
        for (score, share) in points {
            let _ = writeln!(text, "    ({score:?}, {share:?}),");
        }
        text.push_str("];\n");
        check_generated("app/src/analysis/agreement/calibration/points.rs", &text);
    }

    #[test]
    fn the_map_never_falls_and_never_claims_certainty() {
        let shares: Vec<_> = (0..=1_000).map(|step| agreement(f64::from(step) / 1e3)).collect();
        assert!(shares.is_sorted());
        assert!(shares[0] >= LEAST && shares[1_000] <= MOST);
        assert!(shares[1_000] > 0.8, "{}", shares[1_000]);
    }

    #[test]
    fn violators_are_pooled() {
        let pairs: Vec<_> = (0..120).map(|n| (f64::from(n) / 120.0, n >= 60 || n % 3 == 0)).collect();
        let points = fit(&pairs);
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{points:?}");
        assert!(points[0].1 < 0.5 && points[points.len() - 1].1 > 0.9, "{points:?}");
        assert!(fit(&[]).is_empty());
    }
}
