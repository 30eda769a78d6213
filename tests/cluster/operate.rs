//! What operators ask of a set.

use steadfast::control::{FailoverPolicy, SettingsChange};

use crate::support::{set_of_three, until};

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_settings_at_two_members_at_once_are_both_in_force() {
    let members = set_of_three().await;
    let [first, second, third] = &members;
    for silence_ms in 1_000..1_020 {
        let policies = [FailoverPolicy::Manual, FailoverPolicy::Automatic];
        let failover = policies[usize::try_from(silence_ms).unwrap() % 2];
        let policy = SettingsChange {
            failover: Some(failover),
            ..SettingsChange::default()
        };
        let silence = SettingsChange {
            silence_ms: Some(silence_ms),
            ..SettingsChange::default()
        };
        let (policy, silence) = tokio::join!(
            second.node.change_settings(policy),
            third.node.change_settings(silence),
        );
        let (policy, silence) = (policy.unwrap(), silence.unwrap());
        assert_eq!(
            (policy.failover, silence.silence_ms),
            (failover, silence_ms)
        );
        until("both are known", || {
            let settings = first.status().settings;
            (settings.failover, settings.silence_ms) == (failover, silence_ms)
        })
        .await;
    }
    for member in members {
        member.stop().await;
    }
}
