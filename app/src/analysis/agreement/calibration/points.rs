//! Points of the calibration: capped similarity, share of the pairs that agree. Generated from
//! app/data/agreement/tune.jsonl by `UPDATE_GENERATED=1 cargo test -p techsapo calibration`.

/// In order.
pub(super) static POINTS: [(f64, f64); 9] = [
    (0.0292, 0.0347),
    (0.0483, 0.1429),
    (0.0574, 0.2),
    (0.067, 0.3571),
    (0.0977, 0.7368),
    (0.1404, 0.7857),
    (0.1851, 0.8846),
    (0.2704, 0.9677),
    (0.4798, 0.9677),
];
