//! The app with all four vendors: what a caller reads, what is recorded, and changes while it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use techsapo_app::providers::keys::KeySources;

use super::support::App;
use super::vendors::{Reply, SHAPES, Shape, VendorServer};
use super::{CHARGED_NANOUSD, KEY, cost_nanousd};

pub(super) const SENTENCE: &str = "Roll the change out to one server first, watch its errors, then widen.";
/// Nothing here takes this long.
const HANG: Duration = Duration::from_secs(20);

/// The four vendors, each answering the same, and a file that names them.
pub(super) struct World {
    pub(super) servers: Vec<VendorServer>,
    folder: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let answer =
            |shape: &Shape| VendorServer::start([Reply::json(&(shape.answer)(shape.model, SENTENCE))]);
        let world =
            Self { servers: SHAPES.iter().map(answer).collect(), folder: tempfile::tempdir().unwrap() };
        world.write(&world.sections(4));
        world
    }

    /// The sections of the first vendors.
    pub(super) fn sections(&self, count: usize) -> String {
        let section = |(shape, server): (&Shape, &VendorServer)| {
            let (name, model, url) = (shape.section, shape.model, server.url());
            format!(
                "[{name}]\nmodels = [\"{model}\"]\nbase_url = \"{url}\"\nattempts = 1\n[[{name}.prices]]\n\
                 model = \"{model}\"\nfrom = 2020-01-01\ninput = 1.25\ncached_input = 0.125\n\
                 cache_write = 3.75\noutput = 10\n"
            )
        };
        SHAPES.iter().zip(&self.servers).take(count).map(section).collect()
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("providers.toml")
    }

    /// Replaces the file, as an editor does.
    pub(super) fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    pub(super) fn start(&self, overrides: &[(&str, &str)]) -> App {
        let file = self.file();
        let mut all = vec![("providers.file", file.to_str().unwrap())];
        all.extend(overrides);
        started(&all, keys(4))
    }
}

/// Keys for the first vendors.
fn keys(count: usize) -> KeySources {
    let key = |shape: &Shape| (shape.key_variable.to_owned(), KEY.to_owned());
    KeySources::of(&SHAPES.iter().take(count).map(key).collect())
}

/// An app that serves.
fn started(overrides: &[(&str, &str)], keys: KeySources) -> App {
    let app = App::start_with(overrides, keys);
    assert_eq!(app.get("/ping").status, 200);
    app
}

pub(super) fn question(task_type: &str) -> Value {
    json!({"prompt": "How do I roll out a change safely?", "task_type": task_type})
}

/// Errors of the vendors and of the configuration; that Redis is away in these tests is counted too.
fn errors(app: &App) -> Vec<Value> {
    let ours = ["Gemini", "OpenAI", "Claude", "OpenRouter", "config"];
    let all = app.events("error");
    all.into_iter().filter(|event| ours.contains(&event["service"].as_str().unwrap())).collect()
}

pub(super) fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < HANG, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the calls of one analysis of all four cost, by provider, worked out by hand from what the servers state.
fn costs() -> [(&'static str, u64); 4] {
    let by_tokens = |index: usize| cost_nanousd(SHAPES[index].tokens);
    [
        ("Gemini", by_tokens(0)),
        ("OpenAI", by_tokens(1)),
        ("Claude", by_tokens(2)),
        ("OpenRouter", CHARGED_NANOUSD),
    ]
}

#[test]
fn four_vendors_answer_and_every_nano_dollar_is_in_the_response_and_in_the_events() {
    let world = World::new();
    let app = world.start(&[]);
    let response = app.generate(&question("critical"));
    assert_eq!(response.status, 200, "{response:?}");
    let body = response.json();
    assert_eq!((&body["response"], &body["simulated"]), (&json!(SENTENCE), &json!(false)));
    assert!(body.get("notice").is_none());
    let analysis = &body["wall_bounce_analysis"];
    let total: u64 = costs().iter().map(|(_, cost)| cost).sum();
    // 100 × 1250 + 300 × 125 + 130 × 10 000; 200 × 1250 + 128 × 125 + 52 × 10 000;
    // 25 × 1250 + 500 × 125 + 200 × 3750 + 15 × 10 000; as charged.
    assert_eq!(total, 1_462_500 + 786_000 + 993_750 + 123_457);
    assert_eq!(analysis["total_cost_nanousd"], total);
    let (votes, events) = (analysis["llm_votes"].as_array().unwrap(), app.events("llm_request"));
    assert_eq!((votes.len(), events.len()), (4, 4));
    for ((vote, event), (name, cost)) in votes.iter().zip(&events).zip(costs()) {
        for seen in [vote, event] {
            assert_eq!((&seen["provider"], &seen["cost_nanousd"]), (&json!(name), &json!(cost)));
            assert_eq!(seen["status"], "success");
        }
        assert_eq!(vote["model"], event["model"]);
    }
    assert!(errors(&app).is_empty());
    let configured = app.events("providers_configured");
    assert_eq!(configured[0]["providers"].as_array().unwrap().len(), 4);
    assert_eq!(configured[0]["providers"][2]["models"], json!(["claude-sonnet-4-20250514"]));
}

#[test]
fn what_is_not_as_it_should_be_is_counted() {
    let world = World::new();
    let app = world.start(&[]);
    world.servers[0].now([Reply::json(&(SHAPES[0].answer)("gemini-of-tomorrow", SENTENCE))]);
    let (body, _) = (SHAPES[1].no_answers)().remove(0);
    world.servers[1].now([Reply::json(&body)]);
    let response = app.generate(&question("premium"));
    assert_eq!(response.status, 200, "{response:?}");
    let analysis = response.json()["wall_bounce_analysis"].clone();
    assert_eq!(analysis["providers_used"], json!(["Gemini", "Claude", "OpenRouter"]));
    let [_, openai, claude, openrouter] = costs().map(|(_, cost)| cost);
    assert_eq!(analysis["total_cost_nanousd"], openai + claude + openrouter, "a cut answer is billed");
    assert_eq!(analysis["llm_votes"][1]["error"]["kind"], "incomplete");
    let told = |event: &Value| {
        ["service", "error_type", "severity"].map(|field| event[field].as_str().unwrap().to_owned())
    };
    let errors: Vec<_> = errors(&app).iter().map(told).collect();
    for expected in [
        ["Gemini", "model_substituted", "warning"],
        ["Gemini", "model_unpriced", "warning"],
        ["OpenAI", "incomplete", "error"],
    ] {
        assert!(errors.iter().any(|error| *error == expected), "{expected:?} in {errors:?}");
    }
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[test]
fn only_vendors_with_a_key_are_asked() {
    let world = World::new();
    let file = world.file();
    let file = file.to_str().unwrap();
    let asked = |count, mix| {
        let app = started(&[("providers.file", file), ("providers.simulated", mix)], keys(count));
        let names: Vec<_> = app.events("providers_configured")[0]["providers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|provider| provider["provider"].as_str().unwrap().to_owned())
            .collect();
        (app, names)
    };
    let simulated = ["Simulated-Gemini", "Simulated-OpenAI", "Simulated-Claude", "Simulated-OpenRouter"];
    assert_eq!(asked(0, "auto").1, simulated);
    assert_eq!(asked(1, "auto").1, ["Gemini"]);
    assert_eq!(asked(1, "always").1, [&["Gemini"], &simulated[..]].concat());
    let (app, names) = asked(1, "never");
    assert_eq!(names, ["Gemini"]);
    let error = app.generate(&question("basic")).error(503, "not_enough_providers");
    assert_eq!(error["details"], json!({"needed": 2, "configured": 1}));
    let (app, _) = asked(1, "always");
    let body = app.generate(&question("basic")).json();
    assert_eq!((&body["simulated"], body["notice"].is_string()), (&json!(true), true));
}

#[test]
fn a_changed_file_takes_effect_and_a_wrong_one_changes_nothing() {
    let world = World::new();
    let app = world.start(&[]);
    let configured = || app.events("providers_configured");
    assert_eq!(configured().len(), 1);

    world.write("[gemini]\nmodels = []\n[openapi]\n");
    until("the wrong file is told", || !errors(&app).is_empty());
    assert_eq!(errors(&app)[0]["error_type"], "providers_file_invalid");
    assert_eq!(app.generate(&question("critical")).status, 200, "all four are still asked");
    assert_eq!(configured().len(), 1);

    // A file that was emptied while it is written anew, and one that names nobody whose key there is.
    for nobody in ["", "# nothing\n"] {
        let told = errors(&app).len();
        world.write(nobody);
        until("the empty file is told", || errors(&app).len() > told);
        let body = app.generate(&question("critical")).json();
        assert_eq!(body["simulated"], false, "all four are still asked");
    }
    assert_eq!(configured().len(), 1);

    world.write(&world.sections(2));
    until("two vendors are left", || configured().len() == 2);
    assert_eq!(configured()[1]["providers"].as_array().unwrap().len(), 2);
    assert_eq!(app.events("config_changed")[0]["component"], "providers");
    app.generate(&question("critical")).error(503, "not_enough_providers");

    world.write(&world.sections(4).replace("input = 1.25", "input = 2.5"));
    until("four are back, at another price", || configured().len() == 3);
    let total =
        app.generate(&question("critical")).json()["wall_bounce_analysis"]["total_cost_nanousd"].clone();
    let before: u64 = costs().iter().map(|(_, cost)| cost).sum();
    // 100, 200 and 25 fresh tokens cost as much again.
    assert_eq!(total, before + 325 * 1_250);
}

#[test]
fn a_key_in_a_file_is_read_again_when_it_changes() {
    let world = World::new();
    let secrets = tempfile::tempdir().unwrap();
    let path = secrets.path().join("gemini");
    std::fs::write(&path, "sk-old\n").unwrap();
    let sources = KeySources::of(&[("GEMINI_API_KEY_FILE".to_owned(), path_text(&path))].into());
    let file = world.file();
    let settings = [("providers.file", file.to_str().unwrap()), ("providers.simulated", "always")];
    let app = started(&settings, sources);
    let key_seen = || {
        assert_eq!(app.generate(&question("basic")).status, 200);
        world.servers[0].seen().last().unwrap().header("x-goog-api-key").unwrap().to_owned()
    };
    assert_eq!(key_seen(), "sk-old");
    std::fs::write(&path, "sk-new\n").unwrap();
    until("the new key is used", || key_seen() == "sk-new");
}

fn path_text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
