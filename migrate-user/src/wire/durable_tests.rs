use super::*;

const SIDES: [Side; 8] = [
    Side::Source(SourceState::Moving),
    Side::Source(SourceState::Committed),
    Side::Source(SourceState::Moved),
    Side::Source(SourceState::Aborted),
    Side::Target(TargetState::Receiving),
    Side::Target(TargetState::Go),
    Side::Target(TargetState::Live),
    Side::Target(TargetState::Aborted),
];

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("migrations")).unwrap();
    (directory, store)
}

fn durable(id: u8, side: Side) -> Durable {
    Durable::new(MigrationId([id; 16]), side, "10.0.0.2:7000", "c0ffee", "web")
}

#[test]
fn every_state_is_found_again_after_a_restart() {
    let (directory, store) = store();
    for (id, side) in (0..).zip(SIDES) {
        store.write(&durable(id, side)).unwrap();
    }
    let again = Store::open(&directory.path().join("migrations")).unwrap();
    let (found, broken) = again.load().unwrap();
    assert_eq!(found, (0..).zip(SIDES).map(|(id, side)| durable(id, side)).collect::<Vec<_>>());
    assert!(broken.is_empty());
}

#[test]
fn a_state_replaces_the_one_before_and_leaves_no_other_file() {
    let (directory, store) = store();
    SIDES[..4].iter().for_each(|&side| store.write(&durable(1, side)).unwrap());
    assert_eq!(store.find(MigrationId([1; 16]), SIDES[0]).unwrap(), Some(durable(1, SIDES[3])));
    assert_eq!(fs::read_dir(directory.path().join("migrations")).unwrap().count(), 1);
}

#[test]
fn both_sides_of_a_migration_within_one_host_are_kept_apart() {
    let (_directory, store) = store();
    store.write(&durable(1, SIDES[1])).unwrap();
    assert_eq!(store.find(MigrationId([1; 16]), SIDES[4]).unwrap(), None);
    store.write(&durable(1, SIDES[6])).unwrap();
    assert_eq!(store.load().unwrap().0.len(), 2);
}

#[test]
fn a_write_that_was_cut_off_leaves_the_state_before_it() {
    let (directory, store) = store();
    store.write(&durable(1, SIDES[0])).unwrap();
    let name = format!("{}.source.json.new", MigrationId([1; 16]));
    fs::write(directory.path().join("migrations").join(name), b"{\"version\":").unwrap();
    let (found, broken) = store.load().unwrap();
    assert_eq!((found, broken.len()), (vec![durable(1, SIDES[0])], 0));
}

#[test]
fn files_that_are_no_state_are_reported_beside_those_that_are() {
    let (directory, store) = store();
    store.write(&durable(1, SIDES[0])).unwrap();
    let newer = serde_json::to_string(&Durable { version: 2, ..durable(2, SIDES[0]) }).unwrap();
    fs::write(directory.path().join("migrations/x.source.json"), newer).unwrap();
    fs::write(directory.path().join("migrations/y.source.json"), "{").unwrap();
    let (found, broken) = store.load().unwrap();
    assert_eq!(found.len(), 1);
    let told: Vec<String> = broken.iter().map(ToString::to_string).collect();
    assert!(told[0].ends_with("cannot be used: version 2, this program reads version 1"), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[test]
fn a_forgotten_migration_is_gone() {
    let (_directory, store) = store();
    store.write(&durable(1, SIDES[0])).unwrap();
    store.remove(&durable(1, SIDES[0])).unwrap();
    assert_eq!(store.load().unwrap().0, []);
}

#[test]
fn the_file_is_what_an_operator_can_read() {
    let text = serde_json::to_value(durable(1, SIDES[1])).unwrap();
    assert_eq!(text["source"], "committed");
    assert_eq!(durable(1, SIDES[1]).migration().unwrap(), MigrationId([1; 16]));
}
