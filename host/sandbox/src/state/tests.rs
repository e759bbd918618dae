use std::sync::atomic::{AtomicU64, Ordering};

use lockgate_api::Label;
use proptest::prelude::*;

use super::*;
use crate::environment::Environment;

/// A clock that is set.
#[derive(Default)]
struct Clock(AtomicU64);

impl Environment for Clock {
    fn now_ms(&self) -> u64 {
        self.monotonic_ms()
    }
    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
    fn random(&self, _: &mut [u8]) -> Result<(), String> {
        Err("none here".to_owned())
    }
}

const QUOTA: usize = 2048;

#[derive(Default)]
struct World {
    space: Arc<Mutex<Space>>,
    clock: Arc<Clock>,
}

impl World {
    fn call(&self, scope: &Arc<Scope>) -> Memory {
        let environment = Arc::clone(&self.clock) as Arc<dyn Environment>;
        Memory::new(Arc::clone(&self.space), Arc::clone(scope), environment, "p".into(), QUOTA)
    }

    /// One call that ends well.
    fn well<T>(&self, scope: &Arc<Scope>, act: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.call(scope);
        let answer = act(&mut memory);
        memory.keep();
        answer
    }

    fn get(&self, scope: &Arc<Scope>, key: &str) -> Option<String> {
        let found = self.well(scope, |memory| memory.get(key)).expect("the key is one");
        found.map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    fn set(&self, scope: &Arc<Scope>, key: &str, value: &str) {
        self.well(scope, |memory| memory.set(key, value.as_bytes(), None)).expect("there is room");
    }

    /// What a whole request of these labels leaves.
    fn settled(&self, labels: &str, key: &str, value: &str) {
        let scope = request(labels);
        self.set(&scope, key, value);
        scope.settle();
    }

    fn seen_by(&self, labels: &str, key: &str) -> Option<String> {
        self.get(&request(labels), key)
    }
}

fn request(labels: &str) -> Arc<Scope> {
    Scope::new("r".into(), Arc::new(labels.parse().expect("labels of a test parse")), None)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_write_is_seen_by_its_request_at_once_and_by_others_when_it_is_settled() {
    let world = World::default();
    let (first, second) = (request(""), request(""));
    world.set(&first, "k", "1");
    assert_eq!((world.get(&first, "k"), world.get(&second, "k")), (some("1"), None));
    first.settle();
    assert_eq!(world.get(&second, "k"), some("1"));
    // After that its writes count at once.
    world.set(&first, "k", "2");
    assert_eq!(world.get(&second, "k"), some("2"));
}

#[test]
fn failed_calls_and_requests_that_settle_nothing_leave_nothing() {
    let world = World::default();
    let scope = request("");
    let mut failed = world.call(&scope);
    failed.set("k", b"failed", None).expect("there is room");
    assert_eq!(failed.get("k"), Ok(Some(b"failed"[..].into())));
    drop(failed);
    assert_eq!(world.get(&scope, "k"), None);
    world.set(&scope, "k", "given up");
    drop(scope);
    assert_eq!(world.seen_by("", "k"), None);
    assert!(lock(&world.space).open.is_empty(), "nothing piles up");
}

#[test]
fn a_label_that_comes_late_takes_the_writes_along() {
    let world = World::default();
    let scope = request("");
    world.set(&scope, "k", "secret");
    scope.add_labels([Label::LocalOnly]);
    scope.settle();
    assert_eq!(world.seen_by("", "k"), None);
    assert_eq!(world.seen_by("no-cloud", "k"), None);
    assert_eq!(world.seen_by("local-only", "k"), some("secret"));
    assert_eq!(world.seen_by("local-only,no-cloud", "k"), some("secret"));
}

#[test]
fn copies_of_more_labels_hide_those_of_fewer_from_their_own_kind_alone() {
    let world = World::default();
    world.settled("", "k", "all");
    world.settled("local-only", "k", "here");
    assert_eq!((world.seen_by("", "k"), world.seen_by("local-only", "k")), (some("all"), some("here")));
    world.settled("", "k", "all again");
    assert_eq!(world.seen_by("local-only", "k"), some("here"), "its own copy");
    assert_eq!(world.seen_by("no-cloud", "k"), some("all again"));
    // Where there is no own copy, the newest that may be seen.
    world.settled("no-cloud", "k", "near");
    assert_eq!(world.seen_by("local-only,no-cloud", "k"), some("near"));
    // Deleting hides what fewer labels have written, and takes nothing from them.
    let scope = request("local-only");
    world.well(&scope, |memory| memory.delete("k")).expect("nothing stands in the way");
    scope.settle();
    assert_eq!((world.seen_by("local-only", "k"), world.seen_by("", "k")), (None, some("all again")));
}

#[test]
fn compare_and_swap_is_honest() {
    let world = World::default();
    let (first, second) = (request(""), request(""));
    let swap = |scope: &Arc<Scope>, expected: Option<&str>, value: &str| {
        world.well(scope, |m| m.compare_and_swap("k", expected.map(str::as_bytes), value.as_bytes(), None))
    };
    assert_eq!(swap(&first, Some("x"), "1"), Ok(false));
    assert_eq!(swap(&first, None, "1"), Ok(true));
    assert_eq!(swap(&first, Some("1"), "2"), Ok(true), "its own writes count");
    assert_eq!(swap(&second, None, "3"), Err(StateError::Busy));
    assert_eq!(world.well(&second, |m| m.set("k", b"3", None)), Err(StateError::Busy), "it was promised");
    assert_eq!(world.well(&second, |m| m.increment("k", 1, None)), Err(StateError::Busy));
    assert_eq!(world.well(&second, |m| m.set("other", b"3", None)), Ok(()));
    first.settle();
    assert_eq!(swap(&second, Some("2"), "3"), Ok(true));
    // A plain write of another is in the way of a swap, and of nothing else.
    second.settle();
    let (third, fourth) = (request(""), request(""));
    world.set(&third, "k", "4");
    assert_eq!(swap(&fourth, Some("3"), "5"), Err(StateError::Busy));
    world.set(&fourth, "k", "5");
    drop(third);
    assert_eq!(swap(&fourth, Some("5"), "6"), Ok(true));
}

#[test]
fn a_request_of_more_labels_is_not_noticed() {
    let world = World::default();
    let secret = request("local-only");
    world.set(&secret, "k", "secret");
    let swap = |scope: &Arc<Scope>| world.well(scope, |m| m.compare_and_swap("k", None, b"1", None));
    assert_eq!(swap(&request("")), Ok(true));
    let late = request("");
    world.set(&late, "l", "secret");
    let other = request("");
    let swap = |scope: &Arc<Scope>| world.well(scope, |m| m.compare_and_swap("l", None, b"1", None));
    assert_eq!(swap(&other), Err(StateError::Busy));
    late.add_labels([Label::LocalOnly]);
    assert_eq!(swap(&other), Ok(true), "from the label on");
}

#[test]
fn counters_count_and_say_what_is_none() {
    let world = World::default();
    let scope = request("");
    let add = |key: &str, by: i64| world.well(&scope, |memory| memory.increment(key, by, None));
    assert_eq!((add("n", 5), add("n", -7)), (Ok(5), Ok(-2)));
    assert_eq!(world.get(&scope, "n"), some("-2"));
    world.set(&scope, "t", "twelve");
    assert_eq!(add("t", 1), Err(StateError::NotANumber));
    assert_eq!(add("m", i64::MAX), Ok(i64::MAX));
    assert_eq!(add("m", 1), Err(StateError::NotANumber));
    assert_eq!(world.get(&scope, "m"), some(&i64::MAX.to_string()));
}

#[test]
fn what_has_a_time_to_live_is_gone_after_it() {
    let world = World::default();
    let scope = request("");
    world.well(&scope, |memory| memory.set("k", b"1", Some(10))).expect("there is room");
    scope.settle();
    assert_eq!(world.well(&scope, |memory| memory.increment("window", 1, Some(10))), Ok(1));
    world.clock.0.store(9, Ordering::SeqCst);
    assert_eq!(world.well(&scope, |memory| memory.increment("window", 1, Some(10))), Ok(2));
    assert_eq!(world.seen_by("", "k"), some("1"));
    world.clock.0.store(10, Ordering::SeqCst);
    assert_eq!(world.seen_by("", "k"), None);
    let next = world.well(&scope, |memory| memory.increment("window", 1, Some(10)));
    assert_eq!(next, Ok(1), "a counter that goes on keeps its time, and a new one begins");
}

#[test]
fn keys_values_and_quota_are_bounded() {
    let world = World::default();
    let scope = request("");
    let set = |key: &str, bytes: usize| world.well(&scope, |memory| memory.set(key, &vec![7; bytes], None));
    assert_eq!(set("", 1), Err(StateError::TooLarge));
    assert_eq!(set(&"k".repeat(257), 1), Err(StateError::TooLarge));
    assert_eq!(set("k", VALUE_BYTES_MAX + 1), Err(StateError::TooLarge));
    assert_eq!(set("k", QUOTA), Err(StateError::Full));
    assert_eq!(set("k", QUOTA / 2), Ok(()));
    assert_eq!(set("l", QUOTA / 2), Err(StateError::Full), "what is not settled counts");
    assert_eq!(set("k", QUOTA / 2 + 1), Ok(()), "a value in another's place");
    scope.settle();
    assert_eq!(set("l", QUOTA / 2), Err(StateError::Full));
    // Another set of labels has room of its own, or its being full would show.
    let labelled = request("local-only");
    world.well(&labelled, |memory| memory.set("l", &[7; QUOTA / 2], None)).expect("there is room");
    world.well(&scope, |memory| memory.delete("k")).expect("nothing stands in the way");
    assert_eq!(set("l", QUOTA / 2), Ok(()));
    // Entries are bounded with the bytes.
    let fits = (0..1000).take_while(|number| set(&number.to_string(), 0).is_ok()).count();
    assert!(fits <= QUOTA / 64, "{fits}");
}

#[test]
fn expired_entries_make_room() {
    let world = World::default();
    let scope = request("");
    scope.settle();
    let set = |key: &str| world.well(&scope, |memory| memory.set(key, &[7; QUOTA / 2], Some(5)));
    assert_eq!((set("a"), set("b")), (Ok(()), Err(StateError::Full)));
    world.clock.0.store(5, Ordering::SeqCst);
    assert_eq!(set("b"), Ok(()));
}

#[test]
fn sets_of_labels_are_bounded() {
    let world = World::default();
    for number in 0..200 {
        world.settled(&format!("region:r-{number}"), "k", "1");
    }
    assert_eq!(lock(&world.space).cells.len(), CELLS_MAX);
    assert_eq!(world.seen_by("region:r-0", "k"), some("1"));
    assert_eq!(world.seen_by("region:r-199", "k"), None);
}

#[test]
fn what_many_write_at_once_is_bounded_too() {
    let world = World::default();
    let scopes: Vec<_> = (0..20).map(|_| request("")).collect();
    for (number, scope) in scopes.iter().enumerate() {
        world.well(scope, |m| m.set(&number.to_string(), &[7; QUOTA / 2], None)).expect("it sees room");
    }
    scopes.iter().for_each(|scope| scope.settle());
    let bytes: usize = lock(&world.space).cells.values().map(Cell::bytes).sum();
    assert!(bytes <= 2 * QUOTA, "{bytes}");
}

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    Set(u8),
    Delete(u8),
    /// Expecting what this request sees, or nothing.
    Swap(u8, bool),
    Add(u8),
    Late(u8),
    Settle,
    Tick,
}

fn any_op() -> impl Strategy<Value = Op> {
    let key = 0..3u8;
    prop_oneof![
        4 => key.clone().prop_map(Op::Get),
        3 => key.clone().prop_map(Op::Set),
        1 => key.clone().prop_map(Op::Delete),
        2 => (key.clone(), any::<bool>()).prop_map(|(key, sees)| Op::Swap(key, sees)),
        2 => key.prop_map(Op::Add),
        1 => (0..3u8).prop_map(Op::Late),
        2 => Just(Op::Settle),
        1 => Just(Op::Tick),
    ]
}

const LABELS: [&str; 4] = ["", "local-only", "no-cloud", "local-only,no-cloud"];

/// Runs the steps of the requests that `takes_part` says, and returns what each of them saw.
fn observed(
    labels: &[usize],
    steps: &[(usize, Op)],
    takes_part: impl Fn(usize) -> bool,
) -> Vec<(usize, String)> {
    let world = World::default();
    let scopes: Vec<_> = labels.iter().map(|&which| request(LABELS[which])).collect();
    let mut seen = Vec::new();
    for (number, (who, op)) in steps.iter().enumerate() {
        if matches!(op, Op::Tick) {
            world.clock.0.fetch_add(1, Ordering::SeqCst);
        }
        let Some(scope) = scopes.get(*who).filter(|_| takes_part(*who)) else { continue };
        let value = number.to_string();
        let told = world.well(scope, |memory| match op {
            Op::Get(key) => format!("{:?}", memory.get(&key.to_string())),
            Op::Set(key) => format!("{:?}", memory.set(&key.to_string(), value.as_bytes(), Some(4))),
            Op::Delete(key) => format!("{:?}", memory.delete(&key.to_string())),
            Op::Swap(key, sees) => {
                let key = key.to_string();
                let found = if *sees { memory.get(&key) } else { Ok(None) }.expect("the key is one");
                format!("{:?}", memory.compare_and_swap(&key, found.as_deref(), value.as_bytes(), None))
            }
            Op::Add(key) => format!("{:?}", memory.increment(&key.to_string(), 1, None)),
            Op::Late(_) | Op::Settle | Op::Tick => String::new(),
        });
        if matches!(op, Op::Settle) {
            scope.settle();
        }
        seen.push((*who, told));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Requests that bear a label which another does not bear might as well not exist for that one.
    #[test]
    fn nothing_shows_downwards(
        labels in prop::collection::vec(0..LABELS.len(), 1..6),
        steps in prop::collection::vec((0..6usize, any_op()), 0..60),
        level in 0..LABELS.len(),
    ) {
        let of = |which: usize| LABELS[which].parse::<Labels>().expect("labels of a test parse");
        let below = |who: usize| labels.get(who).is_some_and(|&which| of(which).are_all_in(&of(level)));
        let with_all = observed(&labels, &steps, |_| true);
        let alone = observed(&labels, &steps, below);
        let below_with_all: Vec<_> = with_all.into_iter().filter(|(who, _)| below(*who)).collect();
        prop_assert_eq!(below_with_all, alone);
    }

    /// Whatever labels come late: a value is read only by its own request, or for one that bears every label that
    /// the writer's request ended up with.
    #[test]
    fn a_value_is_read_under_its_final_labels_alone(
        labels in prop::collection::vec(0..LABELS.len(), 1..6),
        steps in prop::collection::vec((0..6usize, any_op()), 0..80),
    ) {
        let world = World::default();
        let scopes: Vec<_> = labels.iter().map(|&which| request(LABELS[which])).collect();
        let mut writers: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut read = Vec::new();
        for (number, (who, op)) in steps.iter().enumerate() {
            let Some(scope) = scopes.get(*who) else { continue };
            let value = format!("v{number}").into_bytes();
            match op {
                Op::Get(key) => {
                    let found = world.well(scope, |memory| memory.get(&key.to_string())).expect("a key");
                    read.extend(found.map(|value| (*who, scope.labels(), value.to_vec())));
                }
                Op::Set(key) | Op::Delete(key) | Op::Add(key) => {
                    let _busy = world.well(scope, |memory| memory.set(&key.to_string(), &value, None));
                    writers.insert(value, *who);
                }
                Op::Swap(key, _) => {
                    let key = key.to_string();
                    let _busy = world.well(scope, |memory| {
                        let found = memory.get(&key).expect("a key");
                        memory.compare_and_swap(&key, found.as_deref(), &value, None)
                    });
                    writers.insert(value, *who);
                }
                Op::Late(which) if !scope.is_settled() => {
                    let late = [Label::LocalOnly, Label::NoCloud, Label::Region("eu".to_owned())];
                    scope.add_labels([late[*which as usize].clone()]);
                }
                Op::Settle => scope.settle(),
                Op::Late(_) | Op::Tick => {}
            }
        }
        for (reader, labels, value) in read {
            let writer = writers[&value];
            prop_assert!(reader == writer || scopes[writer].labels().are_all_in(&labels));
        }
    }

    /// Increments of any number of requests, settled in any order: none is lost, and those of requests that settle
    /// nothing count for nothing.
    #[test]
    fn increments_commute(
        steps in prop::collection::vec((0..5usize, -9..9i64), 0..40),
        order in Just([0, 1, 2, 3, 4]).prop_shuffle(),
        given_up in 0..5usize,
    ) {
        let world = World::default();
        let scopes: Vec<_> = (0..5).map(|_| request("")).collect();
        for (who, by) in &steps {
            world.well(&scopes[*who], |memory| memory.increment("n", *by, None)).expect("a number");
        }
        order.iter().filter(|who| **who != given_up).for_each(|who| scopes[*who].settle());
        let kept: Vec<i64> = steps.iter().filter(|(who, _)| *who != given_up).map(|(_, by)| *by).collect();
        let expected = (!kept.is_empty()).then(|| kept.iter().sum::<i64>().to_string());
        prop_assert_eq!(world.seen_by("", "n"), expected);
    }

    /// A counter made of compare-and-swap loses nothing that it was told went in and that was settled.
    #[test]
    fn swaps_lose_nothing(
        steps in prop::collection::vec((0..5usize, any::<bool>(), prop::bool::weighted(0.3)), 0..60),
    ) {
        let world = World::default();
        let mut scopes: Vec<_> = (0..5).map(|_| request("")).collect();
        let (mut settled, mut open) = (0u64, [0u64; 5]);
        for (who, gives_up, ends) in steps {
            if ends {
                if !gives_up {
                    scopes[who].settle();
                    settled += open[who];
                }
                open[who] = 0;
                scopes[who] = request("");
                continue;
            }
            let went_in = world.well(&scopes[who], |memory| {
                let found = memory.get("n").expect("a key");
                let number: u64 = found.as_deref().map_or(0, |text| String::from_utf8_lossy(text).parse().expect("a number"));
                memory.compare_and_swap("n", found.as_deref(), (number + 1).to_string().as_bytes(), None)
            });
            open[who] += u64::from(went_in == Ok(true));
        }
        let found = world.seen_by("", "n").map_or(0, |text| text.parse().expect("a number"));
        prop_assert_eq!(found, settled);
    }
}
