pub const GUESTS: &[crate::kit::Guest] = &[];
