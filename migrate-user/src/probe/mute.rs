//! Silences a container's network device.
