//! The app's own Redis goes and comes back: requests do not notice, the status tells the truth.

use serde_json::Value;
use techsapo_tests::{App, RedisServer, wait};

/// What the app says of itself.
fn status(app: &App) -> Value {
    app.get("/internal/status").unwrap().json()["runtime_sample"].clone()
}

fn breaker(status: &Value) -> &str {
    let breakers = status["breakers"].as_array().unwrap();
    let redis = breakers.iter().find(|breaker| breaker["service"] == "redis").unwrap();
    redis["state"].as_str().unwrap()
}

fn is_well(status: &Value) -> bool {
    status["redis_pool_connections"] == 1
        && status["redis_consecutive_failures"] == 0
        && breaker(status) == "closed"
}

#[test]
fn a_redis_that_goes_or_hangs_is_noticed_and_found_again() {
    let (events, mut store) = (RedisServer::start(), RedisServer::start());
    let app = App::of(&events).set("TECHSAPO_STORE_REDIS_URL", &store.url()).start();
    wait::until_true("the store is connected", || is_well(&status(&app)));

    store.kill_9();
    wait::until_true("it is missed, without a request", || {
        let status = status(&app);
        status["redis_pool_connections"] == 0
            && status["redis_consecutive_failures"].as_u64().unwrap() >= 3
            && breaker(&status) != "closed"
    });
    assert_eq!(app.get("/health").unwrap().status, 200);
    store.start_again();
    wait::until_true("it is found again", || is_well(&status(&app)));

    store.pause();
    wait::until_true("it hangs", || breaker(&status(&app)) != "closed");
    store.resume();
    wait::until_true("it is well again", || is_well(&status(&app)));
}
