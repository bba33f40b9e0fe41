//! The kernel's vDSO, vdso(7): the same image in every process, at an address of its own in each.

use super::mappings;
use super::ptrace::Pid;
use std::io;
use std::ops::Range;
use std::sync::LazyLock;

/// Where a process has it.
///
/// # Errors
/// `NotFound` if it has none; those of reading /proc/PID/maps.
pub fn of(pid: Pid) -> io::Result<Range<u64>> {
    let maps = mappings::text(pid)?;
    let found = mappings::parse(&maps).find(|mapping| mapping.name == "[vdso]").map(|mapping| mapping.range);
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Bytes from its start to its `clock_gettime`, as this process finds it in its own. `None`: there is none.
#[must_use]
pub fn clock_gettime() -> Option<u64> {
    static AT: LazyLock<Option<u64>> = LazyLock::new(|| symbol(own()?, "__vdso_clock_gettime"));
    *AT
}

/// Bytes of the stack, its return address included, that the function takes for any of these clocks, as this process finds it.
///
/// # Errors
/// There is no such function, or it cannot read one of the clocks.
pub fn clock_gettime_stack(clocks: &[i32]) -> io::Result<usize> {
    const PAINT: u64 = 0xa5a5_5a5a_a5a5_5a5a;
    let own = own().ok_or(io::ErrorKind::NotFound)?;
    let function = own.as_ptr().addr() as u64 + clock_gettime().ok_or(io::ErrorKind::NotFound)?;
    let mut most = 0;
    for clock in clocks {
        let mut stack = [PAINT; 512];
        let mut time = [0_i64; 2];
        let failed: u64;
        // SAFETY: the kernel's function of this name, with its arguments, on a stack of its own, which is aligned to 16 below its end.
        unsafe {
            let end = stack.as_mut_ptr_range().end.map_addr(|end| end & !15);
            std::arch::asm!(
                "mov r12, rsp",
                "mov rsp, {end}",
                "call {function}",
                "mov rsp, r12",
                end = in(reg) end,
                function = in(reg) function,
                inout("rdi") i64::from(*clock) => _,
                inout("rsi") &raw mut time => _,
                out("rax") failed,
                out("r12") _,
                clobber_abi("C"),
            );
        }
        if failed != 0 {
            return Err(io::Error::other(format!("clock {clock} cannot be read")));
        }
        let lowest = stack.iter().position(|word| *word != PAINT).unwrap_or(stack.len());
        most = most.max((stack.len() - lowest) * size_of::<u64>());
    }
    Ok(most)
}

/// This process's vDSO.
fn own() -> Option<&'static [u8]> {
    let range = of(std::process::id().cast_signed()).ok()?;
    // SAFETY: the kernel has mapped it readable for as long as the process lives, and nobody here unmaps it.
    Some(unsafe {
        std::slice::from_raw_parts(std::ptr::with_exposed_provenance(range.start as usize), (range.end - range.start) as usize)
    })
}

/// Where the function of this name is in an image, from its start. Addresses in a vDSO are offsets in its image.
pub(crate) fn symbol(image: &[u8], name: &str) -> Option<u64> {
    const PT_DYNAMIC: u64 = 2;
    const DT_STRTAB: u64 = 5;
    const DT_SYMTAB: u64 = 6;
    const SYMBOL_BYTES: u64 = 24;
    let word = |at: u64| image.get(usize::try_from(at).ok()?..)?.first_chunk().copied().map(u64::from_le_bytes);
    let headers = word(32)?;
    let count = u64::from(u16::from_le_bytes(*image.get(56..)?.first_chunk()?));
    let header =
        (0..count).map(|n| headers + n * 56).find(|at| word(*at).is_some_and(|word| word & 0xffff_ffff == PT_DYNAMIC))?;
    let dynamic = word(header + 8)?;
    let entries =
        (0..).map_while(|n| Some((word(dynamic + 16 * n)?, word(dynamic + 16 * n + 8)?))).take_while(|(tag, _)| *tag != 0);
    let entries: Vec<(u64, u64)> = entries.collect();
    let value = |tag| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
    let (strings, symbols) = (value(DT_STRTAB)?, value(DT_SYMTAB)?);
    // How many there are a hash table tells, of which there are two kinds; they end before the next thing at the latest.
    let end = entries.iter().map(|entry| entry.1).chain([dynamic, image.len() as u64]).filter(|at| *at > symbols).min()?;
    (symbols..end).step_by(SYMBOL_BYTES as usize).find_map(|at| {
        let first = word(at)?;
        let named = image.get(usize::try_from(strings + (first & 0xffff_ffff)).ok()?..)?.strip_prefix(name.as_bytes())?;
        let (section, address) = (first >> 48, word(at + 8)?);
        (named.first() == Some(&0) && section != 0).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_clock_is_found_and_goes() {
        let Some(at) = clock_gettime() else {
            eprintln!("skipped: this process has no vDSO");
            return;
        };
        let start = of(std::process::id().cast_signed()).unwrap().start;
        let mut time = [0_i64; 2];
        // SAFETY: the kernel's function of this name, with its arguments.
        let ret = unsafe {
            let function: extern "C" fn(i32, *mut [i64; 2]) -> i32 =
                std::mem::transmute(std::ptr::with_exposed_provenance::<()>((start + at) as usize));
            function(libc::CLOCK_MONOTONIC, &raw mut time)
        };
        let now = std::time::Duration::from(nix::time::ClockId::CLOCK_MONOTONIC.now().unwrap()).as_nanos();
        let then = u128::from(time[0].unsigned_abs()) * 1_000_000_000 + u128::from(time[1].unsigned_abs());
        assert!(ret == 0 && then <= now && now - then < 60_000_000_000, "{then} {now}");
        assert_eq!(symbol(own().unwrap(), "__vdso_clock_get"), None);
        let stack = clock_gettime_stack(&[libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME]).unwrap();
        assert!((8..512).contains(&stack), "{stack}");
    }
}
