//! Pure: what the members of a set say of it, and whether that is a set in which all is well.

use crate::client::Error;
use crate::proto::v1;

/// A member that lacks no more records than a primary under load has on their way to it keeps up with it.
const KEEPS_UP: u64 = 200;

/// Who is primary, and of which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Primary {
    /// Which of the processes.
    pub at: usize,
    /// Of which epoch.
    pub epoch: u64,
}

/// What a member says of the set.
pub type View = Result<v1::GetReplicaSetResponse, Error>;

/// What a member says of itself.
#[must_use]
pub fn own(view: &View) -> Option<&v1::Member> {
    let view = view.as_ref().ok()?;
    let mut members = view.members.iter();
    members.find(|member| member.number == view.answered_by)
}

/// Who is primary, if every member counts, votes and keeps up, and no change is under way.
///
/// # Errors
/// If not; says what is missing.
pub fn whole(views: &[View]) -> Result<Primary, String> {
    for (number, view) in (1..).zip(views) {
        if let Err(cause) = view {
            return Err(format!("member {number}: {cause}"));
        }
    }
    let serves = |view: &View| own(view).is_some_and(|member| member.serves);
    let at = views.iter().position(serves).ok_or("nobody is primary")?;
    let view = views.get(at).and_then(|view| view.as_ref().ok());
    let view = view.ok_or("nobody is primary")?;
    let size = views.len();
    let voters = view
        .agreement
        .as_ref()
        .map_or(1, |agreement| agreement.voters.len());
    if view.members.len() != size || voters != size || !view.changes.is_empty() {
        return Err(format!(
            "{} of {size} members, of which {voters} vote",
            view.members.len()
        ));
    }
    let others = || {
        view.members
            .iter()
            .filter(|member| member.number != view.answered_by)
    };
    for member in others().filter(|member| member.role() == v1::MemberRole::Data) {
        let keeps_up = member.lag_records.is_some_and(|lag| lag <= KEEPS_UP);
        if !member.counts || member.promise != Some(view.epoch) || !keeps_up {
            return Err(format!(
                "member {} does not keep up: {member:?}",
                member.number
            ));
        }
    }
    let epochs = views.iter().flatten().map(|view| view.epoch);
    if !epochs.clone().all(|epoch| epoch == view.epoch) {
        return Err(format!(
            "members see the epochs {:?}",
            epochs.collect::<Vec<_>>()
        ));
    }
    // Of two voters none is a majority.
    if size > 2 && !view.can_fail_over {
        return Err(format!("nobody could take over: {}", view.why_not));
    }
    Ok(Primary {
        at,
        epoch: view.epoch,
    })
}

/// The same, if besides all that hold rows hold and show the same records.
///
/// # Errors
/// If not; says what is missing.
pub fn equal(views: &[View]) -> Result<Primary, String> {
    let primary = whole(views)?;
    let holders = views.iter().filter_map(own);
    let holders = holders.filter(|own| own.role() != v1::MemberRole::Arbiter);
    let applied: Vec<_> = holders.map(|own| own.applied.as_ref()).collect();
    match applied.first() {
        Some(first) if first.is_some() && applied.iter().all(|other| other == first) => Ok(primary),
        _ => Err(format!("the members hold {applied:?}")),
    }
}

/// Who is primary of a whole set, if there is a restore point and all that the primary holds is archived. Nothing may be written
/// meanwhile.
///
/// # Errors
/// If not; says what is missing.
pub fn archived(views: &[View]) -> Result<Primary, String> {
    let primary = whole(views)?;
    let view = views.get(primary.at);
    let durable = view
        .and_then(own)
        .and_then(|member| member.durable.as_deref());
    let archive = view
        .and_then(|view| view.as_ref().ok())
        .and_then(|view| view.archive.as_ref());
    let archive = archive.ok_or("the set does not archive")?;
    let is_well = archive.trouble.is_none() && archive.last.is_some() && durable.is_some();
    if is_well && archive.through.as_deref() == durable {
        return Ok(primary);
    }
    Err(format!("the primary holds {durable:?}: {archive:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(durable: &str, archive: Option<v1::Archive>) -> [View; 1] {
        let primary = v1::Member {
            number: 1,
            serves: true,
            durable: Some(durable.to_owned()),
            ..v1::Member::default()
        };
        [Ok(v1::GetReplicaSetResponse {
            answered_by: 1,
            epoch: 7,
            members: vec![primary],
            archive,
            ..v1::GetReplicaSetResponse::default()
        })]
    }

    #[test]
    fn a_set_has_archived_all_only_if_that_is_what_its_primary_holds_behind_a_restore_point() {
        let archive = |through: &str| v1::Archive {
            through: Some(through.to_owned()),
            last: Some(v1::LastPoint::default()),
            ..v1::Archive::default()
        };
        let all = archive("a/7:3");
        let primary = Primary { at: 0, epoch: 7 };
        assert_eq!(archived(&view("a/7:3", Some(all.clone()))), Ok(primary));
        let troubled = v1::Archive {
            trouble: Some("no route".to_owned()),
            ..all.clone()
        };
        let without_point = v1::Archive { last: None, ..all };
        for less in [
            None,
            Some(v1::Archive::default()),
            Some(archive("a/7:2")),
            Some(troubled),
            Some(without_point),
        ] {
            assert!(archived(&view("a/7:3", less.clone())).is_err(), "{less:?}");
        }
    }
}
