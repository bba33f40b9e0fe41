use super::super::hash;
use super::super::hashing::{BATCH_PAGES, batches};
use super::*;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

const PAGES: usize = 8;

/// Memory that this test alone uses, until it is dropped.
struct Mapped(NonNull<libc::c_void>);

impl Mapped {
    const BYTES: NonZeroUsize = NonZeroUsize::new(PAGES * PAGE).unwrap();
    const BOTH: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

    fn anonymous() -> Self {
        // SAFETY: a new mapping.
        Self(unsafe { mmap_anonymous(None, Self::BYTES, Self::BOTH, MapFlags::MAP_PRIVATE) }.unwrap())
    }

    fn of(file: &File, flags: MapFlags) -> Self {
        // SAFETY: a new mapping.
        Self(unsafe { mmap(None, Self::BYTES, Self::BOTH, flags, file, 0) }.unwrap())
    }

    fn write(&self, page: usize, value: u8) {
        // SAFETY: within the mapping, which is writable.
        unsafe { self.0.cast::<u8>().add(page * PAGE + 5).write_volatile(value) };
    }

    fn read(&self, page: usize) -> u8 {
        // SAFETY: within the mapping.
        unsafe { self.0.cast::<u8>().add(page * PAGE + 5).read_volatile() }
    }

    fn protect(&self, flags: ProtFlags) {
        // SAFETY: nobody uses the mapping while it has no access.
        unsafe { mprotect(self.0, PAGES * PAGE, flags) }.unwrap();
    }

    fn number(&self) -> u64 {
        self.0.as_ptr() as u64 / PAGE_BYTES
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: not used any more.
        unsafe { munmap(self.0, PAGES * PAGE) }.unwrap();
    }
}

fn own() -> Layout {
    let pid = i32::try_from(std::process::id()).unwrap();
    Layout::of(&[Task { ns_tid: 1, host_pid: pid }]).unwrap()
}

/// Other tests of this process map and unmap meanwhile, which no task of a frozen container does.
fn print() -> Print {
    (0..100).find_map(|_| own().print().ok()).unwrap()
}

fn page_of(value: u8) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[5] = value;
    page
}

/// The pages of a mapping that are found, by their number in it, with their hashes.
fn found(mapped: &Mapped) -> HashMap<u64, hash::Hash> {
    let first = mapped.number();
    let pages = print();
    let pages = pages.pages().filter(|(page, _)| page.space == Space::Process(1));
    let within = pages.filter(|(page, _)| (first..first + PAGES as u64).contains(&page.number));
    within.map(|(page, hash)| (page.number - first, hash)).collect()
}

fn file_of_ones() -> File {
    let mut file = File::from(memfd_create("verify", MFdFlags::empty()).unwrap());
    std::io::Write::write_all(&mut file, &[1; PAGES * PAGE]).unwrap();
    file
}

#[test]
fn pages_that_were_written_are_found_whatever_their_protection_is_and_those_that_were_read_are_not() {
    let mapped = Mapped::anonymous();
    mapped.write(1, 7);
    mapped.write(2, 8);
    assert_eq!(mapped.read(4), 0);
    let expected = HashMap::from([(1, hash::of(&page_of(7))), (2, hash::of(&page_of(8)))]);
    assert_eq!(found(&mapped), expected);
    mapped.protect(ProtFlags::PROT_NONE);
    assert_eq!(found(&mapped), expected);
    let page = |number| Page { space: Space::Process(1), number: mapped.number() + number };
    assert_eq!(own().read(&[page(2), page(5)]).unwrap(), [page_of(8), page_of(0)].concat());
}

#[test]
fn of_a_private_file_only_the_pages_that_were_written_are_found_and_the_others_read_as_the_file() {
    let file = file_of_ones();
    let mapped = Mapped::of(&file, MapFlags::MAP_PRIVATE);
    assert_eq!(mapped.read(2), 1);
    mapped.write(3, 9);
    let mut written = [1; PAGE];
    written[5] = 9;
    assert_eq!(found(&mapped), HashMap::from([(3, hash::of(&written))]));
    let page = |number| Page { space: Space::Process(1), number: mapped.number() + number };
    assert_eq!(own().read(&[page(2), page(3)]).unwrap(), [[1; PAGE], written].concat());
    // A page that is written as a debugger does becomes one of its own.
    own().write(i32::try_from(std::process::id()).unwrap(), (mapped.number() + 6) * PAGE_BYTES, &page_of(4)).unwrap();
    assert_eq!(found(&mapped).get(&6), Some(&hash::of(&page_of(4))));
}

#[test]
fn shared_memory_is_found_once_and_whole_also_what_nobody_has_touched_by_its_mapping() {
    let file = file_of_ones();
    let (one, two) = (Mapped::of(&file, MapFlags::MAP_SHARED), Mapped::of(&file, MapFlags::MAP_SHARED));
    one.write(0, 2);
    let layout = own();
    let mapping = layout.mapping(1, one.number() * PAGE_BYTES).unwrap();
    let Of::Shared(object) = mapping.of else { panic!("{mapping}") };
    assert_eq!(layout.mapping(1, two.number() * PAGE_BYTES).unwrap().of, Of::Shared(object));
    let print = print();
    let pages: Vec<_> = print.pages().filter(|(page, _)| page.space == Space::Object(object)).collect();
    let mut first = [1; PAGE];
    first[5] = 2;
    let expected = (0..PAGES as u64).map(|number| {
        let hash = if number == 0 { hash::of(&first) } else { hash::of(&[1; PAGE]) };
        (Page { space: Space::Object(object), number }, hash)
    });
    assert_eq!(pages, expected.collect::<Vec<_>>());
}

#[test]
fn batches_hold_every_page_once_and_no_two_processes() {
    let piece = |pid, address: u64, pages| Piece { pid, address: address * PAGE_BYTES, pages };
    let pieces = [piece(1, 0, 3), piece(1, 10, 2 * BATCH_PAGES), piece(2, 0, 1)];
    let all = batches(&pieces);
    let sizes: Vec<u64> = all.iter().map(|batch| batch.iter().map(|piece| piece.pages).sum()).collect();
    assert_eq!(sizes, [BATCH_PAGES, BATCH_PAGES, 3, 1]);
    assert_eq!(all[1][0].address, (10 + BATCH_PAGES - 3) * PAGE_BYTES);
    let mut runs = Vec::new();
    [(1, 2), (3, 1), (5, 1)].into_iter().for_each(|(first, count)| push(&mut runs, first, count));
    assert_eq!(runs, [(1, 3), (5, 1)]);
}

/// A process whose first task ends while another goes on, with a page of its own at `page`; the other task's number.
fn process_without_its_first_task(page: &Mapped) -> (nix::unistd::Pid, i32) {
    extern "C" fn stays(_: *mut libc::c_void) -> libc::c_int {
        loop {
            // SAFETY: a call without arguments.
            unsafe { libc::pause() };
        }
    }
    let mut stack = vec![0_u64; 1024];
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: between fork and its end the child makes calls only, and writes to memory that is its own.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            page.write(0, 9);
            let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_FS | libc::CLONE_FILES;
            // SAFETY: the new task only waits, on a stack of its own; the first one ends alone.
            unsafe {
                libc::clone(stays, top.cast(), flags, std::ptr::null_mut());
                libc::syscall(libc::SYS_exit, 0);
            }
            unreachable!("the call that ends a task has returned")
        }
        nix::unistd::ForkResult::Parent { child } => {
            for _ in 0..1_000_000 {
                let other = { crate::sys::threads::of(child.as_raw()) }.find(|number| *number != child.as_raw());
                if let Some(other) = other
                    && crate::sys::ptrace::is_zombie(child.as_raw()).unwrap()
                {
                    return (child, other);
                }
                std::thread::yield_now();
            }
            panic!("its first task does not end");
        }
    }
}

#[test]
fn a_process_whose_first_task_has_ended_is_looked_at_by_another() {
    let mapped = Mapped::anonymous();
    mapped.write(0, 1);
    let (child, other) = process_without_its_first_task(&mapped);
    let layout = Layout::of(&[Task { ns_tid: 7, host_pid: other }]).unwrap();
    let page = Page { space: Space::Process(7), number: mapped.number() };
    let hash_of = |layout: &Layout| layout.print().unwrap().pages().find(|(found, _)| *found == page).map(|(_, hash)| hash);
    assert_eq!(hash_of(&layout), Some(hash::of(&page_of(9))));
    let (pid, address) = layout.find(page, true).unwrap().unwrap();
    layout.write(pid, address, &page_of(3)).unwrap();
    assert_eq!(hash_of(&layout), Some(hash::of(&page_of(3))));
    assert_eq!(layout.read(&[page]).unwrap(), page_of(3));
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(child, None).unwrap();
}

#[test]
fn pages_that_were_not_written_since_a_pass_are_known_from_it_and_all_others_are_hashed_again() {
    let writes = match crate::sys::userfaultfd::Userfaultfd::own() {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return eprintln!("skipped: needs Linux 6.7"),
        own => std::sync::Arc::new(own.unwrap()),
    };
    let (mapped, gone, new) = (Mapped::anonymous(), Mapped::anonymous(), Mapped::anonymous());
    (0..PAGES).for_each(|page| mapped.write(page, 1));
    gone.write(0, 1);
    let pid = i32::try_from(std::process::id()).unwrap();
    let mut tracking = Tracking::default();
    let tasks = [Task { ns_tid: 1, host_pid: pid }];
    let first = tracking.pass(&tasks, |_| Some(std::sync::Arc::clone(&writes)));
    assert!(first.pages() > PAGES as u64);
    let mut theirs = Tables::new();
    // What is told in parts is the same.
    first.in_messages(5 * 32).iter().for_each(|hashed| super::super::table::learn(&mut theirs, hashed));
    assert_eq!(theirs, *tracking.tables());
    mapped.write(3, 2);
    new.write(0, 7);
    drop(gone);
    let second = tracking.pass(&tasks, |_| Some(std::sync::Arc::clone(&writes)));
    second.in_messages(usize::MAX).iter().for_each(|hashed| super::super::table::learn(&mut theirs, hashed));
    mapped.write(5, 3);
    // Other tests of this process map and unmap meanwhile.
    let (delta, whole) = (0..100)
        .find_map(|_| {
            let layout = own();
            Some((layout.delta(&tracking).ok()?, layout.print().ok()?))
        })
        .unwrap();
    let told: Vec<u64> = delta.spaces[0].fresh.pages().map(|(page, _)| page.number).collect();
    let within = |number: &u64| (mapped.number()..mapped.number() + PAGES as u64).contains(number);
    assert_eq!(told.into_iter().filter(within).collect::<Vec<_>>(), [mapped.number() + 5]);
    let of = |print: &Print, mapped: &Mapped| -> Vec<_> {
        let first = mapped.number();
        let within = move |number: u64| (first..first + PAGES as u64).contains(&number);
        print.pages().filter(|(page, _)| page.space == Space::Process(1) && within(page.number)).collect()
    };
    let completed = delta.complete(&theirs).unwrap();
    for mapped in [&mapped, &new] {
        assert_eq!(of(&completed, mapped), of(&whole, mapped));
    }
    assert_eq!(of(&completed, &mapped)[3].1, hash::of(&page_of(2)));
    tracking.end();
    assert!(delta_of_all(&own(), &tracking));
}

/// Whether nothing is known without hashing it.
fn delta_of_all(layout: &Layout, tracking: &Tracking) -> bool {
    layout.delta(tracking).unwrap().spaces.iter().all(|space| space.runs == space.fresh.runs)
}

#[test]
fn more_pages_than_one_call_tells_are_all_found_in_order() {
    // The last call tells more than the kernel keeps in one step, and fewer than fit.
    const MANY: usize = 3000;
    let bytes = NonZeroUsize::new(MANY * PAGE).unwrap();
    // SAFETY: a new mapping that this test alone uses.
    let at = unsafe { mmap_anonymous(None, bytes, Mapped::BOTH, MapFlags::MAP_PRIVATE) }.unwrap();
    for page in (0..MANY).step_by(2) {
        // SAFETY: within the mapping.
        unsafe { at.cast::<u8>().add(page * PAGE).write_volatile(1) };
    }
    let first = at.as_ptr() as u64;
    let layout = own();
    let pid = i32::try_from(std::process::id()).unwrap();
    let own = own_pages(pid, &Pagemap::open(pid).unwrap(), layout.mappings(1)).unwrap();
    // SAFETY: not used any more.
    unsafe { munmap(at, bytes.get()) }.unwrap();
    assert!(own.all.is_sorted_by(|a, b| a.end() <= b.address), "{:?}", own.all);
    let within = own.all.iter().filter(|piece| (first..first + bytes.get() as u64).contains(&piece.address));
    let found: u64 = within.map(|piece| piece.pages).sum();
    // Huge pages may make more of the mapping present than was touched.
    assert!(found >= MANY as u64 / 2, "{found}");
}
