//! Which registers differ from a place's most often.

use super::stub::{REGISTERS, numbered};
use crate::sys::ptrace::Regs;

/// Learnt where the task came by the place and was not there.
#[derive(Clone, Debug, Default)]
pub(in crate::replay::ptrace) struct Order {
    equal: [u32; REGISTERS],
}

impl Order {
    /// The task is at the place with these registers instead.
    pub(in crate::replay::ptrace) fn note(&mut self, here: &Regs, there: &Regs) {
        for (count, (here, there)) in self.equal.iter_mut().zip(numbered(here).into_iter().zip(numbered(there))) {
            *count += u32::from(here == there);
        }
    }

    /// Numbers of all registers, the ones that differed most often first.
    pub(super) fn by_difference(&self) -> [usize; REGISTERS] {
        let mut order = std::array::from_fn(|register| register);
        order.sort_by_key(|register: &usize| self.equal[*register]);
        order
    }
}
