//! `providers.toml`: which vendors are asked, for which models, how, and at what prices. It holds no keys.
//!
//! Everything wrong is reported at once, each with its line, as for the settings.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::format::{
    ATTEMPTS, BASE_URL, COUNT, DATE, Format, MODEL, OUTPUT_TOKENS, PREFERENCE, PRICE, SWITCH, TIMEOUT, TOKENS,
};
use super::load::{Problem, hide_password, nearest, written};
use crate::providers::prices::Price;
use crate::providers::remote::RemoteSettings;
use crate::providers::vendors::{VENDORS, Vendor};

/// Read when it exists and no other is named.
pub const DEFAULT_FILE: &str = "config/providers.toml";
/// In force when there is no file.
const BUILT_IN: &str = include_str!("../../../config/providers.toml");

const KEYS: [&str; 10] = [
    "base_url",
    "models",
    "stream",
    "timeout",
    "connect_timeout",
    "idle_timeout",
    "attempts",
    "concurrency",
    "max_output_tokens",
    "prices",
];
const PRICE_KEYS: [&str; 7] =
    ["model", "from", "over_input_tokens", "input", "cached_input", "cache_write", "output"];

/// One vendor as the file describes it.
#[derive(Clone)]
pub struct ConfiguredVendor {
    /// Who.
    pub vendor: &'static Vendor,
    /// How it is asked.
    pub settings: RemoteSettings,
}

/// Where the file is, if there is one.
pub fn path(setting: Option<&Path>) -> Option<PathBuf> {
    match setting {
        Some(path) => Some(path.to_owned()),
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
    }
}

/// What the file at `path` says, or what is built in; vendors in the order in which they stand there.
///
/// # Errors
/// Everything that is wrong: syntax, unknown sections and keys, bad values.
pub fn load(path: Option<&Path>) -> Result<Vec<ConfiguredVendor>, Vec<Problem>> {
    let Some(path) = path else { return parse("the built-in providers.toml", BUILT_IN) };
    let place = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&place, &text),
        Err(error) => {
            let message = format!("{error}; set providers.file to a file that can be read");
            Err(vec![Problem { place, key: "the file".to_owned(), message }])
        }
    }
}

fn parse(place: &str, text: &str) -> Result<Vec<ConfiguredVendor>, Vec<Problem>> {
    let mut reader = Reader { place, text, problems: Vec::new() };
    let mut vendors = match DeTable::parse(text) {
        Ok(table) => reader.vendors(table.get_ref()),
        Err(error) => {
            reader.note(error.span().map_or(0, |span| span.start), "syntax", error.message().to_owned());
            Vec::new()
        }
    };
    if reader.problems.is_empty() {
        vendors.sort_by_key(|(offset, _)| *offset);
        Ok(vendors.into_iter().map(|(_, vendor)| vendor).collect())
    } else {
        reader.problems.sort_by_key(|(offset, _)| *offset);
        Err(reader.problems.into_iter().map(|(_, problem)| problem).collect())
    }
}

struct Reader<'a> {
    place: &'a str,
    text: &'a str,
    /// With the offset in the file.
    problems: Vec<(usize, Problem)>,
}

/// A table and where it begins.
struct Section<'a, 'i> {
    name: String,
    offset: usize,
    table: &'a DeTable<'i>,
}

impl Reader<'_> {
    fn note(&mut self, offset: usize, key: &str, message: String) {
        let line = self.text[..offset.min(self.text.len())].matches('\n').count() + 1;
        let place = format!("{}:{line}", self.place);
        self.problems.push((offset, Problem { place, key: key.to_owned(), message }));
    }

    fn vendors(&mut self, table: &DeTable<'_>) -> Vec<(usize, ConfiguredVendor)> {
        let mut found = Vec::new();
        for (name, value) in table {
            let offset = name.span().start;
            let vendor = VENDORS.iter().find(|vendor| *vendor.section == **name.get_ref());
            match (vendor, value.get_ref()) {
                (Some(vendor), DeValue::Table(table)) => {
                    let section = Section { name: vendor.section.to_owned(), offset, table };
                    if let Some(settings) = self.vendor(vendor, &section) {
                        found.push((offset, ConfiguredVendor { vendor, settings }));
                    }
                }
                (Some(vendor), _) => {
                    self.note(offset, vendor.section, format!("is a section: write [{}]", vendor.section));
                }
                (None, _) => {
                    let known: Vec<_> = VENDORS.iter().map(|vendor| vendor.section).collect();
                    let message = format!("is no vendor; there are {}", known.join(", "));
                    self.note(offset, name.get_ref(), message);
                }
            }
        }
        found
    }

    fn vendor(&mut self, vendor: &Vendor, section: &Section<'_, '_>) -> Option<RemoteSettings> {
        self.refuse_unknown(section, &KEYS);
        // Everything is read before anything is given up, so that every problem is found.
        let base_url = self.read(section, "base_url", &BASE_URL, Some(vendor.base_url));
        let models = self.read(section, "models", &PREFERENCE, None);
        let stream = self.read(section, "stream", &SWITCH, Some("false"));
        let timeout = self.read(section, "timeout", &TIMEOUT, Some("30s"));
        let connect_timeout = self.read(section, "connect_timeout", &TIMEOUT, Some("5s"));
        let idle_timeout = self.read(section, "idle_timeout", &TIMEOUT, Some("20s"));
        let attempts = self.read(section, "attempts", &ATTEMPTS, Some("3"));
        let concurrency = self.read(section, "concurrency", &COUNT, Some("16"));
        let max_output_tokens = self.read(section, "max_output_tokens", &OUTPUT_TOKENS, Some("16000"));
        let prices = self.prices(section);
        Some(RemoteSettings {
            base_url: base_url?,
            models: models?,
            stream: stream?,
            timeout: timeout?,
            connect_timeout: connect_timeout?,
            idle_timeout: idle_timeout?,
            attempts: attempts?,
            concurrency: concurrency?,
            max_output_tokens: max_output_tokens?,
            prices: prices?,
        })
    }

    fn prices(&mut self, section: &Section<'_, '_>) -> Option<Vec<Price>> {
        let Some(value) = section.table.get("prices") else { return Some(Vec::new()) };
        let name = format!("{}.prices", section.name);
        let DeValue::Array(items) = value.get_ref() else {
            self.note(value.span().start, &name, format!("is a list: write [[{name}]]"));
            return None;
        };
        let mut prices: Vec<Price> = Vec::new();
        let before = self.problems.len();
        for item in items {
            let offset = item.span().start;
            let DeValue::Table(table) = item.get_ref() else {
                self.note(offset, &name, format!("is a list of tables: write [[{name}]]"));
                continue;
            };
            let Some(price) = self.price(&Section { name: name.clone(), offset, table }) else { continue };
            let same = |one: &Price| {
                (&one.model, one.from_ms, one.over_input_tokens)
                    == (&price.model, price.from_ms, price.over_input_tokens)
            };
            if prices.iter().any(same) {
                self.note(offset, &name, format!("has two prices of {} for the same time", price.model));
            }
            prices.push(price);
        }
        (self.problems.len() == before).then_some(prices)
    }

    fn price(&mut self, row: &Section<'_, '_>) -> Option<Price> {
        self.refuse_unknown(row, &PRICE_KEYS);
        let model = self.read(row, "model", &MODEL, None);
        let from_ms = self.read(row, "from", &DATE, None);
        let over_input_tokens = self.read(row, "over_input_tokens", &TOKENS, Some("0"));
        let input = self.read(row, "input", &PRICE, None);
        // A price that is not named is that of other input.
        let beside = |key| if row.table.contains_key(key) { None } else { input };
        let (cached, write) = (beside("cached_input"), beside("cache_write"));
        let cached_input = cached.or_else(|| self.read(row, "cached_input", &PRICE, Some("0")));
        let cache_write = write.or_else(|| self.read(row, "cache_write", &PRICE, Some("0")));
        let output = self.read(row, "output", &PRICE, None);
        Some(Price {
            model: model?,
            from_ms: from_ms?,
            over_input_tokens: over_input_tokens?,
            input_nanousd: input?,
            cached_input_nanousd: cached_input?,
            cache_write_nanousd: cache_write?,
            output_nanousd: output?,
        })
    }

    /// The value of `key`, or nothing when it is wrong or missing, which is then noted.
    fn read<T>(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        format: &Format<T>,
        default: Option<&str>,
    ) -> Option<T> {
        let name = format!("{}.{key}", section.name);
        let value = section.table.get(key).map(|value: &Spanned<DeValue<'_>>| {
            let is_list = matches!(value.get_ref(), DeValue::Array(_));
            (value.span().start, written(value.get_ref()).filter(|_| !is_list || format.list))
        });
        let (offset, text) = match (value, default) {
            (Some((offset, text)), _) => (offset, text),
            (None, Some(default)) => (section.offset, Some(default.to_owned())),
            (None, None) => {
                self.note(section.offset, &name, format!("is missing; expected {}", format.expected));
                return None;
            }
        };
        let parsed = text.as_deref().and_then(|text| format.parse(text));
        if parsed.is_none() {
            let shown =
                text.map_or_else(|| "this".to_owned(), |text| format!("\"{}\"", hide_password(&text)));
            self.note(offset, &name, format!("{shown} is not right; expected {}", format.expected));
        }
        parsed
    }

    fn refuse_unknown(&mut self, section: &Section<'_, '_>, known: &[&'static str]) {
        for (name, _) in section.table {
            if !known.contains(&name.get_ref().as_ref()) {
                let near = nearest(name.get_ref(), known.iter().copied());
                let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                let key = format!("{}.{}", section.name, name.get_ref());
                self.note(name.span().start, &key, format!("is no setting{hint}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::providers::prices::in_force;

    #[test]
    fn what_is_built_in_is_right_and_every_model_has_a_price_today() {
        let vendors = load(None).unwrap_or_else(|problems| panic!("{problems:?}"));
        let sections: Vec<_> = vendors.iter().map(|vendor| vendor.vendor.section).collect();
        assert_eq!(sections, ["gemini", "openai", "anthropic", "openrouter"]);
        for ConfiguredVendor { vendor, settings } in vendors {
            for model in &settings.models {
                let price = in_force(&settings.prices, model, clock::unix_ms(), 1);
                assert!(price.is_some(), "{}: {model} has no price", vendor.section);
            }
        }
    }

    #[test]
    fn vendors_are_asked_in_the_order_of_the_file_and_defaults_fill_the_rest() {
        let text = "[openai]\nmodels = [\"b\", \"a\"]\nbase_url = \"http://127.0.0.1:9/v1/\"\n\
                    [[openai.prices]]\nmodel = \"a\"\nfrom = 2026-01-01\ninput = 2\noutput = 0.5\ncached_input = 0\n\
                    [gemini]\nmodels = [\"c\"]\ntimeout = \"3s\"\n";
        let vendors = parse("f", text).unwrap();
        let names: Vec<_> = vendors.iter().map(|vendor| vendor.vendor.section).collect();
        assert_eq!(names, ["openai", "gemini"]);
        let settings = &vendors[0].settings;
        assert_eq!((settings.base_url.as_str(), settings.attempts), ("http://127.0.0.1:9/v1", 3));
        assert_eq!(settings.models, ["b", "a"]);
        let price = &settings.prices[0];
        assert_eq!(price.from_ms, clock::midnight_ms("2026-01-01").unwrap());
        let prices = [price.input_nanousd, price.cached_input_nanousd, price.cache_write_nanousd];
        assert_eq!((prices, price.output_nanousd), ([2_000_000_000, 0, 2_000_000_000], 500_000_000));
        assert_eq!(vendors[1].settings.base_url, "https://generativelanguage.googleapis.com/v1beta");
        assert_eq!(vendors[1].settings.timeout.as_secs(), 3);
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_line() {
        let text = "[openai]\nmodel = [\"a\"]\nbase_url = \"http://u:secret@example.com\"\nattempts = 0\n\
                    [[openai.prices]]\nmodel = \"a\"\nfrom = \"2026-02-30\"\ninput = -1\n\
                    [acme]\nmodels = [\"x\"]\n[gemini]\nmodels = []\nprices = 1\n";
        let problems = parse("f", text).err().unwrap();
        let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
        for part in [
            "f:1: openai.models: is missing; expected one or more",
            "f:2: openai.model: is no setting; did you mean models?",
            "f:3: openai.base_url: \"http://***@example.com\" is not right",
            "f:4: openai.attempts: \"0\" is not right; expected a whole number from 1 to 10",
            "openai.prices.from: \"2026-02-30\" is not right; expected a date",
            "openai.prices.input: \"-1\" is not right",
            "openai.prices.output: is missing",
            "f:9: acme: is no vendor; there are gemini, openai, anthropic, openrouter",
            "f:12: gemini.models: \"\" is not right",
            "f:13: gemini.prices: is a list: write [[gemini.prices]]",
        ] {
            assert!(all.iter().any(|one| one.contains(part)), "{part:?} is missing in {all:#?}");
        }
        assert_eq!(all.len(), 10, "{all:#?}");
        assert_eq!(parse("f", "[openai\n").err().unwrap()[0].key, "syntax");
        assert!(load(Some(Path::new("/nowhere/p.toml"))).err().unwrap()[0].to_string().contains("/nowhere"));
    }

    #[test]
    fn the_door_to_a_vendor_is_tls_unless_it_is_on_this_machine() {
        for good in
            ["https://api.openai.com/v1", "http://127.0.0.1:80/v1", "http://localhost", "http://[::1]:1"]
        {
            assert!(BASE_URL.parse(good).is_some(), "{good}");
        }
        for bad in
            ["http://api.openai.com/v1", "http://127.0.0.1.example.com", "https://h/?key=x", "ftp://h", ""]
        {
            assert_eq!(BASE_URL.parse(bad), None, "{bad}");
        }
    }
}
