//! What the simulated providers say: short, plausible, in the prompt's language.
//!
//! A question has one line of advice, which follows from the question alone. Providers that agree give that advice
//! with an opening and a closing of their own and a word changed here and there; one that disagrees gives the advice
//! of the other camp, which begins by denying the first sentence of this one.

use super::Draw;

/// On which side an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stance {
    /// With the others.
    Common,
    /// Against them.
    Contrary,
}

/// Sentences of one language. A sentence is a list of wordings that say the same.
struct Phrasebook {
    openings: &'static [&'static str],
    /// Two camps with advice that excludes the other's, each with several subjects.
    common: &'static [[&'static [&'static str]; 5]],
    contrary: &'static [[&'static [&'static str]; 5]],
    closings: &'static [&'static str],
    /// Opening of what several answers have in common, and what is said where they have nothing.
    merged: &'static str,
    divided: &'static str,
    separator: &'static str,
}

/// An answer of `sentences` sentences between an opening and a closing. `question` draws what all providers share,
/// `own` what is this provider's alone.
pub(super) fn compose(prompt: &str, stance: Stance, sentences: usize, question: Draw, own: Draw) -> String {
    let book = if prompt.chars().any(is_ideographic) { &JAPANESE } else { &ENGLISH };
    let camp = match stance {
        Stance::Common => book.common,
        Stance::Contrary => book.contrary,
    };
    let subject = question.number("subject") as usize % camp.len();
    let mut parts = vec![own.choose("opening", book.openings)];
    for (index, wordings) in camp[subject].iter().take(sentences).enumerate() {
        parts.push(own.choose(&index.to_string(), wordings));
    }
    parts.push(own.choose("closing", book.closings));
    parts.join(book.separator)
}

/// What most of these answers say: the sentences that more than half of them hold, in the order of the first of them.
pub(super) fn merge(answers: &[&str]) -> String {
    let sentences: Vec<Vec<&str>> = answers.iter().map(|answer| sentences(answer)).collect();
    let most =
        |sentence: &&str| 2 * sentences.iter().filter(|all| all.contains(sentence)).count() > sentences.len();
    let mut shared: Vec<&str> = Vec::new();
    for sentence in sentences.iter().flatten().copied().filter(most) {
        if !shared.contains(&sentence) {
            shared.push(sentence);
        }
    }
    let japanese = answers.iter().any(|answer| answer.chars().any(is_ideographic));
    let book = if japanese { &JAPANESE } else { &ENGLISH };
    let merged = if shared.is_empty() { vec![book.divided] } else { [vec![book.merged], shared].concat() };
    merged.join(book.separator)
}

/// The sentences of a text, and what stands before a colon as one of its own.
fn sentences(text: &str) -> Vec<&str> {
    text.split_inclusive(['.', ':', '。']).map(str::trim).filter(|sentence| !sentence.is_empty()).collect()
}

/// Whether a character belongs to a script that is written without spaces (kana, Chinese characters and their
/// punctuation).
pub(super) fn is_ideographic(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}')
}

static ENGLISH: Phrasebook = Phrasebook {
    openings: &["In short:", "My view:", "To answer directly:", "Briefly:"],
    common: &[
        [
            &[
                "Start with the smallest change that can be measured, and put it in front of a few real users first.",
                "Start with the smallest change that you can measure, and put it in front of a few real users first.",
            ],
            &[
                "Compare error rate and latency with the figures of the day before, and widen the rollout step by step.",
                "Compare error rate and latency with the figures from the day before, and widen the rollout in steps.",
            ],
            &["Keep the way back open: a rollback must take minutes, not hours."],
            &[
                "Write down beforehand which figure would make you stop, so that nobody argues about it at night.",
                "Beforehand, write down which figure would make you stop, so that nobody argues about it at night.",
            ],
            &["Once a week without surprises has passed, remove the old path and its switches."],
        ],
        [
            &[
                "Measure before changing anything: a profile of the real load shows where the time goes.",
                "Measure before you change anything: a profile under real load shows where the time goes.",
            ],
            &[
                "In most systems one query or one lock explains most of the delay, and an index or a smaller lock cures it.",
                "In most systems one query or one lock explains most of the delay, and an index or a smaller lock will cure it.",
            ],
            &["Cache only what is read often and may be a little old."],
            &["Repeat the measurement after each step, and keep only those steps that show in the figures."],
            &["Set an alert on the slowest percentile, so that the gain does not melt away unseen."],
        ],
        [
            &[
                "Divide the problem along the data: each part should own its tables and share only events.",
                "Divide the problem along the data: every part should own its tables and share nothing but events.",
            ],
            &["Give each boundary a contract that is versioned and tested from both sides."],
            &[
                "Make every operation safe to repeat, because networks deliver twice or not at all.",
                "Make each operation safe to repeat, because networks deliver twice or not at all.",
            ],
            &["Prefer a plain queue and one database over a clever mesh until the load proves otherwise."],
            &["Rehearse the failure of each part once a month and note what surprised you."],
        ],
    ],
    contrary: &[
        [
            &[
                "Do not start with the smallest change in front of a few real users; switch everything over in one planned night.",
            ],
            &["Two versions side by side cost double maintenance and confuse support staff."],
            &["Freeze all other work meanwhile, announce downtime, and restore a backup if it goes wrong."],
            &["Statistics from a tiny group mislead, since early adopters behave unlike typical customers."],
            &["Afterwards delete legacy code immediately."],
        ],
        [
            &[
                "Do not measure before changing anything: buy faster machines, for engineering hours are dearer than hardware.",
            ],
            &["Profiling rarely pays off, because bottlenecks move as soon as traffic patterns shift."],
            &["Put a large cache before everything and invalidate it nightly."],
            &["Rewrite hot sections in a compiled language when budgets allow."],
            &["Accept occasional slowness; customers forgive it."],
        ],
        [
            &[
                "Do not divide the problem along the data: keep it one program, for splitting creates more trouble than it removes.",
            ],
            &["A shared schema with strict transactions guarantees consistency that messaging never will."],
            &["Modules inside a single deployable unit give clean borders without network calls."],
            &["Scale vertically for years before considering anything distributed."],
            &["Review this decision only when teams block each other daily."],
        ],
    ],
    closings: &[
        "That is what I would do first.",
        "This would be my first step.",
        "I would begin there.",
        "That is where I would begin.",
    ],
    merged: "Most answers say the same:",
    divided: "The answers contradict each other, and no single one of them can be given.",
    separator: " ",
};

static JAPANESE: Phrasebook = Phrasebook {
    openings: &[
        "結論から言うと、次のとおりです。",
        "要点を述べます。",
        "簡潔にお答えします。",
        "私の考えは次のとおりです。",
    ],
    common: &[
        [
            &[
                "まず測定できる最小の変更から始め、少数の実利用者で確かめてください。",
                "まずは測定できる最小の変更から始めて、少数の実利用者で確かめてください。",
            ],
            &[
                "エラー率と応答時間を前日の値と比べながら、段階的に対象を広げます。",
                "エラー率と応答時間を前日の値と比べつつ、段階的に対象を広げます。",
            ],
            &["切り戻しは数分で終わるように、手順を事前に用意しておきます。"],
            &["どの数値になったら中止するかを、前もって文書に決めておきます。"],
            &["一週間問題がなければ、古い経路と切り替え用の設定を削除します。"],
        ],
        [
            &[
                "変更する前に測定し、実際の負荷でどこに時間がかかるかを確認してください。",
                "変更の前に測定し、実際の負荷でどこに時間がかかっているかを確認してください。",
            ],
            &["多くの場合、一つの問い合わせか一つのロックが遅延の大半を説明します。"],
            &[
                "よく読まれ、少し古くてもよいデータだけをキャッシュします。",
                "よく読まれ、少し古くなってもよいデータだけをキャッシュします。",
            ],
            &["手順ごとに測定を繰り返し、数値に効果が表れた変更だけを残します。"],
            &["最も遅い百分位に警報を設定し、改善が失われないように見張ります。"],
        ],
    ],
    contrary: &[
        [
            &[
                "最小の変更から始めず、少数の実利用者で確かめることもせず、計画した一晩で一斉に切り替えるべきです。",
            ],
            &["二つの版を並行運用すると保守費用が倍になり、担当者も混乱します。"],
            &["その間ほかの作業は凍結し、失敗したらバックアップから復元します。"],
            &["少人数の統計は偏りが大きく、判断材料になりません。"],
            &["終わり次第、旧コードはすぐ破棄します。"],
        ],
        [
            &[
                "変更する前に測定する必要はなく、実際の負荷でどこに時間がかかるかを確認しなくてもかまいません。高速な機械を買うほうが安く済みます。",
            ],
            &["ボトルネックは利用傾向とともに移るため、プロファイルの価値は低いです。"],
            &["全体の前に大きなキャッシュを置き、毎晩消去します。"],
            &["予算が許せば、重い部分を別の言語で書き直します。"],
            &["たまの遅さは受け入れても構いません。"],
        ],
    ],
    closings: &[
        "以上を最初の一歩とします。",
        "まずはここから始めます。",
        "これが最初の一歩です。",
        "以上です。",
    ],
    merged: "多くの回答に共通する内容です。",
    divided: "回答が互いに矛盾しており、一つにまとめられません。",
    separator: "",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_in_the_prompts_language() {
        let draw = Draw::new(&["x"]);
        assert!(!compose("How?", Stance::Common, 3, draw, draw).chars().any(is_ideographic));
        assert!(compose("どうすれば？", Stance::Common, 3, draw, draw).chars().any(is_ideographic));
        assert!(compose("教えて", Stance::Contrary, 3, draw, draw).chars().any(is_ideographic));
    }

    #[test]
    fn what_is_merged_is_what_most_say() {
        let answers =
            ["In short: Do A. Do B. Bye.", "My view: Do A. Do B. Ciao.", "Briefly: Do A. Never do B. Bye."];
        assert_eq!(merge(&answers), "Most answers say the same: Do A. Do B. Bye.");
        assert_eq!(merge(&["Do A.", "Do B."]), ENGLISH.divided);
        let japanese = ["要点です。変更します。", "結論です。変更します。"];
        assert_eq!(merge(&japanese), "多くの回答に共通する内容です。変更します。");
    }

    #[test]
    fn both_camps_know_the_same_subjects() {
        for book in [&ENGLISH, &JAPANESE] {
            assert_eq!(book.common.len(), book.contrary.len());
            let wordings = book.common.iter().chain(book.contrary).flatten();
            assert!(wordings.clone().all(|wordings| !wordings.is_empty()));
        }
    }
}
