//! The recorder's programs, one a file, named after their hook. Each asks first whether the task is of a recorded
//! container ([`container`]), then numbers a record and puts it into the ring ([`emit`]).
//!
//! Only `tp_btf` programs and plain helpers, so that they load where the kernel is locked down. Kernel fields are read at
//! offsets that userspace took from the kernel's BTF ([`kernel`]).
#![no_std]
#![no_main]
// BPF's assembler is not stable in rustc; the crate needs a nightly compiler's `build-std` anyway.
#![feature(asm_experimental_arch)]

mod batch;
mod clock;
mod clocks;
mod coming;
mod container;
mod descriptors;
mod emit;
mod file;
mod hold;
mod kernel;
mod known;
mod maps;
mod payload;
mod place;
mod restart;
mod sched_prepare_exec;
mod sched_process_exec;
mod sched_process_exit;
mod sched_process_fork;
mod sched_switch;
mod short;
mod signal_deliver;
mod sys_exit;
mod tally;
mod task;
mod turns;

/// Never reached: every index in these programs is masked or compared first, which the verifier checks.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_get_current_task_btf` and others are for programs under the GPL or a licence compatible with it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
