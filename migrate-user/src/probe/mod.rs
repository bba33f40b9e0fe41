//! Loads and steers the recorder.
