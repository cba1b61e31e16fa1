//! The vendors that can be asked: one row each, from which keys, sections of `providers.toml` and defaults derive.

use techsapo_shared::labels::Provider as Name;

use super::dialect::Dialect;
use super::{anthropic, gemini, openai, openrouter};

/// One vendor.
pub struct Vendor {
    /// How its answers are labelled.
    pub provider: Name,
    /// Its section of `providers.toml`.
    pub section: &'static str,
    /// The environment variable that holds its key; with `_FILE` behind it, the path of a file that does.
    pub key_variable: &'static str,
    /// Where it serves, with the version of its API.
    pub base_url: &'static str,
    /// What it speaks.
    pub(super) dialect: &'static dyn Dialect,
}

/// All of them, in the order in which they are asked when a file does not say otherwise.
pub static VENDORS: [Vendor; 4] = [
    Vendor {
        provider: Name::Gemini,
        section: "gemini",
        key_variable: "GEMINI_API_KEY",
        base_url: "https://generativelanguage.googleapis.com/v1beta",
        dialect: &gemini::GenerateContent,
    },
    Vendor {
        provider: Name::OpenAi,
        section: "openai",
        key_variable: "OPENAI_API_KEY",
        base_url: "https://api.openai.com/v1",
        dialect: &openai::Responses,
    },
    Vendor {
        provider: Name::Claude,
        section: "anthropic",
        key_variable: "ANTHROPIC_API_KEY",
        base_url: "https://api.anthropic.com/v1",
        dialect: &anthropic::Messages,
    },
    Vendor {
        provider: Name::OpenRouter,
        section: "openrouter",
        key_variable: "OPENROUTER_API_KEY",
        base_url: "https://openrouter.ai/api/v1",
        dialect: &openrouter::ChatCompletions,
    },
];
