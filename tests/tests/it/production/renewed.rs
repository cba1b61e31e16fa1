//! What cannot be told of a renewed certificate is started again, one after the other, and nobody misses it: sentinels and Alertmanagers on
//! production's own configurations. And who is no member of the Alertmanagers' cluster.

use techsapo_tests::{Authority, Namespace, wait};

use super::mutual::{Alertmanagers, DATA, Data, MONITORING, SENTINELS, certified};

const OWN_FILES: [&str; 6] = [
    "tls-cert-file",
    "/etc/ssl/techsapo/redis.crt",
    "tls-key-file",
    "/etc/ssl/techsapo/redis.key",
    "tls-ca-cert-file",
    "/etc/ssl/techsapo/ca.crt",
];

/// The serial number of the certificate that is shown at `address`; nothing if there is none.
fn shown(place: &Namespace, address: &str) -> String {
    let connect = format!(
        "openssl s_client -connect {address} -CAfile /etc/ssl/techsapo/ca.crt -cert /etc/ssl/techsapo/nginx.crt \
         -key /etc/ssl/techsapo/nginx.key </dev/null 2>/dev/null | openssl x509 -noout -serial 2>/dev/null"
    );
    place.ask("sh", &["-c", &connect])
}

/// That of the certificate which everybody's file holds.
fn in_file(place: &Namespace) -> String {
    place.ask("openssl", &["x509", "-noout", "-serial", "-in", "/etc/ssl/techsapo/nginx.crt"])
}

#[test]
fn sentinels_show_a_renewed_certificate_once_started_again_and_lead_a_failover_then() {
    let Some(data) = Data::prepare_or_skip("production: sentinels", &DATA) else { return };
    let mut servers = DATA.map(|(address, name)| data.start(name, address));
    data.wait_known();
    let former = in_file(&data.place);
    data.prepared.renew();
    let renewed = in_file(&data.place);
    assert_ne!(former, renewed);
    for redis in ["redis-0", "redis-1"] {
        assert_eq!(data.ask(redis, "operator", &[&["config", "set"], &OWN_FILES[..]].concat()), "OK");
        assert_eq!(shown(&data.place, &format!("{redis}:6379")), renewed, "{redis}");
    }
    // No sentinel can be told.
    for told in [&["config", "set"][..], &["sentinel", "config", "set"]] {
        let answer = data.ask("sentinel-0", "sentinel", &[told, &OWN_FILES[..2]].concat());
        assert!(!answer.starts_with("OK") && !answer.is_empty(), "{answer}");
    }
    let named =
        |sentinel: &str| data.ask(sentinel, "techsapo", &["sentinel", "get-master-addr-by-name", "techsapo"]);
    for (place, sentinel) in SENTINELS.iter().enumerate() {
        let address = format!("{sentinel}:26379");
        assert_eq!(shown(&data.place, &address), former, "{sentinel} was not started again yet");
        servers[2 + place].kill_9();
        // Who asks the sentinels asks the next one.
        for other in SENTINELS.iter().filter(|other| *other != sentinel) {
            assert_eq!(named(other), "redis-0\n6379", "{other}");
        }
        servers[2 + place] = data.start(sentinel, DATA[2 + place].0);
        wait::until_true("it shows the new certificate", || shown(&data.place, &address) == renewed);
        wait::until_true("it knows who is primary", || named(sentinel) == "redis-0\n6379");
    }
    data.wait_known();
    servers[0].kill_9();
    data.wait_primary("redis-1");
}

#[test]
fn alertmanagers_speak_by_tls_and_let_nobody_else_in() {
    let prepared = certified();
    let certificates = prepared.path("tls");
    let strangers = ["10.213.43.63", "10.213.43.64"];
    let hosts = [&MONITORING[..], &[(strangers[0], "in-clear"), (strangers[1], "stranger")]].concat();
    let Some(place) = Namespace::start_or_skip("production: Alertmanager", &hosts, &certificates) else {
        return;
    };
    let cluster = Alertmanagers::of(&place, &prepared);
    let mut members: Vec<_> = (0..3).map(|number| cluster.start(number)).collect();
    let figure = |address: &str, metric: &str| -> Option<f64> {
        let tls = "--cacert /etc/ssl/techsapo/ca.crt --cert /etc/ssl/techsapo/prometheus.crt --key /etc/ssl/techsapo/prometheus.key";
        let resolve = format!("alertmanager:9093:{address}");
        let mut arguments = vec!["--silent", "--noproxy", "*", "--max-time", "5", "--resolve", &resolve];
        arguments.extend(tls.split(' '));
        let page = place.ask("curl", &[&arguments[..], &["https://alertmanager:9093/metrics"]].concat());
        page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok())
    };
    let member = |number: usize, metric: &str| figure(&format!("10.213.43.6{number}"), metric);
    let whole = || (0..3).all(|number| member(number, "alertmanager_cluster_members") == Some(3.0));
    wait::until_true("each knows the others", whole);
    for number in 0..3 {
        wait::until_true("they speak by TLS", || {
            member(number, "alertmanager_tls_transport_packet_bytes_sent_total")
                .is_some_and(|sent| sent > 0.0)
        });
    }

    // One in clear, and one by TLS that shows a certificate of another authority.
    let other = Authority::new("other");
    let own = other.issue("alertmanager", &[]);
    let files = [
        ("/etc/ssl/techsapo/ca.crt", other.ca_file()),
        ("/etc/ssl/techsapo/alertmanager.crt", own.cert),
        ("/etc/ssl/techsapo/alertmanager.key", own.key),
    ];
    let text = files
        .iter()
        .fold(prepared.read("docker/production/web/cluster-alertmanager.yml"), |text, (theirs, ours)| {
            text.replace(theirs, &ours.display().to_string())
        });
    let tls = place.folder().join("stranger.yml");
    std::fs::write(&tls, text).unwrap();
    for (address, name, tls) in [(strangers[0], "in-clear", None), (strangers[1], "stranger", Some(&*tls))] {
        let stranger = cluster.joining(name, address, tls);
        wait::until_true("it is not let in", || stranger.log().contains("unable to join gossip mesh"));
        wait::until_true("it is alone", || figure(address, "alertmanager_cluster_members") == Some(1.0));
        assert!(whole(), "{name} is a member");
    }

    // A renewed certificate is shown at once; and whoever is started again is a member again.
    let former = in_file(&place);
    prepared.renew();
    assert_ne!(in_file(&place), former);
    for number in 0..3 {
        assert_eq!(shown(&place, &format!("alertmanager-{number}:9094")), in_file(&place));
    }
    for (number, process) in members.iter_mut().enumerate() {
        process.kill_9();
        *process = cluster.start(number);
        wait::until_true("it is a member again", || {
            member(number, "alertmanager_cluster_members") == Some(3.0)
        });
    }
    wait::until_true("each knows the others", whole);
}
