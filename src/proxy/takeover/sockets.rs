//! Sockets that listen, as second descriptors: the process that takes over has them too, and this one again if that fails.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use super::messages::ListensFor;
use crate::proxy::listen::Listener;

/// See the module.
#[derive(Debug, Default)]
pub struct Sockets {
    all: Vec<(ListensFor, OwnedFd)>,
    /// Whether the service manager has opened those of clients.
    pub activated: bool,
}

impl Sockets {
    /// None yet.
    pub fn new(activated: bool) -> Self {
        Self { activated, all: Vec::new() }
    }

    /// One more.
    pub fn push(&mut self, purpose: ListensFor, socket: OwnedFd) {
        self.all.push((purpose, socket));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// What they are for, each once.
    pub fn purposes(&self) -> Vec<&ListensFor> {
        let mut known: Vec<&ListensFor> = Vec::new();
        for (purpose, _) in &self.all {
            if !known.contains(&purpose) {
                known.push(purpose);
            }
        }
        known
    }

    /// Those for clients over TCP listen no more, whoever has a descriptor of them.
    pub fn refuse_clients(&self) {
        for (_, socket) in self.all.iter().filter(|(purpose, _)| matches!(purpose, ListensFor::Clients(..))) {
            // One that is not connected is shut all the same, and says that it was not.
            _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
    }

    /// Further descriptors, for another process.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn duplicates(&self) -> io::Result<Vec<(ListensFor, OwnedFd)>> {
        self.all.iter().map(|(purpose, socket)| Ok((purpose.clone(), socket.as_fd().try_clone_to_owned()?))).collect()
    }

    /// Those of clients, for each core. The kernel divides connections among the sockets of an address: each of them is somebody's.
    ///
    /// # Errors
    /// As of [`Self::duplicates`].
    pub fn of_clients(&self, cores: usize) -> io::Result<Vec<Vec<Listener>>> {
        let mut per_core: Vec<Vec<Listener>> = (0..cores).map(|_| Vec::new()).collect();
        for purpose in self.purposes() {
            let of = |(own, _): &&(ListensFor, OwnedFd)| own == purpose;
            let own: Vec<&OwnedFd> = self.all.iter().filter(of).map(|(_, socket)| socket).collect();
            for nth in 0..cores.max(own.len()) {
                let Some(socket) = own.get(nth % own.len().max(1)) else { continue };
                let socket = socket.as_fd().try_clone_to_owned()?;
                let listener = match purpose {
                    ListensFor::Clients(_, anywhere) => Listener::Tcp(socket.into(), *anywhere),
                    ListensFor::UnixClients(_) => Listener::Unix(socket.into()),
                    ListensFor::Http(_) | ListensFor::Command(_) => continue,
                };
                if let Some(listeners) = per_core.get_mut(nth % cores.max(1)) {
                    listeners.push(listener);
                }
            }
        }
        Ok(per_core)
    }

    /// Those of HTTP.
    ///
    /// # Errors
    /// As of [`Self::duplicates`].
    pub fn of_http(&self) -> io::Result<Vec<std::net::TcpListener>> {
        let http = self.all.iter().filter(|(purpose, _)| matches!(purpose, ListensFor::Http(_)));
        http.map(|(_, socket)| Ok(socket.as_fd().try_clone_to_owned()?.into())).collect()
    }

    /// That of the command, if there is one.
    ///
    /// # Errors
    /// As of [`Self::duplicates`].
    pub fn of_command(&self) -> io::Result<Option<std::os::unix::net::UnixListener>> {
        let command = self.all.iter().find(|(purpose, _)| matches!(purpose, ListensFor::Command(_)));
        command.map(|(_, socket)| Ok(socket.as_fd().try_clone_to_owned()?.into())).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_of_an_address_is_some_cores_and_every_core_has_one() {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 6432));
        for (given, cores) in [(1, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
            let mut sockets = Sockets::default();
            for _ in 0..given {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                sockets.push(ListensFor::Clients(address, false), listener.into());
            }
            let per_core = sockets.of_clients(cores).unwrap();
            assert!(per_core.len() == cores && per_core.iter().all(|own| !own.is_empty()), "{given} {cores}");
            let port = |listener: &Listener| match listener {
                Listener::Tcp(socket, _) => socket.local_addr().unwrap().port(),
                Listener::Unix(_) => 0,
            };
            let ports: std::collections::BTreeSet<u16> = per_core.iter().flatten().map(port).collect();
            assert_eq!(ports.len(), given, "{given} {cores}");
        }
    }
}
