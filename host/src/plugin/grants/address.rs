//! Which addresses are on the public internet, and which are never reached by accident.

use std::net::IpAddr;

/// Whether an address is on the public internet. What is reserved, unclear or carries another
/// address inside (v4-mapped, NAT64, 6to4, Teredo) is judged by what it leads to, or is not.
#[must_use]
pub(in crate::plugin) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let embedded = |high: u16, low: u16| {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                is_public(IpAddr::from([a, b, c, d]))
            };
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(IpAddr::V4(v4));
            }
            match segments {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                    embedded(high, low)
                }
                // Global unicast is 2000::/3; of it, Teredo, documentation and ORCHID lead nowhere.
                [first, second, ..] => {
                    (0x2000..0x4000).contains(&first)
                        && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
                        && first != 0x3fff
                }
            }
        }
    }
}

/// Whether an address is one of the machine's own link, where clouds keep their metadata: of all
/// private addresses those that give out keys to whoever asks.
#[must_use]
pub(in crate::plugin) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let embedded = |high: u16, low: u16| {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                is_link_local(IpAddr::from([a, b, c, d]))
            };
            match segments {
                [0, 0, 0, 0, 0, 0xffff | 0, high, low]
                | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
                | [0x2002, high, low, ..] => embedded(high, low),
                // The metadata address of one cloud is not on the link, but as good as; and in what
                // is a site's own NAT64, any address may be.
                [0xfd00, 0xec2, ..] | [0x64, 0xff9b, 1, ..] => true,
                [first, ..] => (0xfe80..0xfec0).contains(&first),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for public in
            ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_link_local_address_is_one_in_every_form() {
        for link in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
        ] {
            assert!(is_link_local(link.parse().unwrap()), "{link}");
            assert!(!is_public(link.parse().unwrap()), "{link}");
        }
        for other in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "8.8.8.8", "64:ff9b::808:808"] {
            assert!(!is_link_local(other.parse().unwrap()), "{other}");
        }
    }
}
