//! The heap and the stack.

use std::hint::black_box;

use super::map::PAGE;
use crate::kit::{Chain, Result};

/// The end of the data segment moves up and down; new pages are zero.
pub fn brk(chain: &mut Chain) -> Result {
    let start = raw!(SYS_brk, 0)?;
    chain.num(start);
    let page = (start as usize).next_multiple_of(PAGE) as i64;
    let len = 40 * PAGE;
    check_eq!(raw!(SYS_brk, page + len as i64)?, page + len as i64, "the new end");
    let first = std::ptr::with_exposed_provenance_mut::<u8>(page as usize);
    // SAFETY: the pages between the old and the new end, which the allocator does not know of; none is allocated until they go.
    let clean = unsafe { std::slice::from_raw_parts(first, len) }.iter().all(|&byte| byte == 0);
    for at in (0..len).step_by(PAGE) {
        // SAFETY: as above.
        unsafe { first.add(at).write(at as u8 | 1) };
    }
    let back = raw!(SYS_brk, start)?;
    let grown = raw!(SYS_brk, page + PAGE as i64)?;
    // SAFETY: the one page that is there again.
    let again = unsafe { first.read() };
    let end = raw!(SYS_brk, start)?;
    check!(clean, "new pages are not zero");
    check_eq!((back, grown, again, end), (start, page + PAGE as i64, 0, start), "ends, and a byte of a page that is there again");
    check_eq!(raw!(SYS_brk, 1)?, start, "the end after a bad address");
    Ok(())
}

/// The allocator, driven at random: small and large blocks, grown and freed, never mixed up.
pub fn allocator(chain: &mut Chain) -> Result {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut total = 0usize;
    for step in 0..2000u64 {
        match chain.below(4) {
            0 | 1 => {
                let top = if step % 50 == 0 { 300_000 } else { 2000 };
                let len = 1 + chain.below(top) as usize;
                blocks.push(vec![step as u8; len]);
                total += len;
            }
            2 if !blocks.is_empty() => {
                let at = chain.below(blocks.len() as u64) as usize;
                let block = &mut blocks[at];
                let mark = block[0];
                block.resize(block.len() * 2, mark);
                total += block.len() / 2;
            }
            _ if !blocks.is_empty() => {
                let at = chain.below(blocks.len() as u64) as usize;
                let block = blocks.swap_remove(at);
                check!(block.iter().all(|&byte| byte == block[0]), "a block was overwritten in step {step}");
                total -= block.len();
                chain.num(block.as_ptr() as usize);
            }
            _ => {}
        }
        if total > 30 << 20 {
            blocks.clear();
            total = 0;
        }
    }
    check_eq!(blocks.iter().map(Vec::len).sum::<usize>(), total, "bytes in blocks");
    blocks.iter().for_each(|block| chain.num(block.as_ptr() as usize));
    Ok(())
}

/// A page of stack for each level.
#[inline(never)]
fn descend(depth: u64, seed: u64) -> u64 {
    let mut room = [0u64; 500];
    room[(seed % 500) as usize] = seed ^ depth;
    let below = if depth == 0 { 0 } else { descend(depth - 1, seed.rotate_left(1)) };
    black_box(&mut room);
    below.wrapping_add(room[(seed % 500) as usize])
}

/// The stack grows by itself, 4 MiB deep, twice.
pub fn stack(chain: &mut Chain) -> Result {
    let seed = chain.below(u64::MAX);
    let first = descend(1000, seed);
    let second = descend(1000, seed);
    check_eq!(first, second, "sums of two descents");
    let mut wanted = 0u64;
    let mut turned = seed;
    for depth in (0..=1000).rev() {
        wanted = wanted.wrapping_add(turned ^ depth);
        turned = turned.rotate_left(1);
    }
    check_eq!(first, wanted, "sum of a descent");
    chain.num(first);
    Ok(())
}
