//! Primary and quorum reads, together with writes acknowledged at quorum or all: of one key, no read returns less than
//! was acknowledged or strongly read before it began.

use super::floor::Floor;
use super::{Fault, Operation, Rule};

pub fn judge(of_key: &[&Operation]) -> Result<(), Fault> {
    let floor = Floor::new(of_key.iter().filter_map(|operation| {
        let (time, version) = operation.strong()?;
        Some((time, version, *operation))
    }));
    for read in of_key {
        let Some((_, found)) = read.strongly_answered() else {
            continue;
        };
        if let Some((least, done)) = floor.before(read.invoked)
            && found < Some(least)
        {
            return Err(Fault::new(Rule::StaleStrongRead, [done, *read]));
        }
    }
    Ok(())
}
