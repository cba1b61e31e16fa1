//! `completions SHELL`, of both programs: real shells complete with what it wrote.

use std::process::Command;

use techsapo_tests::binaries;

/// What bash offers for `line`, whose last word is being typed.
fn offered(program: &str, line: &str) -> Vec<String> {
    let script = binaries::command(program).args(["completions", "bash"]).output().unwrap();
    assert!(script.status.success());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("completions.bash");
    std::fs::write(&file, script.stdout).unwrap();
    // As bash does it: the function that is registered for the program fills COMPREPLY.
    let ask = "set -e; source \"$1\"; registered=$(complete -p \"$2\"); function=${registered##*-F }\n\
               read -ra COMP_WORDS <<< \"$3\"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n\
               \"${function%% *}\" \"$2\" \"${COMP_WORDS[-1]}\" \"${COMP_WORDS[-2]}\"\n\
               printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", ask, "bash"]).arg(&file).args([program, &format!("{program} {line}")]);
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_flags_tools_and_metrics_of_the_exporter() {
    assert_eq!(
        offered("techsapo-exporter", "--checkpoint."),
        ["--checkpoint.dir", "--checkpoint.url", "--checkpoint.url-file", "--checkpoint.name"]
    );
    assert_eq!(offered("techsapo-exporter", "expl"), ["explain"]);
    assert_eq!(
        offered("techsapo-exporter", "explain techsapo_llm_re"),
        ["techsapo_llm_requests_total", "techsapo_llm_response_time_seconds"]
    );
}

#[test]
fn bash_completes_flags_and_commands_of_the_app() {
    assert_eq!(offered("techsapo", "--che"), ["--check"]);
    assert_eq!(offered("techsapo", "keys rev"), ["revoke"]);
}

/// What fish offers for `line`.
fn offered_by_fish(program: &str, line: &str) -> Vec<String> {
    let script = binaries::command(program).args(["completions", "fish"]).output().unwrap();
    assert!(script.status.success());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("completions.fish");
    std::fs::write(&file, script.stdout).unwrap();
    let mut fish = Command::new("fish");
    // Its own settings and history are not for the person's who runs the tests.
    fish.env("HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path()).env("XDG_DATA_HOME", folder.path());
    fish.args(["--no-config", "-c", "source $argv[1]; complete -C \"$argv[2]\"", "--"]);
    let output = fish.arg(&file).arg(format!("{program} {line}")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let offered = String::from_utf8(output.stdout).unwrap();
    offered.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn fish_completes_flags_with_dots_too() {
    let flags = ["--checkpoint.dir", "--checkpoint.name", "--checkpoint.url", "--checkpoint.url-file"];
    for before in ["", "--redis.url redis://127.0.0.1:1 "] {
        let mut offered = offered_by_fish("techsapo-exporter", &format!("{before}--checkpoint."));
        offered.sort();
        assert_eq!(offered, flags, "{before}");
    }
    assert_eq!(offered_by_fish("techsapo-exporter", "expl"), ["explain"]);
    assert_eq!(offered_by_fish("techsapo", "keys rev"), ["revoke"]);
}

#[test]
fn zsh_finds_a_script_without_mistakes() {
    for program in ["techsapo", "techsapo-exporter"] {
        let script = binaries::command(program).args(["completions", "zsh"]).output().unwrap();
        assert!(script.stdout.starts_with(format!("#compdef {program}\n").as_bytes()), "{program}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("_{program}"));
        std::fs::write(&file, script.stdout).unwrap();
        // -f: without the person's own settings; -n: read, do not run.
        let output = Command::new("zsh").args(["-f", "-n"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
