//! Who the process is.

use crate::kit::{Chain, Result};

/// Process, parent, group and session numbers, users and groups: calls agree with each other.
pub fn identity(chain: &mut Chain) -> Result {
    let pid = plain!(getpid());
    check_eq!(raw!(SYS_gettid)?, i64::from(pid), "thread number of the only thread");
    check_eq!(raw!(SYS_getpid)?, i64::from(pid), "process number by system call");
    check_eq!(sys!(getpgid(0))?, plain!(getpgrp()), "process group");
    check_eq!(sys!(getpgid(pid))?, plain!(getpgrp()), "process group by number");
    check_eq!(sys!(getsid(pid))?, sys!(getsid(0))?, "session");
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    sys!(getresuid(&raw mut real, &raw mut effective, &raw mut saved))?;
    check_eq!((real, effective), (plain!(getuid()), plain!(geteuid())), "users");
    [real, effective, saved].into_iter().for_each(|user| chain.num(user));
    sys!(getresgid(&raw mut real, &raw mut effective, &raw mut saved))?;
    check_eq!((real, effective), (plain!(getgid()), plain!(getegid())), "groups");
    [real, effective, saved].into_iter().for_each(|group| chain.num(group));
    let mut groups = [0; 256];
    let count = sys!(getgroups(256, groups.as_mut_ptr()))?;
    check_eq!(sys!(getgroups(0, std::ptr::null_mut()))?, count, "number of groups");
    groups[..count as usize].iter().for_each(|&group| chain.num(group));
    for number in [pid, plain!(getppid()), plain!(getpgrp()), sys!(getsid(0))?] {
        chain.num(number);
    }
    let mut header = [0x2008_0522u32, 0];
    let mut sets = [0u32; 6];
    raw!(SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr())?;
    check_eq!(sets[0] & !sets[1], 0, "effective capabilities that are not permitted");
    sets.into_iter().for_each(|set| chain.num(set));
    Ok(())
}
