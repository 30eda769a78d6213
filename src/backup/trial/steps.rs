//! The checks, step by step.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use rand::RngCore;

use super::super::bucket::{Error, Kind, Listed, ObjectName, Put};
use super::{AT_ONCE, Check, Trial, Trouble};
use crate::base::clock::{Clock, SystemClock};

/// How many create one object at once, and how often. Each time is another chance to see that more than one succeeds.
const RACERS: usize = 32;
const ROUNDS: usize = 4;
/// Three parts, and two.
const LARGE_BYTES: usize = 17 * 1024 * 1024;
const TWO_PARTS_BYTES: usize = 8 * 1024 * 1024 + 1;
/// More than stores name in one answer, which is 1,000 by the books.
const MANY: usize = 1_100;
/// More than a clock that is set well differs, and than a slow request takes.
const CLOCKS_APART: Duration = Duration::from_secs(60);

impl Trial {
    /// What was seen, if there is something to add.
    pub(super) async fn steps(&self, check: Check) -> Result<String, Trouble> {
        match check {
            Check::ReadAfterWrite => self.read_after_write().await,
            Check::ListAfterWrite => {
                let names = ["a", "b/1", "b/2", "c"];
                self.list_after_write("listed", &names).await?;
                Ok(String::new())
            }
            Check::RangedRead => self.ranged_read().await,
            Check::Multipart => self.multipart().await,
            Check::Replace => self.replace().await,
            Check::Remove => self.remove().await,
            Check::CreateOnly => self.create_only().await,
            Check::Race => self.race().await,
            Check::CreateOnlyMultipart => self.create_only_multipart().await,
            Check::Clock => self.clock().await,
            Check::LongListing => self.long_listing().await,
        }
    }

    async fn read_after_write(&self) -> Result<String, Trouble> {
        let (name, content) = (self.name("written"), random(1_000));
        self.create(&name, &content).await?;
        self.expect(&name, &content).await?;
        Ok(String::new())
    }

    async fn list_after_write(&self, under: &str, names: &[&str]) -> Result<(), Trouble> {
        let under = self.name(under);
        let names: Vec<ObjectName> = names.iter().map(|name| below(&under, name)).collect();
        let content = random(100);
        let made = stream::iter(&names)
            .map(|name| self.create(name, &content))
            .buffer_unordered(AT_ONCE);
        let failed = made.filter_map(|made| std::future::ready(made.err()));
        if let Some(trouble) = std::pin::pin!(failed).next().await {
            return Err(trouble);
        }
        let listed = self.listed(&under).await?;
        if listed == names {
            return Ok(());
        }
        let missing = names.iter().filter(|name| !listed.contains(name)).count();
        let said = format!(
            "{} objects were created and {} are listed, {missing} of them not",
            names.len(),
            listed.len()
        );
        Err(Trouble::Wrong(said))
    }

    async fn ranged_read(&self) -> Result<String, Trouble> {
        let (name, content) = (self.name("ranged"), random(10_000));
        self.create(&name, &content).await?;
        for from in [1, 3_333, 9_999, 10_000] {
            self.expect_from(&name, &content, from).await?;
        }
        Ok(String::new())
    }

    async fn multipart(&self) -> Result<String, Trouble> {
        let (name, content) = (self.name("large"), random(LARGE_BYTES));
        let file = file(&content)?;
        self.note(&name);
        let put = self.bucket.put_new_file(&name, &file, length(&content));
        require_created(put.await?)?;
        self.expect_from(&name, &content, 0).await?;
        self.expect_from(&name, &content, LARGE_BYTES / 2).await?;
        Ok("17 MiB in 3 parts".to_owned())
    }

    async fn replace(&self) -> Result<String, Trouble> {
        let (name, content) = (self.name("replaced"), random(1_000));
        self.create(&name, &random(900)).await?;
        self.bucket.replace(&name, content.clone()).await?;
        self.expect(&name, &content).await?;
        Ok(String::new())
    }

    async fn remove(&self) -> Result<String, Trouble> {
        let under = self.name("removed");
        let (goes, stays) = (below(&under, "goes"), below(&under, "stays"));
        let content = random(1_000);
        self.create(&goes, &random(1_000)).await?;
        self.create(&stays, &content).await?;
        self.bucket.remove(&goes).await?;
        if self.listed(&under).await? != [stays] {
            let said = "what is removed is listed still";
            return Err(Trouble::Wrong(said.to_owned()));
        }
        self.create(&goes, &content).await?;
        self.expect(&goes, &content).await?;
        Ok(String::new())
    }

    async fn create_only(&self) -> Result<String, Trouble> {
        let (name, content) = (self.name("create-only"), random(1_000));
        self.create(&name, &content).await?;
        let put = self.bucket.put_new(&name, random(1_000)).await?;
        self.expect_kept(&name, &content, &put).await
    }

    async fn create_only_multipart(&self) -> Result<String, Trouble> {
        let (name, content) = (self.name("create-only-large"), random(1_000));
        self.create(&name, &content).await?;
        let large = random(TWO_PARTS_BYTES);
        let file = file(&large)?;
        let upload = self.bucket.upload_unseen(&name, &file, length(&large));
        let put = upload.await?;
        self.expect_kept(&name, &content, &put).await
    }

    /// Something else was put under the name of an object.
    async fn expect_kept(
        &self,
        name: &ObjectName,
        content: &Bytes,
        put: &Put,
    ) -> Result<String, Trouble> {
        let stays = self.bucket.get(name, 2 * length(content)).await;
        let is_kept = stays.as_ref().is_ok_and(|stays| stays == content);
        match (put, is_kept) {
            (Put::AlreadyThere(_), true) => Ok(String::new()),
            (Put::AlreadyThere(_), false) => Err(Trouble::Ignored(
                "it is told to be there already, and is replaced all the same".to_owned(),
            )),
            (Put::Created, _) => Err(Trouble::Ignored(
                "an object that was there is told to have been created".to_owned(),
            )),
        }
    }

    async fn race(&self) -> Result<String, Trouble> {
        for round in 0..ROUNDS {
            self.race_once(&below(&self.name("race"), &round.to_string()))
                .await?;
        }
        Ok(format!("{ROUNDS} times one of {RACERS}"))
    }

    async fn race_once(&self, name: &ObjectName) -> Result<(), Trouble> {
        self.note(name);
        let bodies: Vec<Bytes> = (0..RACERS).map(|_| random(1_000)).collect();
        let puts = bodies
            .iter()
            .map(|body| self.bucket.put_new(name, body.clone()));
        let mut winners = Vec::new();
        for (put, body) in join_all(puts).await.into_iter().zip(&bodies) {
            if put? == Put::Created {
                winners.push(body);
            }
        }
        let stays = self.bucket.get(name, 1_000).await?;
        match winners.as_slice() {
            [winner] if **winner == stays => Ok(()),
            [_] => Err(Trouble::Ignored(
                "one was told that it created the object, and it is another's".to_owned(),
            )),
            // The answer to whoever created it was lost, and the next attempt found it there.
            [] if bodies.contains(&stays) => Ok(()),
            winners => Err(Trouble::Ignored(format!(
                "{} of {RACERS} were told that they created the same object",
                winners.len()
            ))),
        }
    }

    async fn clock(&self) -> Result<String, Trouble> {
        let name = self.name("clock");
        let clock = SystemClock::new();
        let before = clock.wall();
        self.create(&name, &random(10)).await?;
        let after = clock.wall();
        let stored = self.bucket.stored(&name).await?.modified;
        let micros = if stored < before {
            before.0.abs_diff(stored.0)
        } else {
            stored.0.saturating_sub(after.0).max(0).unsigned_abs()
        };
        let apart = Duration::from_secs(micros / 1_000_000);
        let said = format!("the clocks are {} apart", humantime::format_duration(apart));
        if apart > CLOCKS_APART {
            return Err(Trouble::Wrong(said));
        }
        Ok(said)
    }

    async fn long_listing(&self) -> Result<String, Trouble> {
        let names: Vec<String> = (0..MANY).map(|at| format!("many-{at:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.list_after_write("many", &names).await?;
        Ok(format!("{MANY} objects"))
    }

    fn name(&self, name: &str) -> ObjectName {
        below(&self.prefix, name)
    }

    async fn create(&self, name: &ObjectName, content: &Bytes) -> Result<(), Trouble> {
        self.note(name);
        let put = self.bucket.put_new(name, content.clone()).await;
        if put.as_ref().is_err_and(is_refusal) {
            self.strike_out(name);
        }
        require_created(put?)
    }

    async fn expect(&self, name: &ObjectName, content: &Bytes) -> Result<(), Trouble> {
        self.expect_from(name, content, 0).await
    }

    async fn expect_from(
        &self,
        name: &ObjectName,
        content: &Bytes,
        from: usize,
    ) -> Result<(), Trouble> {
        let mut reading = self
            .bucket
            .read(name, u64::try_from(from).unwrap_or(u64::MAX))
            .await?;
        let mut expected = content.slice(from..);
        while let Some(bytes) = reading.next().await? {
            if !expected.starts_with(&bytes) {
                let said = format!("{name} is not what was written");
                return Err(Trouble::Wrong(said));
            }
            expected = expected.slice(bytes.len()..);
        }
        if !expected.is_empty() {
            let said = format!("{name} is shorter than what was written");
            return Err(Trouble::Wrong(said));
        }
        Ok(())
    }

    async fn listed(&self, under: &ObjectName) -> Result<Vec<ObjectName>, Trouble> {
        let mut listing = self.bucket.list(Some(under), None);
        let mut names = Vec::new();
        while let Some(entry) = listing.next().await? {
            match entry {
                Listed::Object { name, .. } => names.push(name),
                Listed::Foreign { key, .. } => {
                    return Err(Trouble::Wrong(format!(
                        "{key:?} is listed, which is not ours"
                    )));
                }
            }
        }
        Ok(names)
    }
}

/// A file in memory.
fn file(content: &[u8]) -> Result<Arc<File>, Trouble> {
    let made = rustix::fs::memfd_create("steadfast", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(std::io::Error::from)
        .and_then(|file| {
            let mut file = File::from(file);
            file.write_all(content)?;
            Ok(file)
        });
    let made = made.map_err(|error| Trouble::Wrong(format!("no memory: {error}")))?;
    Ok(Arc::new(made))
}

fn below(prefix: &ObjectName, name: &str) -> ObjectName {
    prefix.join(name).expect("short names of letters are names")
}

/// Did the store not even begin with it?
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Denied | Kind::Misconfigured | Kind::ReadOnly | Kind::Unsupported
    )
}

fn require_created(put: Put) -> Result<(), Trouble> {
    match put {
        Put::Created => Ok(()),
        Put::AlreadyThere(stored) => Err(Trouble::Wrong(format!(
            "an object of {} bytes is told to be where nothing was written",
            stored.bytes
        ))),
    }
}

/// Other each time, so that nothing else is taken for it.
fn random(bytes: usize) -> Bytes {
    let mut content = vec![0; bytes];
    rand::rng().fill_bytes(&mut content);
    content.into()
}

fn length(content: &Bytes) -> u64 {
    u64::try_from(content.len()).unwrap_or(u64::MAX)
}
