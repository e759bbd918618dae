use proptest::prelude::*;

use super::*;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn begin(step: usize, is_hedge: bool) -> Turn {
    Turn::Begin { step, is_hedge }
}

#[test]
fn without_hedges_one_step_follows_the_other() {
    let now = Instant::now();
    let mut race = Race::of([None, None]);
    assert_eq!(race.turn(now), begin(0, false));
    race.runs(0, now);
    assert_eq!(race.turn(now + ms(1_000_000)), Turn::Wait(None));
    race.failed(0);
    assert_eq!(race.turn(now), begin(1, false));
    // Something is against it.
    assert_eq!(race.turn(now), Turn::Over);
}

#[test]
fn a_late_step_gets_one_beside_it_and_no_more() {
    let now = Instant::now();
    let mut race = Race::of([Some(ms(100)), None, None]);
    assert_eq!(race.turn(now), begin(0, false));
    race.runs(0, now);
    assert_eq!(race.turn(now + ms(99)), Turn::Wait(Some(now + ms(100))));
    assert_eq!(race.turn(now + ms(100)), begin(1, true));
    race.runs(1, now + ms(100));
    assert_eq!(race.turn(now + ms(9999)), Turn::Wait(None));
    // The hedge fails while the first is still late: the next takes its place.
    race.failed(1);
    assert_eq!(race.turn(now + ms(9999)), begin(2, true));
    race.runs(2, now + ms(9999));
    race.won();
    assert_eq!(race.turn(now + ms(9999)), Turn::Over);
}

#[test]
fn a_failed_step_leaves_its_hedge_alone() {
    let now = Instant::now();
    let mut race = Race::of([Some(ms(100)), Some(ms(100)), None]);
    assert_eq!(race.turn(now), begin(0, false));
    race.runs(0, now);
    assert_eq!(race.turn(now + ms(100)), begin(1, true));
    race.runs(1, now + ms(100));
    race.failed(0);
    assert_eq!(race.turn(now + ms(150)), Turn::Wait(Some(now + ms(200))));
    assert_eq!(race.turn(now + ms(200)), begin(2, true));
}

#[test]
fn what_cannot_begin_beside_a_late_step_makes_room_for_the_next() {
    let now = Instant::now();
    let mut race = Race::of([Some(ms(10)), None, None]);
    race.turn(now);
    race.runs(0, now);
    assert_eq!(race.turn(now + ms(10)), begin(1, true));
    assert_eq!(race.turn(now + ms(10)), begin(2, true));
    assert_eq!(race.turn(now + ms(10)), Turn::Wait(None));
}

/// Something that happens between two turns.
#[derive(Clone, Copy, Debug)]
enum Chance {
    Time(u64),
    /// The runner at this place fails.
    Fails(usize),
    Wins(usize),
}

fn any_chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        4 => (0_u64..300).prop_map(Chance::Time),
        3 => (0_usize..4).prop_map(Chance::Fails),
        1 => (0_usize..4).prop_map(Chance::Wins),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// In any order of events: steps begin in order and once each; never more run than one and one for each that is
    /// late; something runs until one wins or all have had their turn; a wait ends before anybody is late unseen.
    #[test]
    fn any_order_of_events_is_a_fair_race(
        plan in prop::collection::vec((prop::option::of(1_u64..200), any::<bool>()), 0..8),
        chances in prop::collection::vec(any_chance(), 0..60),
    ) {
        let mut now = Instant::now();
        let mut race = Race::of(plan.iter().map(|(after, _)| after.map(ms)));
        let mut begun: Vec<usize> = Vec::new();
        let mut running: Vec<(usize, Instant)> = Vec::new();
        let mut winners = 0;
        let mut chances = chances.into_iter();
        loop {
            let late = |(step, since): &&(usize, Instant)| plan[*step].0.is_some_and(|after| now >= *since + ms(after));
            let wanted = 1 + running.iter().filter(late).count();
            match race.turn(now) {
                Turn::Begin { step, is_hedge } => {
                    prop_assert_eq!(winners, 0, "nothing begins after the winner");
                    prop_assert_eq!(step, begun.len(), "in order, each once");
                    prop_assert!(running.len() < wanted);
                    prop_assert_eq!(is_hedge, !running.is_empty());
                    begun.push(step);
                    if plan[step].1 {
                        race.runs(step, now);
                        running.push((step, now));
                    }
                    continue;
                }
                Turn::Wait(until) => {
                    prop_assert!(!running.is_empty());
                    prop_assert!(running.len() >= wanted || begun.len() == plan.len());
                    let next = running.iter().filter_map(|(step, since)| Some(*since + ms(plan[*step].0?)));
                    let next = next.filter(|at| *at > now).min();
                    prop_assert_eq!(until, next.filter(|_| begun.len() < plan.len()));
                }
                Turn::Over => {
                    prop_assert!(winners == 1 || (running.is_empty() && begun.len() == plan.len()));
                    break;
                }
            }
            match chances.next() {
                Some(Chance::Time(passed)) => now += ms(passed),
                Some(Chance::Fails(place)) if place < running.len() => race.failed(running.remove(place).0),
                Some(Chance::Wins(place)) if place < running.len() => {
                    race.won();
                    running.clear();
                    winners += 1;
                }
                Some(_) => {}
                // Every run comes to an end.
                None => race.failed(running.remove(0).0),
            }
        }
        prop_assert!(winners <= 1);
    }
}
