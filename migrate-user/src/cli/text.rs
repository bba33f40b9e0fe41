//! Text for people, and errors for both.

use super::CliError;
use crate::agent::api::{ApiError, ClientError};
use std::error::Error;
use std::io::Write;

/// `1.2 MiB`. Binary units, three digits.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// `840 us`, `84.1 ms`, `1.92 s`.
pub(super) fn micros(us: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let us_float = us as f64;
    match us {
        0..1000 => format!("{us} us"),
        1000..100_000 => format!("{:.1} ms", us_float / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us_float / 1e3),
        _ => format!("{:.2} s", us_float / 1e6),
    }
}

/// `12,345`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How a column of a table is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table whose columns are as wide as their widest cell. `head`: names and alignments.
pub(super) fn table(head: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let names = head.iter().map(|(name, _)| (*name).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&names).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(head).zip(&widths).map(|((cell, (_, align)), &width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        let text: Vec<String> = cells.collect();
        out.push_str(text.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A value as one line of JSON on standard output.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let mut line = serde_json::to_vec(value).map_err(std::io::Error::from)?;
    line.push(b'\n');
    std::io::stdout().write_all(&line)?;
    Ok(())
}

/// Text on standard output.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// An error: on standard error for people, with `--json` also as an object on standard output.
pub(super) fn print_error(error: &CliError, json: bool) {
    if matches!(error, CliError::Pipe) {
        return;
    }
    if json {
        let shown = match error {
            CliError::Api(error) | CliError::Client(ClientError::Agent(error)) => error.clone(),
            other => ApiError::new(other.code(), chain(other)),
        };
        // A reader that has gone needs no error.
        let _ = print_json(&serde_json::json!({ "error": shown }));
    }
    // Nothing can be said where standard error is closed.
    let _ = std::io::stderr().write_all(describe(error).as_bytes());
}

fn describe(error: &CliError) -> String {
    match error {
        CliError::Api(error) | CliError::Client(ClientError::Agent(error)) => {
            let mut text = format!("error: {}\n", error.message);
            for detail in &error.details {
                text.push_str(&format!("  - {detail}\n"));
            }
            if let Some(remedy) = &error.remedy {
                text.push_str(&format!("help: {remedy}\n"));
            }
            text
        }
        other => format!("error: {}\n", chain(other)),
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::api::Code;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let seen: Vec<_> = [0, 1023, 1024, 40_000, 900_000, 1 << 30, u64::MAX].map(bytes).into();
        assert_eq!(seen, ["0 B", "1023 B", "1.00 KiB", "39.1 KiB", "879 KiB", "1.00 GiB", "16777216 TiB"]);
        assert_eq!([999, 84_120, 840_000, 1_920_000].map(micros), ["999 us", "84.1 ms", "840 ms", "1.92 s"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_table_s_columns_line_up() {
        let rows = [vec!["web".into(), "7".into()], vec!["a-long-name".into(), "1,204".into()]];
        let text = table(&[("NAME", Align::Left), ("RECORDS", Align::Right)], &rows);
        assert_eq!(text, "NAME         RECORDS\nweb                7\na-long-name    1,204\n");
    }

    #[test]
    fn an_error_ends_with_what_to_do() {
        let error = ApiError::new(Code::Refused, "web cannot be moved").details(["volume /data"]).remedy("remove it");
        assert_eq!(describe(&error.into()), "error: web cannot be moved\n  - volume /data\nhelp: remove it\n");
    }
}
