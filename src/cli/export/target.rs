//! Where an export goes: a file that appears when it is complete, or standard output.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::super::error::CliError;
use crate::base::disk::{Disk, RealDisk};

/// A file being written, under another name until [`finish`](Target::finish), or standard output.
pub struct Target {
    out: Option<BufWriter<Out>>,
    path: PathBuf,
    bytes: u64,
}

enum Out {
    File(File),
    Stdout(io::Stdout),
}

impl Target {
    /// Begins a file; `-` is standard output.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path) -> Result<Target, CliError> {
        let out = if path == Path::new("-") {
            Out::Stdout(io::stdout())
        } else {
            let file = File::create(partial(path));
            Out::File(file.map_err(|error| CliError::file("create", path, &error))?)
        };
        Ok(Target {
            out: Some(BufWriter::new(out)),
            path: path.to_owned(),
            bytes: 0,
        })
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the file durable and gives it its name; returns how many bytes it has.
    ///
    /// # Errors
    /// If the system refuses; there is no file of that name then, or the one from before.
    pub fn finish(mut self) -> Result<u64, CliError> {
        let done = self.complete();
        done.map_err(|error| failure(&self.path, &error))?;
        Ok(self.bytes)
    }

    fn complete(&mut self) -> io::Result<()> {
        let Some(out) = self.out.take() else {
            return Ok(());
        };
        let mut out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        out.flush()?;
        let Out::File(file) = out else {
            return Ok(());
        };
        file.sync_all()?;
        RealDisk.rename(&partial(&self.path), &self.path)?;
        let parent = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        RealDisk.sync_dir(parent.unwrap_or(Path::new(".")))
    }
}

/// What cannot be written, and why; nothing to say if it is only that nobody reads on.
pub fn failure(path: &Path, error: &io::Error) -> CliError {
    if error.kind() == ErrorKind::BrokenPipe {
        return CliError::reader_gone();
    }
    CliError::file("write", path, error)
}

/// The name of a file that is not complete yet.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

impl Drop for Target {
    fn drop(&mut self) {
        let Some(out) = self.out.take() else {
            return;
        };
        if let (Out::File(_), _) = out.into_parts() {
            // What is left of a failed export is of no use; that it stays is no second failure.
            let _left = RealDisk.remove(&partial(&self.path));
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let out = self.out.as_mut().ok_or(ErrorKind::NotConnected)?;
        let count = out.write(bytes)?;
        self.bytes += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::File(file) => file.write(bytes),
            Out::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::File(file) => file.flush(),
            Out::Stdout(stdout) => stdout.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        RealDisk.list(dir).unwrap()
    }

    #[test]
    fn a_file_appears_when_it_is_complete_and_nothing_is_left_of_a_failed_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csv");
        let begin = || {
            let mut target = Target::create(&path).unwrap();
            target.write_all(b"a,b\n").unwrap();
            target
        };
        let target = begin();
        assert_eq!(names(dir.path()), ["rows.csv.partial"]);
        drop(target);
        assert_eq!(names(dir.path()), [""; 0]);
        begin().finish().unwrap();
        assert_eq!(names(dir.path()), ["rows.csv"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"a,b\n");
    }
}
