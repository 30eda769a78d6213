//! I27: a member that holds an epoch's opening record holds nothing that the epoch's primary does not hold.

use crate::world::World;

impl World {
    pub fn check_opening(&mut self, at: usize) {
        let Some(live) = &self.nodes[at].live else {
            return;
        };
        let member = live.replica.member();
        let opened = member.opening().map(|opening| opening.log.epoch);
        let epoch = member.promise();
        if opened != Some(epoch) {
            return;
        }
        let mut live = self.nodes.iter().filter_map(|node| node.live.as_ref());
        let Some(primary) = live.find(|live| live.replica.serves() == Some(epoch)) else {
            return;
        };
        let theirs = primary.replica.member().appended().vector();
        let ours = member.appended().vector();
        if !self.agreement.now().covers(theirs, ours) {
            let what =
                format!("I27: node {at} holds {ours} in epoch {epoch}, its primary {theirs}");
            self.fail(what);
        }
    }
}
