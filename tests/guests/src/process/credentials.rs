//! Users, groups, capabilities, the root directory. All changes are a child's.

use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, WorkDir, fd, unsupported};

/// A privileged process becomes an ordinary one, for good or for a while.
pub fn setuid(chain: &mut Chain) -> Result {
    if plain!(geteuid()) != 0 {
        return unsupported("changing users without being root");
    }
    join(fork(|| {
        sys!(setgroups(3, [7u32, 5, 6].as_ptr()))?;
        let mut groups = [0u32; 8];
        check_eq!(sys!(getgroups(8, groups.as_mut_ptr()))?, 3, "number of groups");
        let mut found = groups[..3].to_vec();
        found.sort_unstable();
        check_eq!(found, [5, 6, 7], "groups");
        sys!(setgid(1234))?;
        sys!(setuid(2345))?;
        let (mut real, mut effective, mut saved) = (0, 0, 0);
        sys!(getresuid(&raw mut real, &raw mut effective, &raw mut saved))?;
        check_eq!((real, effective, saved), (2345, 2345, 2345), "users");
        sys!(getresgid(&raw mut real, &raw mut effective, &raw mut saved))?;
        check_eq!((real, effective, saved), (1234, 1234, 1234), "groups");
        fails!(EPERM, setuid(0))?;
        fails!(EPERM, setgroups(0, std::ptr::null()))?;
        // The child of it is no more.
        join(fork(|| {
            fails!(EPERM, setresuid(0, 0, 0))?;
            Ok(0)
        })?)?;
        Ok(0)
    })?)?;
    join(fork(|| {
        sys!(setresuid(0, 77, 0))?;
        check_eq!((plain!(getuid()), plain!(geteuid())), (0, 77), "users for a while");
        sys!(seteuid(0))?;
        sys!(setreuid(u32::MAX, 78))?;
        check_eq!(plain!(geteuid()), 78, "effective user");
        sys!(setresgid(u32::MAX, u32::MAX, u32::MAX))?;
        check_eq!(plain!(setfsuid(u32::MAX)), 78, "user of the file system");
        Ok(0)
    })?)?;
    check_eq!(plain!(getuid()), 0, "this process's user");
    chain.num(plain!(getgid()));
    Ok(())
}

/// Capabilities are dropped and do not come back.
pub fn capabilities(chain: &mut Chain) -> Result {
    let get = || -> Result<[u32; 6]> {
        let mut sets = [0u32; 6];
        raw!(SYS_capget, [0x2008_0522u32, 0].as_mut_ptr(), sets.as_mut_ptr())?;
        Ok(sets)
    };
    let before = get()?;
    before.into_iter().for_each(|set| chain.num(set));
    for capability in 0..41 {
        chain.num(sys!(prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0))?);
    }
    join(fork(|| {
        raw!(SYS_capset, [0x2008_0522u32, 0].as_mut_ptr(), [0u32; 6].as_ptr())?;
        check_eq!(get()?, [0; 6], "capabilities after all were dropped");
        if before[1] != 0 {
            fails!(EPERM, syscall(libc::SYS_capset, [0x2008_0522u32, 0].as_mut_ptr(), before.as_ptr()))?;
            fails!(EPERM, setresuid(5, 6, 7))?;
        }
        Ok(0)
    })?)?;
    check_eq!(get()?, before, "this process's capabilities");
    Ok(())
}

/// Another root directory, where it is allowed: names begin there, and `..` does not lead out.
pub fn chroot(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    sys!(mkdir(c"jail".as_ptr(), 0o755))?;
    let data = chain.data(20);
    std::fs::write("jail/inside", &data)?;
    std::fs::write("outside", b"outside")?;
    let child = fork(|| {
        if plain!(chroot(c"jail".as_ptr())) == -1 {
            unsupported("chroot")?;
            return Ok(0);
        }
        sys!(chdir(c"/".as_ptr()))?;
        check_eq!(std::fs::read("/inside")?, data, "a file inside");
        fails!(ENOENT, open(c"/../outside".as_ptr(), libc::O_RDONLY))?;
        let made = fd::create(c"/made")?;
        fd::write_all(made, b"made inside")?;
        Ok(1)
    })?;
    let status = crate::kit::process::wait(child)?;
    check!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) <= 1, "status {status:#x}");
    if libc::WEXITSTATUS(status) == 1 {
        check_eq!(std::fs::read("jail/made")?, b"made inside", "a file made inside");
    }
    chain.num(status);
    chain.bytes(&data);
    Ok(())
}
