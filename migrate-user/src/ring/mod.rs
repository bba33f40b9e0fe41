//! From ring entries to records in order.
