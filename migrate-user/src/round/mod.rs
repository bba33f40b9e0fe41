//! Logs and rounds: pure, no sockets, no clock.
