//! Chromium without a window, driven by its DevTools protocol: JSON messages over a pipe, each with a zero byte at its
//! end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::Encoding;

use crate::support::{Folder, HANG, eventually};

/// A browser with one page. It ends with its handle.
pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    answers: mpsc::Receiver<String>,
    last: u32,
    /// What names the page in messages; empty before there is one.
    session: String,
    folder: Folder,
}

impl Browser {
    /// Starts it and opens the page.
    #[track_caller]
    pub(crate) fn open(chromium: PathBuf, url: &str) -> Browser {
        let folder = Folder::new();
        // It reads messages from descriptor 3 and writes them to 4. Its own sandbox needs rights that containers lack.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1"])
            .arg(chromium)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--disable-breakpad", "--no-first-run", "--hide-scrollbars", "--window-size=940,720"])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let (input, output) = (child.stdin.take().expect("it is piped"), child.stdout.take().expect("it is piped"));
        let (sender, answers) = mpsc::channel();
        // Ends with the browser, whose end closes the pipe.
        thread::spawn(move || {
            let messages = BufReader::new(output).split(0).map_while(Result::ok);
            messages.for_each(|message| drop(sender.send(String::from_utf8_lossy(&message).into_owned())));
        });
        let mut browser = Browser { child, input, answers, last: 0, session: String::new(), folder };
        let made = browser.call("Target.createTarget", &format!("{{\"url\":{url:?}}}"));
        let attach = format!("{{\"targetId\":{:?},\"flatten\":true}}", text(&made, "targetId"));
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = format!("\"sessionId\":{:?},", text(&attached, "sessionId"));
        browser
    }

    /// Calls a method of the protocol and gives its answer, which is no error.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: &str) -> String {
        self.last += 1;
        let id = format!("{{\"id\":{},", self.last);
        let message = format!("{id}{}\"method\":{method:?},\"params\":{params}}}\0", self.session);
        self.input.write_all(message.as_bytes()).expect("the browser reads");
        loop {
            // Between answers there are events.
            let answer =
                self.answers.recv_timeout(HANG).unwrap_or_else(|error| panic!("{method} is answered: {error}"));
            if answer.starts_with(&id) {
                assert!(!answer.contains("\"error\":") && !answer.contains("exceptionDetails"), "{method}: {answer}");
                return answer;
            }
        }
    }

    /// Runs this in the page and gives the answer, in which the value is `"value":…`.
    #[track_caller]
    pub(crate) fn evaluate(&mut self, script: &str) -> String {
        self.call("Runtime.evaluate", &format!("{{\"expression\":{script:?},\"returnByValue\":true}}"))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, condition: &str) {
        eventually(what, || self.evaluate(&format!("Boolean({condition})")).contains("\"value\":true"));
    }

    /// What the page looks like, as PNG.
    #[track_caller]
    pub(crate) fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", "{\"format\":\"png\",\"optimizeForSpeed\":false}");
        Encoding::Base64.decode(text(&answer, "data")).expect("it is base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to close, it ends its other processes first; each call here fails if it has ended by itself.
        let _ = self.input.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        while self.answers.recv_timeout(HANG).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A process that is just ending may still write a file.
        let end = Instant::now() + HANG;
        while self.folder.path().exists() && fs::remove_dir_all(self.folder.path()).is_err() && Instant::now() < end {
            // Not a bound: a pause between two looks.
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// The text that stands behind this name.
#[track_caller]
fn text<'a>(answer: &'a str, name: &str) -> &'a str {
    let value = answer.split_once(&format!("\"{name}\":\"")).and_then(|(_, rest)| rest.split_once('"'));
    value.unwrap_or_else(|| panic!("{name} is in the answer: {answer}")).0
}
