//! The README's first program is the one the quickstart runs.

#[test]
fn the_program_of_the_readme_is_the_one_the_quickstart_runs() {
    let quickstart = include_str!("../examples/quickstart.rs");
    let program = quickstart
        .split("// === The application ===")
        .nth(1)
        .and_then(|rest| rest.split("// === The stage ===").next())
        .unwrap()
        .trim();
    assert!(program.contains("async fn place_order"), "{program}");
    assert!(include_str!("../README.md").contains(program), "{program}");
}
