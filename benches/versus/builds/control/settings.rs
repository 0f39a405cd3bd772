//! What the control port answers, whatever carries it: a line of command, a line of answer.

use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Default)]
pub struct Settings(Mutex<BTreeMap<String, String>>);

impl Settings {
    /// `None` ends the connection.
    pub fn answer(&self, line: &str) -> Option<String> {
        let mut settings = self.0.lock().expect("no holder panics");
        let words: Vec<&str> = line.trim().splitn(3, ' ').collect();
        let answer = match words[..] {
            ["quit"] => return None,
            ["get", name] => settings.get(name).map_or("none", String::as_str).to_owned(),
            ["set", name, value] => {
                settings.insert(name.to_owned(), value.to_owned());
                "ok".to_owned()
            }
            _ => "get NAME, set NAME VALUE, or quit".to_owned(),
        };
        Some(answer + "\n")
    }
}
