//! From state to cells.

use super::rows::{Column, Row};
use super::{Screen, View, header};
use crate::rates::human;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, RenderDirection, Row as TableRow, Sparkline, Table, TableState, Wrap};

/// Cells of a number's column.
const NUMBER_WIDTH: u16 = 11;
/// Cells that a name gets at least.
const NAME_WIDTH: u16 = 14;
const TREND_WIDTH: u16 = 16;
/// Bars from nothing to all.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Lines of the note below the table.
const NOTE_LINES: u16 = 4;

impl Screen {
    /// Draws all of it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let areas = Layout::vertical([
            Constraint::Length(header::LINES),
            Constraint::Length(2),
            Constraint::Min(3),
            Constraint::Length(NOTE_LINES),
            Constraint::Length(1),
        ]);
        let [above, trend, table, note, keys] = areas.areas(frame.area());
        frame.render_widget(Text::from(header::lines(self).to_vec()), above);
        self.draw_trend(frame, trend);
        self.draw_table(frame, table);
        frame.render_widget(Paragraph::new(self.note()).wrap(Wrap { trim: true }), note);
        frame.render_widget(key_line(), keys);
        if self.help {
            draw_help(frame);
        }
    }

    fn draw_trend(&self, frame: &mut Frame<'_>, area: Rect) {
        let (title, values) = header::trend(self);
        let [name, line] = Layout::horizontal([Constraint::Length(26), Constraint::Min(1)]).areas(area);
        frame.render_widget(Text::from(vec![Line::default(), Line::from(title)]), name);
        // The newest at the right edge.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate fits")]
        let newest_first: Vec<u64> = values.iter().rev().map(|value| value.round() as u64).collect();
        frame.render_widget(Sparkline::default().data(newest_first).direction(RenderDirection::RightToLeft), line);
    }

    fn draw_table(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = self.rows();
        let (columns, trend) = self.columns(&rows, area.width);
        let selected = self.position(&rows);
        let titles = columns.iter().map(|column| self.title(*column)).chain(trend.then(|| Cell::from("TREND")));
        let lines = rows.iter().map(|row| table_row(row, &columns, trend));
        let widths = columns
            .iter()
            .map(|column| match column {
                Column::Name => Constraint::Min(NAME_WIDTH),
                _ => Constraint::Length(NUMBER_WIDTH),
            })
            .chain(trend.then_some(Constraint::Length(TREND_WIDTH)));
        let table = Table::new(lines, widths)
            .header(TableRow::new(titles).style(Style::new().reversed()))
            .column_spacing(1)
            .row_highlight_style(Style::new().bold())
            .highlight_symbol("> ");
        let mut state = TableState::new().with_selected((!rows.is_empty()).then_some(selected));
        frame.render_stateful_widget(table, area, &mut state);
    }

    /// What fits: with less room the numbers go that say least.
    fn columns(&self, rows: &[Row], width: u16) -> (Vec<Column>, bool) {
        let has = |column| rows.iter().any(|row| row.rates.get(column).is_some());
        let mut columns: Vec<_> = Column::ALL.into_iter().filter(|column| *column == Column::Name || has(*column)).collect();
        let needed = |columns: &[Column]| NAME_WIDTH + 2 + (columns.len() as u16 - 1) * (NUMBER_WIDTH + 1);
        for dispensable in [Column::Raw, Column::Encoded, Column::Input, Column::Dirty] {
            if needed(&columns) > width {
                columns.retain(|column| *column != dispensable);
            }
        }
        let trend = rows.iter().any(|row| !row.trend.is_empty()) && needed(&columns) + TREND_WIDTH < width;
        (columns, trend)
    }

    fn title(&self, column: Column) -> Cell<'static> {
        let title = match (column, &self.view) {
            (Column::Name, View::Containers) => "CONTAINER",
            (Column::Name, View::Groups(_)) => "GROUP",
            (Column::Name, View::Calls(..)) => "CALL",
            _ => column.title(),
        };
        let mark = match (column == self.sort, self.reversed) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        match column {
            Column::Name => Cell::from(format!("{title}{mark}")),
            _ => Cell::from(Line::from(format!("{title}{mark}")).right_aligned()),
        }
    }

    /// What is to be said of the container that the selected row belongs to.
    fn note(&self) -> Text<'static> {
        let Some(sample) = self.of_selection() else { return Text::default() };
        let mut lines = Vec::new();
        if let Some(prediction) = &sample.prediction {
            lines.push(Line::from(format!("{}: {}", sample.container.name, prediction.sentence)));
        }
        if !sample.blind_spots.is_empty() {
            let text = format!("{}: {}", sample.container.name, sample.blind_spots.join("; "));
            lines.push(Line::styled(text, Style::new().fg(Color::Yellow)));
        }
        Text::from(lines)
    }
}

fn table_row(row: &Row, columns: &[Column], trend: bool) -> TableRow<'static> {
    let cell = |column: &Column| {
        let number = match (column, row.rates.get(*column)) {
            (Column::Name, _) => return Cell::from(row.name.clone()),
            (_, None) => "-".to_owned(),
            (Column::Events, Some(rate)) => human::count(rate),
            (_, Some(rate)) => human::bytes(rate),
        };
        Cell::from(Line::from(number).right_aligned())
    };
    let cells: Vec<_> = columns.iter().map(cell).chain(trend.then(|| Cell::from(bars(&row.trend)))).collect();
    let line = TableRow::new(cells);
    if row.lossy { line.style(Style::new().fg(Color::Red)) } else { line }
}

/// The last values, each a bar of the largest among them.
fn bars(values: &[f64]) -> String {
    let shown = &values[values.len().saturating_sub(usize::from(TREND_WIDTH))..];
    let most = shown.iter().copied().fold(0.0, f64::max);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 8")]
    let bar = |value: &f64| if most > 0.0 { BARS[(value / most * 8.0).ceil() as usize] } else { BARS[0] };
    let line: String = shown.iter().map(bar).collect();
    format!("{line:>width$}", width = usize::from(TREND_WIDTH))
}

fn key_line() -> Line<'static> {
    let sorts: String = Column::ALL.iter().map(|column| column.key()).collect();
    Line::from(format!("arrows select, Enter opens, Esc goes back   {sorts} sort   r reverses   p pauses   ? helps   q quits"))
        .dim()
}

fn draw_help(frame: &mut Frame<'_>) {
    let keys = [
        ("up, down", "select a row; PageUp, PageDown, Home, End too"),
        ("Enter", "into a container: its groups; into a group: its calls"),
        ("Esc", "back"),
        ("a", "all calls of the selected container"),
        ("r", "reverse the order"),
        ("p", "pause: the numbers stand still, losses are still counted"),
        ("q", "quit: the programs are detached, the terminal is as it was"),
    ];
    let mut lines: Vec<_> = keys.iter().map(|(key, text)| Line::from(format!("{key:>9}  {text}"))).collect();
    lines.push(Line::default());
    lines.push(Line::from("Sort by"));
    lines.extend(Column::ALL.iter().map(|column| {
        let (key, title, meaning) = (column.key(), column.title(), column.meaning());
        Line::from(format!("{key:>9}  {title:<10} {meaning}"))
    }));
    let text = Text::from(lines);
    let size = (text.width() as u16 + 4, text.height() as u16 + 2);
    let area = frame.area().centered(Constraint::Length(size.0), Constraint::Length(size.1));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" keys ")), area);
}
