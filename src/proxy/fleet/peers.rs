//! Where the other members are, for cancel requests that came to the wrong one.

use crate::config::Peer;
use crate::shared::ProxyState;

/// The addresses of the other members.
pub fn addresses(proxy: &ProxyState) -> Vec<Peer> {
    let Some(fleet) = proxy.fleet.get() else { return Vec::new() };
    let shown = fleet.now();
    let others = shown.view.members.values().filter(|member| member.id != fleet.id);
    others.filter_map(|member| peer(&member.address)).collect()
}

fn peer(address: &str) -> Option<Peer> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(Peer { host, port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let of = |text: &str| peer(text).map(|peer| (peer.host, peer.port));
        assert_eq!(of("a.example:6432"), Some(("a.example".to_owned(), 6432)));
        assert_eq!(of("[::1]:6432"), Some(("::1".to_owned(), 6432)));
        assert_eq!(of("nothing"), None);
    }
}
