//! A page of the replica's memory is changed before the replica is compared with its source.
//!
//! The agent of h2 is started with `MIGRATE_FAULT=page`. Compared, the page is found and mended; not compared, the workload must
//! notice, or this would show nothing.

use super::{Outcome, Plan, Result, kill::FAULT_VARIABLE, scene::Scene};

/// What an agent is told that is to change a page.
pub const SPOILS: (&str, &str) = (FAULT_VARIABLE, "page");

impl Scene<'_> {
    pub(super) fn repair(&mut self, plan: &Plan, outcome: &mut Outcome) -> Result<()> {
        self.restart_target(&[SPOILS])?;
        let attempt = self.migrate_move(plan)?;
        outcome.take_move(&attempt);
        // The next move of this lab is not to be spoilt; the container does not need this agent any more.
        self.restart_target(&[])?;
        if plan.verify != "off" && outcome.moved {
            // Where the freeze met the program at its computing, that explains all of its pages.
            let mended = ["heap", "other", "computing"].iter().any(|kind| outcome.differing_by_kind.contains_key(*kind));
            outcome.note(if mended { Ok(()) } else { Err("the changed page was not found".to_string()) });
        }
        Ok(())
    }
}
