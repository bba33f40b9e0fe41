use migrate::probe::{Options, Recorder};
#[test]
fn loads() {
    match Recorder::load(Options { ring_bytes: 1 << 20, from_now: false }) {
        Ok(r) => println!("{r:?} {:?}", r.missed_runs()),
        Err(e) => panic!("{e}"),
    }
}
