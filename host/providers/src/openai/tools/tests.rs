use super::*;

fn fragment<'a>(
    index: impl Into<Option<u64>>,
    id: &'a str,
    name: &'a str,
    arguments: &'a str,
) -> Fragment<'a> {
    Fragment { index: index.into(), id, name, arguments }
}

/// Adds the fragments and returns each call as (id, name, arguments).
fn assemble(fragments: &[Fragment<'_>]) -> Vec<(String, String, String)> {
    let mut calls = ToolCalls::default();
    let mut whole: Vec<(String, String, String)> = Vec::new();
    for fragment in fragments {
        let Some(piece) = calls.add(*fragment, |index| format!("made-{index}")).unwrap() else { continue };
        let at = piece.index as usize;
        if let Some(id) = piece.id {
            assert_eq!(at, whole.len(), "indices are dense and begin in order");
            whole.push((id, piece.name.unwrap(), String::new()));
        } else {
            assert_eq!(piece.name, None);
        }
        whole[at].2.push_str(&piece.arguments);
    }
    calls.finish().unwrap();
    whole
}

fn check(name: &str, fragments: &[Fragment<'_>], expected: &[(&str, &str, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(id, name, arguments)| (id.to_string(), name.to_string(), arguments.to_string()))
        .collect();
    assert_eq!(assemble(fragments), expected, "{name}");
}

#[test]
fn servers_of_every_habit() {
    let two = [("a", "f", r#"{"x":1}"#), ("b", "g", r#"{"y":2}"#)];
    check(
        "by the protocol",
        &[
            fragment(0, "a", "f", ""),
            fragment(0, "", "", r#"{"x":"#),
            fragment(0, "", "", "1}"),
            fragment(1, "b", "g", ""),
            fragment(1, "", "", r#"{"y":2}"#),
        ],
        &two,
    );
    check(
        "interleaved",
        &[
            fragment(0, "a", "f", ""),
            fragment(1, "b", "g", ""),
            fragment(0, "", "", r#"{"x":"#),
            fragment(1, "", "", r#"{"y":"#),
            fragment(0, "", "", "1}"),
            fragment(1, "", "", "2}"),
        ],
        &two,
    );
    check(
        "whole calls, all on index 0",
        &[fragment(0, "a", "f", r#"{"x":1}"#), fragment(0, "b", "g", r#"{"y":2}"#)],
        &two,
    );
    check(
        "no index",
        &[
            fragment(None, "a", "f", ""),
            fragment(None, "", "", r#"{"x":1}"#),
            fragment(None, "b", "g", r#"{"y":2}"#),
        ],
        &two,
    );
    check(
        "sparse indices",
        &[fragment(3, "a", "f", r#"{"x":1}"#), fragment(7, "b", "g", ""), fragment(7, "", "", r#"{"y":2}"#)],
        &two,
    );
    check(
        "id and name repeated in every fragment",
        &[
            fragment(0, "a", "f", r#"{"x":"#),
            fragment(0, "a", "f", "1}"),
            fragment(1, "b", "g", r#"{"y":"#),
            fragment(1, "b", "g", "2}"),
            fragment(1, "b", "g", ""),
        ],
        &two,
    );
    check(
        "a new id in every fragment",
        &[fragment(0, "a", "f", r#"{"x":"#), fragment(0, "z", "", "1}"), fragment(1, "b", "g", r#"{"y":2}"#)],
        &two,
    );
    check(
        "the name after the id and part of the arguments",
        &[fragment(0, "a", "", r#"{"x":"#), fragment(0, "", "f", "1}"), fragment(1, "b", "g", r#"{"y":2}"#)],
        &two,
    );
}

#[test]
fn calls_without_ids_are_told_apart_and_get_ids() {
    let expected = [("made-0", "f", r#"{"x":"}"}"#), ("made-1", "f", r#"{"x":2}"#)];
    check(
        "same tool twice, whole, on index 0",
        &[fragment(0, "", "f", r#"{"x":"}"}"#), fragment(0, "", "f", r#"{"x":2}"#)],
        &expected,
    );
    check(
        "same tool twice, whole, without index",
        &[fragment(None, "", "f", r#"{"x":"}"}"#), fragment(None, "", "f", r#"{"x":2}"#)],
        &expected,
    );
    check(
        "same tool twice, in pieces that repeat the name",
        &[
            fragment(0, "", "f", r#"{"x":"#),
            fragment(0, "", "f", r#""}"}"#),
            fragment(0, "", "f", r#"{"x":"#),
            fragment(0, "", "f", "2}"),
        ],
        &expected,
    );
}

#[test]
fn one_id_for_several_indices_is_several_calls() {
    check(
        "constant id",
        &[fragment(0, "a", "f", "{}"), fragment(1, "a", "f", "{}")],
        &[("a", "f", "{}"), ("a", "f", "{}")],
    );
}

#[test]
fn empty_fragments_are_nothing() {
    check("empty", &[fragment(0, "", "", ""), fragment(None, "", "", "")], &[]);
}

#[test]
fn a_call_without_a_name_is_a_problem() {
    let mut calls = ToolCalls::default();
    assert_eq!(calls.add(fragment(0, "a", "", "{}"), |_| String::new()), Ok(None));
    assert_eq!(calls.finish(), Err(ToolProblem::NoName));
    let long = "x".repeat(HELD_BYTES_MAX);
    assert_eq!(calls.add(fragment(0, "", "", &long), |_| String::new()), Err(ToolProblem::NoName));
}

#[test]
fn endless_calls_are_refused() {
    let mut calls = ToolCalls::default();
    let refused = (0..=CALLS_MAX as u64)
        .map(|index| calls.add(fragment(index, "", "f", "{}"), |_| "id".to_owned()))
        .filter(Result::is_err)
        .count();
    assert_eq!(refused, 1);
}
