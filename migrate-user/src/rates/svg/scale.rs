//! Axes: from values to positions, and the ticks that are labelled.

/// Where a value stands on an axis of a given length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to this.
    Linear(f64),
    /// Between these powers of ten.
    Decades(i32, i32),
}

impl Scale {
    /// One that ends at a tick at or above `most`.
    pub(super) fn linear(most: f64, ticks: f64) -> Self {
        let step = nice(most / ticks);
        Self::Linear(step * (most / step).ceil().max(1.0))
    }

    /// One that holds both; values below `least` lie on its edge.
    #[expect(clippy::cast_possible_truncation, reason = "exponents of a double")]
    pub(super) fn decades(least: f64, most: f64) -> Self {
        let low = least.max(1.0).log10().floor() as i32;
        Self::Decades(low, (most.max(1.0).log10().ceil() as i32).max(low + 1))
    }

    /// 0 at the axis' foot, 1 at its end.
    pub(super) fn at(self, value: f64) -> f64 {
        match self {
            Self::Linear(most) => value / most,
            Self::Decades(low, high) => {
                let exponent = if value > 0.0 { value.log10() } else { f64::from(low) };
                ((exponent - f64::from(low)) / f64::from(high - low)).clamp(0.0, 1.0)
            }
        }
    }

    /// The labelled values, from the foot on.
    pub(super) fn ticks(self, wanted: f64) -> Vec<f64> {
        match self {
            Self::Linear(most) => {
                let step = nice(most / wanted);
                (0..).map(|n| f64::from(n) * step).take_while(|value| *value <= most * 1.000_001).collect()
            }
            Self::Decades(low, high) => (low..=high).map(|exponent| 10f64.powi(exponent)).collect(),
        }
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn nice(step: f64) -> f64 {
    if !step.is_finite() || step <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| step <= factor * power * 1.000_001);
    factor.unwrap_or(10.0) * power
}

/// Times that are labelled, in seconds, up to `most`.
pub(super) fn time_ticks(most: f64) -> Vec<f64> {
    const STEPS: [f64; 16] =
        [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 21_600.0];
    let step = STEPS.into_iter().find(|step| most / step <= 8.0).unwrap_or_else(|| (most / 8.0 / 86_400.0).ceil() * 86_400.0);
    (0..).map(|n| f64::from(n) * step).take_while(|value| *value <= most * 1.000_001).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_tick_at_or_above_the_largest_value() {
        for most in [0.0, 0.3, 1.0, 7.0, 99.0, 100.0, 101.0, 123_456.0, 9.9e9] {
            let scale = Scale::linear(most, 4.0);
            let ticks = scale.ticks(4.0);
            assert!(scale.at(most) <= 1.000_001, "{most}: {scale:?}");
            assert!((3..=9).contains(&ticks.len()) || most == 0.0, "{most}: {ticks:?}");
            let Scale::Linear(end) = scale else { panic!("{scale:?}") };
            assert!((ticks[ticks.len() - 1] - end).abs() < end * 1e-6, "{most}: {ticks:?} of {end}");
        }
    }

    #[test]
    fn decades_hold_both_ends_and_put_nothing_at_the_foot() {
        let scale = Scale::decades(1500.0, 2.1e8);
        assert_eq!(scale, Scale::Decades(3, 9));
        assert_eq!((scale.at(0.0), scale.at(1e3), scale.at(1e9)), (0.0, 0.0, 1.0));
        assert_eq!(scale.ticks(4.0).len(), 7);
        assert_eq!(Scale::decades(0.0, 0.0), Scale::Decades(0, 1));
    }

    #[test]
    fn times_are_labelled_at_what_a_clock_shows() {
        assert_eq!(time_ticks(7.5), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(time_ticks(100.0), [0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0]);
        assert!((2..=9).contains(&time_ticks(10.0 * 86_400.0).len()));
    }
}
