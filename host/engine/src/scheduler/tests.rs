use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn limits() -> Limits {
    Limits { waiting_max: 4, running_max: 3, step_tokens_max: 32, blocks: 20, block_tokens: 4 }
}

fn demand(prompt_tokens: usize, output_tokens_max: usize) -> Demand {
    Demand { prompt_tokens, output_tokens_max }
}

/// Computes a step and lets every sequence whose logits came generate a token; those at their limit end.
fn run(scheduler: &mut Scheduler, step: &Step) -> Vec<SequenceId> {
    scheduler.computed(step);
    let mut ended = Vec::new();
    for segment in step.segments.iter().filter(|segment| segment.wants_logits) {
        if !scheduler.extend(segment.sequence) {
            assert!(scheduler.remove(segment.sequence), "it was running");
            ended.push(segment.sequence);
        }
    }
    ended
}

#[test]
fn a_lone_sequence_prefills_in_one_step_and_then_decodes() {
    let mut scheduler = Scheduler::new(limits());
    let id = scheduler.submit(demand(10, 3), 1).expect("fits")[0];
    let step = scheduler.plan(1);
    assert_eq!(step.admitted, [id]);
    let prompt = Segment { sequence: id, start: 0, tokens: 10, prefill: true, wants_logits: true };
    assert_eq!(step.segments, [prompt]);
    assert_eq!(run(&mut scheduler, &step), []);
    for start in [10, 11] {
        let step = scheduler.plan(1);
        let token = Segment { sequence: id, start, tokens: 1, prefill: false, wants_logits: true };
        assert_eq!(step.segments, [token]);
        let ended = run(&mut scheduler, &step);
        assert_eq!(ended.is_empty(), start == 10, "three tokens: one from the prompt, two decoded");
    }
    assert_eq!(scheduler.plan(1), Step::default());
    assert_eq!(scheduler.blocks_free(), 20);
}

#[test]
fn decodes_come_first_and_a_long_prompt_gets_the_rest_in_chunks() {
    let mut scheduler = Scheduler::new(limits());
    let short = scheduler.submit(demand(2, 10), 1).expect("fits")[0];
    let step = scheduler.plan(1);
    run(&mut scheduler, &step);
    let long = scheduler.submit(demand(40, 2), 1).expect("fits")[0];
    let mut chunks = Vec::new();
    for _ in 0..4 {
        let step = scheduler.plan(12);
        assert_eq!((step.segments[0].sequence, step.segments[0].tokens), (short, 1), "never left out");
        assert_eq!(step.segments[1].sequence, long);
        chunks.push((step.segments[1].start, step.segments[1].tokens, step.segments[1].wants_logits));
        run(&mut scheduler, &step);
    }
    assert_eq!(chunks, [(0, 12, false), (12, 12, false), (24, 12, false), (36, 4, true)]);
}

#[test]
fn a_full_queue_refuses_all_choices_of_a_request() {
    let mut scheduler = Scheduler::new(limits());
    scheduler.submit(demand(4, 4), 6).expect("three may run and four wait");
    assert_eq!(scheduler.submit(demand(4, 4), 2), Err(Refused::Full { waiting: 6, waiting_max: 4 }));
    assert_eq!(scheduler.waiting(), 6);
    scheduler.submit(demand(4, 4), 1).expect("one more fits");
    assert_eq!(
        scheduler.submit(demand(4, 4), 8),
        Err(Refused::TooManyChoices { choices: 8, choices_max: 7 })
    );
}

#[test]
fn a_sequence_that_can_never_fit_is_refused_at_once() {
    let mut scheduler = Scheduler::new(limits());
    scheduler.submit(demand(80, 1), 1).expect("the last token takes no place");
    assert_eq!(scheduler.submit(demand(80, 2), 1), Err(Refused::TooLong { needed: 21, blocks: 20 }));
    assert_eq!(
        scheduler.submit(demand(usize::MAX, usize::MAX), 1),
        Err(Refused::TooLong { needed: usize::MAX.div_ceil(4), blocks: 20 }),
    );
}

#[test]
fn the_oldest_waits_for_blocks_and_nobody_overtakes_it() {
    let mut scheduler = Scheduler::new(limits());
    let first = scheduler.submit(demand(40, 1), 1).expect("fits")[0];
    let big = scheduler.submit(demand(60, 1), 1).expect("fits")[0];
    let small = scheduler.submit(demand(4, 1), 1).expect("fits")[0];
    assert_eq!(scheduler.plan(1).admitted, [first]);
    assert_eq!(scheduler.plan(1).admitted, [], "the small one would fit, but it came later");
    assert!(scheduler.remove(first));
    assert_eq!(scheduler.plan(1).admitted, [big, small]);
}

#[test]
fn an_abandoned_step_is_planned_again() {
    let mut scheduler = Scheduler::new(limits());
    scheduler.submit(demand(50, 1), 1).expect("fits");
    let step = scheduler.plan(1);
    assert_eq!(scheduler.plan(1).segments, step.segments);
}

#[test]
fn removal_is_once_and_frees_the_blocks() {
    let mut scheduler = Scheduler::new(limits());
    let ids = scheduler.submit(demand(4, 5), 4).expect("fits");
    let step = scheduler.plan(1);
    assert_eq!((step.admitted.len(), scheduler.waiting()), (3, 1));
    assert_eq!(scheduler.blocks_free(), 20 - 3 * 2);
    for &id in &ids {
        assert!(scheduler.remove(id));
        assert!(!scheduler.remove(id));
    }
    assert_eq!((scheduler.running(), scheduler.waiting(), scheduler.blocks_free()), (0, 0, 20));
    scheduler.computed(&step);
    assert!(!scheduler.extend(ids[0]), "what is gone stays gone");
}

fn given(tokens: usize, blocks: usize) -> Given {
    Given { stage: Stage { tokens, scored: false }, blocks }
}

#[test]
fn given_work_is_computed_stage_by_stage_and_makes_room_for_others_between() {
    let mut scheduler = Scheduler::new(limits());
    let work = scheduler.submit_given(given(40, 3)).expect("fits");
    let prompt = scheduler.submit(demand(20, 5), 1).expect("fits")[0];
    let planned = |step: &Step| -> Vec<(SequenceId, usize, usize)> {
        step.segments.iter().map(|segment| (segment.sequence, segment.start, segment.tokens)).collect()
    };
    let step = scheduler.plan(1);
    assert_eq!((step.admitted.as_slice(), scheduler.blocks_free()), ([work, prompt].as_slice(), 20 - 3 - 6));
    assert_eq!(planned(&step), [(work, 0, 32)]);
    scheduler.computed(&step);
    let step = scheduler.plan(1);
    assert_eq!(planned(&step), [(work, 32, 8), (prompt, 0, 20)]);
    assert!(step.segments[0].wants_logits && step.segments[0].prefill);
    scheduler.computed(&step);
    assert!(scheduler.extend(prompt));
    assert!(scheduler.go_on(work, Stage { tokens: 30, scored: false }));
    assert!(!scheduler.extend(prompt) || scheduler.runs(prompt));
    let step = scheduler.plan(7);
    assert_eq!(planned(&step)[1], (work, 40, 7), "its decodes first, and no more than they allow");
    assert!(scheduler.remove(work));
    assert!(!scheduler.go_on(work, Stage { tokens: 1, scored: false }));
    assert_eq!(scheduler.blocks_free(), 20 - 6);
}

#[test]
fn behind_a_stage_given_work_goes_to_the_end_of_the_line() {
    let mut scheduler = Scheduler::new(limits());
    let work = scheduler.submit_given(given(32, 1)).expect("fits");
    let prompt = scheduler.submit(demand(40, 5), 1).expect("fits")[0];
    let step = scheduler.plan(1);
    scheduler.computed(&step);
    assert!(scheduler.go_on(work, Stage { tokens: 32, scored: false }));
    let step = scheduler.plan(1);
    assert_eq!(step.segments.iter().map(|segment| segment.sequence).collect::<Vec<_>>(), [prompt]);
}

#[test]
fn a_step_scores_few_tokens_and_fills_up_with_others() {
    let limits = Limits { step_tokens_max: 200, blocks: 100, ..limits() };
    let mut scheduler = Scheduler::new(limits);
    let scored = Given { stage: Stage { tokens: 50, scored: true }, blocks: 1 };
    let [first, second] = [(); 2].map(|()| scheduler.submit_given(scored).expect("fits"));
    let prompt = scheduler.submit(demand(90, 5), 1).expect("fits")[0];
    let step = scheduler.plan(1);
    let planned: Vec<_> = step.segments.iter().map(|segment| (segment.sequence, segment.tokens)).collect();
    assert_eq!(planned, [(first, 50), (second, SCORED_TOKENS_MAX - 50), (prompt, 90)]);
}

#[test]
fn given_work_waits_and_is_refused_like_everything_else() {
    let mut scheduler = Scheduler::new(limits());
    assert_eq!(scheduler.submit_given(given(1, 21)), Err(Refused::TooLong { needed: 21, blocks: 20 }));
    for _ in 0..7 {
        scheduler.submit_given(given(1, 1)).expect("three may run and four wait");
    }
    assert_eq!(scheduler.submit_given(given(1, 1)), Err(Refused::Full { waiting: 7, waiting_max: 4 }));
}

#[test]
fn the_pace_follows_the_cost_of_a_token() {
    let mut pace = Pace::default();
    assert_eq!(pace.prefill_tokens_max(), 64);
    pace.observe(1, Duration::from_secs(1));
    assert_eq!(pace.prefill_tokens_max(), 64, "a lone decode says nothing");
    pace.observe(100, Duration::from_millis(50));
    assert_eq!(pace.prefill_tokens_max(), 200);
    for _ in 0..50 {
        pace.observe(100, Duration::from_secs(5));
    }
    assert_eq!(pace.prefill_tokens_max(), 16, "a slow model still moves");
    for _ in 0..100 {
        pace.observe(512, Duration::ZERO);
    }
    assert!(pace.prefill_tokens_max() > 1_000_000);
}

#[test]
fn a_full_queue_is_worth_asking_again_when_somebody_has_left() {
    let mut departures = Departures::default();
    let at = Duration::from_secs;
    assert_eq!(departures.leave(at(100), true), at(1), "nothing is known yet");
    assert_eq!(departures.leave(at(200), false), at(1), "an idle hour says nothing");
    assert_eq!(departures.leave(at(208), true), at(8));
    assert_eq!(departures.leave(at(210), true), at(7), "8 and 0.3 of the way to 2, rounded up");
    assert_eq!(departures.leave(at(9000), true), at(60), "bounded");
}

#[derive(Clone, Debug)]
enum Act {
    Submit {
        prompt: usize,
        output: usize,
        choices: usize,
    },
    /// Work of as many stages of so many tokens, the odd ones scored.
    Give {
        tokens: usize,
        stages: usize,
        blocks: usize,
    },
    /// Removes the sequence that comes at this place among those alive, modulo their number.
    Cancel(usize),
    /// A step; sequences whose bit is set in the mask end early.
    Step {
        prefill: usize,
        stop_mask: u8,
    },
    /// A step that is planned and abandoned.
    Abandon,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (1..60usize, 1..30usize, 1..4usize)
            .prop_map(|(prompt, output, choices)| Act::Submit { prompt, output, choices }),
        1 => (1..90usize, 1..4usize, 1..10usize)
            .prop_map(|(tokens, stages, blocks)| Act::Give { tokens, stages, blocks }),
        1 => any::<usize>().prop_map(Act::Cancel),
        6 => (0..40usize, any::<u8>()).prop_map(|(prefill, mask)| Act::Step { prefill, stop_mask: mask & mask >> 3 }),
        1 => Just(Act::Abandon),
    ]
}

/// What the test knows of a sequence, kept beside the scheduler.
struct Shadow {
    work: Work,
    admitted: bool,
    computed: usize,
    generated: usize,
}

#[derive(Clone, Copy)]
enum Work {
    Grows(Demand),
    Given { tokens: usize, stages: usize, blocks: usize },
}

impl Shadow {
    fn new(work: Work) -> Self {
        Self { work, admitted: false, computed: 0, generated: 0 }
    }

    fn known(&self) -> usize {
        match self.work {
            Work::Grows(demand) => demand.prompt_tokens + self.generated,
            Work::Given { tokens, .. } => tokens * (self.generated + 1),
        }
    }

    fn decodes(&self) -> bool {
        matches!(self.work, Work::Grows(_)) && self.generated > 0
    }

    /// Of the last stage of given work; stages are counted like tokens generated.
    fn scored(&self) -> bool {
        matches!(self.work, Work::Given { .. }) && self.generated % 2 == 1
    }

    fn blocks(&self, block_tokens: usize) -> usize {
        match self.work {
            Work::Grows(demand) => demand.positions().div_ceil(block_tokens),
            Work::Given { blocks, .. } => blocks,
        }
    }

    fn tokens_in_all(&self) -> usize {
        match self.work {
            Work::Grows(demand) => demand.positions(),
            Work::Given { tokens, stages, .. } => tokens * stages,
        }
    }
}

/// Checks every promise of a plan against the shadow.
fn check_plan(scheduler: &Scheduler, step: &Step, prefill: usize, alive: &mut BTreeMap<SequenceId, Shadow>) {
    let limits = scheduler.limits();
    for id in &step.admitted {
        assert!(
            alive.iter().all(|(other, shadow)| shadow.admitted || other >= id),
            "first come, first served"
        );
        let shadow = alive.get_mut(id).expect("admitted sequences are alive");
        assert!(!std::mem::replace(&mut shadow.admitted, true), "admitted once");
    }
    assert!(step.tokens() <= limits.step_tokens_max, "the budget holds");
    let decodes = step.segments.iter().filter(|segment| !segment.prefill).count();
    if decodes > 0 {
        assert!(step.prefill_tokens() <= prefill.max(1), "prefill leaves the decodes alone");
    }
    let unique: BTreeSet<_> = step.segments.iter().map(|segment| segment.sequence).collect();
    assert_eq!(unique.len(), step.segments.len(), "a sequence appears once");
    let scored = step.segments.iter().filter(|segment| alive[&segment.sequence].scored());
    assert!(scored.map(|segment| segment.tokens).sum::<usize>() <= SCORED_TOKENS_MAX, "few rows of logits");
    for segment in &step.segments {
        let shadow = &alive[&segment.sequence];
        assert!(shadow.admitted && segment.tokens > 0);
        assert_eq!(segment.start, shadow.computed, "nothing is skipped or repeated");
        let known = shadow.known();
        assert!(segment.start + segment.tokens <= known);
        assert_eq!(segment.wants_logits, segment.start + segment.tokens == known);
    }
    for (id, shadow) in alive.iter().filter(|(_, shadow)| shadow.admitted && shadow.decodes()) {
        assert!(unique.contains(id), "{id:?} decodes in every step, {} computed", shadow.computed);
    }
    let held: usize = alive
        .values()
        .filter(|shadow| shadow.admitted)
        .map(|shadow| shadow.blocks(limits.block_tokens))
        .sum();
    assert_eq!(held + scheduler.blocks_free(), limits.blocks, "blocks are conserved");
    assert!(!step.segments.is_empty() || alive.is_empty(), "whoever is alive moves");
}

fn step(scheduler: &mut Scheduler, prefill: usize, stop_mask: u8, alive: &mut BTreeMap<SequenceId, Shadow>) {
    let step = scheduler.plan(prefill);
    check_plan(scheduler, &step, prefill, alive);
    scheduler.computed(&step);
    for (index, segment) in step.segments.iter().enumerate() {
        let shadow = alive.get_mut(&segment.sequence).expect("checked above");
        shadow.computed = segment.start + segment.tokens;
        if !segment.wants_logits {
            continue;
        }
        shadow.generated += 1;
        if let Work::Given { tokens, stages, .. } = shadow.work {
            if shadow.generated == stages {
                assert!(scheduler.remove(segment.sequence));
                alive.remove(&segment.sequence);
            } else {
                let scored = shadow.scored();
                assert!(scheduler.go_on(segment.sequence, Stage { tokens, scored }));
            }
            continue;
        }
        let at_limit =
            matches!(shadow.work, Work::Grows(demand) if shadow.generated == demand.output_tokens_max);
        let stops = stop_mask >> (index % 8) & 1 == 1;
        if stops || !scheduler.extend(segment.sequence) {
            assert!(stops || at_limit, "it may generate all that it asked for");
            assert!(scheduler.remove(segment.sequence));
            alive.remove(&segment.sequence);
        } else {
            assert!(!at_limit, "the limit holds");
        }
    }
}

proptest! {
    #[test]
    fn every_sequence_ends_exactly_once_whatever_happens(acts in prop::collection::vec(any_act(), 0..120)) {
        let mut scheduler = Scheduler::new(limits());
        let mut alive: BTreeMap<SequenceId, Shadow> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Submit { prompt, output, choices } => {
                    let demand = demand(prompt, output);
                    let before = scheduler.waiting();
                    match scheduler.submit(demand, choices) {
                        Ok(ids) => alive.extend(ids.into_iter().map(|id| {
                            (id, Shadow::new(Work::Grows(demand)))
                        })),
                        Err(_) => prop_assert_eq!(scheduler.waiting(), before),
                    }
                    prop_assert!(scheduler.waiting() + scheduler.running() <= 4 + 3);
                }
                Act::Give { tokens, stages, blocks } => {
                    let stage = Stage { tokens, scored: false };
                    if let Ok(id) = scheduler.submit_given(Given { stage, blocks }) {
                        alive.insert(id, Shadow::new(Work::Given { tokens, stages, blocks }));
                    }
                }
                Act::Cancel(place) => {
                    if let Some(&id) = alive.keys().nth(place % alive.len().max(1)) {
                        prop_assert!(scheduler.remove(id));
                        alive.remove(&id);
                    }
                }
                Act::Step { prefill, stop_mask } => step(&mut scheduler, prefill, stop_mask, &mut alive),
                Act::Abandon => {
                    let plan = scheduler.plan(8);
                    check_plan(&scheduler, &plan, 8, &mut alive);
                }
            }
        }
        // Left alone, everybody ends within the tokens that they may compute: nobody starves.
        let bound: usize = alive.values().map(Shadow::tokens_in_all).sum();
        for _ in 0..bound {
            step(&mut scheduler, 1, 0, &mut alive);
        }
        prop_assert!(alive.is_empty());
        prop_assert_eq!((scheduler.waiting(), scheduler.running(), scheduler.blocks_free()), (0, 0, 20));
    }
}
