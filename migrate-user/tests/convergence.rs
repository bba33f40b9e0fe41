//! Every guest, recorded and replayed, gives the same output, exit code and calls.

mod sandbox;

use migrate::probe::gate::{Gate, GateEvent};
use migrate::probe::{Options, Recorder};
use migrate::record::Record;
use migrate::replay::replica::Replica;
use migrate_common::record::{HEADER_BYTES, Kind};
use sandbox::Sandbox;
use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc;

fn record(recorder: &Recorder, ring: &mut migrate::sys::bpf_ring::RingReader, guests: &Path, argv: &[&str]) -> (Vec<Record>, i32, Vec<u8>, Vec<String>) {
    let mut sandbox = Sandbox::new(guests, argv).unwrap();
    let slot = recorder.add(sandbox.cgroup_id).unwrap();
    let (tell, events) = mpsc::channel();
    let init = sandbox.init;
    let (ready, seized) = mpsc::channel();
    let gate = std::thread::spawn(move || {
        let gate = Gate::seize(init, move |event| { let _ = tell.send(event); }).unwrap();
        ready.send(()).unwrap();
        gate.run().unwrap();
    });
    seized.recv().unwrap();
    sandbox.start().unwrap();
    let mut raw: Vec<Vec<u8>> = Vec::new();
    loop {
        if ring.take(1 << 30, |entry| raw.push(entry.to_vec())) == 0 {
            if gate.is_finished() && ring.waiting() == 0 { break; }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    let (code, output) = sandbox.finish().unwrap();
    recorder.remove(slot).unwrap();
    let mut images: HashMap<u32, std::collections::VecDeque<Record>> = HashMap::new();
    let mut objections = Vec::new();
    for event in events.try_iter() {
        match event {
            GateEvent::Image { host_tid, record } => images.entry(host_tid).or_default().push_back(record),
            GateEvent::NotMigratable { why, .. } => objections.push(why),
            GateEvent::Ended => {}
        }
    }
    let mut by_seq: Vec<Record> = Vec::new();
    let mut last: HashMap<u32, usize> = HashMap::new();
    for entry in &raw {
        let (record, _) = Record::parse(entry).unwrap();
        if record.kind() == Some(Kind::Piece) {
            let at = last[&record.head.host_tid];
            assert_eq!(by_seq[at].head.seq, record.head.seq);
            by_seq[at].payload.extend_from_slice(&record.payload);
            by_seq[at].head.len = (HEADER_BYTES + by_seq[at].payload.len()) as u32;
        } else {
            last.insert(record.head.host_tid, by_seq.len());
            by_seq.push(record);
        }
    }
    by_seq.sort_by_key(|record| record.head.seq);
    for (at, record) in by_seq.iter().enumerate() {
        assert_eq!(record.head.seq, at as u64, "a hole");
    }
    let mut records = Vec::new();
    for record in by_seq {
        objections.extend(migrate::replay::screen::objection(&record));
        let image = (record.kind() == Some(Kind::Exec)).then(|| images.get_mut(&record.head.host_tid).unwrap().pop_front().unwrap());
        let (tid, seq) = (record.head.tid, record.head.seq);
        records.push(record);
        if let Some(mut image) = image {
            image.head.tid = tid;
            image.head.seq = seq;
            records.push(image);
        }
    }
    (records, code, output, objections)
}

fn replay(guests: &Path, argv: &[&str], records: Vec<Record>) -> Result<(i32, Vec<u8>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut sandbox = Sandbox::new(guests, argv).unwrap();
        let replica = Replica::seize(sandbox.init).await.unwrap();
        sandbox.start().unwrap();
        let fed = replica.with(move |engine| { engine.feed(&records)?; engine.check_settled() }).await;
        if let Err(error) = fed {
            sandbox.kill();
            return Err(error.to_string());
        }
        Ok(sandbox.finish().unwrap())
    })
}

#[test]
fn guests_converge() {
    let guests = std::env::var("GUESTS").unwrap();
    let guests = Path::new(&guests);
    let names = std::env::var("NAMES").unwrap();
    let recorder = Recorder::load(Options::default()).unwrap();
    let mut ring = recorder.take_ring().unwrap();
    let mut passed = 0;
    let mut failed = Vec::new();
    for name in names.split_whitespace() {
        let argv = ["/guests", name];
        let (records, code, output, objections) = record(&recorder, &mut ring, guests, &argv);
        let n = records.len();
        if !objections.is_empty() {
            println!("{name}: objections {objections:?}");
        }
        match replay(guests, &argv, records) {
            Ok((again, other)) if (again, &other) == (code, &output) => { println!("{name}: ok, {n} records, code {code}"); passed += 1; }
            Ok((again, other)) => { println!("{name}: DIFFERS {code} {again}\n{}\n---\n{}", String::from_utf8_lossy(&output), String::from_utf8_lossy(&other)); failed.push(name); }
            Err(why) => { println!("{name}: FAILED code {code}, {n} records: {why}"); failed.push(name); }
        }
    }
    println!("{passed} passed, failed: {failed:?}");
    assert!(failed.is_empty());
}
