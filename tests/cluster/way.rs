//! A way to a member that can be blocked and cut.

use std::net::SocketAddr;

use steadfast::base::TaskGroup;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::DEADLINE;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    /// What goes there arrives; nothing comes back.
    Mute,
    Cut,
}

/// Leads from an address of its own to another.
pub struct Way {
    pub address: SocketAddr,
    to: watch::Sender<Option<SocketAddr>>,
    state: watch::Sender<State>,
    tasks: TaskGroup,
}

impl Way {
    pub async fn new() -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Way {
            address: listener.local_addr().unwrap(),
            to: watch::Sender::new(None),
            state: watch::Sender::new(State::Open),
            tasks: TaskGroup::new(),
        };
        let (to, state) = (way.to.subscribe(), way.state.subscribe());
        let tasks = way.tasks.clone();
        way.tasks.spawn_finite("way", async move {
            let stopped = tasks.cancelled();
            while let Some(Ok((near, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let to = to.borrow().expect("it leads somewhere");
                let far = TcpStream::connect(to).await.unwrap();
                let ((near_read, near_write), (far_read, far_write)) =
                    (near.into_split(), far.into_split());
                let there = carry(near_read, far_write, state.clone(), false);
                let back = carry(far_read, near_write, state.clone(), true);
                let stopped = stopped.clone();
                tasks.spawn_finite("connection", async move {
                    let both = async { tokio::join!(there, back) };
                    stopped.run_until_cancelled(both).await;
                });
            }
        });
        way
    }

    pub fn lead_to(&self, address: SocketAddr) {
        self.to.send_replace(Some(address));
    }

    pub fn mute(&self) {
        self.state.send_replace(State::Mute);
    }

    /// Ends all connections; later ones end at once.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub async fn stop(self) {
        assert!(self.tasks.stop(DEADLINE).await);
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    is_back: bool,
) {
    let mut cut = state.clone();
    let carried = async {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if is_back {
                let open = state.wait_for(|state| *state == State::Open).await;
                open.expect("the way is there");
            }
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = carried => {}
        _cut = cut.wait_for(|state| *state == State::Cut) => {}
    }
}
