//! The stack that the kernel gives a new image: argc, argv, envp, the auxiliary vector, strings. See getauxval(3) and
//! `create_elf_tables` in Linux 6.18's fs/binfmt_elf.c.

/// An entry that programs skip: what the vDSO's entry is turned into.
const AT_IGNORE: u64 = 1;
const AT_SYSINFO_EHDR: u64 = 33;
const AT_RANDOM: u64 = 25;
/// Bytes that AT_RANDOM points to.
const RANDOM_BYTES: usize = 16;

fn word(stack: &[u8], at: usize) -> Option<u64> {
    stack.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

/// Offset of the auxiliary vector in a stack that starts with argc.
fn vector(stack: &[u8]) -> Option<usize> {
    let argc = usize::try_from(word(stack, 0)?).ok()?;
    let mut at = argc.checked_add(2)?.checked_mul(8)?;
    while word(stack, at)? != 0 {
        at += 8;
    }
    Some(at + 8)
}

/// Offset of the entry of this type.
fn entry(stack: &[u8], tag: u64) -> Option<usize> {
    let mut at = vector(stack)?;
    loop {
        match word(stack, at)? {
            0 => return None,
            found if found == tag => return Some(at),
            _ => at += 16,
        }
    }
}

/// Hides the vDSO, so that clock reads are system calls. Returns the offset that was changed, and false if there was none.
pub fn hide_vdso(stack: &mut [u8]) -> Option<usize> {
    let at = entry(stack, AT_SYSINFO_EHDR)?;
    stack[at..at + 8].copy_from_slice(&AT_IGNORE.to_le_bytes());
    Some(at)
}

/// Says that another image is the vDSO. False: the stack does not tell of any.
pub fn replace_vdso(stack: &mut [u8], image: u64) -> Option<usize> {
    let at = entry(stack, AT_SYSINFO_EHDR)? + 8;
    stack[at..at + 8].copy_from_slice(&image.to_le_bytes());
    Some(at)
}

/// Makes two initial stacks at `sp` equal in what may differ between source and replica: the random bytes, and whether the vDSO
/// is still there, or what is in its place.
pub fn equalise(own: &mut [u8], want: &mut [u8], sp: u64) {
    for stack in [own, want] {
        replace_vdso(stack, 0);
        if let Some(at) = hide_vdso(stack).or_else(|| entry(stack, AT_IGNORE)) {
            stack[at + 8..at + 16].fill(0);
        }
        let random = entry(stack, AT_RANDOM).and_then(|at| word(stack, at + 8)).and_then(|addr| addr.checked_sub(sp));
        if let Some(at) = random.and_then(|at| usize::try_from(at).ok())
            && let Some(bytes) = stack.get_mut(at..at + RANDOM_BYTES)
        {
            bytes.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SP: u64 = 0x7fff_0000;

    fn stack(random: u8) -> Vec<u8> {
        // argc, argv[0], 0, env[0], 0, the vector, 16 random bytes.
        let words = [1, SP + 500, 0, SP + 510, 0, 3, 7, AT_SYSINFO_EHDR, 0x1000, AT_RANDOM, SP + 13 * 8, 0, 0];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| u64::to_le_bytes(*word)).collect();
        bytes.extend([random; RANDOM_BYTES]);
        bytes
    }

    #[test]
    fn the_vdso_is_hidden_where_the_vector_has_it() {
        let mut bytes = stack(1);
        assert_eq!(hide_vdso(&mut bytes), Some(7 * 8));
        assert_eq!(word(&bytes, 7 * 8), Some(AT_IGNORE));
        assert_eq!(hide_vdso(&mut bytes), None);
    }

    #[test]
    fn stacks_that_differ_in_random_bytes_and_vdso_alone_are_equal() {
        let (mut own, mut want) = (stack(1), stack(2));
        hide_vdso(&mut want);
        equalise(&mut own, &mut want, SP);
        assert_eq!(own, want);
        let mut other = stack(1);
        other[8] ^= 1;
        equalise(&mut other, &mut want, SP);
        assert_ne!(other, want);
    }

    #[test]
    fn a_stack_cut_short_has_no_vector() {
        for len in 0..13 * 8 - 8 {
            assert_eq!(entry(&stack(1)[..len.min(50)], AT_RANDOM), None);
        }
    }
}
