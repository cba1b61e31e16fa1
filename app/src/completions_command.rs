//! `techsapo completions SHELL`: what a shell needs to complete this program's command line.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::Shell;

/// The shell to write for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  techsapo completions bash > ~/.local/share/bash-completion/completions/techsapo
  techsapo completions zsh > ~/.zfunc/_techsapo       (a folder of zsh's $fpath)
  techsapo completions fish > ~/.config/fish/completions/techsapo.fish")]
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
        clap_complete::generate(self.shell, &mut program, "techsapo", &mut script);
        out.write_all(&script)?;
        out.flush()
    }
}
