//! Listening sockets that whoever started the process hands over, as systemd does
//! (`sd_listen_fds(3)`): they stay open while no gateway runs, so that callers
//! wait in their backlog over a restart.
//!
//! A socket goes to the listener of its name (`FileDescriptorName=`), else to
//! the one with its address. Never leaves one that nobody claims: it is a
//! mistake that would let callers wait for ever. Made by `app`, used by `start`.

use std::env;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::resource::Listener;

/// Names of the sockets, in their order, with colons between.
const NAMES: &str = "LISTEN_FDNAMES";

/// A socket that nobody claimed yet.
#[derive(Debug)]
struct Socket {
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

/// The sockets that were handed over, and what is wrong with others.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Socket>,
    problems: Vec<String>,
}

impl Inherited {
    /// Takes them from the environment, once and before there are other
    /// threads: they are for this process and not for its children.
    #[must_use]
    pub fn take() -> Self {
        let mut fds = ListenFd::from_env();
        let names = env::var(NAMES).unwrap_or_default();
        let mut names = names.split(':');
        let mut all = Self::default();
        for place in 0..fds.len() {
            let name = names.next().unwrap_or_default();
            let taken = fds.take_tcp_listener(place);
            let socket = taken.and_then(|listener| match listener {
                Some(listener) => listening(name, listener).map(Some),
                None => Ok(None),
            });
            match socket {
                Ok(socket) => all.sockets.extend(socket),
                Err(error) => all.problems.push(format!(
                    "socket {place} of LISTEN_FDS{}: not a listening TCP socket: {error}",
                    quoted(name)
                )),
            }
        }
        all
    }

    /// The socket of one of the listeners: by its name, else by its address
    /// where none has its name.
    pub(super) fn claim(
        &mut self,
        listener: &Listener,
        listeners: &[Listener],
    ) -> Option<TcpListener> {
        let named = |one: &Socket| one.name == listener.name;
        let there = |one: &Socket| {
            let is_named = listeners.iter().any(|other| other.name == one.name);
            one.address == listener.address && !is_named
        };
        let place = self.sockets.iter().position(named);
        let place = place.or_else(|| self.sockets.iter().position(there))?;
        Some(self.sockets.swap_remove(place).listener)
    }

    /// What is wrong: sockets that cannot be used, and those that no listener
    /// claimed.
    pub(super) fn problems(self, listeners: &[Listener]) -> Vec<String> {
        let names: Vec<&str> = listeners.iter().map(|one| one.name.as_str()).collect();
        let left = self.sockets.iter().map(|one| {
            format!(
                "socket {} of LISTEN_FDS{}: no listener has its address; name it (FileDescriptorName=) as one of them: {}",
                one.address,
                quoted(&one.name),
                names.join(", ")
            )
        });
        let left: Vec<String> = left.collect();
        [self.problems, left].concat()
    }
}

fn listening(name: &str, listener: TcpListener) -> std::io::Result<Socket> {
    if !SockRef::from(&listener).is_listener()? {
        return Err(std::io::Error::other("it does not listen"));
    }
    listener.set_nonblocking(true)?;
    Ok(Socket {
        name: name.to_owned(),
        address: listener.local_addr()?,
        listener,
    })
}

/// ` (NAME)`, where it has one.
fn quoted(name: &str) -> String {
    match name {
        "" | "unknown" => String::new(),
        name => format!(" ({name})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ListenerTls;

    fn socket(name: &str) -> Socket {
        listening(name, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
    }

    fn listener(name: &str, address: SocketAddr) -> Listener {
        Listener {
            name: name.to_owned(),
            address,
            tls: ListenerTls::None,
        }
    }

    #[test]
    fn a_socket_goes_to_its_name_then_to_its_address() {
        let (named, placed) = (socket("https"), socket(""));
        let (first, second) = (named.address, placed.address);
        let mut all = Inherited {
            sockets: vec![placed, named],
            problems: Vec::new(),
        };
        let other = "127.0.0.1:0".parse().unwrap();
        let of = |claimed: Option<TcpListener>| claimed.map(|one| one.local_addr().unwrap());
        let listeners = [
            listener("none", other),
            listener("web", first),
            listener("https", second),
            listener("http", second),
            listener("late", second),
        ];
        let found = listeners.iter().map(|one| of(all.claim(one, &listeners)));
        let found: Vec<_> = found.collect();
        assert_eq!(found, [None, None, Some(first), Some(second), None]);
        assert_eq!(all.problems(&[]), [""; 0]);
    }

    #[test]
    fn a_socket_that_nobody_claims_is_a_problem() {
        let one = socket("web");
        let address = one.address;
        let all = Inherited {
            sockets: vec![one],
            problems: vec!["socket 0".to_owned()],
        };
        let there = listener("http", "127.0.0.1:0".parse().unwrap());
        let said = all.problems(&[there]);
        assert_eq!(
            said,
            [
                "socket 0".to_owned(),
                format!(
                    "socket {address} of LISTEN_FDS (web): no listener has its address; name it (FileDescriptorName=) as one of them: http"
                )
            ]
        );
    }

    #[test]
    fn one_that_does_not_listen_is_none() {
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        );
        assert!(listening("http", socket.unwrap().into()).is_err());
    }
}
