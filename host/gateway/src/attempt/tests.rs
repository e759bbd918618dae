use lockgate_api::FinishReason;
use proptest::prelude::*;

use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    first_event: Duration::from_secs(10),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(60),
};

fn start() -> Event {
    Event::Start { model: "m".to_owned() }
}

fn text(choice: u32) -> Event {
    Event::Text { choice, text: "a".to_owned(), logprobs: Vec::new() }
}

fn tool(index: u32) -> Event {
    Event::ToolCall { choice: 0, index, id: None, name: None, arguments: String::new() }
}

fn finish(choice: u32) -> Event {
    Event::Finish { choice, reason: FinishReason::Stop }
}

fn usage() -> Event {
    Event::Usage(Usage { output: 11, ..Usage::default() })
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Runs events at one moment; the last verdict.
fn run(choices: u32, events: &[Event]) -> Verdict {
    let now = Instant::now();
    let mut attempt = Attempt::begin(now, TIMEOUTS, choices);
    let mut verdict = Verdict::Continue;
    for event in events {
        assert_eq!(verdict, Verdict::Continue, "before {event:?}");
        verdict = attempt.on_event(now, event);
    }
    verdict
}

fn kind_of(verdict: Verdict) -> Option<ErrorKind> {
    match verdict {
        Verdict::Failed(error) => Some(error.kind),
        Verdict::Continue | Verdict::Complete => None,
    }
}

#[test]
fn an_answer_is_whole_when_every_choice_and_the_usage_have_come() {
    assert_eq!(run(1, &[start(), text(0), finish(0), usage()]), Verdict::Complete);
    assert_eq!(run(2, &[start(), text(1), finish(1), text(0), finish(0), usage()]), Verdict::Complete);
    assert_eq!(run(1, &[start(), tool(0), tool(0), tool(1), finish(0)]), Verdict::Continue);
}

#[test]
fn what_breaks_the_protocol_fails_the_attempt() {
    for (name, choices, events) in [
        ("a delta before the start", 1, vec![text(0)]),
        ("two starts", 1, vec![start(), start()]),
        ("a choice that nobody asked for", 1, vec![start(), text(1)]),
        ("the largest choice", 1, vec![start(), finish(u32::MAX)]),
        ("text after its end", 2, vec![start(), finish(0), text(0)]),
        ("two ends", 2, vec![start(), finish(0), finish(0)]),
        ("usage before the end", 1, vec![start(), usage()]),
        ("a gap in tool calls", 1, vec![start(), tool(1)]),
        ("the largest tool call", 1, vec![start(), tool(u32::MAX)]),
    ] {
        assert_eq!(kind_of(run(choices, &events)), Some(ErrorKind::Upstream), "{name}");
    }
    let mut many = vec![start()];
    many.extend((0..=TOOL_CALLS_MAX).map(tool));
    assert_eq!(kind_of(run(1, &many)), Some(ErrorKind::Upstream), "endless tool calls");
}

#[test]
fn an_end_before_the_end_is_a_cut() {
    let now = Instant::now();
    let mut attempt = Attempt::begin(now, TIMEOUTS, 1);
    assert_eq!(kind_of(attempt.on_end()), Some(ErrorKind::Cut));
    for events in [vec![start()], vec![start(), text(0)]] {
        let mut attempt = Attempt::begin(now, TIMEOUTS, 1);
        for event in &events {
            attempt.on_event(now, event);
        }
        assert!(attempt.committed());
        assert_eq!(kind_of(attempt.on_end()), Some(ErrorKind::Cut));
    }
}

#[test]
fn nothing_spoils_a_finished_answer() {
    let now = Instant::now();
    let finished = || {
        let mut attempt = Attempt::begin(now, TIMEOUTS, 1);
        for event in [start(), text(0), finish(0)] {
            assert_eq!(attempt.on_event(now, &event), Verdict::Continue);
        }
        attempt.on_silence(now);
        attempt
    };
    assert_eq!(finished().on_end(), Verdict::Complete);
    assert_eq!(finished().on_error(BackendError::new(ErrorKind::Cut, "late")), Verdict::Complete);
    assert_eq!(finished().on_timer(now + TIMEOUTS.idle), Verdict::Complete);
    assert_eq!(finished().on_event(now, &text(0)), Verdict::Complete, "what comes after it is not passed on");
}

#[test]
fn each_timer_has_its_own_limit() {
    let began = Instant::now();
    let mut attempt = Attempt::begin(began, TIMEOUTS, 1);
    assert_eq!(attempt.deadline(), began + seconds(11), "connect and first event");
    assert_eq!(attempt.on_timer(began + seconds(10)), Verdict::Continue);
    assert_eq!(
        kind_of(attempt.on_timer(began + seconds(11))),
        Some(ErrorKind::Timeout(TimeoutKind::FirstEvent))
    );

    let mut attempt = Attempt::begin(began, TIMEOUTS, 1);
    attempt.on_event(began + seconds(8), &start());
    attempt.on_silence(began + seconds(9));
    attempt.on_silence(began + seconds(12));
    assert_eq!(attempt.deadline(), began + seconds(14), "idle, from the first moment of silence");
    assert_eq!(attempt.on_timer(began + seconds(13)), Verdict::Continue);
    assert_eq!(kind_of(attempt.on_timer(began + seconds(14))), Some(ErrorKind::Timeout(TimeoutKind::Idle)));

    let mut attempt = Attempt::begin(began, TIMEOUTS, 1);
    attempt.on_event(began, &start());
    attempt.on_silence(began + seconds(58));
    assert_eq!(attempt.deadline(), began + seconds(60), "the total comes before the idle limit");
    assert_eq!(kind_of(attempt.on_timer(began + seconds(60))), Some(ErrorKind::Timeout(TimeoutKind::Total)));
}

#[test]
fn a_slow_reader_is_not_the_targets_silence() {
    let began = Instant::now();
    let mut attempt = Attempt::begin(began, TIMEOUTS, 1);
    attempt.on_event(began, &start());
    // Nobody read for 20 s; then something is there at once.
    assert_eq!(attempt.on_event(began + seconds(20), &text(0)), Verdict::Continue);
    assert_eq!(attempt.on_timer(began + seconds(40)), Verdict::Continue);
}

#[test]
fn a_flood_of_events_does_not_outrun_the_total() {
    let began = Instant::now();
    let mut attempt = Attempt::begin(began, TIMEOUTS, 1);
    attempt.on_event(began, &start());
    let verdict = attempt.on_event(began + seconds(60), &text(0));
    assert_eq!(kind_of(verdict), Some(ErrorKind::Timeout(TimeoutKind::Total)));
}

#[test]
fn first_token_and_speed_are_measured_from_content() {
    let began = Instant::now();
    let mut attempt = Attempt::begin(began, TIMEOUTS, 1);
    attempt.on_event(began + seconds(1), &start());
    assert_eq!(attempt.measurement(began + seconds(1)), Measurement::default());
    attempt.on_event(began + seconds(2), &text(0));
    attempt.on_event(began + seconds(4), &finish(0));
    attempt.on_event(began + seconds(4), &usage());
    let measured = attempt.measurement(began + seconds(4));
    assert_eq!(measured.first_token, Some(seconds(2)));
    assert_eq!(measured.tokens_per_second, Some(5.0), "ten tokens after the first, in two seconds");
}

fn any_event() -> impl Strategy<Value = Event> {
    let small = 0_u32..3;
    prop_oneof![
        Just(start()),
        small.clone().prop_map(text),
        small.clone().prop_map(tool),
        small.prop_map(finish),
        Just(usage()),
    ]
}

proptest! {
    /// No order of events and times panics; a whole answer has every choice finished; the deadline
    /// never lies beyond the total.
    #[test]
    fn any_stream_is_judged(
        choices in 1_u32..3,
        events in prop::collection::vec((any_event(), 0_u64..7000, any::<bool>()), 0..40),
    ) {
        let began = Instant::now();
        let mut now = began;
        let mut attempt = Attempt::begin(began, TIMEOUTS, choices);
        let mut finished = std::collections::HashSet::new();
        for (event, wait_ms, silent) in events {
            prop_assert!(attempt.deadline() <= began + TIMEOUTS.total);
            if silent {
                attempt.on_silence(now);
            }
            now += Duration::from_millis(wait_ms);
            match attempt.on_event(now, &event) {
                Verdict::Continue => {
                    if let Event::Finish { choice, .. } = event {
                        prop_assert!(finished.insert(choice));
                    }
                }
                Verdict::Complete => {
                    prop_assert_eq!(finished.len(), choices as usize);
                    break;
                }
                Verdict::Failed(error) => {
                    prop_assert!(matches!(error.kind, ErrorKind::Upstream | ErrorKind::Timeout(TimeoutKind::Total)));
                    break;
                }
            }
        }
        let whole = finished.len() == choices as usize;
        prop_assert_eq!(attempt.on_end() == Verdict::Complete, whole);
    }
}
