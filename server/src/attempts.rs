//! How often a token may be tried, in a login or as a bearer.
//!
//! A token cannot be guessed if it was made well; some are not. Each address has [`PEER`] tries, all together have [`ALL`], and
//! a try comes back after a while (the generic cell rate algorithm: one time for each bucket, no counters to clear). A login
//! that succeeds costs nothing. Behind a proxy all browsers have the proxy's address.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::ids::UnixMillis;
use sha2::{Digest, Sha256};

/// Tries at once, and how often another comes back.
#[derive(Debug, Clone, Copy)]
struct Limit {
    tries: i64,
    every_ms: i64,
}

/// Of one address: ten, then two a minute.
const PEER: Limit = Limit { tries: 10, every_ms: 30_000 };
/// Of all addresses together: a hundred, then twenty a minute.
const ALL: Limit = Limit { tries: 100, every_ms: 3_000 };

impl Limit {
    /// Milliseconds until there is a try in a bucket that is whole again at `whole`; 0 where there is one.
    fn wait_ms(self, whole: i64, now: i64) -> i64 {
        (whole - (self.tries - 1) * self.every_ms - now).max(0)
    }

    /// When the bucket is whole again after a try.
    fn take(self, whole: i64, now: i64) -> i64 {
        whole.max(now) + self.every_ms
    }
}

/// When each bucket is whole again, in milliseconds since 1970. What is whole is not kept, so that there are never more
/// addresses than [`ALL`] lets through while a try comes back to one.
#[derive(Debug, Default)]
struct Buckets {
    all: i64,
    peers: HashMap<IpAddr, Peer>,
    /// Right bearer tokens that addresses have shown: as many as there are runners and programs.
    right: HashSet<(IpAddr, [u8; 32])>,
}

/// An address that has tried.
#[derive(Debug, Default)]
struct Peer {
    whole: i64,
    /// Of the wrong bearer token that it showed last.
    digest: Option<[u8; 32]>,
}

/// The tries that are left.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Buckets>);

impl Attempts {
    /// Takes a try of `peer`, an unknown address where the server has none.
    ///
    /// # Errors
    /// Whole seconds to wait, at least 1, where none is left; nothing is taken then.
    pub fn take(&self, peer: Option<IpAddr>, now: UnixMillis) -> Result<(), u64> {
        let (peer, now) = (network(peer), now.0);
        let mut buckets = self.buckets();
        buckets.peers.retain(|_, peer| peer.whole > now);
        let whole = buckets.peers.get(&peer).map_or(now, |peer| peer.whole);
        let wait = PEER.wait_ms(whole, now).max(ALL.wait_ms(buckets.all, now));
        if wait > 0 {
            return Err(u64::try_from(wait).unwrap_or(0).div_ceil(1000));
        }
        buckets.all = ALL.take(buckets.all, now);
        buckets.peers.entry(peer).or_default().whole = PEER.take(whole, now);
        Ok(())
    }

    /// Whether a bearer token that `is_right` or not is let through. A wrong one is a try of the address, but not the one that
    /// it showed just before: a runner that was given a wrong token shows it for ever, and must not lock out others behind
    /// the same address. A right one gives nothing back, for runners ask every second; who has shown it once goes on with it
    /// whatever others behind the address try, so that nobody can cost a runner its lease.
    ///
    /// # Errors
    /// Whole seconds to wait, at least 1, where the address has no try left.
    pub fn bearer(
        &self,
        peer: Option<IpAddr>,
        token: &str,
        is_right: bool,
        now: UnixMillis,
    ) -> Result<bool, u64> {
        let network = network(peer);
        let digest: [u8; 32] = Sha256::digest(token).into();
        {
            let buckets = self.buckets();
            if is_right && buckets.right.contains(&(network, digest)) {
                return Ok(true);
            }
            let known = buckets.peers.get(&network).filter(|peer| peer.whole > now.0);
            // Wrong in one place, it may be right in another.
            if !is_right && known.is_some_and(|peer| peer.digest == Some(digest)) {
                return Ok(false);
            }
            let wait = known.map_or(0, |peer| PEER.wait_ms(peer.whole, now.0));
            if wait > 0 {
                return Err(u64::try_from(wait).unwrap_or(0).div_ceil(1000));
            }
        }
        if is_right {
            self.buckets().right.insert((network, digest));
            return Ok(true);
        }
        self.take(peer, now)?;
        if let Some(peer) = self.buckets().peers.get_mut(&network) {
            peer.digest = Some(digest);
        }
        Ok(false)
    }

    /// Gives the try of a login that succeeded back, and what its address had tried before.
    pub fn forget(&self, peer: Option<IpAddr>) {
        let mut buckets = self.buckets();
        buckets.peers.remove(&network(peer));
        buckets.all -= ALL.every_ms;
    }

    /// A panic in between leaves times that are right all the same.
    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one household or machine has: an address of IPv4, the upper half of one of IPv6.
fn network(peer: Option<IpAddr>) -> IpAddr {
    match peer.map(|peer| peer.to_canonical()) {
        None => Ipv6Addr::UNSPECIFIED.into(),
        Some(IpAddr::V6(address)) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        Some(v4) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn after(ms: i64) -> UnixMillis {
        UnixMillis(NOW.0 + ms)
    }

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_ten_tries_and_one_more_each_half_minute() {
        let attempts = Attempts::default();
        let one = Some(peer("192.0.2.1"));
        for n in 0..10 {
            assert_eq!(attempts.take(one, after(n)), Ok(()), "{n}");
        }
        for (ms, answer) in [
            (10, Err(30)),
            (29_000, Err(1)),
            (29_999, Err(1)),
            (30_000, Ok(())),
            (30_001, Err(30)),
            // What was refused took nothing.
            (60_000, Ok(())),
            (60_001, Err(30)),
        ] {
            assert_eq!(attempts.take(one, after(ms)), answer, "{ms} ms");
        }
        assert_eq!(
            attempts.take(Some(peer("192.0.2.2")), after(60_001)),
            Ok(()),
            "another address has its own"
        );
        assert_eq!(attempts.take(None, after(60_001)), Ok(()), "so has one that is unknown");
    }

    #[test]
    fn a_wrong_bearer_token_is_a_try_once() {
        let attempts = Attempts::default();
        let one = Some(peer("192.0.2.1"));
        let show = |token: &str, ms| attempts.bearer(one, token, token == "right", after(ms));
        for n in 0..100 {
            assert_eq!(show("mistyped", n), Ok(false), "the same again tells nothing new");
        }
        for n in 0..9 {
            assert_eq!(show("right", n), Ok(true), "{n}");
            assert_eq!(show(&n.to_string(), n), Ok(false), "{n}");
        }
        assert_eq!(show("guess", 9), Err(30));
        assert_eq!(show("right", 9), Ok(true), "who has shown it goes on");
        let other = |token: &str| attempts.bearer(one, token, true, after(9));
        assert_eq!(other("right elsewhere"), Err(30), "a guess would be told by it");
        assert_eq!(show("8", 9), Ok(false), "known to be wrong");
        assert_eq!(attempts.take(one, after(9)), Err(30), "a login is a try of the same");
        assert_eq!(attempts.bearer(Some(peer("192.0.2.2")), "right", true, after(9)), Ok(true));
        assert_eq!(show("right", 30_000), Ok(true));
        // The token of one place, shown in another by mistake.
        let two = Some(peer("192.0.2.3"));
        assert_eq!(attempts.bearer(two, "runner", false, after(9)), Ok(false));
        assert_eq!(attempts.bearer(two, "runner", true, after(10)), Ok(true));
    }

    #[test]
    fn all_addresses_together_have_a_hundred() {
        let attempts = Attempts::default();
        let from = |n: u32| Some(IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)));
        for n in 0..100 {
            assert_eq!(attempts.take(from(n), NOW), Ok(()), "{n}");
        }
        assert_eq!(attempts.take(from(100), NOW), Err(3));
        assert_eq!(attempts.take(from(101), after(3_000)), Ok(()));
        assert_eq!(attempts.take(from(102), after(3_001)), Err(3));
        // Long after, everything is as it was, and nothing is kept of it.
        assert_eq!(attempts.take(from(0), after(10_000_000)), Ok(()));
        assert_eq!(attempts.buckets().peers.len(), 1);
    }

    #[test]
    fn a_right_token_gives_the_tries_back() {
        let attempts = Attempts::default();
        let one = Some(peer("192.0.2.1"));
        for n in 0..150 {
            assert_eq!(attempts.take(one, NOW), Ok(()), "{n}");
            attempts.forget(one);
        }
        for _ in 0..9 {
            assert_eq!(attempts.take(one, NOW), Ok(()));
        }
        // The tenth is right, and the nine before are forgotten.
        assert_eq!(attempts.take(one, NOW), Ok(()));
        attempts.forget(one);
        for n in 0..10 {
            assert_eq!(attempts.take(one, NOW), Ok(()), "{n}");
        }
        assert_eq!(attempts.take(one, NOW), Err(30));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        for (one, other, same) in [
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(network(Some(peer(one))) == network(Some(peer(other))), same, "{one} {other}");
        }
    }
}
