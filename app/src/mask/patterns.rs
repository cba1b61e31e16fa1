//! What personal data and secrets look like: one row a kind. A row finds candidates; `verify` says which of them are right.
//!
//! What must hold: time stays linear. So a candidate that may be rejected has bounded length; and so has a beginning that needs something
//! behind it, where the same text may begin again within it, for what stands in it is looked at only when that something is not found. Digits
//! may be full-width, as Japanese texts write them. A border of a word is that of ASCII, for Japanese has no spaces: in `電話は090-…です` the
//! number stands by itself.

use super::verify;

/// What a candidate turns out to be: the part of it to be hidden, from its start; or nothing.
pub(super) type Verify = fn(text: &str, start: usize, end: usize) -> Option<(usize, usize)>;

/// One kind of what is hidden.
pub(super) struct Pattern {
    /// What stands in its place.
    pub(super) label: &'static str,
    /// A regular expression for candidates.
    pub(super) candidates: &'static str,
    pub(super) verify: Verify,
}

const fn row(label: &'static str, candidates: &'static str, verify: Verify) -> Pattern {
    Pattern { label, candidates, verify }
}

/// The rows. Where two begin at the same place, the earlier one holds.
pub(super) const PATTERNS: &[Pattern] = &[
    row(
        "[private key]",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        verify::whole,
    ),
    // A header whose value is nothing but secret, to the end of its line. How far that is, nobody looks before it is known to be one.
    row(
        "[secret]",
        r#"(?i)(?-u:\b)(?:proxy-)?authorization["'\\]*\s*[:=]\s*["'\\]*[^\r\n]|(?-u:\b)(?:set-)?cookie["'\\]*\s*[:=]\s*["'\\]*[^\r\n]"#,
        verify::rest_of_line,
    ),
    row("[credentials]", r"://[^\s/?#@]*(?:@[^\s/?#@]*)*@", verify::user_info),
    row("[token]", r"(?i)(?-u:\b)bearer[\s:=]+[a-z0-9._~+/=-]{6,}", verify::second_word),
    row("[token]", r"(?i)(?-u:\b)basic\s+[a-z0-9+/_-]{6,}={0,2}", verify::basic),
    // What goes on for so long after `eyJ` is hidden whether or not a point follows.
    row(
        "[token]",
        concat!(
            r"(?-u:\b)eyJ(?:[A-Za-z0-9_-]{6,512}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*",
            r"|[A-Za-z0-9_-]{513}[A-Za-z0-9_.-]*)"
        ),
        verify::whole,
    ),
    // Keys that say by their beginning whose they are.
    row(
        "[key]",
        concat!(
            r"(?-u:\b)(?:sk-[A-Za-z0-9_-]{12,}|(?:sk|pk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{12,}",
            r"|tsk_[A-Za-z0-9_-]{8,}|AIza[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9._-]{10,}|1//0[A-Za-z0-9_-]{16,}",
            r"|GOCSPX-[A-Za-z0-9_-]{10,}|gh[opsur]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{12,}",
            r"|xox[abeoprs]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}|(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}|hf_[A-Za-z0-9]{16,}",
            r"|npm_[A-Za-z0-9]{16,}|pypi-[A-Za-z0-9_-]{16,}|SG\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}|gsk_[A-Za-z0-9]{16,}",
            r"|AGE-SECRET-KEY-[A-Z0-9]{16,})",
        ),
        verify::whole,
    ),
    // `name = value`, as in a query, a header, JSON, or the Debug of an Option.
    row(
        "[secret]",
        concat!(
            r"(?i)(?:(?:api|access|private|secret|signing|encryption|auth)[-_ ]?key(?:[-_ ]?id)?|token|secret|passw(?:or)?d|",
            r"passphrase|(?-u:\b)pwd|credentials?|パスワード|暗証番号)",
            r#"["'\\]*\s*(?:=>|[:=：＝])\s*(?:Some\()?["'\\]*[^\s"'\\,;&(){}\[\]、。「」]+"#,
        ),
        verify::value,
    ),
    row("[secret]", r#"(?i)[?&](?:key|sig|signature|code|auth|jwt)=[^\s"'&#]+"#, verify::value),
    row(
        "[mail]",
        concat!(
            r"(?:[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}|[\p{L}--[A-Za-z]]+)(?:@|＠|%40)",
            r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+",
            r"|[\p{L}\p{N}-]+(?:[.．][\p{L}\p{N}-]+)+)",
        ),
        verify::whole,
    ),
    row("[card]", r"[2-6２-６](?:[- 　－‐‑]?[0-9０-９]){12,18}", verify::card),
    row(
        "[phone]",
        r"[+＋][(（]?[0-9０-９](?:[-./()（） \u{a0}　‐‑‒–—―−ーｰ－．]{0,3}[0-9０-９]){7,24}",
        verify::international_phone,
    ),
    row(
        "[phone]",
        r"[0０][0-9０-９](?:[-./()（） \u{a0}　‐‑‒–—―−ーｰ－．]{0,2}[0-9０-９]){8,24}",
        verify::japanese_phone,
    ),
    row("[phone]", r"[(]?[2-9][0-9]{2}(?:[)] ?|[-.])[0-9]{3}[-.][0-9]{4}(?-u:\b)", verify::by_itself),
    row("[ip]", r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", verify::ipv4),
    row("[ip]", r"(?:(?-u:\b)[0-9A-Fa-f]{1,4})?:[0-9A-Fa-f:]{0,38}:[0-9A-Fa-f:.]{0,38}", verify::ipv6),
];
