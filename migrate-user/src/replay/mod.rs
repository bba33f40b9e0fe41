//! Feeds a log to a replica.
