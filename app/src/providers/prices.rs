//! What tokens cost: prices that hold from a date on, and sums in integers. Pure.

use techsapo_shared::event::MAX_COST_NANOUSD;

use super::Tokens;

/// What a model costs from a moment on, in billionths of a US dollar for a million tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The model, as the vendor names it.
    pub model: String,
    /// Since when it holds, Unix milliseconds.
    pub from_ms: u64,
    /// It holds for calls with more input tokens than this.
    pub over_input_tokens: u64,
    /// Input that is neither read from nor written to a cache.
    pub input_nanousd: u64,
    /// Input read from the vendor's cache.
    pub cached_input_nanousd: u64,
    /// Input written to the vendor's cache.
    pub cache_write_nanousd: u64,
    /// Output, with what the model reasoned.
    pub output_nanousd: u64,
}

impl Price {
    /// What these tokens cost, rounded up to the nano-dollar.
    pub fn cost_nanousd(&self, tokens: Tokens) -> u64 {
        let of = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let fresh = tokens.input.saturating_sub(tokens.cached_input).saturating_sub(tokens.cache_write);
        let millionths = of(fresh, self.input_nanousd)
            + of(tokens.cached_input, self.cached_input_nanousd)
            + of(tokens.cache_write, self.cache_write_nanousd)
            + of(tokens.output, self.output_nanousd);
        u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX).min(MAX_COST_NANOUSD)
    }
}

/// The price in force for a model at a moment: the latest that has begun, and of those the one for the longest input that
/// the call exceeds. A dated snapshot without a price of its own costs what its model does.
pub fn in_force<'a>(prices: &'a [Price], model: &str, at_ms: u64, input_tokens: u64) -> Option<&'a Price> {
    let latest = |is: &dyn Fn(&str) -> bool| {
        let began = prices.iter().filter(|price| is(&price.model) && price.from_ms <= at_ms);
        let fits =
            began.filter(|price| price.over_input_tokens == 0 || input_tokens > price.over_input_tokens);
        fits.max_by_key(|price| (price.from_ms, price.over_input_tokens))
    };
    latest(&|priced| priced == model).or_else(|| latest(&|priced| is_snapshot(model, priced)))
}

/// The most that a call can cost that uses no more than these tokens: as if all its input were of the dearest kind (a price
/// for longer calls is never the lower one). A model without a price may cost what the vendor's dearest does; where there is
/// no price at all, it is 0.
pub fn at_most_nanousd(prices: &[Price], model: &str, at_ms: u64, input: u64, output: u64) -> u64 {
    let most = |price: &Price| {
        let kinds = [
            Tokens { input, output, ..Tokens::default() },
            Tokens { input, cached_input: input, output, ..Tokens::default() },
            Tokens { input, cache_write: input, output, ..Tokens::default() },
        ];
        kinds.into_iter().map(|tokens| price.cost_nanousd(tokens)).max().unwrap_or_default()
    };
    let of = |model: &str| in_force(prices, model, at_ms, input).map(most);
    let dearest = || prices.iter().filter_map(|price| of(&price.model)).max();
    of(model).or_else(dearest).unwrap_or_default()
}

/// Whether `served` is a dated or numbered edition of `model`: `gpt-5-2025-08-07` of `gpt-5`, `…-20250514`, `…-001`.
pub fn is_snapshot(served: &str, model: &str) -> bool {
    let Some(edition) = served.strip_prefix(model).and_then(|rest| rest.strip_prefix('-')) else {
        return false;
    };
    let shape: String = edition.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    ["9999-99-99", "99999999", "999", "99-99"].contains(&shape.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(model: &str, from_ms: u64, over_input_tokens: u64, input_nanousd: u64) -> Price {
        Price {
            model: model.to_owned(),
            from_ms,
            over_input_tokens,
            input_nanousd,
            cached_input_nanousd: 125_000_000,
            cache_write_nanousd: 3_750_000_000,
            output_nanousd: 10_000_000_000,
        }
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let price = price("m", 0, 0, 1_250_000_000);
        let tokens = Tokens { input: 1_000, cached_input: 600, cache_write: 100, output: 7, reasoning: 5 };
        assert_eq!(price.cost_nanousd(tokens), 300 * 1_250 + 600 * 125 + 100 * 3_750 + 7 * 10_000);
        let one = Price { input_nanousd: 1, ..price };
        assert_eq!(one.cost_nanousd(Tokens { input: 1, ..Tokens::default() }), 1, "rounded up");
    }

    #[test]
    fn the_price_in_force_is_the_one_of_the_moment_and_the_length() {
        let prices = [
            price("m", 100, 0, 1),
            price("m", 100, 1_000, 2),
            price("m", 200, 0, 3),
            price("m-2025-01-01", 0, 0, 4),
        ];
        let found = |model, at, input| in_force(&prices, model, at, input).map(|price| price.input_nanousd);
        assert_eq!(found("m", 99, 1), None, "before the first");
        assert_eq!(found("m", 100, 1_000), Some(1));
        assert_eq!(found("m", 100, 1_001), Some(2));
        assert_eq!(found("m", 200, 1_001), Some(3), "a later price replaces both");
        assert_eq!(found("m-2025-01-01", 300, 1), Some(4));
        assert_eq!(found("m-2025-02-02", 300, 1), Some(3));
        assert_eq!(found("m-mini", 300, 1), None);
    }

    #[test]
    fn the_most_that_a_call_can_cost_is_by_the_dearest_kind_of_input_and_all_the_output() {
        let prices =
            [price("m", 0, 0, 1_250_000_000), price("m", 0, 1_000, 5_000_000_000), price("n", 0, 0, 1)];
        let most = |model, input| at_most_nanousd(&prices, model, 0, input, 16_000);
        assert_eq!(most("m", 1_000), 1_000 * 3_750 + 16_000 * 10_000, "written to a cache");
        assert_eq!(most("m", 1_001), 1_001 * 5_000 + 16_000 * 10_000);
        assert_eq!(most("m-2025-01-01", 1_001), most("m", 1_001));
        assert_eq!(most("new", 1_001), most("m", 1_001), "as the dearest");
        assert_eq!(at_most_nanousd(&[], "m", 0, 1_001, 16_000), 0);
    }

    #[test]
    fn a_snapshot_is_dated_and_a_successor_is_none() {
        for served in ["gpt-5-2025-08-07", "gpt-5-20250807", "gpt-5-001", "gpt-5-05-14"] {
            assert!(is_snapshot(served, "gpt-5"), "{served}");
        }
        for other in ["gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-5-1", "gpt-5-1-20250807", "gpt-5-", "gpt-52"] {
            assert!(!is_snapshot(other, "gpt-5"), "{other}");
        }
    }
}
