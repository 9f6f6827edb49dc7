//! Users and groups of this machine, by name or number.
//!
//! Reads `/etc/passwd` and `/etc/group` alone (directory services are not
//! asked); changes nothing. Used by `command`.

use rustix::process::geteuid;

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// Its number.
    pub(super) uid: u32,
    /// Its first group.
    pub(super) gid: u32,
    /// Its other groups.
    pub(super) groups: Vec<u32>,
}

/// Why a process cannot run as a user.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    /// Only root may become another.
    #[error(
        "process.user: only a gateway that runs as root can run a model as {user:?}; this one has user id {uid}"
    )]
    NotRoot {
        /// The user that was asked for.
        user: String,
        /// The gateway's own.
        uid: u32,
    },
    /// There is none.
    #[error("process.user: no user {user:?} in /etc/passwd")]
    Unknown {
        /// The user that was asked for.
        user: String,
    },
    /// The tables could not be read.
    #[error("process.user: {file} could not be read: {error}")]
    Table {
        /// Which.
        file: &'static str,
        /// Why.
        error: std::io::Error,
    },
}

/// The user of that name or number, if this process may become it.
pub(super) fn find(user: &str) -> Result<User, UserError> {
    let passwd = table("/etc/passwd")?;
    let group = table("/etc/group")?;
    let found = look_up(user, &passwd, &group).ok_or_else(|| UserError::Unknown {
        user: user.to_owned(),
    })?;
    let own = geteuid();
    if own.is_root() || own.as_raw() == found.uid {
        Ok(found)
    } else {
        Err(UserError::NotRoot {
            user: user.to_owned(),
            uid: own.as_raw(),
        })
    }
}

fn table(file: &'static str) -> Result<String, UserError> {
    let bytes = std::fs::read(file).map_err(|error| UserError::Table { file, error })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn look_up(user: &str, passwd: &str, group: &str) -> Option<User> {
    let (name, uid, gid) = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        (name == user || uid == user).then_some(())?;
        Some((name, uid.parse().ok()?, gid.parse().ok()?))
    })?;
    let groups = group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (_, _, gid, members) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        members
            .split(',')
            .any(|member| member == name)
            .then_some(())?;
        gid.parse().ok()
    });
    Some(User {
        uid,
        gid,
        groups: groups.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# comment\nmodel:x:998:997::/srv:/bin/false\n";
    const GROUP: &str =
        "root:x:0:\nmodel:x:997:\nvideo:x:44:alice,model\nrender:x:105:model\nx:x:9:models\n";

    #[test]
    fn a_user_is_found_with_all_its_groups() {
        let model = User {
            uid: 998,
            gid: 997,
            groups: vec![44, 105],
        };
        assert_eq!(look_up("model", PASSWD, GROUP), Some(model.clone()));
        assert_eq!(look_up("998", PASSWD, GROUP), Some(model));
        assert_eq!(look_up("mod", PASSWD, GROUP), None);
        assert_eq!(look_up("", PASSWD, GROUP), None);
    }
}
