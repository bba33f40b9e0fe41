//! The live view: what `top` is for CPUs, for log rates.
//!
//! [`Screen`] is the state, changed by samples and keys alone; [`draw`] turns it into cells; [`terminal`] owns the real terminal
//! and gives it back. So everything but the last is tested without one.

mod draw;
mod header;
mod history;
mod rows;
mod terminal;
#[cfg(test)]
mod tests;

use super::sample::{Lost, Sample, Target};
use history::History;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rows::{Column, Row};

pub use terminal::{ScreenError, run};

/// What the table lists.
#[derive(Clone, Debug, PartialEq, Eq)]
enum View {
    Containers,
    /// The groups of a container.
    Groups(Target),
    /// The calls of a container: of a group by its name, or all.
    Calls(Target, Option<String>),
}

/// Whether the view goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoOn,
    Quit,
}

/// The live view's state.
#[derive(Debug)]
pub struct Screen {
    /// One a container, of the last interval.
    latest: Vec<Sample>,
    history: History,
    /// Since the start, of all containers.
    lost: Lost,
    view: View,
    sort: Column,
    reversed: bool,
    /// The selected row's name: a row keeps its mark when the order changes.
    selected: Option<String>,
    paused: bool,
    help: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// Nothing measured yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            latest: Vec::new(),
            history: History::default(),
            lost: Lost::default(),
            view: View::Containers,
            sort: Column::Events,
            reversed: false,
            selected: None,
            paused: false,
            help: false,
        }
    }

    /// Takes an interval: one sample of every container that is measured. While paused only losses are taken note of.
    pub fn update(&mut self, samples: &[Sample]) {
        let missed_runs = samples.iter().map(|sample| sample.lost.missed_runs).max().unwrap_or(0);
        for sample in samples {
            // Runs are missed for all containers together, and each sample says how many.
            self.lost += Lost { missed_runs: 0, ..sample.lost };
        }
        self.lost.missed_runs += missed_runs;
        if self.paused || samples.is_empty() {
            return;
        }
        self.history.push(samples);
        self.latest = samples.to_vec();
        if self.of_view().is_none() {
            self.leave();
        }
    }

    /// A key that was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::GoOn;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Next::Quit } else { Next::GoOn };
        }
        if self.help {
            self.help = false;
            return if key.code == KeyCode::Char('q') { Next::Quit } else { Next::GoOn };
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('a') => self.all_calls(),
            KeyCode::Char(letter) => {
                if let Some(column) = Column::by_key(letter) {
                    (self.sort, self.reversed) = (column, false);
                }
            }
            KeyCode::Down => self.select(|at, _| at + 1),
            KeyCode::Up => self.select(|at, _| at.saturating_sub(1)),
            KeyCode::PageDown => self.select(|at, _| at + 10),
            KeyCode::PageUp => self.select(|at, _| at.saturating_sub(10)),
            KeyCode::Home => self.select(|_, _| 0),
            KeyCode::End => self.select(|_, last| last),
            KeyCode::Enter | KeyCode::Right => self.enter(),
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => self.back(),
            _ => {}
        }
        Next::GoOn
    }

    /// The table's rows, in the order in which they are shown.
    fn rows(&self) -> Vec<Row> {
        let mut rows = match &self.view {
            View::Containers => rows::of_containers(&self.latest, &self.history),
            View::Groups(_) => self.of_view().map(|sample| rows::of_groups(sample, &self.history)).unwrap_or_default(),
            View::Calls(_, group) => self.of_view().map(|sample| rows::of_calls(sample, group.as_deref())).unwrap_or_default(),
        };
        rows::sort(&mut rows, self.sort, self.reversed);
        rows
    }

    /// The sample of the container that is looked into; none where all are, or where it is gone.
    fn of_view(&self) -> Option<&Sample> {
        match &self.view {
            View::Containers => None,
            View::Groups(target) | View::Calls(target, _) => self.latest.iter().find(|sample| &sample.container == target),
        }
    }

    /// The container that the selected row belongs to.
    fn of_selection(&self) -> Option<&Sample> {
        self.of_view().or_else(|| {
            let row = self.selected_row()?;
            self.latest.iter().find(|sample| Some(&sample.container) == row.target.as_ref())
        })
    }

    fn selected_row(&self) -> Option<Row> {
        let rows = self.rows();
        let at = self.position(&rows);
        rows.into_iter().nth(at)
    }

    /// Where the selected row is; the first where it is gone.
    fn position(&self, rows: &[Row]) -> usize {
        rows.iter().position(|row| Some(&row.key) == self.selected.as_ref()).unwrap_or(0)
    }

    fn select(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let rows = self.rows();
        let Some(last) = rows.len().checked_sub(1) else { return };
        self.selected = Some(rows[to(self.position(&rows), last).min(last)].key.clone());
    }

    /// Into the selected row.
    fn enter(&mut self) {
        let Some(row) = self.selected_row() else { return };
        let next = match (&self.view, row.target) {
            (View::Containers, Some(target)) => View::Groups(target),
            (View::Groups(target), _) => View::Calls(target.clone(), Some(row.name)),
            _ => return,
        };
        self.show(next, None);
    }

    fn all_calls(&mut self) {
        if let Some(sample) = self.of_selection() {
            self.show(View::Calls(sample.container.clone(), None), None);
        }
    }

    /// Out again, to the row that was entered.
    fn back(&mut self) {
        match self.view.clone() {
            View::Containers => {}
            View::Groups(target) => self.show(View::Containers, Some(rows::key_of(&target))),
            View::Calls(target, group) => self.show(View::Groups(target), group),
        }
    }

    /// The container that was looked into is gone.
    fn leave(&mut self) {
        if self.view != View::Containers {
            self.show(View::Containers, None);
        }
    }

    fn show(&mut self, view: View, selected: Option<String>) {
        self.view = view;
        self.selected = selected;
    }
}
