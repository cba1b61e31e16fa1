//! Both programs as services of a real systemd (`systemd/`, `scripts/install-systemd.sh`): confined, restarted, stopped without a
//! fact left behind, removed.

use techsapo_tests::machine::Machine;
use techsapo_tests::{Exposition, RedisServer, app, free_port, http, repository, wait};

/// Highest exposure that `systemd-analyze security` may find, in tenths: 2.0 of 10. (Without any confinement a service has 9.6.)
const EXPOSURE: &str = "20";
const UNITS: [&str; 3] = ["techsapo.service", "techsapo@second.service", "techsapo-exporter.service"];
/// Settings that systemd before 254 does not know, and passes over.
const LATER: [&str; 2] = ["RestartSteps", "RestartMaxDelaySec"];

struct Ports {
    app: u16,
    second: u16,
    exporter: u16,
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn ask(port: u16, questions: usize) {
    for number in 0..questions {
        app::generate(&url(port), &format!("Question {number}"), "basic").unwrap();
    }
}

/// Waits until a page answers with 200.
fn wait_answers(port: u16, path: &str) {
    let page = format!("{}{path}", url(port));
    wait::until_true(&page, || http::get(&page).is_ok_and(|answer| answer.status == 200));
}

fn page(ports: &Ports) -> Option<Exposition> {
    let answer = http::get(&format!("{}/metrics", url(ports.exporter))).ok()?;
    (answer.status == 200).then(|| Exposition::parse(&answer.text()))
}

fn assert_counted(ports: &Ports, analyses: usize) {
    let counted = |page: &Exposition| page.counter("techsapo_wallbounce_requests_total").total();
    let page = wait::until(&format!("{analyses} analyses are counted"), || {
        page(ports).filter(|page| counted(page) >= analyses as f64)
    });
    assert_eq!(counted(&page), analyses as f64);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}

/// Installs both, with addresses of this test.
fn install(machine: &Machine, redis: &RedisServer) -> Ports {
    let ports = Ports { app: free_port(), second: free_port(), exporter: free_port() };
    machine.run("TECHSAPO_BIN_DIR=/programs /src/scripts/install-systemd.sh");
    let (app, second, exporter) = (ports.app, ports.second, ports.exporter);
    machine.run(&format!("printf '%s' '{}' >/etc/techsapo/credentials/redis-url", redis.url()));
    for (file, settings) in [
        ("techsapo", format!("TECHSAPO_LISTEN=127.0.0.1:{app}\nTECHSAPO_EXPORTER_URL={}", url(exporter))),
        ("techsapo@second", format!("TECHSAPO_LISTEN=127.0.0.1:{second}")),
        (
            "exporter",
            format!(
                "TECHSAPO_EXPORTER_WEB_LISTEN_ADDRESS=127.0.0.1:{exporter}\nTECHSAPO_EXPORTER_BIRTH_HOLD=0s\n\
                 TECHSAPO_EXPORTER_APP_URL={},{}",
                url(app),
                url(second)
            ),
        ),
    ] {
        machine.run(&format!("printf '{settings}\n' >/etc/techsapo/{file}.env"));
    }
    ports
}

#[test]
fn services_are_confined_restarted_stopped_and_removed_without_a_fact_lost() {
    let Some(machine) = Machine::start_or_skip("services of systemd") else { return };
    let redis = RedisServer::start();
    let ports = install(&machine, &redis);
    for unit in UNITS {
        let said = machine.run(&format!("systemd-analyze verify {unit} 2>&1"));
        let wrong: Vec<_> =
            said.lines().filter(|line| !LATER.iter().any(|name| line.contains(name))).collect();
        assert!(wrong.is_empty(), "{unit}: {wrong:?}");
        machine.run(&format!("systemd-analyze security --offline=yes --threshold={EXPOSURE} {unit}"));
    }

    machine.run("install -D /src/scripts/encrypted-storage.sh /usr/local/sbin/techsapo-storage");
    let unit = "/etc/systemd/system/techsapo-storage@.service";
    machine.run(&format!("cp /src/systemd/techsapo-storage@.service {unit}"));
    machine.run("systemd-analyze verify techsapo-storage@metrics.service");
    machine.run(&format!("rm {unit}"));

    machine.run("systemctl enable --now techsapo-exporter techsapo techsapo@second");
    wait_answers(ports.exporter, "/-/ready");
    wait_answers(ports.app, "/health");
    wait_answers(ports.second, "/health");
    ask(ports.app, 4);
    ask(ports.second, 3);
    assert_counted(&ports, 7);
    // What the confinement still lets them see: the host's figures, and each other.
    assert!(page(&ports).unwrap().gauge("techsapo_memory_usage_percent").total() > 0.0);
    wait::until_true("the exporter sees both apps", || {
        page(&ports).is_some_and(|page| page.gauge("techsapo_exporter_app_up").total() == 2.0)
    });

    // The address of Redis may hold a password: it is for each service's own user to read, and in no environment.
    let environments =
        machine.run("cat /proc/$(systemctl show --value -p MainPID techsapo)/environ | tr '\\0' '\\n'");
    assert!(environments.contains("/run/credentials/techsapo.service/redis-url"), "{environments}");
    assert!(!environments.contains(&redis.url()), "{environments}");
    let credential = machine.run("stat -c '%a %U' /run/credentials/techsapo.service/redis-url /run/credentials/techsapo-exporter.service/redis-url");
    assert_eq!(credential, "400 techsapo\n400 techsapo-exporter\n");
    assert_eq!(machine.run("stat -c %a /var/lib/techsapo /var/lib/techsapo-exporter"), "700\n700\n");

    for (unit, port, path) in
        [("techsapo", ports.app, "/health"), ("techsapo-exporter", ports.exporter, "/-/ready")]
    {
        machine.run(&format!("kill -KILL $(systemctl show --value -p MainPID {unit})"));
        wait::until_true("systemd starts it again", || machine.property(unit, "NRestarts") == "1");
        wait_answers(port, path);
    }
    ask(ports.app, 2);
    assert_counted(&ports, 9);

    // A later version of the same: settings stay, and nothing is lost.
    machine.run("TECHSAPO_BIN_DIR=/programs /src/scripts/install-systemd.sh");
    machine.run("systemctl restart techsapo-exporter techsapo");
    wait_answers(ports.exporter, "/-/ready");
    wait_answers(ports.app, "/health");
    ask(ports.app, 5);
    machine.run("systemctl stop techsapo techsapo@second");
    assert_eq!(machine.run("find /var/lib/techsapo -name '*.journal'"), "", "its events had left");
    for unit in ["techsapo", "techsapo@second"] {
        assert_eq!(
            (machine.property(unit, "Result"), machine.property(unit, "ExecMainStatus")),
            ("success".into(), "0".into())
        );
    }
    assert_counted(&ports, 14);

    machine.run("/src/scripts/install-systemd.sh --uninstall");
    assert_eq!(machine.run("ls /usr/local/bin; ls /etc/systemd/system | grep techsapo || true"), "");
    let kept = machine.run("ls /var/lib/techsapo-exporter/checkpoints /etc/techsapo");
    assert!(kept.lines().count() > 4 && kept.contains("techsapo.toml"), "{kept}");
}

#[test]
fn wrong_settings_are_said_and_not_tried_again() {
    let Some(machine) = Machine::start_or_skip("services of systemd") else { return };
    let redis = RedisServer::start();
    let ports = install(&machine, &redis);
    machine.run("echo TECHSAPO_BUDGET_DAILY_USD=nonsense >>/etc/techsapo/techsapo.env");
    machine.run("systemctl start techsapo || true");
    wait::until_true("it failed", || machine.property("techsapo", "ActiveState") == "failed");
    assert!(machine.log().contains("budget.daily_usd"));
    assert_eq!(machine.property("techsapo", "NRestarts"), "0");
    machine.run("sed -i /nonsense/d /etc/techsapo/techsapo.env && systemctl restart techsapo");
    wait_answers(ports.app, "/health");

    machine.run("rm /etc/techsapo/credentials/redis-url && systemctl stop techsapo");
    assert!(machine.try_run("systemctl start techsapo").is_err(), "without the address of Redis");
}

#[test]
fn an_app_of_several_is_confined_as_the_only_one_is() {
    let [one, several] =
        ["techsapo.service", "techsapo@.service"].map(|unit| repository::read(format!("systemd/{unit}")));
    // What differs is named after the instance, and everything else is the same.
    let plain = several.replace(" techsapo/%i", "").replace("/%i", "").replace("-%i", "").replace(" %i", "");
    let plain: Vec<_> = plain.lines().skip(1).filter(|line| !line.contains("@%i.env")).collect();
    assert_eq!(plain, one.lines().skip(1).collect::<Vec<_>>());
}
