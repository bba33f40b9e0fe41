//! System V message queues.

use std::ptr::null_mut;

use crate::kit::process::{fork, join, pid};
use crate::kit::{Chain, Result, fd, zero};
use crate::shm::Shared;

const NEW: i32 = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;

/// The longest text of these guests.
const TEXT: usize = 512;

#[repr(C)]
struct Message {
    kind: i64,
    text: [u8; TEXT],
}

/// A queue that is removed when it is dropped.
struct Queue(i32);

impl Queue {
    fn new() -> Result<Self> {
        Ok(Self(sys!(msgget(libc::IPC_PRIVATE, NEW))?))
    }

    fn send(&self, kind: i64, text: &[u8]) -> Result {
        let mut message = Message { kind, text: [0; TEXT] };
        message.text[..text.len()].copy_from_slice(text);
        sys!(msgsnd(self.0, (&raw const message).cast(), text.len(), 0)).map(drop)
    }

    /// The message's type and text.
    fn receive(&self, kind: i64, flags: i32) -> Result<(i64, Vec<u8>)> {
        let mut message = Message { kind: 0, text: [0; TEXT] };
        let len = sys!(msgrcv(self.0, (&raw mut message).cast(), TEXT, kind, flags))? as usize;
        let message = std::hint::black_box(message);
        Ok((message.kind, message.text[..len].to_vec()))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // One that is gone already is as good.
        plain!(msgctl(self.0, libc::IPC_RMID, null_mut()));
    }
}

/// Messages are taken in order, by type, by the lowest type, or by another type than one.
pub fn kinds(chain: &mut Chain) -> Result {
    let queue = Queue::new()?;
    let texts: Vec<Vec<u8>> = [10, 0, 500, 1, 77, 8].iter().map(|&len| chain.data(len)).collect();
    for (kind, text) in [3, 1, 2, 3, 9, 1].into_iter().zip(&texts) {
        queue.send(kind, text)?;
    }
    for (ask, flags, kind, text) in
        [(3, 0, 3, 0), (-5, 0, 1, 1), (1, libc::MSG_EXCEPT, 2, 2), (0, 0, 3, 3), (0, libc::IPC_NOWAIT, 9, 4)]
    {
        let (found, bytes) = queue.receive(ask, flags)?;
        check_eq!(found, kind, "type of a message asked for by {ask}");
        check_eq!(bytes, texts[text], "its text");
        chain.bytes(&bytes);
    }
    let mut small = Message { kind: 0, text: [0; TEXT] };
    let place = (&raw mut small).cast();
    fails!(E2BIG, msgrcv(queue.0, place, 4, 0, 0))?;
    check_eq!(sys!(msgrcv(queue.0, place, 4, 0, libc::MSG_NOERROR))?, 4, "bytes of a message that was cut");
    check_eq!(std::hint::black_box(&small).text[..4], texts[5][..4], "its text");
    fails!(ENOMSG, msgrcv(queue.0, place, TEXT, 0, libc::IPC_NOWAIT))?;
    fails!(EINVAL, msgsnd(queue.0, (&raw const small).cast(), 1 << 20, 0))?;
    small.kind = 0;
    fails!(EINVAL, msgsnd(queue.0, (&raw const small).cast(), 4, 0))?;
    chain.num(queue.0);
    Ok(())
}

/// A server that waits for requests, and clients that wait for answers of their own type.
pub fn waits(chain: &mut Chain) -> Result {
    // Two that send at the same moment on two CPUs may return in another order: with memory shared they take turns.
    let _turns = Shared::<u64>::new()?;
    let (requests, answers) = (Queue::new()?, Queue::new()?);
    let server = fork(|| {
        for _ in 0..60 {
            let (_, mut text) = requests.receive(0, 0)?;
            let client = i64::from(i32::from_le_bytes(text[..4].try_into()?));
            text.iter_mut().skip(4).for_each(|byte| *byte = !*byte);
            answers.send(client, &text)?;
        }
        crate::kit::process::exit_now(0)
    })?;
    let (read, write) = fd::pipe()?;
    let mut clients = vec![server];
    for _ in 0..3 {
        clients.push(fork(|| {
            for round in 0..20u8 {
                let mut text = pid().to_le_bytes().to_vec();
                text.extend(fd::random(20 + usize::from(round))?);
                requests.send(1 + i64::from(round % 3), &text)?;
                let (_, answer) = answers.receive(pid().into(), 0)?;
                check!(answer[4..].iter().zip(&text[4..]).all(|(got, sent)| *got == !sent), "the answer is another one's");
                fd::write_all(write, &answer[4..12])?;
            }
            crate::kit::process::exit_now(0)
        })?);
    }
    fd::close(write)?;
    let lines = fd::read_to_end(read)?;
    check_eq!(lines.len(), 60 * 8, "bytes of the clients");
    chain.bytes(&lines);
    clients.into_iter().try_for_each(join)?;
    fd::close(read)
}

/// A queue that is full makes who sends wait; removing it ends all waits.
pub fn control(chain: &mut Chain) -> Result {
    let queue = Queue::new()?;
    let mut about: libc::msqid_ds = zero();
    sys!(msgctl(queue.0, libc::IPC_STAT, &raw mut about))?;
    about.msg_qbytes = 600;
    sys!(msgctl(queue.0, libc::IPC_SET, &raw mut about))?;
    queue.send(1, &chain.data(400))?;
    let message = Message { kind: 1, text: [7; TEXT] };
    fails!(EAGAIN, msgsnd(queue.0, (&raw const message).cast(), 400, libc::IPC_NOWAIT))?;
    sys!(msgctl(queue.0, libc::IPC_STAT, &raw mut about))?;
    check_eq!((about.msg_qnum, about.msg_qbytes, about.msg_lspid), (1, 600, pid()), "the queue");
    let sender = fork(|| {
        for round in 0..5 {
            queue.send(2 + round, &fd::random(400)?)?;
        }
        crate::kit::process::exit_now(0)
    })?;
    for kind in [1, 2, 3, 4, 5, 6] {
        crate::kit::clock::sleep_ms(1)?;
        let (found, text) = queue.receive(0, 0)?;
        check_eq!(found, kind, "type");
        chain.bytes(&text);
    }
    join(sender)?;
    let receiver = fork(|| {
        let mut message = Message { kind: 0, text: [0; TEXT] };
        let received = plain!(msgrcv(queue.0, (&raw mut message).cast(), TEXT, 0, 0));
        // EINVAL where the queue was gone before the wait began.
        let error = crate::kit::call::errno();
        check!(received == -1 && [libc::EIDRM, libc::EINVAL].contains(&error), "msgrcv gave {received}, errno {error}");
        crate::kit::process::exit_now(0)
    })?;
    crate::kit::clock::sleep_ms(5)?;
    sys!(msgctl(queue.0, libc::IPC_RMID, null_mut()))?;
    join(receiver)?;
    chain.num(receiver);
    Ok(())
}
