//! What the compiler says about `#[derive(SyncRecord)]`: accepted programs, and the messages for refused ones.

#[test]
fn accepted_programs_compile_and_run_and_refused_ones_say_how_to_mend_them() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/core/ui/pass/*.rs");
    cases.compile_fail("tests/core/ui/fail/*.rs");
}
