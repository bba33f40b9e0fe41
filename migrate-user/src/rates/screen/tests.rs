//! Keys and samples in, text out.

use super::{Next, Screen};
use crate::rates::example;
use crate::rates::sample::{Mode, Sample};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use std::path::Path;

fn screen() -> Screen {
    let mut screen = Screen::new();
    example::intervals(20).iter().for_each(|samples| screen.update(samples));
    screen
}

fn press(screen: &mut Screen, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '>' => KeyCode::Enter,
            '<' => KeyCode::Esc,
            'v' => KeyCode::Down,
            '^' => KeyCode::Up,
            '$' => KeyCode::End,
            key => KeyCode::Char(key),
        };
        assert_eq!(screen.key(KeyEvent::from(code)), Next::GoOn, "{key}");
    }
}

fn terminal(screen: &Screen, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    terminal
}

/// What stands on the terminal, line by line.
fn lines(screen: &Screen, width: u16, height: u16) -> Vec<String> {
    let terminal = terminal(screen, width, height);
    let cells = terminal.backend().buffer().content().chunks(usize::from(width));
    cells.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()).collect()
}

/// The first words of the table's rows.
fn names(screen: &Screen) -> Vec<String> {
    let lines = lines(screen, 120, 30);
    let table = lines.iter().skip(7).take_while(|line| !line.is_empty());
    table.map(|line| line.trim_start_matches(['>', ' ']).split(' ').next().unwrap().to_owned()).collect()
}

fn selected(screen: &Screen) -> String {
    let lines = lines(screen, 120, 30);
    let marked = lines.iter().find_map(|line| line.strip_prefix("> ")).expect("a row is marked");
    marked.split(' ').next().unwrap().to_owned()
}

/// Holds what is shown against a file beside this one; with `MIGRATE_BLESS` in the environment it becomes the file.
fn check(screen: &Screen, height: u16, file: &str) {
    let shown = lines(screen, 120, height).join("\n") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rates/screen").join(file);
    if std::env::var_os("MIGRATE_BLESS").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(&path).unwrap(), "\n{shown}");
}

#[test]
fn the_view_of_all_containers_is_as_documented() {
    check(&screen(), 18, "containers.txt");
}

#[test]
fn the_view_of_a_container_is_as_documented() {
    let mut screen = screen();
    press(&mut screen, "v>");
    check(&screen, 22, "groups.txt");
}

#[test]
fn keys_sort_by_their_column_and_reverse_it() {
    let mut screen = screen();
    assert_eq!(names(&screen), ["db", "web"]);
    press(&mut screen, "r");
    assert_eq!(names(&screen), ["web", "db"]);
    press(&mut screen, "w");
    assert_eq!(names(&screen), ["db", "web"]);
    press(&mut screen, "b");
    assert_eq!(names(&screen), ["web", "db"]);
    press(&mut screen, "n");
    assert_eq!(names(&screen), ["db", "web"]);
    press(&mut screen, "r");
    assert_eq!(names(&screen), ["web", "db"]);
}

#[test]
fn the_mark_stays_with_its_row_when_the_order_changes() {
    let mut screen = screen();
    press(&mut screen, "v");
    assert_eq!(selected(&screen), "web");
    press(&mut screen, "r");
    assert_eq!((selected(&screen).as_str(), names(&screen)[0].as_str()), ("web", "web"));
    press(&mut screen, "^^^vvvv");
    assert_eq!(selected(&screen), "db");
}

#[test]
fn enter_goes_to_groups_and_calls_and_esc_back_to_the_row_it_came_from() {
    let mut screen = screen();
    press(&mut screen, "v>");
    assert_eq!(names(&screen)[..2], ["file", "poll"]);
    press(&mut screen, "v");
    let group = selected(&screen);
    press(&mut screen, ">");
    assert!(lines(&screen, 120, 20)[0].contains(&format!("web > {group}")));
    press(&mut screen, "<");
    assert_eq!(selected(&screen), group);
    press(&mut screen, "<");
    assert_eq!(selected(&screen), "web");
    press(&mut screen, "<<a");
    assert!(lines(&screen, 120, 20)[0].contains("web > all calls"));
    assert!(names(&screen).contains(&"accept4".to_owned()));
}

#[test]
fn a_container_that_ends_is_left_and_the_others_are_shown() {
    let mut screen = screen();
    press(&mut screen, "v>");
    let without: Vec<Sample> = example::intervals(1).remove(0).into_iter().skip(1).collect();
    screen.update(&without);
    assert_eq!(names(&screen), ["db"]);
}

#[test]
fn a_loss_is_told_in_red_and_stays_told() {
    let mut screen = screen();
    assert!(lines(&screen, 120, 20)[3].ends_with("nothing"));
    screen.update(&example::with_loss(example::intervals(1).remove(0)));
    screen.update(&example::intervals(1)[0]);
    let line = lines(&screen, 120, 20)[3].clone();
    assert!(line.starts_with("LOST   14 records (ring full 12, program runs missed 2)"), "{line}");
    let terminal = terminal(&screen, 120, 20);
    assert_eq!(terminal.backend().buffer()[(0, 3)].fg, Color::Red);
}

#[test]
fn while_paused_numbers_stand_still_and_losses_do_not() {
    let mut screen = screen();
    press(&mut screen, "p");
    let before = lines(&screen, 120, 20);
    let later = example::intervals(25).remove(24);
    screen.update(&later);
    assert_eq!(lines(&screen, 120, 20), before);
    screen.update(&example::with_loss(later));
    assert!(lines(&screen, 120, 20)[3].starts_with("LOST"));
    press(&mut screen, "p");
    screen.update(&example::intervals(26)[25]);
    assert_ne!(lines(&screen, 120, 20)[7..], before[7..]);
}

#[test]
fn what_is_only_counted_has_no_columns_for_a_log() {
    let mut screen = Screen::new();
    let mut samples = example::intervals(1).remove(0);
    for sample in &mut samples {
        (sample.mode, sample.total.log) = (Mode::Count, None);
    }
    screen.update(&samples);
    let lines = lines(&screen, 120, 20);
    assert!(lines[0].contains("only counted"));
    assert!(lines[6].contains("EVENTS/s") && !lines[6].contains("ZSTD"), "{}", lines[6]);
}

#[test]
fn it_draws_at_any_size_and_shows_names_and_events_first() {
    let mut screen = screen();
    for keys in ["", "?", "?", ">", ">"] {
        press(&mut screen, keys);
        for (width, height) in [(1, 1), (10, 3), (39, 12), (80, 24), (300, 90)] {
            drop(terminal(&screen, width, height));
        }
    }
    let narrow = lines(&self::screen(), 44, 16).join("\n");
    assert!(narrow.contains("EVENTS/s") && narrow.contains("ZSTD/s") && narrow.contains("web"), "{narrow}");
}

#[test]
fn before_the_first_interval_it_says_so() {
    let screen = Screen::new();
    assert!(lines(&screen, 80, 20)[1].contains("first interval"));
    let mut screen = screen;
    press(&mut screen, "v>a<?");
}

#[test]
fn q_and_control_c_end_it_from_everywhere_and_help_names_every_key() {
    let mut screen = screen();
    press(&mut screen, "?");
    let help = lines(&screen, 120, 30).join("\n");
    for text in ["Enter", "Esc", "pause", "reverse", "quit", "ENCODED/s", "DIRTY/s"] {
        assert!(help.contains(text), "{help}");
    }
    assert_eq!(screen.key(KeyEvent::from(KeyCode::Char('q'))), Next::Quit);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(self::screen().key(control_c), Next::Quit);
}
