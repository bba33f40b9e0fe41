//! Whose turn it is, when nobody waits in a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::kit::chain::mix;
use crate::kit::order::{by, check_each_ascends};
use crate::kit::thread;
use crate::kit::{Chain, Order, Result};

/// Threads that yield between steps.
pub fn yields(chain: &mut Chain) -> Result {
    let state = Arc::new(Order::new());
    thread::all(4, &state, |index, order| {
        for round in 0..250 {
            order.note(by(index, round));
            thread::rest()?;
        }
        Ok(())
    })?;
    check_each_ascends(&state.take(chain)?, 4, 250)
}

/// Threads that compute for long and make no call: they note when they meet.
pub fn compute(chain: &mut Chain) -> Result {
    let state = Arc::new((Order::new(), AtomicU64::new(0)));
    let digests = thread::all(3, &state, |index, (order, all)| {
        let mut digest = index as u64;
        for round in 0..40 {
            for step in 0..20_000 {
                digest = mix(digest, step);
            }
            order.note(by(index, round));
            // Not commutative: who comes first matters.
            let before = all.load(Ordering::SeqCst);
            all.store(mix(before, digest), Ordering::SeqCst);
        }
        Ok(digest)
    })?;
    digests.into_iter().for_each(|digest| chain.num(digest));
    chain.num(state.1.load(Ordering::SeqCst));
    check_each_ascends(&state.0.take(chain)?, 3, 40)
}

/// A turn that goes from thread to thread; who waits for it spins and makes no call.
pub fn spin(chain: &mut Chain) -> Result {
    let state = Arc::new((AtomicU64::new(0), Order::new()));
    thread::all(3, &state, |index, (turn, order)| {
        for round in 0..8 {
            let mine = round * 3 + index as u64;
            // No turn of this loop differs from another, so a replica need not find the right one of millions.
            while turn.load(Ordering::SeqCst) != mine {
                std::hint::spin_loop();
            }
            order.note(mine);
            turn.store(mine + 1, Ordering::SeqCst);
        }
        Ok(())
    })?;
    check!(state.1.take(chain)?.into_iter().eq(0..24), "the turns");
    Ok(())
}

/// membarrier(2): a barrier in all threads, paid by who calls it.
pub fn membarrier(chain: &mut Chain) -> Result {
    const QUERY: i32 = 0;
    const REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;
    const PRIVATE_EXPEDITED: i32 = 1 << 3;
    let Ok(offered) = raw!(SYS_membarrier, QUERY, 0, 0) else {
        return crate::kit::unsupported("membarrier");
    };
    let both = i64::from(REGISTER_PRIVATE_EXPEDITED | PRIVATE_EXPEDITED);
    check_eq!(offered & both, both, "what membarrier offers");
    raw!(SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0, 0)?;
    // Two threads, each writes its word and reads the other's: one of them sees the other's write, with a barrier of the
    // compiler only on the fast side.
    let state = Arc::new(([AtomicU64::new(0), AtomicU64::new(0)], Order::new(), std::sync::Barrier::new(2)));
    let seen = thread::all(2, &state, |index, (words, order, barrier)| {
        let mut seen = Vec::new();
        for round in 1..=50 {
            barrier.wait();
            words[index].store(round, Ordering::Relaxed);
            if index == 0 {
                raw!(SYS_membarrier, PRIVATE_EXPEDITED, 0, 0)?;
            } else {
                std::sync::atomic::compiler_fence(Ordering::SeqCst);
            }
            seen.push(words[1 - index].load(Ordering::Relaxed));
            order.note(by(index, round));
            barrier.wait();
        }
        fence(Ordering::SeqCst);
        Ok(seen)
    })?;
    for (round, (first, second)) in seen[0].iter().zip(&seen[1]).enumerate() {
        check!(first.max(second) == &(round as u64 + 1), "nobody saw the other's write in round {round}");
        chain.num(*first);
        chain.num(*second);
    }
    check_eq!(state.1.take(chain)?.len(), 100, "notes");
    Ok(())
}
