//! What stands for the images that the compose files and the Dockerfile name (`tests/stand-ins/Dockerfile`).

use std::collections::BTreeMap;
use std::path::Path;

use techsapo_tests::engine::{Engine, script};
use techsapo_tests::repository;

/// Which stand-in is made for which image.
const STAND_INS: [(&str, &str); 9] = [
    ("debian", "debian"),
    ("rust", "rust"),
    ("redis", "redis"),
    ("mysql", "mysql"),
    ("nginx", "nginx"),
    ("prom/prometheus", "prometheus"),
    ("prom/alertmanager", "alertmanager"),
    ("prom/node-exporter", "node-exporter"),
    ("victoriametrics/victoria-metrics", "victoria-metrics"),
];
const COMPOSE_FILES: [&str; 3] = [
    "docker-compose.yml",
    "docker/docker-compose.monitoring.yml",
    "docker/production/docker-compose.prod.yml",
];

/// Makes all of them.
pub(super) fn stand_ins(engine: &Engine) {
    let archives = script("stand-in-images.sh");
    let images = named();
    for (image, target) in STAND_INS {
        engine.stand_in(Path::new(&archives), target, &images[image]);
    }
}

/// The images that our files name, each by the name that it has without its tag.
fn named() -> BTreeMap<String, String> {
    let mut found = Vec::new();
    for file in COMPOSE_FILES {
        let content: serde_yaml_ng::Value = serde_yaml_ng::from_str(&repository::read(file)).unwrap();
        // Of services, or of what several of them have in common.
        let services = content["services"].as_mapping().unwrap().values();
        let services = services.chain(content.as_mapping().unwrap().values());
        found.extend(services.filter_map(|service| Some(service.get("image")?.as_str()?.to_owned())));
    }
    let dockerfile = repository::read("Dockerfile");
    let bases = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next());
    found.extend(bases.filter(|base| base.contains(':')).map(str::to_owned));
    let mut images = BTreeMap::new();
    for image in found {
        let (name, tag) = image.split_once(':').expect("every image has a tag");
        assert!(
            tag != "latest" && images.get(name).is_none_or(|other| *other == image),
            "{image}: {images:?}"
        );
        images.insert(name.to_owned(), image);
    }
    images
}
