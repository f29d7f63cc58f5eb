//! The guide names files, folders and cases that exist.

use crate::repository;

/// What stands between back ticks outside of code blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut quoted = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            quoted.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    quoted
}

#[test]
fn what_the_guide_points_to_exists() {
    let guide = std::fs::read_to_string(repository("docs/kubernetes.md")).unwrap();
    let mut files = 0;
    let block = guide
        .split_whitespace()
        .filter(|word| word.starts_with("tests/"));
    for name in quoted(&guide).into_iter().chain(block.map(str::to_owned)) {
        let name = name.trim_end_matches([',', '.', ':', ')', '`']);
        let is_script = name.ends_with(".sh") || name.ends_with(".yaml") || name.ends_with(".cnf");
        let places = [
            String::new(),
            "tests/kind/manifests/base/".to_owned(),
            "tests/kind/manifests/base/scripts/".to_owned(),
            "tests/kind/manifests/".to_owned(),
        ];
        if name.starts_with("tests/") || (is_script && !name.contains(' ')) {
            let found = places
                .iter()
                .any(|place| repository(&format!("{place}{name}")).exists());
            assert!(found, "the guide names {name}");
            files += 1;
        }
    }
    assert!(files >= 10, "{files}");
    for line in guide.lines() {
        for link in line.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if !link.starts_with("http") && !link.starts_with('#') {
                let link = link.split('#').next().unwrap();
                assert!(repository("docs").join(link).exists(), "a link to {link}");
            }
        }
    }
}
