//! A client that does not give up: it asks one member after the other until one answers.

use std::ops::Range;
use std::time::Duration;

use crate::base::clock::{now_monotonic, sleep, timeout};
use crate::client::{Client, Error, Kind};
use crate::proto::Reason;

/// A member that does not answer for so many milliseconds hangs, or asks one that does. Not always the same time, so that of
/// several clients one is soon at another member.
const ANSWER_LIMIT_MS: Range<u64> = 100..300;
/// Before the next member is asked.
const PAUSE: Duration = Duration::from_millis(5);
/// A call that nobody answers for so long has failed.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Connections to the members of a set, one of which is asked first.
#[derive(Debug)]
pub struct Insistent {
    /// With their endpoints.
    clients: Vec<(String, Client)>,
    /// Who answered last.
    at: usize,
}

impl Insistent {
    /// Connects to every member.
    ///
    /// # Errors
    /// If one cannot be reached.
    pub async fn connect(endpoints: &[String]) -> Result<Insistent, Error> {
        let mut clients = Vec::new();
        for endpoint in endpoints {
            clients.push((endpoint.clone(), Client::to(&[endpoint]).await?));
        }
        Ok(Insistent { clients, at: 0 })
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
            let Some((endpoint, client)) = self.clients.get(self.at) else {
                return Err(Error::unavailable("the set has no members".to_owned()));
            };
            let limit = Duration::from_millis(rand::random_range(ANSWER_LIMIT_MS));
            let error = match timeout(limit, call(client)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if !may_be_repeated(&error) => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => Error::unknown_outcome(format!("{endpoint} does not answer")),
            };
            if begun.elapsed() > GIVE_UP {
                return Err(error);
            }
            self.at = (self.at + 1) % self.clients.len();
            sleep(PAUSE).await;
        }
    }
}

fn may_be_repeated(error: &Error) -> bool {
    match error.kind {
        Kind::Unavailable | Kind::UnknownOutcome => true,
        Kind::InvalidInput | Kind::Refused | Kind::Other => {
            error.reason == Reason::Overloaded.name()
        }
    }
}
