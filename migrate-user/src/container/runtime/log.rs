//! runc's log file, which is how a runtime's error reaches Docker's user.

use std::io::Write as _;
use std::path::Path;

/// Appends an error as runc does. It cannot be reported when this fails, so it is not.
pub(super) fn append(path: &Path, json: bool, message: &str) {
    if let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path) {
        let _ = writeln!(file, "{}", line(json, message));
    }
}

fn line(json: bool, message: &str) -> String {
    if json { serde_json::json!({"level": "error", "msg": message}).to_string() } else { format!("level=error msg={message:?}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_message_survives_quotes_and_newlines() {
        let line = super::line(true, "no \"agent\"\nhere");
        let back: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&back["level"], &back["msg"]), (&"error".into(), &"no \"agent\"\nhere".into()));
        assert!(!line.contains('\n'));
    }
}
