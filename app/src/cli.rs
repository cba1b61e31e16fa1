//! The command line: what `techsapo` can be told, and a help that teaches.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::agreement_command::AgreementCommand;
use crate::completions_command::CompletionsCommand;
use crate::config::{SETTINGS, env_name};
use crate::keys_command::KeysCommand;

/// Read when it exists and no other is named.
pub const DEFAULT_CONFIG: &str = "config/techsapo.toml";

/// Asks several LLM providers the same question, compares their answers and returns one with a measured confidence.
///
/// Without any key the built-in simulated providers answer. What happens is written as events to a journal, from
/// there to a Redis stream, and measured by techsapo-exporter.
#[derive(Debug, Parser)]
#[command(name = "techsapo", version)]
pub struct Args {
    /// File of settings [default: config/techsapo.toml if it exists, else built-in defaults].
    #[arg(long, env = "TECHSAPO_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    /// Say whether the settings are right, and stop.
    #[arg(long)]
    pub check: bool,
    /// Write the settings in effect as a file, and stop.
    #[arg(long)]
    pub print_config: bool,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be done besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, list and revoke API keys, in the file that the setting keys.file names.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Score pairs of answers by how far they agree.
    Agreement(AgreementCommand),
    /// Ask the app that runs with these settings whether it is healthy: one line, and 0 or 1.
    Healthcheck,
    /// Bring the audit's tables in MySQL (mysql.url) up to date, and stop.
    Migrate,
    /// Write a script that completes this program's command line in a shell.
    Completions(CompletionsCommand),
}

impl Args {
    /// Reads the command line; on a mistake or for help, says so and ends the process.
    pub fn read() -> Self {
        let matches = Self::command().after_long_help(lesson()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The file to read, if any.
    pub fn config_file(&self) -> Option<&Path> {
        let default = Path::new(DEFAULT_CONFIG);
        self.config.as_deref().or_else(|| default.exists().then_some(default))
    }
}

/// Examples and every setting, from the same table that loads them.
fn lesson() -> String {
    let mut text = String::from(
        "Examples:\n  \
         techsapo\n  \
         TECHSAPO_LISTEN=127.0.0.1:4001 TECHSAPO_JOURNAL_DIR=data/journal-1 techsapo\n  \
         techsapo --config /etc/techsapo.toml --check\n  \
         techsapo keys create --name backup-job --tier basic --expires 90d\n  \
         techsapo healthcheck\n  \
         techsapo agreement app/data/agreement/held_out.jsonl | tail -1\n  \
         curl -s localhost:4000/api/v1/generate -H 'content-type: application/json' \\\n    \
         -d '{\"prompt\": \"How do I roll out a change safely?\", \"task_type\": \"basic\"}'\n\n\
         Settings (file key, environment variable, default; the variable's name with _FILE behind it names a file \
         that holds the value):\n",
    );
    for setting in SETTINGS {
        let (key, env, help, default) = (setting.key, env_name(setting.key), setting.help(), setting.default);
        let _ = writeln!(text, "  {key}  {env}  [{default}]\n      {help}");
    }
    text.push_str(
        "\nExit codes: 0 stopped in order, 1 could not start or serve, 2 wrong settings or arguments. Of \
         healthcheck: 0 healthy, 1 not.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_teaches_every_setting() {
        Args::command().debug_assert();
        let text = lesson();
        for setting in SETTINGS {
            assert!(text.contains(setting.key) && text.contains(&env_name(setting.key)), "{}", setting.key);
        }
    }
}
