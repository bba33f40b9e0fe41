//! The target's agent dies in the middle of a move.
//!
//! The agent of h2 is started with `MIGRATE_FAULT=PHASE`; it kills itself when it comes to that point. Before `Go` the source
//! must run on as if nothing had been, and a second move to a new agent must succeed; after it exactly one copy may live.

use std::{thread, time::Duration};

use serde::Serialize;
use serde_json::Value;

use super::{LIFE_LIMIT, Outcome, Plan, Result, eventually, scene::Scene};
use crate::client::Remote;

/// The variable that names the point where an agent dies.
pub const FAULT_VARIABLE: &str = "MIGRATE_FAULT";

/// A point of a move at which the target's agent can be killed, in the order of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Hello,
    Image,
    Round,
    Final,
    Ready,
    Go,
}

impl Phase {
    pub const ALL: [Self; 6] = [Self::Hello, Self::Image, Self::Round, Self::Final, Self::Ready, Self::Go];

    pub fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Image => "image",
            Self::Round => "round",
            Self::Final => "final",
            Self::Ready => "ready",
            Self::Go => "go",
        }
    }

    /// Whether the source can still take everything back.
    pub fn before_go(self) -> bool {
        self < Self::Go
    }
}

impl Scene<'_> {
    /// Moves with an agent that dies at `phase`, then starts it again and goes on.
    pub(super) fn survive(
        &mut self,
        phase: Phase,
        plan: &Plan,
        client: &mut Option<Remote>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        self.restart_target(&[(FAULT_VARIABLE, phase.name())])?;
        let first = self.migrate_move(plan)?;
        let died = !self.lab.host("h2")?.agent_alive();
        outcome.note(if died { Ok(()) } else { Err(format!("the target's agent never came to {}", phase.name())) });
        outcome.take_move(&first);

        if phase.before_go() {
            outcome.note(if outcome.moved { Err(format!("moved although the agent died at {}", phase.name())) } else { Ok(()) });
            if let Some(client) = client {
                outcome.note(client.wait_served(LIFE_LIMIT).map_err(|error| format!("the source is not alive: {error}")));
            }
            // The replica dies with its tracer; Docker hears of it a moment later.
            let alone = eventually(LIFE_LIMIT, || Ok((self.live_copies()? == ["h1"]).then_some(())))?;
            let live = self.live_copies()?;
            outcome.note(alone.ok_or_else(|| format!("live on {live:?} after the agent died")));
            thread::sleep(plan.around);
            self.restart_target(&[])?;
            let second = self.migrate_move(plan)?;
            outcome.take_move(&second);
            outcome.second_move = Some(outcome.moved);
        } else {
            self.restart_target(&[])?;
            // The agents ask each other what became of it.
            let live = eventually(LIFE_LIMIT, || {
                let live = self.live_copies()?;
                Ok((live.len() == 1).then_some(live))
            })?;
            outcome.moved = live.is_some_and(|live| live == ["h2"]);
            // A second copy must not come to life later either.
            thread::sleep(Duration::from_secs(2));
        }
        outcome.ps = self.ps_lines()?;
        Ok(())
    }

    pub(super) fn restart_target(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        self.lab.with_host("h2", |host| {
            host.kill_agent()?;
            host.start_agent(environment)
        })?;
        Ok(())
    }

    /// What each host's `migrate ps` says of the container.
    fn ps_lines(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for host in self.lab.hosts()? {
            let entry = self.ps(&host)?;
            let text = |field: &str| match &entry[field] {
                Value::String(text) => text.clone(),
                Value::Null => "none".to_string(),
                other => other.to_string(),
            };
            lines.push(format!("{}: {}, owner {}", host.state.name, text("state"), text("owner")));
        }
        Ok(lines)
    }
}
