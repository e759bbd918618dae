use lockgate_api::{Event, HELD_BYTES_MAX, PolicyError, Verdict};
use proptest::prelude::*;

use super::{Head, Run, Settled, Strand};

fn text_of(settled: Settled) -> String {
    match settled {
        Settled::Goes(None) => String::new(),
        Settled::Goes(Some(Event::Text { text, .. })) => text,
        other => panic!("{other:?}"),
    }
}

fn run(chunks: &[(&str, Verdict)]) -> Vec<String> {
    let mut run = Run::new(0, Strand::Text);
    let settle = |(chunk, verdict): &(&str, Verdict)| {
        run.push(None, chunk);
        text_of(run.settle(verdict.clone(), true).expect("the verdict makes sense"))
    };
    chunks.iter().map(settle).collect()
}

#[test]
fn a_verdict_is_about_all_that_is_undecided() {
    use Verdict::{Hold, Pass, Replace};
    assert_eq!(run(&[("a", Pass), ("b", Pass)]), ["a", "b"]);
    assert_eq!(run(&[("a", Hold(9)), ("b", Pass)]), ["", "ab"]);
    assert_eq!(run(&[("a", Hold(1)), ("b", Replace("x".to_owned())), ("c", Pass)]), ["", "x", "c"]);
    assert_eq!(run(&[("abcd", Hold(2)), ("e", Hold(1)), ("", Pass)]), ["ab", "cd", "e"]);
    assert_eq!(run(&[("a", Hold(1)), ("b", Hold(0))]), ["", "ab"]);
    // A character is not split: more of it stays.
    assert_eq!(run(&[("aé", Hold(1)), ("", Pass)]), ["a", "é"]);
}

#[test]
fn nothing_is_held_back_at_the_end_or_without_bound() {
    let mut over = Run::new(0, Strand::Text);
    over.push(None, "a");
    let error = over.settle(Verdict::Hold(1), false).expect_err("nothing more comes");
    assert!(matches!(error, PolicyError::InvalidAnswer { .. }), "{error}");

    let mut full = Run::new(0, Strand::Text);
    full.push(None, &"a".repeat(HELD_BYTES_MAX));
    assert_eq!(full.settle(Verdict::Hold(usize::MAX), true), Ok(Settled::Goes(None)));
    full.push(None, "a");
    let error = full.settle(Verdict::Hold(usize::MAX), true).expect_err("one byte too many");
    assert_eq!(error, PolicyError::Limit { limit: "text held back: 65536 bytes".to_owned() });
}

#[test]
fn what_was_held_back_does_not_survive_a_stop() {
    let mut run = Run::new(0, Strand::Text);
    run.push(None, "secret");
    assert_eq!(run.settle(Verdict::Hold(6), true), Ok(Settled::Goes(None)));
    run.push(None, " more");
    let stopped = run.settle(Verdict::Stop { reason: "no".to_owned() }, true);
    assert_eq!(stopped, Ok(Settled::Stopped("no".to_owned())));
    assert_eq!(run.settle(Verdict::Pass, false), Ok(Settled::Goes(None)));
}

#[test]
fn a_tool_call_begins_when_some_of_it_goes_on() {
    let head = || Some(Head { id: Some("id".to_owned()), name: Some("tool".to_owned()) });
    let event = |id: Option<&str>, name: Option<&str>, arguments: &str| {
        Settled::Goes(Some(Event::ToolCall {
            choice: 2,
            index: 1,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        }))
    };
    let mut run = Run::new(2, Strand::Call(1));
    run.push(head(), "");
    assert_eq!(run.settle(Verdict::Hold(1), true), Ok(Settled::Goes(None)));
    run.push(None, "{\"a");
    assert_eq!(run.settle(Verdict::Hold(1), true), Ok(event(Some("id"), Some("tool"), "{\"")));
    run.push(None, "\":1}");
    assert_eq!(run.settle(Verdict::Pass, true), Ok(event(None, None, "a\":1}")));
    assert_eq!(run.settle(Verdict::Pass, false), Ok(Settled::Goes(None)));

    // Even one whose arguments are taken away is a call.
    let mut run = Run::new(2, Strand::Call(1));
    run.push(head(), "{}");
    assert_eq!(run.settle(Verdict::Replace(String::new()), true), Ok(event(Some("id"), Some("tool"), "")));
}

proptest! {
    /// Whatever is held back and when: nothing is lost, doubled or moved.
    #[test]
    fn holding_back_only_delays(chunks in prop::collection::vec(("[a-cé€😀]{0,6}", 0usize..9), 0..20)) {
        let mut run = Run::new(0, Strand::Text);
        let mut told = String::new();
        for (chunk, hold) in &chunks {
            run.push(None, chunk);
            let settled = run.settle(Verdict::Hold(*hold), true).expect("the verdict makes sense");
            told.push_str(&text_of(settled));
            prop_assert!(run.held.len() < hold + 4);
        }
        told.push_str(&text_of(run.settle(Verdict::Pass, false).expect("the verdict makes sense")));
        let whole: String = chunks.iter().map(|(chunk, _)| chunk.as_str()).collect();
        prop_assert_eq!(told, whole);
    }
}
