//! Signals: a handler that notes what arrives, and sets of signals.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::kit::{Chain, Result, zero};

/// A handler that gets all three arguments.
pub type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Notes that fit. Later ones are only counted.
const NOTES: usize = 1024;

/// Words of one note: number and code, sender (pid and uid, or address), value or status.
static LOG: [[AtomicU64; 3]; NOTES] = [const { [const { AtomicU64::new(0) }; 3] }; NOTES];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A signal that was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub signal: i32,
    pub code: i32,
    /// Bytes 16 to 24 of siginfo: pid and uid of the sender, or a fault's address, or timer and overrun.
    pub from: u64,
    /// Bytes 24 to 32 of siginfo: the value, or a child's status.
    pub value: u64,
}

impl Seen {
    /// The process that sent it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.from as u32 as i32
    }
}

/// The handler that notes. Only touches atomics, so it may run anywhere.
pub extern "C" fn note(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let words = info.cast::<u64>();
    // SAFETY: with SA_SIGINFO the kernel passes a siginfo, 128 bytes aligned to 8.
    let (first, code, from, value) = unsafe { ((*info).si_signo, (*info).si_code, *words.add(2), *words.add(3)) };
    let at = COUNT.fetch_add(1, Ordering::SeqCst);
    if let Some(slot) = LOG.get(at) {
        let both = u64::from(first as u32) | (u64::from(code as u32) << 32);
        for (to, word) in slot.iter().zip([both, from, value]) {
            to.store(word, Ordering::SeqCst);
        }
    }
}

/// Signals noted since [`clear`].
pub fn count() -> usize {
    COUNT.load(Ordering::SeqCst)
}

/// What was noted since [`clear`], oldest first.
pub fn seen() -> Vec<Seen> {
    let read = |slot: &[AtomicU64; 3]| {
        let [both, from, value] = [0, 1, 2].map(|at: usize| slot[at].load(Ordering::SeqCst));
        Seen { signal: both as u32 as i32, code: (both >> 32) as u32 as i32, from, value }
    };
    LOG.iter().take(count()).map(read).collect()
}

/// Forgets what was noted.
pub fn clear() {
    COUNT.store(0, Ordering::SeqCst);
}

/// Takes everything noted into the chain, forgets it and gives it.
pub fn take(chain: &mut Chain) -> Vec<Seen> {
    let all = seen();
    for one in &all {
        for word in [one.signal as u64, one.code as u64, one.from, one.value] {
            chain.num(word);
        }
    }
    clear();
    all
}

/// Installs a handler with SA_SIGINFO and these flags; no other signal is blocked while it runs.
pub fn install(signal: i32, handler: Handler, flags: i32) -> Result {
    let mut action: libc::sigaction = zero();
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | flags;
    sys!(sigaction(signal, &raw const action, std::ptr::null_mut())).map(drop)
}

/// Notes a signal from now on.
pub fn watch(signal: i32, flags: i32) -> Result {
    install(signal, note, flags)
}

/// Gives a signal `SIG_DFL` or `SIG_IGN`.
pub fn dispose(signal: i32, disposition: libc::sighandler_t) -> Result {
    let mut action: libc::sigaction = zero();
    action.sa_sigaction = disposition;
    sys!(sigaction(signal, &raw const action, std::ptr::null_mut())).map(drop)
}

/// A set of signals.
pub fn set(signals: &[i32]) -> libc::sigset_t {
    let mut set: libc::sigset_t = zero();
    for &signal in signals {
        // SAFETY: the set is a live local; a number that is no signal changes nothing.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// Whether a set has a signal.
pub fn has(set: &libc::sigset_t, signal: i32) -> bool {
    // SAFETY: the set is a live reference.
    unsafe { libc::sigismember(set, signal) == 1 }
}

/// Changes the mask; gives the one before.
pub fn mask(how: i32, signals: &[i32]) -> Result<libc::sigset_t> {
    let new = set(signals);
    let mut old: libc::sigset_t = zero();
    sys!(sigprocmask(how, &raw const new, &raw mut old))?;
    Ok(old)
}

/// Blocks signals; gives the mask before.
pub fn block(signals: &[i32]) -> Result<libc::sigset_t> {
    mask(libc::SIG_BLOCK, signals)
}

/// Unblocks signals.
pub fn unblock(signals: &[i32]) -> Result {
    mask(libc::SIG_UNBLOCK, signals).map(drop)
}

/// Signals that wait for being unblocked.
pub fn pending() -> Result<libc::sigset_t> {
    let mut set: libc::sigset_t = zero();
    sys!(sigpending(&raw mut set))?;
    Ok(set)
}
