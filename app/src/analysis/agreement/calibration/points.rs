//! Points of the calibration: capped similarity, share of the pairs that agree. Generated from
//! app/data/agreement/tune.jsonl by `UPDATE_GENERATED=1 cargo test -p techsapo calibration`.

/// In order.
pub(super) static POINTS: [(f64, f64); 9] = [
    (0.0298, 0.0392),
    (0.0584, 0.2692),
    (0.071, 0.5),
    (0.0909, 0.6154),
    (0.1133, 0.7143),
    (0.1319, 0.7857),
    (0.1778, 0.8947),
    (0.2798, 0.9459),
    (0.5, 0.96),
];
