//! System calls that no library has.
