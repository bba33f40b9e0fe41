//! What the kernel says about the machine, and what it puts on a new program's stack.

use std::ffi::CStr;

use crate::kit::{Chain, Result, zero};

fn text(field: &[libc::c_char]) -> String {
    field.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8 as char).collect()
}

/// `uname` and `gethostname` agree.
pub fn uname(chain: &mut Chain) -> Result {
    let mut names: libc::utsname = zero();
    sys!(uname(&raw mut names))?;
    check_eq!(text(&names.sysname), "Linux", "system");
    check_eq!(text(&names.machine), "x86_64", "machine");
    for field in [&names.sysname, &names.nodename, &names.release, &names.version, &names.machine, &names.domainname] {
        chain.text(&text(field));
    }
    let mut host = [0; 256];
    sys!(gethostname(host.as_mut_ptr(), host.len()))?;
    check_eq!(text(&host), text(&names.nodename), "host name");
    Ok(())
}

/// `sysinfo` says plausible numbers; all are in the chain.
pub fn sysinfo(chain: &mut Chain) -> Result {
    for _ in 0..3 {
        let mut info: libc::sysinfo = zero();
        sys!(sysinfo(&raw mut info))?;
        check!(info.totalram > 0 && info.freeram <= info.totalram, "memory {} of {}", info.freeram, info.totalram);
        check!(info.procs > 0 && info.mem_unit > 0, "{} processes, unit {}", info.procs, info.mem_unit);
        chain.num(info.uptime);
        info.loads.into_iter().for_each(|load| chain.num(load));
        for value in [info.totalram, info.freeram, info.sharedram, info.bufferram, info.totalswap, info.freeswap] {
            chain.num(value);
        }
        chain.num(info.procs);
    }
    Ok(())
}

/// The auxiliary vector: AT_RANDOM's bytes, identities, the page size. The vDSO's address is left out: it is there or not.
pub fn auxv(chain: &mut Chain) -> Result {
    let value = |kind| plain!(getauxval(kind));
    check_eq!(value(libc::AT_PAGESZ), 4096, "page size");
    check_eq!(value(libc::AT_UID), u64::from(plain!(getuid())), "uid");
    check_eq!(value(libc::AT_EGID), u64::from(plain!(getegid())), "gid");
    check_eq!(value(libc::AT_SECURE), 0, "secure");
    let random = value(libc::AT_RANDOM) as *const [u8; 16];
    check!(!random.is_null(), "no AT_RANDOM");
    // SAFETY: the kernel put 16 bytes there, on the initial stack.
    let random = unsafe { *random };
    check!(random != [0; 16], "AT_RANDOM is empty");
    chain.bytes(&random);
    for kind in [libc::AT_HWCAP, libc::AT_HWCAP2, libc::AT_CLKTCK, libc::AT_ENTRY, libc::AT_PHDR, libc::AT_PHNUM, libc::AT_BASE] {
        chain.num(value(kind));
    }
    for kind in [libc::AT_PLATFORM, libc::AT_EXECFN] {
        let name = value(kind) as *const libc::c_char;
        check!(!name.is_null(), "no string for {kind}");
        // SAFETY: a string of the kernel's on the initial stack.
        chain.bytes(unsafe { CStr::from_ptr(name) }.to_bytes());
    }
    for (name, value) in std::env::vars_os() {
        chain.bytes(name.as_encoded_bytes());
        chain.bytes(value.as_encoded_bytes());
    }
    // Addresses: the same in a replica, since nothing is placed at random.
    chain.num(&raw const random as usize);
    chain.num(Box::into_raw(Box::new(0u64)) as usize);
    Ok(())
}
