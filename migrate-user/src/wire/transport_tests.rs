use std::time::Duration;

use super::super::message::{Go, ImageData, Prepared};
use super::*;

fn data(bytes: usize) -> Message {
    ImageData { bytes: vec![5; bytes].into() }.into()
}

#[tokio::test]
async fn messages_arrive_in_order_through_a_pipe_smaller_than_they_are() {
    let (near, far) = tokio::io::duplex(100);
    let (mut sender, _) = split(near);
    let (_, mut receiver) = split(far);
    let (sent, received) = (sender.counter(), receiver.counter());
    let messages = [data(1), data(100_000), Go {}.into(), data(0)];
    let expected = messages.clone();
    let writer = tokio::spawn(async move {
        for message in &messages {
            sender.send(message).await.unwrap();
        }
        sender.shutdown().await.unwrap();
    });
    for message in expected {
        assert_eq!(receiver.recv().await.unwrap(), Some(message));
    }
    writer.await.unwrap();
    assert_eq!(receiver.recv().await.unwrap(), None);
    assert_eq!(sent.bytes(), received.bytes());
    assert!(sent.bytes() > 100_000);
}

#[tokio::test]
async fn a_connection_that_ends_inside_a_message_is_an_error() {
    let bytes = frame::encode(&data(50)).unwrap();
    for cut in 1..bytes.len() {
        let mut receiver = Receiver::new(&bytes[..cut]);
        assert!(matches!(receiver.recv().await, Err(WireError::CutShort)), "cut at {cut}");
    }
}

#[tokio::test]
async fn giving_up_waiting_for_a_message_loses_none() {
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let (_, mut receiver) = split(far);
    let bytes = [frame::encode(&data(500)).unwrap(), frame::encode(&Prepared {}.into()).unwrap()].concat();
    for piece in bytes.chunks(7) {
        assert!(tokio::time::timeout(Duration::ZERO, receiver.recv()).await.is_err());
        near.write_all(piece).await.unwrap();
        if let Ok(message) = tokio::time::timeout(Duration::ZERO, receiver.recv()).await {
            assert_eq!(message.unwrap(), Some(data(500)));
            break;
        }
    }
    let rest = bytes.len() - receiver.counter().bytes() as usize;
    near.write_all(&bytes[bytes.len() - rest..]).await.unwrap();
    assert_eq!(receiver.recv().await.unwrap(), Some(Prepared {}.into()));
}

#[tokio::test]
async fn a_sender_waits_for_a_reader_that_does_not_read() {
    let (near, far) = tokio::io::duplex(1000);
    let (mut sender, _) = split(near);
    let (_, mut receiver) = split(far);
    let mut sending = tokio::spawn(async move { sender.send(&data(5000)).await });
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut sending).await.is_err());
    assert_eq!(receiver.recv().await.unwrap(), Some(data(5000)));
    sending.await.unwrap().unwrap();
}
