//! What children and new programs inherit.

use std::ffi::CString;

use crate::kit::process::{SELF, fork, join};
use crate::kit::{Chain, Result, WorkDir, fd};

/// Replaces this process by this program in a role.
fn exec(role: &str, args: &[String]) -> Result<i32> {
    let strings: Vec<CString> = ["guests", role].into_iter().map(fd::c).chain(args.iter().map(|arg| fd::c(arg))).collect();
    let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
    pointers.push(std::ptr::null());
    sys!(execv(SELF.as_ptr(), pointers.as_ptr()))
}

/// Over exec, descriptors stay open unless they are close-on-exec, and keep their offset.
pub fn cloexec(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = sys!(open(c"file".as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600))?;
    let text = chain.data(64);
    fd::write_all(file, &text)?;
    sys!(lseek(file, 16, libc::SEEK_SET))?;
    sys!(dup3(file, 40, libc::O_CLOEXEC))?;
    sys!(dup2(file, 41))?;
    let (read, write) = fd::pipe()?;
    sys!(dup2(write, 42))?;
    let pid = fork(|| exec("@fds", &["40".into(), "41".into(), file.to_string(), read.to_string(), "42".into()]))?;
    fd::close_all(&[write, 42])?;
    let answer = fd::read_to_end(read)?;
    join(pid)?;
    check_eq!(answer[..5], *b"01101", "open descriptors after exec");
    check_eq!(answer[5..], text[16..32], "what the new program read by number 41");
    check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 32, "offset after the new program's read");
    chain.bytes(&answer);
    fd::close_all(&[file, 40, 41, read])
}

/// Role of [`cloexec`]: writes to 42 which of the numbers are open, and 16 bytes read from 41.
pub fn role_fds(args: &[String]) -> Result {
    let mut answer = Vec::new();
    for arg in args {
        let open = plain!(fcntl(arg.parse()?, libc::F_GETFD)) != -1;
        answer.push(if open { b'1' } else { b'0' });
    }
    answer.extend(fd::read_exact(41, 16)?);
    fd::write_all(42, &answer)
}

/// A file's offset is one for parent, child and the program that the child execs; what each writes stands behind the other's.
pub fn fork_offsets(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = sys!(open(c"file".as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600))?;
    let text = chain.data(30);
    fd::write_all(file, &text[..10])?;
    join(fork(|| fd::write_all(file, &text[10..20]).map(|()| 0))?)?;
    fd::write_all(file, &text[20..])?;
    join(fork(|| exec("@offset", &[file.to_string(), "30".into()]))?)?;
    check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 36, "offset after the program wrote");
    join(fork(|| sys!(lseek(file, 5, libc::SEEK_SET)).map(|_| 0))?)?;
    let rest = fd::read_exact(file, 31)?;
    check_eq!(rest[..25], text[5..], "the file's bytes");
    check_eq!(rest[25..], *b"behind", "what the program wrote");
    chain.bytes(&rest);
    fd::close(file)
}

/// Role of [`fork_offsets`]: checks the offset of a descriptor and writes.
pub fn role_offset(args: &[String]) -> Result {
    let (file, wanted): (i32, i64) = (args[0].parse()?, args[1].parse()?);
    check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, wanted, "inherited offset");
    fd::write_all(file, b"behind")
}
