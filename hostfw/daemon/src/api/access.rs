//! Who may ask what: the decision, and the sentence for those who may not.
//!
//! The mode of the socket decides who can connect; this decides what comes of
//! it, so that a socket with a wider mode opens nothing by itself.

use std::fs;

use super::{Peer, Question};

/// What a question takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To see how things are.
    Read,
    /// To make a difference.
    Change,
}

/// Who owns the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The daemon's own user, who may read.
    pub own_uid: u32,
    /// The group of the socket, whose members may read.
    pub read_gid: u32,
}

impl Access {
    /// Root may do everything, members of the change group too, members of the
    /// socket's group and the daemon's own user may read.
    ///
    /// # Errors
    /// The peer may not ask this: who may, fit for "hostfw: {why}".
    pub fn judge(
        &self,
        peer: &Peer,
        question: Question,
        change_group: Option<&str>,
        groups: &Groups,
    ) -> Result<(), String> {
        let change_gid = change_group.and_then(|name| groups.gid(name));
        let may_change = peer.uid == ROOT || change_gid.is_some_and(|gid| peer.gids.contains(&gid));
        let may_read = may_change || peer.uid == self.own_uid || peer.gids.contains(&self.read_gid);
        let (may, who) = match question.right() {
            Right::Read => (may_read, format!("root and the group {}", groups.name(self.read_gid))),
            Right::Change => (may_change, changers(change_group, change_gid)),
        };
        if may {
            return Ok(());
        }
        Err(format!("`{}` is for {who}, not for user {}", question.name(), peer.uid))
    }
}

fn changers(group: Option<&str>, gid: Option<u32>) -> String {
    match (group, gid) {
        (None, _) => {
            "root alone (hostfw.yaml can name a group in `api: {changeGroup: ...}`)".to_owned()
        }
        (Some(name), None) => {
            format!("root and the group {name}, which {GROUP_FILE} does not have")
        }
        (Some(name), Some(_)) => format!("root and the group {name}"),
    }
}

/// Names and numbers of the groups of this host. Groups that only a name
/// service knows are written as numbers: the daemon asks none.
#[derive(Clone, Debug, Default)]
pub struct Groups(String);

impl Groups {
    /// The groups at this moment; none when they cannot be read, which widens
    /// nothing.
    pub fn read() -> Self {
        Self(fs::read_to_string(GROUP_FILE).unwrap_or_default())
    }

    /// The number of a group that is written as a name or as a number.
    fn gid(&self, name: &str) -> Option<u32> {
        name.parse().ok().or_else(|| self.entries().find(|one| one.0 == name).map(|one| one.1))
    }

    /// The name of a group, or its number where it has none.
    fn name(&self, gid: u32) -> String {
        let entry = self.entries().find(|one| one.1 == gid);
        entry.map_or_else(|| gid.to_string(), |(name, _)| name.to_owned())
    }

    /// Lines of `group(5)`: name, password, number, members.
    fn entries(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?, fields.nth(1)?.parse().ok()?))
        })
    }
}

const ROOT: u32 = 0;
const GROUP_FILE: &str = "/etc/group";

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 990;
    const READERS: u32 = 991;
    const CHANGERS: u32 = 992;
    const OTHERS: u32 = 100;

    #[test]
    fn who_may_read_and_who_may_change() {
        let named = Some("netops");
        for (uid, gids, change_group, may_read, may_change) in [
            (ROOT, &[][..], None, true, true),
            (ROOT, &[OTHERS], named, true, true),
            (OWN, &[], None, true, false),
            (OWN, &[OTHERS], named, true, false),
            (1_000, &[READERS], None, true, false),
            (1_000, &[OTHERS, READERS], named, true, false),
            (1_000, &[CHANGERS], None, false, false),
            (1_000, &[CHANGERS], named, true, true),
            (1_000, &[OTHERS, CHANGERS], Some("992"), true, true),
            (1_000, &[READERS], Some("hostfw"), true, true),
            // A group that nobody has heard of has no members.
            (1_000, &[CHANGERS], Some("netopps"), false, false),
            (1_000, &[ROOT], named, false, false),
            (1_000, &[OTHERS], named, false, false),
            (1_000, &[], None, false, false),
        ] {
            let peer = Peer { uid, gids: gids.to_vec() };
            let may = |question| judged(&peer, question, change_group).is_ok();
            assert_eq!(may(Question::Status), may_read, "{peer:?} {change_group:?}");
            assert_eq!(may(Question::Reload), may_change, "{peer:?} {change_group:?}");
        }
    }

    #[test]
    fn who_may_is_told_to_who_may_not() {
        let peer = Peer { uid: 1_000, gids: vec![OTHERS] };
        let why = |question, group| judged(&peer, question, group).expect_err("it may not");
        assert_eq!(
            why(Question::Audit, None),
            "`audit report` is for root and the group hostfw, not for user 1000"
        );
        assert_eq!(
            why(Question::SetAudit(true), Some("netops")),
            "`audit on` is for root and the group netops, not for user 1000"
        );
        assert_eq!(
            why(Question::Reload, None),
            "`reload` is for root alone (hostfw.yaml can name a group in \
             `api: {changeGroup: ...}`), not for user 1000"
        );
        assert!(why(Question::Reload, Some("netopps")).contains("/etc/group does not have"));
    }

    #[test]
    fn broken_lines_name_no_group() {
        let groups = Groups("+\n:::\nnetops:x\nnetops:x:many:\n\u{0}:x:7:a\nhostfw:x:991".into());
        assert_eq!(groups.gid("netops"), None);
        assert_eq!(groups.gid("-1"), None);
        assert_eq!(groups.gid("hostfw"), Some(READERS));
        assert_eq!(groups.name(5), "5");
    }

    fn judged(peer: &Peer, question: Question, change_group: Option<&str>) -> Result<(), String> {
        let groups = Groups("root:x:0:\nhostfw:x:991:ann\nnetops:x:992:\n".into());
        let access = Access { own_uid: OWN, read_gid: READERS };
        access.judge(peer, question, change_group, &groups)
    }
}
