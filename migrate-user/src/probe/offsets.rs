//! Where the kernel's fields are, from the types that it describes itself with.

use btf_rs::{Btf, Struct, Type};
use migrate_common::maps::Offsets;

use super::ProbeError;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// struct kernel_siginfo, which signal records carry.
const SIGINFO_BYTES: usize = 48;

/// Bytes that the programs read at once of an object.
const WINDOW_BYTES: u32 = 64;

/// The offsets of the running kernel.
///
/// # Errors
/// [`ProbeError::Btf`] if the kernel has no BTF, [`ProbeError::NoField`] with the name of what this kernel has not.
pub fn kernel_offsets() -> Result<Offsets, ProbeError> {
    let types = Types { btf: Btf::from_file(VMLINUX).map_err(|why| ProbeError::Btf { path: VMLINUX, why })? };
    let found = types.structs("kernel_siginfo").first().map_or(0, Struct::size);
    if found != SIGINFO_BYTES {
        return Err(ProbeError::TypeSize { ty: "struct kernel_siginfo", found, expected: SIGINFO_BYTES });
    }
    let upid = types.structs("upid").first().map_or(0, Struct::size);
    let at = |ty, field| types.offset(ty, field);
    Ok(Offsets {
        task_pid: at("task_struct", "pid")?,
        task_thread_status: at("task_struct", "thread_info.status")?,
        task_trap_number: at("task_struct", "thread.trap_nr")?,
        task_trap_error: at("task_struct", "thread.error_code")?,
        task_trap_address: at("task_struct", "thread.cr2")?,
        task_thread_pid: at("task_struct", "thread_pid")?,
        task_group_leader: at("task_struct", "group_leader")?,
        task_mm: at("task_struct", "mm")?,
        mm_users: at("mm_struct", "mm_users")?,
        task_fs: at("task_struct", "fs")?,
        task_files: at("task_struct", "files")?,
        task_exit_code: at("task_struct", "exit_code")?,
        task_personality: at("task_struct", "personality")?,
        task_ptrace: at("task_struct", "ptrace")?,
        task_blocked: at("task_struct", "blocked")?,
        task_pending: at("task_struct", "pending.signal")?,
        task_flags: at("task_struct", "flags")?,
        task_cgroups: at("task_struct", "cgroups")?,
        css_set_cgroup: at("css_set", "dfl_cgrp")?,
        cgroup_kn: at("cgroup", "kn")?,
        kernfs_node_id: at("kernfs_node", "id")?,
        task_cfs_rq: at("task_struct", "se.cfs_rq")?,
        cfs_rq_rq: at("cfs_rq", "rq")?,
        rq_rt_running: at("rq", "rt.rt_nr_running")?,
        pid_level: at("pid", "level")?,
        pid_numbers: at("pid", "numbers")?,
        upid_bytes: u32::try_from(upid).unwrap_or(0),
        upid_nr: at("upid", "nr")?,
        fs_root_dentry: at("fs_struct", "root.dentry")?,
        dentry_sb: at("dentry", "d_sb")?,
        files_fdt: at("files_struct", "fdt")?,
        fdt_max_fds: at("fdtable", "max_fds")?,
        fdt_fd: at("fdtable", "fd")?,
        file_window: window([at("file", "f_inode")?, at("file", "private_data")?, at("file", "f_op")?, at("file", "f_flags")?]),
        file_inode: at("file", "f_inode")?,
        file_flags: at("file", "f_flags")?,
        file_private: at("file", "private_data")?,
        file_op: at("file", "f_op")?,
        file_pos: at("file", "f_pos")?,
        inode_window: window([at("inode", "i_mode")?, at("inode", "i_sb")?]),
        inode_mode: at("inode", "i_mode")?,
        inode_sb: at("inode", "i_sb")?,
        sb_magic: at("super_block", "s_magic")?,
        socket_sk: at("socket", "sk")?,
        socket_ops: at("socket", "ops")?,
        socket_type: at("socket", "type")?,
        sock_family: at("sock", "__sk_common.skc_family")?,
        regs_ax: at("pt_regs", "ax")?,
        regs_sp: at("pt_regs", "sp")?,
        regs_orig_ax: at("pt_regs", "orig_ax")?,
        regs_ip: at("pt_regs", "ip")?,
        regs_di: at("pt_regs", "di")?,
        regs_si: at("pt_regs", "si")?,
        regs_dx: at("pt_regs", "dx")?,
        regs_r10: at("pt_regs", "r10")?,
        regs_r8: at("pt_regs", "r8")?,
        regs_r9: at("pt_regs", "r9")?,
        sigaction_handler: at("k_sigaction", "sa.sa_handler")?,
        sigaction_flags: at("k_sigaction", "sa.sa_flags")?,
        restart_nanosleep_expires: at("task_struct", "restart_block.nanosleep.expires")?,
        restart_futex_time: at("task_struct", "restart_block.futex.time")?,
        restart_poll_has_timeout: at("task_struct", "restart_block.poll.has_timeout")?,
        restart_poll_seconds: at("task_struct", "restart_block.poll.tv_sec")?,
        restart_poll_nanos: at("task_struct", "restart_block.poll.tv_nsec")?,
    })
}

/// Where a window begins that holds fields of up to 8 bytes at these offsets.
fn window<const N: usize>(fields: [u32; N]) -> u32 {
    let first = fields.into_iter().min().unwrap_or(0);
    if fields.into_iter().all(|at| at + 8 <= first + WINDOW_BYTES) { first } else { u32::MAX }
}

struct Types {
    btf: Btf,
}

impl Types {
    /// The structures of a name. Names are not unique in BTF: drivers have a `struct file`, too, at times.
    fn structs(&self, name: &str) -> Vec<Struct> {
        let types = self.btf.resolve_types_by_name(name).unwrap_or_default();
        types.into_iter().filter_map(|ty| if let Type::Struct(ty) = ty { Some(ty) } else { None }).collect()
    }

    /// Bytes from the start of `ty` to a field, whose name may be a path through named members.
    fn offset(&self, ty: &'static str, field: &'static str) -> Result<u32, ProbeError> {
        let path: Vec<&str> = field.split('.').collect();
        let bits = self.structs(ty).iter().find_map(|ty| self.path(ty, &path));
        bits.map(|bits| bits / 8).ok_or(ProbeError::NoField { ty, field })
    }

    fn path(&self, ty: &Struct, path: &[&str]) -> Option<u32> {
        let (&name, rest) = path.split_first()?;
        let (at, inner) = self.member(ty, name)?;
        if rest.is_empty() { Some(at) } else { Some(at + self.path(&inner?, rest)?) }
    }

    /// Bit offset of a member, and its type if that is a structure. Anonymous members are looked into.
    fn member(&self, ty: &Struct, name: &str) -> Option<(u32, Option<Struct>)> {
        ty.members.iter().find_map(|member| {
            let at = member.bit_offset();
            let own = self.btf.resolve_name(member).unwrap_or_default();
            let inner = || self.structure(member);
            if own == name {
                return Some((at, inner()));
            }
            if !own.is_empty() {
                return None;
            }
            let (further, found) = self.member(&inner()?, name)?;
            Some((at + further, found))
        })
    }

    /// The structure or union that a member is, behind typedefs and qualifiers. A pointer to one is none.
    fn structure(&self, member: &btf_rs::Member) -> Option<Struct> {
        self.btf.chained_type_iter(member).find_map(|ty| match ty {
            Type::Struct(ty) | Type::Union(ty) => Some(Some(ty)),
            Type::Typedef(_) | Type::Const(_) | Type::Volatile(_) | Type::Restrict(_) | Type::TypeTag(_) => None,
            _ => Some(None),
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_the_recorder_reads_is_found() {
        if !std::path::Path::new(VMLINUX).exists() {
            eprintln!("skipped: this kernel has no {VMLINUX}");
            return;
        }
        let offsets = kernel_offsets().unwrap();
        // What the ABI fixes: the registers as ptrace(2) lays them out.
        assert_eq!((offsets.regs_r10, offsets.regs_di, offsets.regs_orig_ax, offsets.regs_ip), (56, 112, 120, 128));
        assert_eq!((offsets.sigaction_handler, offsets.sigaction_flags, offsets.upid_nr), (0, 8, 0));
        assert!(offsets.upid_bytes >= 8);
    }

    #[test]
    fn a_field_that_is_missing_is_named() {
        let Ok(btf) = Btf::from_file(VMLINUX) else { return };
        let error = Types { btf }.offset("task_struct", "no_such_field").unwrap_err();
        assert_eq!(error.to_string(), "this kernel has no task_struct.no_such_field, which the recorder reads");
    }
}
