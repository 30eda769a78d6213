//! What the help of each command shows.

pub(super) const ALL: &str = "\
Examples:
  steadfast rs status
  steadfast rs add --token-file token      # then, on the new machine: steadfast serve --join … --token-file token
  steadfast rs switchover --to 2
  steadfast rs remove 3 --yes
  steadfast rs replace 3 4 --yes
  steadfast rs set silence=2s priority.1=10

Members are named by their numbers, which are given once and never to another; `rs status` shows them. Changes of \
members are agreed first and then carried out by whoever is primary, so they go on when this command ends.";

pub(super) const INIT: &str = "\
`steadfast serve` does the same where the directory is empty; this says so if it is not.

Example:
  steadfast rs init --data-dir /var/lib/steadfast";

pub(super) const STATUS: &str = "\
States: primary; member, which takes part in its role; joining, which holds rows or votes but does not count yet. \
Silent is added if the node that answers is not in contact with it: a primary must be heard, of others a connection \
is enough. Lag is known to the primary alone, in records. Any member says whether another would take over if the \
primary was lost now, as far as it sees.

Examples:
  steadfast rs status
  steadfast rs status --watch --endpoint node1:7400,node2:7400
  steadfast rs status --output json";

pub(super) const ADD: &str = "\
The token lets one directory in, once, until it expires. It is shown once and kept nowhere.

Examples:
  steadfast rs add --token-file token
  steadfast rs add --role arbiter --expires 1h";

pub(super) const REMOVE: &str = "\
Example:
  steadfast rs remove 3 --yes";

pub(super) const REPLACE: &str = "\
The new member has joined before, see `rs add`.

Example:
  steadfast rs replace 3 4 --yes";

pub(super) const SWITCHOVER: &str = "\
Writes pause for as long as the next epoch takes to open; nothing acknowledged is lost.

Examples:
  steadfast rs switchover
  steadfast rs switchover --to 2";

pub(super) const FAILOVER: &str = "\
Both are to be asked of the member that shall take over. Where the policy is manual, a failed primary is replaced \
only when an operator approves; where it is hybrid, also without that if the other data members and the primary's \
new process are all in reach, so that nothing acknowledged can be missing. What the lost primary alone acknowledged, \
at async, is missing until it returns. Force is for a primary that is heard and yet of no use: no member is asked \
whether it suspects it. The epoch is that of `rs status`: if another one has opened meanwhile, nothing happens.

Examples:
  steadfast rs failover --approve 7 --endpoint node2:7400
  steadfast rs failover --force 7 --endpoint node2:7400";

pub(super) const EVICT: &str = "\
For a member that will never come back, where `rs remove` cannot go on because nobody is primary. A data member of \
an epoch in force is refused: `rs remove` changes it out first, `rs shrink` lets a pair go on without it. The \
directory can never come back. What it alone held is lost; the command says what that may be.

Example:
  steadfast rs evict --member 3 --epoch 7";

pub(super) const SHRINK: &str = "\
For two data members of which one is gone: quorum writes are refused then, and the survivor that is primary may go \
on as the only data member. Acknowledgements say then that there is one copy. The other counts again by itself once \
it is back and has caught up. `rs set two-node=shrink` does this without asking. If the survivor is not primary, it \
must have become that first.

Example:
  steadfast rs shrink --epoch 7";

pub(super) const RECOVER: &str = "\
Only if so many members are lost for good that the others can agree on nothing: what those alone held is lost with \
them. Of several directories that are left take the one that holds most: the command says what is held before it \
asks, and what cannot be proven to be there. The new set has a lineage of its own, so it refuses members of the old \
one; other nodes join it anew, with empty directories. The epoch is asked for so that nobody takes the wrong \
directory.

Example:
  steadfast rs unsafe-recover --data-dir /var/lib/steadfast --into /var/lib/steadfast-new --epoch 7";

pub(super) const HISTORY: &str = "\
The last 100 epochs that opened. Because: first, none was open before; restart, the primary's process started again; \
silence, it was silent; process gone, it was seen to have ended; unopened, an attempt did not come to its end, or \
the primary found another promised; forced, by an operator; planned, a switchover or a change of members. No writes \
for: from the last sign of the primary, or from the request of a planned change, until writes were taken again. \
Recovered: EPOCH/RECORD, where the log of the epoch before ended for the new primary; more of it came later if its \
last record is greater.

Examples:
  steadfast rs history
  steadfast rs history --output json";

pub(super) const SET: &str = "\
Keys:
  silence=DURATION                       after so long without a sign of the primary a member suspects it
  failover=automatic|hybrid|manual       who decides that a failed primary is replaced
  two-node=refuse|shrink                 what a set of two data members does when one is gone
  commit-floor=async|quorum|all          writes are acknowledged at this level at least
  commit-default=async|quorum|all        the level of writes that ask for none
  priority.N=0…255                       how much member N is preferred as primary
  backup-bucket=URL|none                 where what is written is archived, and restore points are kept
  archive-interval=DURATION              how often what was written is archived
  backup-every=DURATION|never            how often a restore point is made
  backup-full-every=DURATION|never       how often one is made that shares no file with those before
  backup-keep-days=N                     so many days back each moment stays restorable
  backup-keep-points=N                   so many of the latest restore points stay; with both 0 all do

Examples:
  steadfast rs set
  steadfast rs set backup-bucket='s3://backups/prod?region=eu-central-1'
  steadfast rs set silence=2s failover=hybrid
  steadfast rs set priority.1=10 priority.3=0";
