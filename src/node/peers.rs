//! Whom this node talks to: all that are registered, where their last start is reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::member::{Member, Standing};
use crate::base::{IncarnationId, TaskGroup};
use crate::net::Wires;

/// Has the wires follow what is agreed.
pub(super) fn follow(member: &Arc<Member>, wires: Wires, tasks: &TaskGroup) {
    let mut standings = member.standings();
    let stopped = tasks.cancelled();
    tasks.spawn("peers", async move {
        loop {
            let peers = peers(&standings.borrow_and_update());
            wires.set_peers(peers);
            tokio::select! {
                () = stopped.cancelled() => return Ok::<(), String>(()),
                changed = standings.changed() => if changed.is_err() {
                    stopped.cancelled().await;
                }
            }
        }
    });
}

fn peers(standing: &Standing) -> BTreeMap<IncarnationId, String> {
    let members = standing.control.members.iter();
    let reached = members.filter(|(_, member)| !member.addresses.peer.is_empty());
    let peers = reached.map(|(incarnation, member)| (*incarnation, member.addresses.peer.clone()));
    peers.collect()
}
