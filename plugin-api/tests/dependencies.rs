//! The boundary stays light: every plugin carries what this crate depends on.

use std::collections::BTreeSet;

/// What the crate may depend on, and with which features.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("bytes", &[]),
    ("rmp-serde", &[]),
    ("serde", &[]),
    ("serde_json", &[]),
    ("tokio", &["rt", "sync", "time"]),
    ("zeroize", &[]),
];

#[test]
fn nothing_heavier_comes_in() {
    let manifest = include_str!("../Cargo.toml");
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            assert!(!section.starts_with("dependencies.") && !section.starts_with("target."), "[{section}]");
            assert_ne!(section, "build-dependencies");
            continue;
        }
        if section == "features" {
            // A feature may add threads to the runtime; it may not bring a crate in.
            assert!(!line.contains("dep:"), "{line}");
            for feature in line.split('"').skip(1).step_by(2).filter(|feature| feature.contains('/')) {
                assert_eq!(feature, "tokio/rt-multi-thread", "{line}");
            }
        }
        if section != "dependencies" {
            continue;
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let (_, features) =
            ALLOWED.iter().find(|(allowed, _)| *allowed == name).unwrap_or_else(|| panic!("{name} is new"));
        for feature in line.split('"').skip(1).step_by(2) {
            assert!(features.contains(&feature), "{name} takes the feature {feature}");
        }
        found.insert(name);
    }
    let allowed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, allowed);
}
