//! What must hold for any two texts, and the figures on the labelled pairs that docs/agreement.md publishes.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::evaluation::{Figures, Labelled, labelled};
use super::*;

const TUNE: &str = include_str!("../../../data/agreement/tune.jsonl");
const HELD_OUT: &str = include_str!("../../../data/agreement/held_out.jsonl");

/// Compares a text with the file of the repository, or writes it with `UPDATE_GENERATED=1`.
pub(super) fn check_generated(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is not what the pairs say; UPDATE_GENERATED=1 cargo test -p techsapo agreement writes it",
        path.display()
    );
}

fn compare(question: &str, a: &str, b: &str) -> Comparison {
    let question = Prompt::of(question);
    Fingerprint::of(a, &question).compare(&Fingerprint::of(b, &question))
}

fn conflicts(question: &str, a: &str, b: &str) -> Vec<Conflict> {
    compare(question, a, b).conflicts.iter().map(|cap| cap.reason).collect()
}

/// Any Unicode, and text made of what the rules look for.
fn texts() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "not ",
        "no",
        "never",
        "safe",
        "unsafe",
        "yes, ",
        "3 ",
        "30 s",
        "1,5",
        "-",
        "½",
        "半",
        "十分",
        "三百",
        "万",
        "年",
        "月",
        "9 november ",
        "1989-11-09",
        "5€",
        "$4-5",
        "v3.12.1",
        "between 4 and 5 h",
        "ません",
        "必要は",
        "ない",
        "はい、",
        "安全",
        "危険",
        "避け",
        "ので",
        "。",
        ". ",
        "\n",
        "`a = 1`",
        "```\n",
        "x=1\n",
        "«",
        "e\u{301}",
        "ﬁ",
        "İ",
        "ß",
        "👍🏽",
        "\u{0}",
        "\u{10ffff}",
        "か",
    ]);
    prop_oneof![
        ".{0,80}",
        "\\PC{0,80}",
        prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat()),
    ]
}

proptest! {
    #[test]
    fn is_symmetric_and_a_share(question in texts(), a in texts(), b in texts()) {
        let (one, other) = (compare(&question, &a, &b), compare(&question, &b, &a));
        prop_assert_eq!(&one, &other);
        for share in [one.agreement, one.cosine, one.dice, one.similarity, one.capped] {
            prop_assert!((0.0..=1.0).contains(&share), "{:?}", one);
        }
    }

    #[test]
    fn a_text_agrees_with_itself(question in texts(), text in texts()) {
        prop_assert_eq!(compare(&question, &text, &text).agreement_ppm(), WHOLE_PPM);
    }
}

#[test]
fn a_number_of_the_question_is_no_agreement_either_way() {
    let (question, a, b) = ("`a = 1`", "2", "-1989-11-099 november ");
    assert_eq!(compare(question, a, b), compare(question, b, a));
}

#[test]
fn spacing_case_and_marks_do_not_matter() {
    assert_eq!(compare("", "Use **an**  INDEX.", "- use an index").agreement_ppm(), WHOLE_PPM);
    assert_eq!(compare("", "ＡＢＣ　１２３", "abc 123").agreement_ppm(), WHOLE_PPM);
}

#[test]
fn signs_that_say_yes_and_no_are_read_and_other_signs_are_not_all_the_same() {
    let question = "生の鶏肉は食べられますか。○×で答えてください。";
    for (a, b) in [
        ("○", "×"),
        ("◯", "✕"),
        ("👍🏽", "👎"),
        ("<", ">"),
        ("○。加熱すれば安全です。", "×。加熱すれば安全です。"),
    ] {
        assert!(compare(question, a, b).agreement < 0.5, "{a} {b}");
        for one in [a, b] {
            assert_eq!(compare(question, one, &format!(" {one}\n")).agreement, 1.0, "{one}");
        }
    }
    assert!(compare(question, "○", "×").similarity.is_sign_positive());
    assert_eq!(conflicts(question, "○です", "×です"), [Conflict::Verdict]);
    assert!(compare(question, "○です", "はい").same_verdict);
    // A bullet, a gap and a product are no verdicts.
    for text in ["× 3 を掛ける", "○○さん", "✅ Restart it", "×3"] {
        assert!(!compare("", text, "はい").same_verdict && conflicts("", text, "はい").is_empty(), "{text}");
    }
    assert!(compare("", "2**8", "28").agreement < 1.0);
}

#[test]
fn a_choice_named_a_is_not_the_article() {
    let question = "Which is right: A, B or C?";
    for (a, b) in [
        ("The answer is A.", "The answer is B."),
        ("The correct option is A.", "The correct option is C."),
        ("Option A is correct.", "Option B is correct."),
        ("正解はAです。", "正解はBです。"),
        ("A", "B"),
    ] {
        let compared = compare(question, a, b);
        assert!(compared.agreement < 0.5, "{a} {b} {compared:?}");
    }
    for (a, b) in [("This is a test.", "THIS IS A TEST."), ("A test is enough.", "a test is enough.")] {
        assert_eq!(compare("", a, b).agreement, 1.0, "{a} {b}");
    }
}

#[test]
fn answers_of_code_agree_as_far_as_their_code_does() {
    let question = "Write a function that finds the largest of two numbers. Only code.";
    let fenced = |code: &str| format!("```python\n{code}\n```");
    let same = [
        "def largest(a, b):\n    if a > b:\n        return a\n    return b",
        "def largest(a, b):\n  if a > b:\n    return a\n  return b  # b, also where both are equal",
    ];
    let other =
        "import heapq\nfor number in heapq.nlargest(1, map(int, input().split())):\n    print(number)";
    for opening in ["", "Sure, this works:\n"] {
        let (one, two) = (format!("{opening}{}", fenced(same[0])), fenced(same[1]));
        assert!(compare(question, &one, &two).agreement > 0.9, "{:?}", compare(question, &one, &two));
        assert!(compare(question, &one, &fenced(other)).agreement < 0.1);
    }
    let turned = compare("", &fenced("a - b"), &fenced("b - a"));
    assert!(turned.agreement < 0.5, "{turned:?}");
}

#[test]
fn long_texts_differ_also_where_they_are_not_read() {
    let long = "A sentence of some words. ".repeat(10_000);
    assert_eq!(compare("", &long, &long).agreement_ppm(), WHOLE_PPM);
    assert!(compare("", &long, &format!("{long}x")).agreement_ppm() < WHOLE_PPM);
}

#[test]
fn work_is_bounded() {
    // 200 kB without an end of a sentence, of nothing but ends, of numbers, negations, fences: a step that were quadratic
    // in the length would take minutes.
    for piece in ["x", "。", "1 ", "not ", "ません", "```\n", "三", "a. ", "`b c` "] {
        let huge = piece.repeat(200_000 / piece.len());
        assert_eq!(compare("q", &huge, &huge).agreement_ppm(), WHOLE_PPM);
    }
}

#[test]
fn each_kind_of_conflict_is_found_and_named() {
    use Conflict::{Code, Negation, Number, Opposite, Substitution, Verdict};
    for (question, a, b, expected) in [
        ("Is it safe?", "Yes, it is safe.", "No, it is not safe.", Verdict),
        ("Why?", "The cache keeps all old entries.", "The cache does not keep old entries.", Negation),
        ("なぜ？", "設定ファイルを保存します。", "設定ファイルを保存しません。", Negation),
        ("Why?", "A longer TTL will increase the load.", "A longer TTL will decrease the load.", Opposite),
        ("なぜ？", "温度が上がると速度が増加します。", "温度が上がると速度が減少します。", Opposite),
        ("How long?", "Wait for 30 seconds.", "Wait for one minute.", Number),
        ("何年？", "1603年に始まりました。", "1615年に始まりました。", Number),
        ("いくら？", "入場料は100円です。", "入場料は100ドルです。", Number),
        ("Which port?", "It listens on port 27017.", "It listens on port 27000.", Number),
        ("Which?", "Upgrade the server to 3.12.1 today.", "Upgrade the server to 3.12.4 today.", Number),
        (
            "Who?",
            "The first to reach it was Amundsen in December 1911.",
            "The first to reach it was Scott in December 1911.",
            Substitution,
        ),
        ("How?", "`git reset --soft HEAD~1`", "`git reset --hard HEAD~1`", Code),
    ] {
        let found = conflicts(question, a, b);
        assert!(found.contains(&expected), "{a} / {b}: {found:?}");
    }
}

#[test]
fn what_is_no_conflict_is_not_taken_for_one() {
    for (question, a, b) in [
        ("Is it safe?", "It is not unsafe.", "Yes, it is safe."),
        ("Should I do it?", "No, avoid it.", "I would not do it."),
        ("How long?", "It takes half an hour.", "Thirty minutes."),
        ("How much?", "The ticket costs $10.", "The ticket costs 1,500 yen."),
        ("Which?", "Upgrade the server to v3.12.1.", "Upgrade the server to 3.12.1."),
        ("してもよいですか？", "避けてください。", "おすすめできません。"),
        ("何分？", "三十分です。", "0.5時間です。"),
        ("How?", "`x = sorted(set(items))`", "`result = sorted(set(items))`"),
    ] {
        assert_eq!(conflicts(question, a, b), [], "{a} / {b}");
    }
}

fn figures<'a>(pairs: impl Iterator<Item = &'a Labelled>) -> Figures {
    Figures::of(&pairs.map(|pair| (pair.comparison.agreement, pair.agrees)).collect::<Vec<_>>()).unwrap()
}

/// What is published is what is measured, and what is measured is what is asked.
#[test]
fn the_score_does_what_the_document_says() {
    let (tune, held_out) = (labelled(TUNE), labelled(HELD_OUT));
    let all = figures(held_out.iter());
    assert!(all.auc.unwrap() >= 0.85, "{all:?}");
    assert!(all.ece <= 0.12 && all.brier <= 0.2, "{all:?}");
    for lang in ["en", "ja"] {
        let of_lang = figures(held_out.iter().filter(|pair| pair.pair.lang == lang));
        assert!(of_lang.auc.unwrap() >= 0.8, "{lang}: {of_lang:?}");
    }
    assert!(figures(tune.iter()).auc.unwrap() >= 0.85);
    let prompts = |pairs: &[Labelled]| -> std::collections::BTreeSet<String> {
        pairs.iter().map(|pair| pair.pair.prompt.clone()).collect()
    };
    assert!(prompts(&tune).is_disjoint(&prompts(&held_out)), "a prompt stands in both halves");

    let path = "docs/agreement.md";
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap();
    let (begin, end) = ("<!-- figures: generated -->\n", "<!-- end of figures -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    check_generated(path, &format!("{before}{begin}{}{end}{after}", tables(&tune, &held_out)));
}

/// The tables of docs/agreement.md.
fn tables(tune: &[Labelled], held_out: &[Labelled]) -> String {
    let mut text = String::from(
        "| half | language | pairs | agreeing | AUC | AUC of the similarity alone | ECE | Brier |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (half, pairs) in [("tune", tune), ("held out", held_out)] {
        for (lang, name) in [("en", "English"), ("ja", "Japanese"), ("", "both")] {
            let of_lang = || pairs.iter().filter(|pair| lang.is_empty() || pair.pair.lang == lang);
            let scored = figures(of_lang());
            let plain: Vec<_> = of_lang().map(|pair| (pair.comparison.similarity, pair.agrees)).collect();
            let plain = Figures::of(&plain).unwrap();
            let auc = |figures: &Figures| figures.auc.unwrap_or_default();
            let _ = writeln!(
                text,
                "| {half} | {name} | {} | {} | {:.3} | {:.3} | {:.3} | {:.3} |",
                scored.labelled,
                scored.agreeing,
                auc(&scored),
                auc(&plain),
                scored.ece,
                scored.brier
            );
        }
    }
    text.push_str("\nMean agreement and found conflicts by kind, held out:\n\n| kind | agree? | pairs | mean agreement | with a conflict |\n|---|---|---|---|---|\n");
    let mut kinds: Vec<_> = held_out.iter().map(|pair| (!pair.agrees, pair.pair.kind.as_str())).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for (differs, kind) in kinds {
        let of_kind: Vec<_> = held_out.iter().filter(|pair| pair.pair.kind == kind).collect();
        let mean = of_kind.iter().map(|pair| pair.comparison.agreement).sum::<f64>() / of_kind.len() as f64;
        let conflicts = of_kind.iter().filter(|pair| !pair.comparison.conflicts.is_empty()).count();
        let agree = if differs { "no" } else { "yes" };
        let _ = writeln!(text, "| {kind} | {agree} | {} | {mean:.2} | {conflicts} |", of_kind.len());
    }
    text
}
