//! A client that does not give up: it asks one member after the other until one answers.

use std::time::{Duration, Instant};

use crate::base::clock::{now_monotonic, sleep, timeout};
use crate::client::{Client, Error, Kind};
use crate::proto::Reason;

/// A member that does not answer for so long is taken to hang.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// And is left out for so long.
const HUNG_FOR: Duration = Duration::from_secs(2);
/// Before the next member is asked.
const PAUSE: Duration = Duration::from_millis(5);
/// A call that nobody answers for so long has failed.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Connections to the members of a set, one of which is asked first.
#[derive(Debug)]
pub struct Insistent {
    clients: Vec<Client>,
    /// Who answered last.
    at: usize,
    /// Who did not answer at all, and when.
    hung: Option<(usize, Instant)>,
}

impl Insistent {
    /// Connects to every member.
    ///
    /// # Errors
    /// If one cannot be reached.
    pub async fn connect(endpoints: &[String]) -> Result<Insistent, Error> {
        let mut clients = Vec::new();
        for endpoint in endpoints {
            clients.push(Client::connect(&[endpoint]).await?);
        }
        Ok(Insistent {
            clients,
            at: 0,
            hung: None,
        })
    }

    /// Calls until it is answered. A write must have a request id, by which its repetitions are recognised.
    ///
    /// # Errors
    /// If a member refuses it for good, or none answers.
    pub async fn insist<T>(
        &mut self,
        call: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let begun = now_monotonic();
        loop {
            let Some(client) = self.clients.get(self.at) else {
                return Err(Error::unavailable("the set has no members".to_owned()));
            };
            let error = match timeout(ANSWER_LIMIT, call(client)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if !may_be_repeated(&error) => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => {
                    self.hung = Some((self.at, now_monotonic()));
                    Error::unknown_outcome(format!("{} does not answer", client.endpoint()))
                }
            };
            if begun.elapsed() > GIVE_UP {
                return Err(error);
            }
            self.turn();
            sleep(PAUSE).await;
        }
    }

    fn turn(&mut self) {
        let count = self.clients.len().max(1);
        let next = |at: usize| (at + 1) % count;
        self.at = next(self.at);
        if let Some((hung, since)) = self.hung
            && hung == self.at
            && since.elapsed() < HUNG_FOR
        {
            self.at = next(self.at);
        }
    }
}

fn may_be_repeated(error: &Error) -> bool {
    match error.kind {
        Kind::Unavailable | Kind::UnknownOutcome => true,
        Kind::InvalidInput | Kind::Other => error.reason == Reason::Overloaded.name(),
    }
}
