use std::time::Duration;

use crate::state::{self, StateError};
use crate::testing::{
    FakeCatalog, FakeRequest, FakeSettings, FakeTarget, Reply, advance_clock, asked, fail_state, log_lines,
    reply, seed_random,
};
use crate::{
    AskError, Breaker, Locality, Message as _, Plan, Prompt, Request, Role, Settings, clock, cloud,
    inference, log, random, targets,
};

#[test]
fn the_catalog_by_row_is_the_catalog_by_column() {
    let catalog = FakeCatalog::new([
        FakeTarget::local("here").breaker(Breaker::Open),
        FakeTarget::new("box", Locality::Lan),
        FakeTarget::cloud("claude").forbidden(),
    ]);
    let rows = targets(&catalog);
    let facts: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.permitted, row.breaker)).collect();
    let expected =
        [("here", true, Breaker::Open), ("box", true, Breaker::Closed), ("claude", false, Breaker::Closed)];
    assert_eq!(facts, expected);
    assert_eq!(rows[1].locality, Locality::Lan);
}

#[test]
fn a_fake_request_reads_like_the_host_s() {
    let mut request = FakeRequest::user("aé€").message(Role::Assistant, "ok");
    request.more_text.push("tool".to_owned());
    assert_eq!(request.text(u32::MAX), "aé€\nok\ntool");
    assert_eq!(request.length(), 14);
    assert_eq!(request.estimate_tokens(), 4);
    assert_eq!(request.read(2, 0), "é");
    assert_eq!(request.read(99, 9), "");
    let mut read = String::new();
    while (read.len() as u64) < request.length() {
        read.push_str(&request.read(read.len() as u64, 1));
    }
    assert_eq!(read, request.text(u32::MAX));
    let request = &request;
    let message = request.message(1).expect("there are two messages");
    assert_eq!((message.role(), message.text(1)), (Role::Assistant, "o".to_owned()));
    assert!(request.message(2).is_none());
}

#[test]
fn settings_are_numbers_or_refuse() {
    let settings = &FakeSettings::none().with("a", " 0.5 ").with("b", "lots").with("c", "inf");
    assert_eq!(settings.number("a"), Ok(Some(0.5)));
    assert_eq!(settings.number("none"), Ok(None));
    let refusal = settings.number("b").expect_err("it is no number");
    assert_eq!(refusal.reason, "the policy's setting `b` is not a number");
    assert!(settings.number("c").is_err());
}

#[test]
fn a_plan_is_built_in_order() {
    let plan = Plan::because("why").then("a").label("local-only").then("b");
    assert_eq!(plan.targets(), ["a", "b"]);
    assert_eq!((plan.labels.as_slice(), plan.reason.as_str()), (&["local-only".to_owned()][..], "why"));
}

#[test]
fn native_log_lines_are_kept_for_the_test() {
    log::info("one");
    log::warn("two");
    let lines = log_lines();
    assert_eq!(lines, [(log::Level::Info, "one".to_owned()), (log::Level::Warn, "two".to_owned())]);
    assert!(log_lines().is_empty());
}

#[test]
fn native_state_remembers_for_the_test() {
    let second = Some(Duration::from_secs(1));
    assert_eq!(state::get("k"), Ok(None));
    assert_eq!(state::compare_and_swap("k", None, b"1", second), Ok(true));
    assert_eq!(state::compare_and_swap("k", None, b"2", None), Ok(false));
    assert_eq!(state::increment("k", 2, None), Ok(3));
    assert_eq!(state::get("k"), Ok(Some(b"3".to_vec())));
    advance_clock(Duration::from_secs(1));
    assert_eq!(clock::now(), Duration::from_secs(1));
    assert_eq!(state::get("k"), Ok(None));
    state::set("k", b"three", None).expect("there is room");
    assert_eq!(state::increment("k", 1, None), Err(StateError::NotANumber));
    state::delete("k").expect("nothing stands in the way");
    assert_eq!(state::set("", b"", None), Err(StateError::TooLarge));
    fail_state(StateError::Full);
    assert_eq!(state::set("k", b"", None), Err(StateError::Full));
    assert_eq!(state::set("k", b"", None), Ok(()));
}

#[test]
fn native_randomness_follows_from_its_seed() {
    seed_random(7);
    let first = (random::number(), random::bytes(5));
    seed_random(7);
    assert_eq!((random::number(), random::bytes(5)), first);
    assert_ne!(random::number(), first.0);
}

#[test]
fn native_asks_are_kept_and_answered_as_the_test_says() {
    let request = FakeRequest::user("Hello").message(Role::Assistant, "Hi");
    reply(Reply::likelihoods(&[-0.1, -2.5]));
    let prompt = Prompt::of(&request).add(Role::User, "Was that polite?").max_tokens(1).temperature(0.0);
    let likely = inference::choose("qwen", &prompt, &["yes", "no"]).expect("it was said");
    assert!(likely[0].log_probability > likely[1].log_probability);
    reply(Reply::text("from afar"));
    let answer = cloud::generate("claude", &Prompt::user("Hello").seed(7).stop("."));
    assert_eq!(answer.and_then(|answer| answer.text()), Ok("from afar".to_owned()));
    reply(Reply::Vectors(vec![vec![1.0]]));
    assert_eq!(inference::embed("qwen", &["a"]), Ok(vec![vec![1.0]]));
    reply(Reply::Error(AskError::Timeout));
    assert_eq!(inference::count_tokens("qwen", &prompt), Err(AskError::Timeout));
    assert_eq!(inference::count_tokens("qwen", &prompt), Err(AskError::Denied), "nothing more was said");
    let all = asked();
    let facts: Vec<_> = all.iter().map(|asked| (asked.target.as_str(), asked.is_cloud)).collect();
    let here = ("qwen", false);
    assert_eq!(facts, [here, ("claude", true), here, here, here]);
    let said: Vec<_> = all[0].messages.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(said, ["Hello", "Hi", "Was that polite?"]);
    assert_eq!(
        (all[0].max_tokens, all[1].seed, all[1].stops.as_slice()),
        (Some(1), Some(7), &[".".to_owned()][..])
    );
    assert!(asked().is_empty());
}
