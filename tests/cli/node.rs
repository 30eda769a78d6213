//! A node as a child process, and commands against it.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value as Json;

pub const BINARY: &str = env!("CARGO_BIN_EXE_steadfast");

pub const AIRCRAFT: &str = r#"
name = "aircraft"
entity = [{ name = "tailnum", type = "string" }]
[[feature]]
name = "flights"
type = "int64"
default = 0
[[feature]]
name = "delays"
type = "list<float>"
"#;

/// A node of its own on a directory of its own; killed at the end unless it is stopped before.
pub struct Node {
    child: Process,
    pub endpoint: String,
    pub directory: tempfile::TempDir,
}

impl Node {
    pub fn start() -> Node {
        Node::start_in(tempfile::tempdir().unwrap())
    }

    /// A node on a directory that may hold data.
    pub fn start_in(directory: tempfile::TempDir) -> Node {
        Node::start_with(directory, &[])
    }

    /// The same with these settings, given as variables.
    pub fn start_with(directory: tempfile::TempDir, settings: &[(&str, &str)]) -> Node {
        let mut command = Command::new(BINARY);
        command.envs(settings.iter().copied());
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(directory.path().join("data"));
        for listener in ["--listen", "--peer-listen", "--http-listen"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Json =
            serde_json::from_str(&line).expect("one line says that the node is ready");
        let endpoint = ready["client"].as_str().unwrap().to_owned();
        Node {
            child: Process(child),
            endpoint,
            directory,
        }
    }

    pub fn with_aircraft() -> Node {
        let node = Node::start();
        node.create_view(AIRCRAFT);
        node
    }

    pub fn create_view(&self, definition: &str) {
        let file = self.file("view.toml", definition);
        self.json(&["view", "create", file.to_str().unwrap()]);
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env("STEADFAST_ENDPOINT", &self.endpoint)
            .current_dir(self.directory.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    /// The JSON that a command prints.
    pub fn json(&self, arguments: &[&str]) -> Json {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        let output = self.run(&arguments, "");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Ends the node in good order; its data stay.
    pub fn stop(mut self) -> tempfile::TempDir {
        let pid = self.child.0.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(asked.success() && self.child.0.wait().unwrap().success());
        self.directory
    }

    /// Ends the node at once; its data stay.
    pub fn kill(self) -> tempfile::TempDir {
        drop(self.child);
        self.directory
    }

    /// The exit code and the one line of a command that fails.
    pub fn failure(&self, arguments: &[&str]) -> (i32, String) {
        failure_of(&self.run(arguments, ""))
    }
}

/// A process that does not outlive its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn failure_of(output: &Output) -> (i32, String) {
    let line = text(&output.stderr);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), line.trim_end().to_owned())
}
