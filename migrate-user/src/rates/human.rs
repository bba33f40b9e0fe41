//! Numbers for people: three digits and a decimal prefix, as links are measured.

/// `842`, `12.3 k`, `1.24 M`; a rate below 10 keeps a digit behind the point.
#[must_use]
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, ["", "k", "M", "G", "T"]).trim_end().to_owned()
}

/// `842 B`, `12.3 kB`, `1.24 MB`.
#[must_use]
pub fn bytes(value: f64) -> String {
    scaled(value, 1000.0, ["B", "kB", "MB", "GB", "TB"])
}

/// `842 B`, `12.3 KiB`, `64.0 MiB`: of memory, which comes in powers of two.
#[must_use]
pub fn memory(value: f64) -> String {
    scaled(value, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB"])
}

/// `83 s`, `4:07`, `1:02:03`.
#[must_use]
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes}:{rest:02}"),
        _ => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

fn scaled(value: f64, base: f64, units: [&str; 5]) -> String {
    let mut value = if value.is_finite() { value.max(0.0) } else { 0.0 };
    let mut unit = 0;
    // What would be shown as 1000 goes on to the next unit.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let digits = match (unit, value) {
        (_, value) if value >= 99.95 || value == 0.0 => 0,
        (0, value) if value.fract() == 0.0 => 0,
        (0, _) => 1,
        (_, value) if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_shown_and_never_a_thousand() {
        let shown = [0.0, 0.25, 7.0, 12.5, 842.0, 999.4, 999.6, 12_345.0, 99_960.0, 1.236e6, 9.999e6, 2e12].map(count);
        let wanted = ["0", "0.2", "7", "12.5", "842", "999", "1.00 k", "12.3 k", "100 k", "1.24 M", "10.0 M", "2.00 T"];
        assert_eq!(shown, wanted);
        assert_eq!([0.0, 1e3, 5e16].map(bytes), ["0 B", "1.00 kB", "50000 TB"]);
        assert_eq!([1000.0, 1024.0, 67_108_864.0].map(memory), ["0.98 KiB", "1.00 KiB", "64.0 MiB"]);
        assert_eq!([f64::NAN, -3.0].map(count), ["0", "0"]);
    }

    #[test]
    fn times_read_as_a_clock_does() {
        assert_eq!([0, 59, 60, 3599, 3723].map(clock), ["0 s", "59 s", "1:00", "59:59", "1:02:03"]);
    }
}
