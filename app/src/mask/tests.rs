//! What must be hidden, and what must not be touched.

use std::borrow::Cow;

use proptest::prelude::*;

use super::mask;

/// Texts, and the piece of each that must not come through.
const SECRETS: &[(&str, &str)] = &[
    ("mail tanaka.taro+x@example.co.jp bounced", "tanaka"),
    ("連絡先はtanaka@example.comです", "tanaka@example"),
    ("全角 ｔ＠の後 hanako＠example.jp", "hanako"),
    ("path /u/ito%40example.com", "ito%40"),
    ("用户@例え.jp", "用户"),
    ("<\"a\"> o'brien@sub-1.example.org,", "brien"),
    ("電話は090-1234-5678です", "1234"),
    ("tel:09012345678", "09012345678"),
    ("Tel. (03) 1234-5678", "1234"),
    ("03(1234)5678", "1234"),
    ("0120-444-444", "444"),
    ("０９０−１２３４−５６７８", "１２３４"),
    ("０３ー１２３４ー５６７８", "１２３４"),
    ("+81 90 1234 5678", "1234"),
    ("+81(0)90-1234-5678", "1234"),
    ("＋８１９０１２３４５６７８", "１２３４"),
    ("call +1 (415) 555-2671 now", "2671"),
    ("+44 20 7946 0958", "7946"),
    ("010-81-90-1234-5678", "1234"),
    ("0081 90 1234 5678", "1234"),
    ("(415) 555-2671", "2671"),
    ("415-555-2671", "2671"),
    ("card 4111 1111 1111 1111 5 times", "1111"),
    ("4111-1111-1111-1111", "4111"),
    ("378282246310005", "378282246310005"),
    ("カード5555555555554444で", "5555555555554444"),
    ("４１１１　１１１１　１１１１　１１１１", "１１１１"),
    ("sk-proj-abcDEF1234567890abcd", "abcDEF"),
    ("sk-ant-api03-AAAAAAAAAAAAAAAA", "AAAA"),
    ("sk-or-v1-0123456789abcdef0123", "0123"),
    ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "SyA123"),
    ("https://api.test/v1/models?key=plainvalue&x=1", "plainvalue"),
    ("tsk_0123456789ab_0011223344556677", "00112233"),
    ("ghp_abcdefghijklmnopqrstuvwxyz012345", "abcdefgh"),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFOD"),
    ("xoxb-123456789012-abcdef", "abcdef"),
    ("ya29.a0AfH6SMBxxxxxxxxxx", "AfH6"),
    ("Authorization: Bearer abc.def-123", "abc.def"),
    ("authorization=\"Token xyz12\"", "xyz12"),
    ("bearer 0123456789abcdef", "01234"),
    ("Basic dXNlcjpwYXNz", "dXNl"),
    ("Cookie: sid=12; theme=dark", "sid=12"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "eyJ"),
    ("{\"api_key\":\"hunter2-x\"}", "hunter2"),
    ("{\\\"password\\\": \\\"hunter2\\\"}", "hunter2"),
    ("Settings { client_secret: Some(\"hunter2\") }", "hunter2"),
    ("x-api-key: hunter2", "hunter2"),
    ("パスワード：ひみつ12", "ひみつ"),
    ("access_token=hunter2&next=1", "hunter2"),
    ("redis://user:hunter2@10.1.2.3:6379/0", "hunter2"),
    ("redis://user:hunter2@10.1.2.3:6379/0", "10.1.2.3"),
    ("mysql://root:p@ss@db.test/audit", "p@ss"),
    ("jdbc+some.long-scheme-that-nobody-would-expect-to-see://root:hunter2@db.test/audit", "hunter2"),
    ("cookie: -----BEGIN PRIVATE KEY-----\nMIIEpAIB", "MIIE"),
    ("Authorization: abc-----BEGIN hunter2", "hunter2"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIB\n-----END RSA PRIVATE KEY-----", "MIIE"),
    ("-----BEGIN PRIVATE KEY-----\\nMIIEpAIB", "MIIE"),
    ("peer 203.0.113.9:4711 left", "203.0"),
    ("[2001:db8::1]:443", "db8"),
    ("2001:db8:0:0:0:0:0:1: refused", "db8"),
    ("fe80::1%eth0", "fe80"),
    ("::ffff:203.0.113.9", "203"),
];

/// Texts that come through as they are.
const PLAIN: &[&str] = &[
    "",
    "Wall-bounce analysis completed",
    "7f1c2e0a-4111-1111-8111-411111111111",
    "41111111-1111-4111-8111-111111111111",
    "req-2026.11.22:04:35:21",
    "2026-11-22T04:35:21.012345678Z",
    "2026-11-22T04:35:21+09:00",
    "1763786121123-0",
    "1763786121123456789",
    "d41d8cd98f00b204e9800998ecf8427e",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "00000000000000000000000000000000",
    "u-0123456789abcdef",
    "claude-sonnet-4-20250514, gpt-4-0613, gemini-2.5-pro-preview-06-05, openai/gpt-5",
    "took 1.234567s, 250ms, 0.0312345678, 1.5e+12345678",
    "listens on 127.0.0.1:4000, [::1]:4000 and 0.0.0.0:80",
    "std::io::Error in core::fmt, techsapo_app::http::server",
    "redis://127.0.0.1:6379",
    "max_tokens=100 input_tokens: 512 budget 2.33 of 70",
    "basic authentication, basic questions, Basic Auth",
    "version 1.2.3, OID 1.3.6.1.4.1.311, 999.999.999.999",
    "4111 1111 1111 1112",
    "分析が完了しました：3社が回答",
    "data/journal/0000000001.journal (os error 28)",
    "00:1b:44:11:3a:b7",
    "invalid type: integer `5`, expected a string at line 1 column 12",
];

#[test]
fn what_is_personal_or_secret_does_not_come_through() {
    for (text, secret) in SECRETS {
        let masked = mask(text);
        assert!(text.contains(secret), "the row is wrong: {text}");
        assert!(!masked.contains(secret), "{text} became {masked}");
    }
}

#[test]
fn it_stays_hidden_among_other_text_of_either_language() {
    for (text, secret) in SECRETS {
        // A private key that is cut off reaches to the end, and so does a header's value to that of its line.
        for around in [format!("failed: {text}\nnext"), format!("「{text}」でした"), format!("a={text}, b=2")]
        {
            let masked = mask(&around);
            assert!(!masked.contains(secret), "{around} became {masked}");
        }
    }
}

#[test]
fn what_is_neither_is_not_touched_and_not_copied() {
    for text in PLAIN {
        assert!(matches!(mask(text), Cow::Borrowed(same) if same == *text), "{text} became {}", mask(text));
    }
}

#[test]
fn the_rest_of_a_text_stays_and_what_was_hidden_is_named() {
    for (text, masked) in [
        ("mail a@b.example and b@b.example.", "mail [mail] and [mail]."),
        ("redis://user:hunter2@10.1.2.3:6379/0 refused", "redis://[credentials]@[ip]:6379/0 refused"),
        ("/x?api_key=abc&depth=2", "/x?api_key=[secret]&depth=2"),
        ("{\"token\": \"abc\", \"n\": 1}", "{\"token\": \"[secret]\", \"n\": 1}"),
        ("電話は090-1234-5678です", "電話は[phone]です"),
        ("4111 1111 1111 1111 5 times", "[card] 5 times"),
        ("peer 203.0.113.9.", "peer [ip]."),
        ("Bearer abcdef123", "Bearer [token]"),
        ("ids 1234567 4111111111111111", "ids 1234567 [card]"),
    ] {
        assert_eq!(mask(text), masked);
    }
}

proptest! {
    #[test]
    fn many_secrets_in_a_row_are_all_hidden(
        rows in prop::collection::vec((prop::sample::select(SECRETS), prop::sample::select(vec!["\n", ", ", "、", "。"])), 1..8)
    ) {
        let text: String = rows.iter().map(|((text, _), between)| [*text, *between].concat()).collect();
        let masked = mask(&text);
        for ((_, secret), _) in rows {
            prop_assert!(!masked.contains(secret), "{} became {}", text, masked);
        }
    }

    #[test]
    fn any_text_can_be_masked(text in any::<String>(), digits in "[0-9+:.@ ０-９-]{0,60}") {
        mask(&text);
        mask(&digits);
    }

    #[test]
    fn a_key_made_here_never_comes_through(before in "[ -~]{0,12}[ ,;(\"]", secret in "[0-9a-f]{84}") {
        let text = format!("{before}tsk_{secret}");
        prop_assert!(!mask(&text).contains(&secret));
    }
}

#[test]
fn a_header_s_value_may_stand_on_a_later_line() {
    for (text, masked) in [
        ("Authorization:\r\n\thunter2 x\r\nnext", "Authorization:\r\n\t[secret]\r\nnext"),
        ("authorization\n: hunter2", "authorization\n: [secret]"),
        ("\"cookie\":\n  \"sid=hunter2\"", "\"cookie\":\n  \"[secret]"),
        ("Set-Cookie=\n\nsid", "Set-Cookie=\n\n[secret]"),
    ] {
        assert_eq!(mask(text), masked);
    }
}

/// CPU time that this thread has used, in nanoseconds.
fn cpu_ns() -> u64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    spent.split(' ').next().and_then(|spent| spent.parse().ok()).unwrap()
}

#[test]
fn time_is_linear_also_in_what_only_looks_suspicious() {
    let pieces = [
        "0 0 ",
        "4-",
        "a:",
        "http://a",
        "x@",
        "basic ",
        "-----BEGIN ",
        "a.1.1.1.1.",
        "a+1.1.1.1.1.",
        "eyJ-2222222222222-",
        "cookie:-----BEGIN ",
        "cookie:-----BEGIN PRIVATE KEY-----END PRIVATE KEY-----",
        "日本＠",
        "token=",
    ];
    for piece in pieces {
        let cost_ns = |bytes: usize| {
            let text = piece.repeat(bytes / piece.len());
            let before = cpu_ns();
            mask(&text);
            cpu_ns() - before
        };
        // The automaton's states are made first.
        cost_ns(4 << 10);
        let (short, long) = (cost_ns(64 << 10), cost_ns(256 << 10));
        // Four times as much; sixteen times, if it were quadratic.
        assert!(long < 10 * short + 50_000_000, "{piece:?}: {short} ns, then {long} ns");
    }
}
