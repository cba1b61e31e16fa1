//! `techsapo-exporter completions SHELL`: what a shell needs to complete this program's command line.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::Shell;

/// The shell to write for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  techsapo-exporter completions bash > ~/.local/share/bash-completion/completions/techsapo-exporter
  techsapo-exporter completions zsh > ~/.zfunc/_techsapo-exporter       (a folder of zsh's $fpath)
  techsapo-exporter completions fish > ~/.config/fish/completions/techsapo-exporter.fish")]
pub struct CompletionsCommand {
    /// Which shell.
    shell: Shell,
}

impl CompletionsCommand {
    /// Writes the script for `program`, the whole command line, to `out`.
    ///
    /// # Errors
    /// `out` takes nothing.
    pub fn run(&self, mut program: Command, out: &mut impl Write) -> io::Result<()> {
        // Whole first: the generator ends the process if its output fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "techsapo-exporter", &mut script);
        if self.shell == Shell::Fish {
            script = without_dots(&String::from_utf8_lossy(&script)).into_bytes();
        }
        out.write_all(&script)?;
        out.flush()
    }
}

/// fish looks for the tool's name with its own `argparse`, to which a name with a dot is an error: there it is to see
/// our flags, and the command line, with another character.
fn without_dots(script: &str) -> String {
    let mut adapted = String::with_capacity(script.len());
    for line in script.lines() {
        match line.trim_start() {
            specs if specs.starts_with("string join \\n ") => adapted.push_str(&line.replace('.', "_")),
            call if call.starts_with("argparse ") => {
                adapted.push_str(&line.replace("-- $cmd", "-- (string replace -a . _ -- $cmd)"));
            }
            _ => adapted.push_str(line),
        }
        adapted.push('\n');
    }
    adapted
}
