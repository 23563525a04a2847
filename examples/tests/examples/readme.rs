//! What the README shows is what runs.

#[test]
fn the_readme_shows_the_quickstart_as_it_is() {
    let readme = include_str!("../../../README.md");
    let program = include_str!("../../src/bin/quickstart.rs");
    assert!(
        readme.contains(&format!("```rust\n{program}```\n")),
        "copy src/bin/quickstart.rs into the README"
    );
    assert!(program.lines().count() < 60, "a quickstart is short");
}
