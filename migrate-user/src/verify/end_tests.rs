use super::super::print::{Hashed, Mappings};
use super::*;

fn print() -> EndPrint {
    let hashes = hash::of(&[1; PAGE]).to_vec();
    let spaces = vec![Hashed { space: Space::Process(3), runs: vec![(16, 1)], hashes: Bytes(hashes) }];
    EndPrint {
        process: 3,
        print: Print { processes: vec![Mappings { tid: 3, mappings: Vec::new() }], spaces },
        tasks: vec![Stood { ip: 1, sp: 0x8000, computed: true }],
        objects: false,
        bytes: vec![(Page { space: Space::Process(3), number: 16 }, Bytes(vec![1; PAGE]))],
    }
}

#[test]
fn a_print_comes_out_of_a_log_as_it_went_in_and_other_bytes_are_refused() {
    let packed = print().pack().unwrap();
    assert_eq!(EndPrint::unpack(&packed).unwrap(), print());
    for cut in 0..packed.len() {
        assert!(EndPrint::unpack(&packed[..cut]).is_err(), "{cut} bytes");
    }
    for at in 0..packed.len() {
        let mut other = packed.clone();
        other[at] ^= 0x41;
        // Whatever comes out, no bytes lead to a panic.
        let _ = EndPrint::unpack(&other);
    }
    let mut short = print();
    short.bytes[0].1.0.pop();
    assert!(EndPrint::unpack(&short.pack().unwrap()).is_err(), "a page that is none");
}

#[test]
fn a_task_that_computed_is_exempt_only_where_its_replica_stands_elsewhere() {
    let there = Standing { pid: 0, ip: 1, sp: 0x8000 };
    assert!(print().tasks(&[there]).computing.is_empty());
    assert_eq!(print().tasks(&[Standing { ip: 2, ..there }]).computing, [3]);
}
