use proptest::prelude::*;

use super::*;

/// A source, a link and a target with constant rates.
#[derive(Clone, Copy, Debug)]
struct World {
    made_per_s: f64,
    replayed_per_s: f64,
    stored_per_record: f64,
    link_bytes_per_s: f64,
    backlog: f64,
}

impl World {
    /// What fraction of a round the next one is.
    fn ratio(&self) -> f64 {
        (self.made_per_s / self.replayed_per_s).max(self.made_per_s * self.stored_per_record / self.link_bytes_per_s)
    }

    /// Iterates as the agent does: each round is what was made while the one before was shipped and, chunk for chunk behind
    /// it, replayed. Gives every decision with what was predicted at it.
    fn run(&self, policy: &Policy) -> Vec<(Decision, Option<Duration>)> {
        let mut history = Vec::new();
        let mut decisions = Vec::new();
        let (mut records, mut made) = (self.backlog, self.backlog / self.made_per_s);
        for _ in 0..10_000 {
            let ship = records * self.stored_per_record / self.link_bytes_per_s;
            let replay = records / self.replayed_per_s;
            history.push(RoundStats {
                records: records as u64,
                raw_bytes: (records * 150.0) as u64,
                stored_bytes: (records * self.stored_per_record) as u64,
                made: duration(made),
                ship: duration(ship),
                replay: duration(replay),
            });
            made = ship.max(replay).max(MIN_ROUND.as_secs_f64());
            records = self.made_per_s * made;
            let lag = Lag { records: records as u64, raw_bytes: (records * 150.0) as u64 };
            let decision = policy.decide(&history, lag);
            decisions.push((decision.clone(), policy.predict(&history, lag)));
            if decision != Decision::Another {
                return decisions;
            }
        }
        panic!("no decision in 10000 rounds");
    }
}

/// What a forced move that diverges comes to exceeds what a `Duration` holds.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn world(ratio: std::ops::Range<f64>) -> impl Strategy<Value = World> {
    (10.0..500_000.0, ratio.clone(), ratio, 4.0..400.0, 0.01..600.0).prop_map(
        |(made_per_s, replay_ratio, link_ratio, stored_per_record, backlog_s): (f64, f64, f64, f64, f64)| World {
            made_per_s,
            replayed_per_s: made_per_s / replay_ratio,
            stored_per_record,
            link_bytes_per_s: made_per_s * stored_per_record / link_ratio,
            backlog: (made_per_s * backlog_s).max(1.0),
        },
    )
}

proptest! {
    #[test]
    fn the_source_is_never_frozen_for_longer_than_promised_unless_forced(world in world(0.01..3.0), force: bool, max_rounds in 1u32..60) {
        let policy = Policy { force, max_rounds, ..Policy::default() };
        let decisions = world.run(&policy);
        prop_assert!(decisions.len() <= max_rounds as usize);
        if let Some((Decision::Final { .. }, predicted)) = decisions.last() {
            let kept = predicted.is_some_and(|predicted| predicted <= policy.down_time_target);
            prop_assert!(kept || (force && decisions.len() == max_rounds as usize), "{predicted:?} after {}", decisions.len());
        }
    }

    #[test]
    fn every_source_that_is_slower_than_replay_and_link_converges(world in world(0.01..0.98)) {
        let policy = Policy { max_rounds: u32::MAX, ..Policy::default() };
        let decisions = world.run(&policy);
        prop_assert!(matches!(decisions.last(), Some((Decision::Final { .. }, _))), "{:?}", decisions.last());
        // The first round's time, shrunk by the ratio until twice what is left (shipped, then replayed) fits the target.
        let first = (world.backlog / world.replayed_per_s).max(world.backlog * world.stored_per_record / world.link_bytes_per_s);
        let room = (policy.down_time_target - policy.fixed).as_secs_f64();
        let bound = ((2.0 * first / room).ln() / -world.ratio().ln()).max(0.0).ceil() as usize + 2;
        prop_assert!(decisions.len() <= bound, "{} rounds, {bound} expected", decisions.len());
    }

    #[test]
    fn a_source_that_is_faster_is_given_up_soon_and_the_limiting_rate_is_named(world in world(0.5..3.0)) {
        prop_assume!(world.ratio() > 1.02 && world.backlog / world.made_per_s > 1.0);
        let decisions = world.run(&Policy::default());
        let Some((Decision::GiveUp(why), _)) = decisions.last() else { panic!("{:?}", decisions.last()) };
        prop_assert!(why.rounds as usize <= PATIENCE + 1, "{why}");
        let replay_is_slower = world.replayed_per_s < world.link_bytes_per_s / world.stored_per_record;
        match why.limit {
            Limit::Replay { made_per_s, replayed_per_s } => prop_assert!(replay_is_slower && made_per_s >= replayed_per_s),
            Limit::Link { made_bytes_per_s, link_bytes_per_s } => {
                prop_assert!(!replay_is_slower && made_bytes_per_s >= link_bytes_per_s);
            }
            Limit::Fixed { .. } => prop_assert!(false, "{why}"),
        }
    }

    #[test]
    fn no_history_makes_the_policy_panic(rounds in proptest::collection::vec(any::<[u64; 6]>(), 0..8), lag: [u64; 2], max_rounds: u32) {
        let history: Vec<_> = rounds
            .iter()
            .map(|&[records, raw_bytes, stored_bytes, made, ship, replay]| {
                let [made, ship, replay] = [made, ship, replay].map(Duration::from_nanos);
                RoundStats { records, raw_bytes, stored_bytes, made, ship, replay }
            })
            .collect();
        let policy = Policy { max_rounds, ..Policy::default() };
        let _decision = policy.decide(&history, Lag { records: lag[0], raw_bytes: lag[1] });
    }
}

fn round(records: u64, made_ms: u64, ship_ms: u64, replay_ms: u64) -> RoundStats {
    let [made, ship, replay] = [made_ms, ship_ms, replay_ms].map(Duration::from_millis);
    RoundStats { records, raw_bytes: records * 100, stored_bytes: records * 10, made, ship, replay }
}

#[test]
fn an_idle_container_is_cut_over_after_its_first_round() {
    let decision = Policy::default().decide(&[RoundStats::default()], Lag::default());
    assert_eq!(decision, Decision::Final { predicted: Some(DEFAULT_FIXED) });
}

#[test]
fn nothing_is_decided_before_the_first_round() {
    assert_eq!(Policy::default().decide(&[], Lag { records: 5, raw_bytes: 500 }), Decision::Another);
}

#[test]
fn a_target_below_the_fixed_part_is_given_up_by_that_name() {
    let policy = Policy { down_time_target: Duration::from_millis(10), max_rounds: 2, ..Policy::default() };
    let Decision::GiveUp(why) = policy.decide(&[round(10, 50, 1, 1); 2], Lag { records: 10, raw_bytes: 1000 }) else {
        panic!("not given up")
    };
    assert_eq!(
        why.to_string(),
        "does not converge after 2 rounds: the hand-over itself takes 50 ms; the down time would be 52 ms, the target is 10 ms"
    );
}

#[test]
fn a_source_that_calms_down_is_not_given_up() {
    let mut history = vec![round(1000, 9000, 10, 500)];
    history.extend([round(1000, 500, 10, 900); 3]);
    history.push(round(100, 900, 10, 40));
    assert!(matches!(Policy::default().decide(&history, Lag { records: 10, raw_bytes: 1000 }), Decision::Final { .. }));
}

#[test]
fn both_rates_are_told() {
    let mut history = vec![round(1000, 9000, 10, 500)];
    history.extend([round(52_000, 1000, 10, 2000); 4]);
    let Decision::GiveUp(why) = Policy::default().decide(&history, Lag { records: 104_000, raw_bytes: 0 }) else {
        panic!("not given up")
    };
    assert_eq!(why.limit.to_string(), "the source makes 52000 records/s and the target replays 26000 records/s");
}

#[test]
fn a_chunk_closes_by_size_or_age_but_not_empty() {
    let rule = CloseRule { bytes: 100, age: Duration::from_millis(20) };
    let [young, old] = [1, 20].map(Duration::from_millis);
    assert_eq!(
        [(0, old), (1, young), (1, old), (100, young)].map(|(bytes, age)| rule.closes(bytes, age)),
        [false, false, true, true]
    );
}
