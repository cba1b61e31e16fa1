//! What a request says of cached answers: the header `Cache-Control` as HTTP defines it, and the field `cache` for
//! those who cannot set headers.

use std::time::Duration;

use axum::http::{HeaderMap, header};

use super::form::Form;
use crate::store::answers::Wish;

/// `no-cache`: a fresh answer; `no-store`: one that is kept nowhere; `max-age=N`: one that is not older than N seconds.
/// Whatever else stands there is for others.
pub(super) fn wish_of_headers(headers: &HeaderMap) -> Wish {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(directive).fold(Wish::default(), Wish::and)
}

fn directive(text: &str) -> Wish {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    match name.trim().to_ascii_lowercase().as_str() {
        "no-store" => Wish::Unkept,
        "no-cache" => Wish::Fresh,
        "max-age" => {
            // What is no number is nothing that could be met.
            let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
            Wish::Reuse { max_age: Some(Duration::from_secs(seconds)) }
        }
        _ => Wish::default(),
    }
}

/// The field `cache`: `default`, `no-cache` or `no-store`.
pub(super) fn wish_of_field(form: &mut Form) -> Wish {
    match form.text("cache").as_deref() {
        None | Some("default") => Wish::default(),
        Some("no-cache") => Wish::Fresh,
        Some("no-store") => Wish::Unkept,
        Some(_) => {
            form.complain("cache", "must be default, no-cache or no-store");
            Wish::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn cache_control_is_read_as_http_defines_it() {
        let wish = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (header::CACHE_CONTROL, HeaderValue::from_static(value)));
            wish_of_headers(&headers.collect())
        };
        let within = |seconds| Wish::Reuse { max_age: Some(Duration::from_secs(seconds)) };
        for (values, expected) in [
            (&[][..], Wish::default()),
            (&["no-cache"], Wish::Fresh),
            (&["No-Cache, max-age=0"], Wish::Fresh),
            (&["no-store"], Wish::Unkept),
            (&["no-cache", "no-store"], Wish::Unkept),
            (&["max-age=60"], within(60)),
            (&["max-age = \"60\" , max-age=5"], within(5)),
            (&["max-age=soon"], within(0)),
            (&["only-if-cached, max-stale=9, , x"], Wish::default()),
        ] {
            assert_eq!(wish(values), expected, "{values:?}");
        }
    }
}
