use proptest::prelude::*;

use super::*;

/// Lets benign operations happen in [`BENIGN`]'s order, beginning at its `offset`th, with the faults before the steps that they name.
/// `None` when a fault could not happen at its step, so that the run is one that another covers.
fn run_with(verify: Verify, faults: &[(usize, Op)], offset: usize, image_present: bool) -> Option<World> {
    let mut world = World::new(image_present, true, verify);
    let mut faults = faults.iter().peekable();
    let mut step = 0;
    loop {
        let before = step;
        for i in 0..BENIGN.len() {
            while let Some((_, fault)) = faults.next_if(|(at, _)| *at == step) {
                if !world.apply(*fault) {
                    return None;
                }
                check(&world, "fault", *fault);
            }
            let op = BENIGN[(i + offset) % BENIGN.len()];
            if world.apply(op) {
                step += 1;
                check(&world, "step", op);
            }
        }
        if step == before {
            return faults.next().is_none().then_some(world);
        }
    }
}

fn check(world: &World, what: &str, op: Op) {
    world.check().unwrap_or_else(|violation| panic!("{violation} after {what} {op:?} in {world:?}"));
}

fn steps(verify: Verify, offset: usize, image_present: bool) -> usize {
    (0..).find(|&at| run_with(verify, &[(at, Op::SourceCrash)], offset, image_present).is_none()).unwrap()
}

fn settle(faults: &[(usize, Op)], mut world: World) -> World {
    world.settle().unwrap_or_else(|violation| panic!("{violation} after {faults:?} in {world:?}"));
    world
}

#[test]
fn an_undisturbed_migration_moves_the_container() {
    for (case, verify) in
        [Verify::Off, Verify::Touched, Verify::All].into_iter().flat_map(|verify| (0..4).map(move |case| (case, verify)))
    {
        let mut world = World::new(case & 1 == 0, case & 2 == 0, verify);
        world.settle().unwrap();
        assert_eq!(world.source.as_ref().unwrap().outcome(), Some(&source::Outcome::Moved));
        assert_eq!(world.source_disk, Some(SourceState::Moved));
        assert_eq!(world.target_disk, Some(TargetState::Live));
        assert_eq!(world.target.as_ref().unwrap().outcome(), Some(&target::Outcome::Live));
        assert_eq!((world.replica.unwrap().learned, world.told > 0), (world.told, verify.is_early()));
    }
}

#[test]
fn whatever_goes_wrong_once_at_any_step_exactly_one_copy_lives() {
    let mut runs = 0;
    for image_present in [true, false] {
        for offset in 0..BENIGN.len() {
            for at in 0..steps(Verify::Touched, offset, image_present) {
                for &fault in FAULTS {
                    let faults = [(at, fault)];
                    let Some(world) = run_with(Verify::Touched, &faults, offset, image_present) else { continue };
                    settle(&faults, world);
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 5000, "only {runs} runs");
}

#[test]
fn whatever_goes_wrong_twice_exactly_one_copy_lives() {
    let mut runs = 0;
    for offset in [0, 5] {
        let steps = steps(Verify::All, offset, true);
        for first in 0..steps {
            for &a in FAULTS {
                if run_with(Verify::All, &[(first, a)], offset, true).is_none() {
                    continue;
                }
                for second in first..steps + 20 {
                    for &b in FAULTS {
                        let faults = [(first, a), (second, b)];
                        let Some(world) = run_with(Verify::All, &faults, offset, true) else { continue };
                        settle(&faults, world);
                        runs += 1;
                    }
                }
            }
        }
    }
    assert!(runs > 50_000, "only {runs} runs");
}

#[test]
fn a_failure_before_the_source_has_decided_leaves_it_running() {
    let mut runs = 0;
    for at in 0..steps(Verify::All, 0, false) {
        // None of these is survived by the migration itself.
        for fault in [Op::Break, Op::SourceCrash, Op::TargetCrash, Op::SourceCancel, Op::TargetCancel] {
            let Some(mut world) = World::new(false, true, Verify::All).into_fault(at, fault) else { continue };
            if matches!(world.source_disk, None | Some(SourceState::Moving)) {
                world.settle().unwrap();
                assert!(world.source_lives(), "{fault:?} at {at}");
                runs += 1;
            }
        }
    }
    assert!(runs > 300, "only {runs} runs");
}

/// Runs a migration whose source cannot be captured for the first `times` that it is frozen.
fn put_off(times: u32) -> World {
    let mut world = World::new(true, false, Verify::Touched);
    let mut met = 0;
    for _ in 0..1000 {
        for &op in BENIGN {
            // Always before the step that would succeed.
            if met < times && world.apply(Op::NotNow) {
                met += 1;
            }
            world.apply(op);
            world.check().unwrap();
        }
    }
    assert_eq!(met, times);
    world.settle().unwrap();
    world
}

#[test]
fn a_source_that_cannot_be_captured_at_once_runs_on_and_is_moved_later_with_what_it_did_meanwhile() {
    for times in 1..source::CUT_OVERS {
        let world = put_off(times);
        assert_eq!(world.source.as_ref().unwrap().outcome(), Some(&source::Outcome::Moved), "put off {times} times");
        assert_eq!(world.source.as_ref().unwrap().put_off(), times);
        assert_eq!(world.made, CHUNKS + times as usize);
    }
}

#[test]
fn a_source_that_can_never_be_captured_is_not_moved_and_runs_on() {
    let world = put_off(source::CUT_OVERS);
    assert!(world.source_lives());
    let Some(source::Outcome::Aborted { why }) = world.source.as_ref().unwrap().outcome() else { panic!("{world:?}") };
    assert_eq!(why, "something is on its way; it was frozen 10 times");
}

impl World {
    /// The world right after a fault at a step; `None` if it cannot happen there.
    fn into_fault(mut self, at: usize, fault: Op) -> Option<Self> {
        let mut step = 0;
        loop {
            for &op in BENIGN {
                if step == at {
                    return self.apply(fault).then_some(self);
                }
                step += usize::from(self.apply(op));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens_in_any_order_exactly_one_copy_lives(
        ops in proptest::collection::vec(prop_oneof![300 => 0u8..0x80, 1 => 0x80u8..=0xff], 0..1500),
    ) {
        prop_assert_eq!(run(&ops), Ok(()));
    }
}

#[test]
fn a_target_that_lost_its_state_leaves_the_source_in_doubt_until_an_operator_decides() {
    for (verdict, outcome) in [
        (super::super::message::Verdict::Live, source::Outcome::Moved),
        (super::super::message::Verdict::Aborted, source::Outcome::Aborted { why: "the target could not go live".into() }),
    ] {
        let mut source = Source::restart(ID, SourceState::Committed);
        for _ in 0..3 {
            assert!(matches!(source.poll_action(), Some(source::Action::Connect { .. })));
            source.done(source::Output::None);
            assert!(matches!(source.poll_action(), Some(source::Action::Send(Message::Status(_)))));
            source.done(source::Output::None);
            source.handle_message(target::answer_unknown(super::super::hello::PROTOCOL));
            assert!(source.is_forgotten());
            assert_eq!(source.outcome(), None);
        }
        source.operator(verdict);
        while source.poll_action().is_some() {
            source.done(source::Output::None);
        }
        assert_eq!(source.outcome(), Some(&outcome));
    }
}

#[test]
fn a_source_whose_target_has_other_versions_never_prepares() {
    let prepare = Prepare { id: ID, spec: Vec::new().into(), image: String::new(), layer: false, verify: Verify::Off };
    let mut source = Source::new(Hello::new(), prepare);
    source.handle_message(Hello { record_version: 9, ..Hello::new() }.into());
    let mut actions = Vec::new();
    while let Some(action) = source.poll_action() {
        actions.push(action);
        source.done(source::Output::None);
    }
    assert!(matches!(
        actions[..],
        [source::Action::Thaw { .. }, source::Action::Send(Message::Abort(_)), source::Action::Write(SourceState::Aborted)]
    ));
}

/// Runs a migration in which the first message of a kind is changed on its way.
fn tampered(kind: super::super::Kind, tamper: fn(&mut Message)) -> World {
    let mut world = World::new(true, false, Verify::All);
    let mut changed = false;
    for _ in 0..200 {
        for &op in BENIGN {
            world.apply(op);
            let messages = world.connections.iter_mut().flat_map(|c| c.to_target.iter_mut().chain(&mut c.to_source));
            if let Some(message) = messages.filter(|_| !changed).find(|message| message.kind() == kind) {
                tamper(message);
                changed = true;
            }
        }
    }
    assert!(changed, "no {kind:?} message to tamper with");
    world.settle().unwrap();
    world
}

/// Which message is changed, and how.
type Tamper = (super::super::Kind, fn(&mut Message));

macro_rules! tamper {
    ($name:ident, $body:ident => $change:expr) => {
        (super::super::Kind::$name, |message| {
            if let Message::$name($body) = message {
                $change;
            }
        })
    };
}

#[test]
fn what_a_peer_gets_wrong_ends_the_migration_and_the_source_runs_on() {
    let tampers: [Tamper; 11] = [
        tamper!(Hello, hello => hello.protocol = 9),
        tamper!(Round, round => round.chunk.0[90] ^= 1),
        tamper!(Round, round => round.chunk.0 = SPOOL[2].as_bytes().to_vec()),
        tamper!(Replayed, replayed => replayed.chunk += 1),
        tamper!(Final, last => last.chunks += 1),
        tamper!(Final, last => last.digest[0] ^= 1),
        tamper!(Ready, ready => ready.digest[0] ^= 1),
        tamper!(Ready, ready => ready.compared = None),
        (super::super::Kind::Wanted, |message| *message = super::super::message::Prepared {}.into()),
        (super::super::Kind::Memory, |message| *message = super::super::message::Pages { bytes: vec![1].into() }.into()),
        (super::super::Kind::Prepared, |message| *message = super::super::message::Go {}.into()),
    ];
    for (i, (kind, tamper)) in tampers.into_iter().enumerate() {
        let world = tampered(kind, tamper);
        assert!(world.source_lives(), "tamper {i} with {kind:?}");
        assert!(matches!(world.source.unwrap().outcome(), Some(source::Outcome::Aborted { .. })), "tamper {i} with {kind:?}");
    }
}
