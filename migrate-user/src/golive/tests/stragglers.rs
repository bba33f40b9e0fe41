use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::holder::Holder;
use super::stage::{CLIENT_V4, SERVER_V4, Stage, run};
use super::{privileged, task, until};
use crate::golive;
use crate::golive::stragglers::{Stragglers, deliver};
use crate::sys::{enter_netns, neighbours, tcp_repair};

#[test]
fn requests_and_new_connections_that_fell_into_the_mute_are_answered_without_a_time_out() {
    if !privileged("requests_and_new_connections") {
        return;
    }
    let stage = Stage::new();
    let address = format!("{SERVER_V4}:80");
    let listener = stage.listen(&stage.source, &address);
    let (mut client, server) = stage.connect(&listener, SERVER_V4);
    let replica = stage.listen(&stage.target, &address);
    let stand_in = stage.stand_in(false);
    let target = Holder::new(Some(&stage.target), &[(&replica, 3), (&stand_in, 4)]);
    let source = Holder::new(Some(&stage.source), &[(&listener, 3), (&server, 4)]);

    let mut caught = Stragglers::catch_openings(&stage.source, "eth0").unwrap();
    client.write_all(b"before").unwrap();
    until(|| tcp_repair::unread(&server).unwrap() == 6);
    caught.catch_everything().unwrap();
    // Without its address the host drops everything, behind the packet socket, as the mute does.
    run(&stage.source, "ip addr flush dev eth0");
    client.write_all(b" and during").unwrap();
    let opening = std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let start = Instant::now();
            let made = enter_netns::within(&stage.client, || TcpStream::connect(&address)).unwrap().unwrap();
            (made, start.elapsed())
        });
        let mut packets = Vec::new();
        until(|| {
            packets.extend(caught.take().unwrap().0);
            packets.len() >= 2
        });
        let snapshot = super::capture(&[&source]);
        let mut restored = golive::restore(&[task(&target)], &snapshot).unwrap();
        stage.mute("source");
        drop((source, listener));
        stage.unmute("target");
        restored.release();
        assert_eq!(deliver(&stage.target, &packets).unwrap(), packets.len());
        assert_eq!(tcp_repair::unread(&stand_in).unwrap(), 17, "the request is there when it has been delivered");
        opening.join().unwrap()
    });
    let mut bytes = [0; 17];
    (&TcpStream::from(stand_in)).read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"before and during");
    let (accepted, _) = replica.accept().unwrap();
    println!("new connection made in {:?}", opening.1);
    (&accepted).write_all(b"welcome").unwrap();
    let mut bytes = [0; 7];
    (&opening.0).read_exact(&mut bytes).unwrap();
}

#[test]
fn neighbours_that_the_source_knows_need_not_be_asked_for_again() {
    if !privileged("neighbours_that_the_source_knows") {
        return;
    }
    let stage = Stage::new();
    let listener = stage.listen(&stage.source, &format!("{SERVER_V4}:80"));
    let _talked = stage.connect(&listener, SERVER_V4);
    let known = neighbours::known(&stage.source, "eth0").unwrap();
    assert!(known.iter().any(|neighbour| neighbour.ip.to_string() == CLIENT_V4), "{known:?}");
    neighbours::introduce(&stage.target, "eth0", &known).unwrap();
    neighbours::introduce(&stage.target, "eth0", &known).unwrap();
    let moved = neighbours::known(&stage.target, "eth0").unwrap();
    assert!(known.iter().all(|neighbour| moved.contains(neighbour)), "{moved:?}");
}
