//! The store in a database by itself: who may write when, and what a statement that comes too late can do.

use mysql_async::Opts;
use techsapo_exporter::checkpoint::Store;
use techsapo_exporter::checkpoint::StoreError::Deposed;
use techsapo_exporter::checkpoint::mysql::Mysql;
use techsapo_tests::MariaDb;

fn store(database: &MariaDb) -> Mysql {
    Mysql::new(Opts::from_url(&database.url()).unwrap(), "techsapo")
}

/// One that holds the state.
fn holder(database: &MariaDb) -> Mysql {
    let mut holder = store(database);
    assert!(holder.try_acquire().unwrap());
    assert!(holder.load().unwrap().state.is_none());
    holder
}

/// As if the time of a lease had passed without a renewal.
fn let_the_lease_run_out(database: &MariaDb) {
    database.sql("UPDATE exporter_checkpoints SET lease_until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND");
}

fn row(database: &MariaDb) -> String {
    database.sql("SELECT term, holder, version, HEX(state) FROM exporter_checkpoints")
}

#[test]
fn one_holds_it_and_gives_it_back() {
    let database = MariaDb::start();
    let (mut first, mut second) = (holder(&database), store(&database));
    assert!(!second.try_acquire().unwrap());
    assert!(second.held_until().is_none());
    assert!(first.try_acquire().unwrap(), "it still holds it");
    assert!(!first.held_until().unwrap().has_passed());
    first.commit(b"the state").unwrap();
    first.release();
    assert!(matches!(first.commit(b"too late"), Err(Deposed(_))));
    assert!(second.try_acquire().unwrap(), "at once");
    assert_eq!(second.load().unwrap().state.unwrap(), b"the state");
    assert!(!first.try_acquire().unwrap());
}

#[test]
fn who_lets_the_lease_run_out_can_commit_nothing_once_another_has_it() {
    let database = MariaDb::start();
    let mut first = holder(&database);
    first.commit(b"first").unwrap();
    let_the_lease_run_out(&database);
    // Nobody else wanted it.
    first.commit(b"still the first").unwrap();
    let_the_lease_run_out(&database);
    let mut second = store(&database);
    assert!(second.try_acquire().unwrap());
    assert_eq!(second.load().unwrap().state.unwrap(), b"still the first");
    let before = row(&database);
    assert!(matches!(first.commit(b"overtaken"), Err(Deposed(_))));
    assert!(first.held_until().is_none());
    assert!(matches!(first.load(), Err(Deposed(_))));
    first.release();
    assert_eq!(row(&database), before, "nothing was changed");
    second.commit(b"second").unwrap();
    assert_eq!(second.load().unwrap().state.unwrap(), b"second");
}

#[test]
fn a_clock_set_back_does_not_lengthen_a_lease() {
    let database = MariaDb::start();
    let (_gone, mut second) = (holder(&database), store(&database));
    assert!(!second.try_acquire().unwrap());
    database.sql("UPDATE exporter_checkpoints SET lease_until = lease_until + INTERVAL 1 HOUR");
    assert!(second.try_acquire().unwrap());
}

#[test]
fn a_commit_that_was_given_up_does_not_undo_the_next_one() {
    let database = MariaDb::start();
    let mut holder = holder(&database);
    database.pause();
    let error = holder.commit(b"given up").unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("no answer"), "{error}");
    // What was sent is carried out now, before or after what is sent next.
    database.resume();
    holder.commit(b"the next one").unwrap();
    assert_eq!(holder.load().unwrap().state.unwrap(), b"the next one");
}

#[test]
fn what_was_committed_survives_the_end_of_the_server() {
    let mut database = MariaDb::start();
    let mut holder = holder(&database);
    holder.commit(b"durable").unwrap();
    database.kill_9();
    assert!(holder.commit(b"nowhere").is_err());
    assert!(holder.held_until().is_some(), "until its time is over it is the holder");
    database.start_again();
    assert_eq!(holder.load().unwrap().state.unwrap(), b"durable");
    holder.commit(b"again").unwrap();
}

#[test]
fn a_state_too_large_for_the_server_is_said_clearly_and_changes_nothing() {
    let database = MariaDb::with(&["--max-allowed-packet=16K"]);
    let mut holder = holder(&database);
    holder.commit(b"small").unwrap();
    let large: Vec<u8> = (0..2_000).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect();
    let error = holder.commit(&large).unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("raise its max_allowed_packet") && why.contains("takes 16384"), "{why}");
    assert_eq!(holder.load().unwrap().state.unwrap(), b"small");
    holder.commit(b"small again").unwrap();
}

#[test]
fn states_of_different_names_know_nothing_of_each_other() {
    let database = MariaDb::start();
    let opts = Opts::from_url(&database.url()).unwrap();
    let mut stores = ["a", "A", "ä"].map(|name| Mysql::new(opts.clone(), name));
    for (number, store) in stores.iter_mut().enumerate() {
        assert!(store.try_acquire().unwrap());
        store.commit(&[number as u8; 100]).unwrap();
    }
    for (number, store) in stores.iter_mut().enumerate() {
        assert_eq!(store.load().unwrap().state.unwrap(), [number as u8; 100]);
    }
}

#[test]
fn with_the_table_in_place_few_rights_suffice() {
    let database = MariaDb::start();
    holder(&database).release();
    database.sql(
        "CREATE USER few@'127.0.0.1' IDENTIFIED BY 'rights'; \
         GRANT SELECT, INSERT, UPDATE ON techsapo.exporter_checkpoints TO few@'127.0.0.1'; \
         DELETE FROM exporter_checkpoints",
    );
    let user = database.url().split('@').next().unwrap().to_owned();
    let url = database.url().replace(&user, "mysql://few:rights");
    let mut few = Mysql::new(Opts::from_url(&url).unwrap(), "techsapo");
    assert!(few.try_acquire().unwrap());
    few.commit(b"enough").unwrap();
    assert_eq!(few.load().unwrap().state.unwrap(), b"enough");
}
