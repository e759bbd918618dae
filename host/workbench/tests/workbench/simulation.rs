//! One request through the production sandbox and gateway in a simulated world.

use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{BreakerState, Health, Label, Labels, Locality, PolicyError};
use lockgate_sandbox::{Fault, World as PluginWorld};
use lockgate_workbench::world::{Answer, Failing, PlannedFault, Reply, World};
use lockgate_workbench::{Chain, End, Happened, Setting, Simulator};

use crate::support::{chain, sandbox, says, target, user, world};

fn run(chain: &Chain, setting: Setting, text: &str) -> Happened {
    let simulator = Simulator::new().expect("there is a runtime");
    let mut session = simulator.begin(sandbox(), chain, setting).expect("the world makes a gateway");
    session.ask(user(text), Labels::none(), None)
}

fn fails(id: &str, error: Failing) -> Reply {
    Reply { answer: Answer { error: Some(error), ..Answer::default() }, ..says(id, "") }
}

#[test]
fn a_personal_question_stays_and_everything_is_told() {
    let chain = chain("plugins/privacy-first", PluginWorld::Router);
    let setting = Setting { world: Arc::new(world()), ..Setting::default() };
    let happened = run(&chain, setting, "My HbA1c is 8.1, what now?");
    assert_eq!(happened.end, End::Answered);
    assert_eq!(happened.plan(), ["small"]);
    assert_eq!(happened.answered_by.as_deref(), Some("small"));
    assert_eq!(happened.text, "Paris");
    assert_eq!(happened.labels, [Label::LocalOnly].into_iter().collect());
    assert!(happened.reason().contains("health"), "{}", happened.reason());
    assert_eq!((happened.attempts, happened.virtual_ms), (1, 0));
    let [sent] = happened.sent.as_slice() else { panic!("{:?}", happened.sent) };
    assert_eq!(
        (sent.text.as_str(), sent.prompt_tokens, sent.completion_tokens),
        ("My HbA1c is 8.1, what now?", 7, 2)
    );
    let usd = happened.usd().expect("the price is known");
    assert!((usd - (7.0 * 3.0 + 2.0 * 15.0) / 1e6).abs() < 1e-12, "{usd}");
    let [used] = happened.used.as_slice() else { panic!("{:?}", happened.used) };
    assert!(used.fuel.0 > 0 && used.fuel.0 < used.fuel.1, "{used:?}");
    assert!(used.host_calls.0 > 0 && used.memory_bytes.0 > 0, "{used:?}");
}

#[test]
fn timeouts_take_virtual_time_alone_and_fail_over() {
    let chain = chain("plugins/failover", PluginWorld::Router);
    let mut world = world();
    world.replies = vec![fails("small", Failing::Timeout), says("claude", "later")];
    world.targets[0].health.first_token_median = Some(Duration::from_millis(1));
    world.targets[1].health.first_token_median = Some(Duration::from_secs(9));
    let began = std::time::Instant::now();
    let happened = run(&chain, Setting { world: Arc::new(world), ..Setting::default() }, "Hello");
    assert_eq!((happened.answered_by.as_deref(), happened.attempts), (Some("claude"), 2));
    assert!(happened.virtual_ms >= 60_000, "{}", happened.virtual_ms);
    assert!(began.elapsed() < Duration::from_secs(20), "no real time passes");
}

#[test]
fn the_stated_health_is_what_policies_see_and_the_breaker_is_real() {
    let chain = chain("plugins/failover", PluginWorld::Router);
    let mut world = world();
    world.targets.push(target("other", Locality::Cloud));
    world.replies.push(says("other", "here"));
    for id in ["small", "claude"] {
        let place = world.targets.iter().position(|sim| sim.target.id == id).expect("it is there");
        world.targets[place].health = Health { breaker: BreakerState::Open, ..Health::default() };
    }
    let happened = run(&chain, Setting { world: Arc::new(world), ..Setting::default() }, "Hello");
    assert_eq!(happened.answered_by.as_deref(), Some("other"));
    assert_eq!(happened.attempts, 1);
}

#[test]
fn a_cut_answer_is_an_error_and_an_unanswered_call_is_told() {
    let chain = chain("plugins/privacy-first", PluginWorld::Router);
    let mut cut = fails("small", Failing::CutAfter(3));
    cut.answer.text = Some("four and no more".to_owned());
    let world = Arc::new(World { replies: vec![cut], ..world() });
    let happened =
        run(&chain, Setting { world: Arc::clone(&world), ..Setting::default() }, "What is two and two?");
    assert_eq!((happened.end, happened.answered_by.as_deref()), (End::Failed, None));
    assert_eq!(happened.text, "four and no ");
    let world = Arc::new(World { replies: Vec::new(), ..(*world).clone() });
    let happened = run(&chain, Setting { world, ..Setting::default() }, "What is two and two?");
    assert_eq!(happened.end, End::Failed);
    assert!(
        happened.unmatched[0].contains("`small` (answer): \"What is two and two?\""),
        "{:?}",
        happened.unmatched
    );
}

#[test]
fn faults_end_the_call_that_they_are_put_into() {
    let chain = chain("plugins/privacy-first", PluginWorld::Router);
    for (fault, kind) in [(Fault::Trap, "trap"), (Fault::Limit, "limit"), (Fault::Denial, "denied")] {
        let faults = vec![PlannedFault { plugin: None, at: 2, fault, line: 1, is_everywhere: false }];
        let setting = Setting { world: Arc::new(world()), faults, ..Setting::default() };
        let happened = run(&chain, setting, "Hello");
        assert_eq!(happened.end, End::Failed, "{fault:?}");
        let kinds: Vec<_> = happened.failures.iter().map(|(_, error)| error.kind()).collect();
        assert_eq!(kinds, [kind]);
        assert!(
            matches!(happened.decision, Some(Err(ref error)) if !matches!(error, PolicyError::Refused { .. }))
        );
    }
}

#[test]
fn what_a_filter_takes_out_never_reaches_a_target() {
    let preprocessor = lockgate_workbench::PluginFile {
        path: crate::support::component("plugins/redactor"),
        world: PluginWorld::Preprocessor,
        spec: lockgate_sandbox::PluginSpec { id: "redactor".to_owned(), ..Default::default() },
    };
    let guard = lockgate_workbench::PluginFile { world: PluginWorld::Guard, ..preprocessor.clone() };
    let chain = Chain::load(sandbox(), &[preprocessor, guard], Default::default())
        .map_err(|(_, error)| error)
        .expect("it loads");
    let replies = vec![says("small", "Written to [EMAIL-1], as you wished.")];
    let world = Arc::new(World { replies, ..world() });
    let happened = run(&chain, Setting { world, ..Setting::default() }, "Write to anna.schmidt@posteo.de");
    assert_eq!(happened.sent[0].text, "Write to [EMAIL-1]");
    assert_eq!(happened.text, "Written to anna.schmidt@posteo.de, as you wished.");
    assert_eq!(happened.plan(), ["small", "claude"]);
}

#[test]
fn two_runs_are_the_same() {
    let chain = chain("plugins/cost-saver", PluginWorld::Router);
    let setting = Setting { world: Arc::new(world()), seed: 7, ..Setting::default() };
    let first = run(&chain, setting.clone(), "Prove it step by step.");
    let second = run(&chain, setting, "Prove it step by step.");
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}
