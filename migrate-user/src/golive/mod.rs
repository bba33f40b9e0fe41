//! Hands the source's live kernel objects to the replica.
