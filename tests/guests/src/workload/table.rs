//! A table in memory that is made from random bytes and changed a little in every step, each page with its own digest.
//!
//! No call's argument depends on the table, so a replica whose table is wrong makes the same calls as its source: only who looks
//! at its memory notices. The guest looks at the whole table in every step.

use crate::kit::chain::{mix_bytes, print};
use crate::kit::{Chain, Result};
use crate::workload::until::Until;

const PAGE_BYTES: usize = 4096;
/// So many that writes to them are tracked while a replica follows.
const PAGES: usize = 1024;
/// What every page begins with, so that a test finds one to spoil.
const MARK: &[u8; 16] = b"a table's page: ";
const _: () = assert!(MARK.len() == 16);
/// Where the digest of what is before it lies.
const DIGEST_AT: usize = PAGE_BYTES - 8;
const STEP_US: u32 = 50_000;

#[repr(C, align(4096))]
#[derive(Clone)]
struct Page([u8; PAGE_BYTES]);

impl Page {
    fn new(chain: &mut Chain) -> Self {
        let mut page = Self([0; PAGE_BYTES]);
        page.0[..MARK.len()].copy_from_slice(MARK);
        page.0[MARK.len()..DIGEST_AT].copy_from_slice(&chain.data(DIGEST_AT - MARK.len()));
        page.seal();
        page
    }

    fn digest(&self) -> u64 {
        mix_bytes(0, &self.0[..DIGEST_AT])
    }

    fn seal(&mut self) {
        let digest = self.digest();
        self.0[DIGEST_AT..].copy_from_slice(&digest.to_le_bytes());
    }

    fn is_whole(&self) -> bool {
        self.0[DIGEST_AT..] == self.digest().to_le_bytes()
    }
}

/// Runs until SIGTERM or SIGINT, or for as many steps as the first argument says.
pub fn table(chain: &mut Chain) -> Result {
    let until = Until::new()?;
    let mut pages: Vec<Page> = (0..PAGES).map(|_| Page::new(chain)).collect();
    let mut step = 0;
    while !until.reached(step) {
        step += 1;
        for (at, page) in pages.iter().enumerate() {
            check!(page.is_whole(), "page {at} of the table is not what was written to it");
            chain.num(page.digest());
        }
        let at = chain.below(PAGES as u64) as usize;
        let byte = MARK.len() + chain.below((DIGEST_AT - MARK.len()) as u64) as usize;
        pages[at].0[byte] ^= 0x5a;
        pages[at].seal();
        plain!(usleep(STEP_US));
        print(&format!("step {step} {:016x}", chain.digest()))?;
    }
    print(&format!("end steps {step} {:016x}", chain.digest()))
}
