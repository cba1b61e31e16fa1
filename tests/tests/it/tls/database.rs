//! MariaDB by TLS: the exporter's state and the app's audit, on a server that takes nobody without a certificate.

use techsapo_tests::{App, Authority, Exporter, MariaDb, RedisServer, wait};

fn database(authority: &Authority) -> MariaDb {
    let own = authority.issue("mysql", &["127.0.0.1"]);
    let files = [("ssl-ca", &authority.ca_file()), ("ssl-cert", &own.cert), ("ssl-key", &own.key)];
    let mut options = files.map(|(option, file)| format!("--{option}={}", file.display())).to_vec();
    options.push("--require-secure-transport=ON".to_owned());
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let database = MariaDb::with(&options);
    database.sql("ALTER USER exporter@'127.0.0.1' REQUIRE X509");
    database
}

fn demanding_tls(database: &MariaDb) -> String {
    format!("{}?require_ssl=true", database.url())
}

#[test]
fn the_state_goes_by_tls_and_follows_a_renewed_certificate() {
    let authority = Authority::new("TechSapo test CA");
    let (database, redis) = (database(&authority), RedisServer::start());
    let (ca, good) = (authority.ca_file(), authority.issue("exporter", &[]));
    let exporter = || Exporter::of(&redis).database_url(&demanding_tls(&database));

    let in_clear = Exporter::of(&redis).database_url(&database.url()).tls(&ca, &good).spawn();
    in_clear.wait_log("Access denied");
    let nobody = exporter().flag("--tls.ca-file", &ca.to_string_lossy()).spawn();
    nobody.wait_log("Access denied");
    let stranger = Authority::new("stranger");
    let mistrusting = exporter().tls(&stranger.ca_file(), &good).spawn();
    mistrusting.wait_log("UnknownIssuer");
    drop((in_clear, nobody, mistrusting));

    // Until its certificate is renewed it is nobody; then it holds the state, without a restart.
    let own = stranger.issue("exporter", &[]);
    let mut renewed = exporter().tls(&ca, &own).spawn();
    renewed.wait_log("waiting");
    assert!(renewed.get("/-/ready").is_ok_and(|answer| answer.status == 503));
    good.replace(&own);
    renewed.wait_ready();
    let rows = database.sql("SELECT COUNT(*) FROM exporter_checkpoints WHERE state IS NOT NULL");
    assert_eq!(rows, "1");
}

#[test]
fn the_audit_goes_by_tls() {
    let authority = Authority::new("TechSapo test CA");
    let (database, redis) = (database(&authority), RedisServer::start());
    let app = App::of(&redis)
        .set("TECHSAPO_MYSQL_URL", &demanding_tls(&database))
        .tls(&authority.ca_file(), &authority.issue("app", &[]))
        .start();
    app.generate("Is this written down?", "basic").unwrap();
    wait::until_true("the analysis is in the audit", || {
        !database.sql("SHOW TABLES LIKE 'analyses'").is_empty()
            && database.sql("SELECT COUNT(*) FROM analyses") == "1"
    });

    // An authority of MySQL's own goes before the general one.
    let stranger = Authority::new("stranger");
    let mistrusting = App::of(&redis)
        .set("TECHSAPO_MYSQL_URL", &demanding_tls(&database))
        .set("TECHSAPO_MYSQL_CA_FILE", &stranger.ca_file().to_string_lossy())
        .tls(&authority.ca_file(), &authority.issue("app", &[]))
        .start();
    wait::until_true("MySQL is not believed", || {
        mistrusting.get("/health").is_ok_and(|answer| answer.text().contains("UnknownIssuer"))
            || mistrusting.process.log().contains("UnknownIssuer")
    });
}
