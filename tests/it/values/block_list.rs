use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use landline::{Address, BlockList};

use crate::encoding::Random;
use crate::support::{HANG, Told};

fn addr(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn code<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    result.unwrap_err().told().code().to_string()
}

/// Ensures an address rule matches that address alone, in both families.
#[test]
fn address_rules_match_the_address() -> io::Result<()> {
    let list = BlockList::new();
    list.add_address(addr("1.1.1.1"));
    list.add_address(addr("8592:757c:efae:4e45:fb5d:d62a:0d00:8e17"));

    assert!(list.check(addr("1.1.1.1")), "an address that was added matches");
    assert!(list.check(addr("8592:757c:efae:4e45:fb5d:d62a:d00:8e17")), "the spelling of IPv6 does not matter");
    for other in ["1.1.1.0", "1.1.1.2", "8592:757c:efae:4e45:fb5d:d62a:0d00:8e18", "::1.1.1.1"] {
        assert!(!list.check(addr(other)), "{other} is a neighbour and no match");
    }
    Ok(())
}

/// Ensures a range matches both its ends and nothing beyond, in both families.
#[test]
fn range_rules_include_both_ends() -> io::Result<()> {
    let list = BlockList::new();
    list.add_range(addr("1.1.1.5"), addr("1.1.2.10"))?;
    list.add_range(addr("2001:db8::1"), addr("2001:db8::ff"))?;
    list.add_range(addr("9.9.9.9"), addr("9.9.9.9"))?;

    for inside in
        ["1.1.1.5", "1.1.1.255", "1.1.2.0", "1.1.2.10", "2001:db8::1", "2001:db8::50", "2001:db8::ff", "9.9.9.9"]
    {
        assert!(list.check(addr(inside)), "{inside} is in a range");
    }
    for outside in ["1.1.1.4", "1.1.2.11", "192.168.1.7", "2001:db8::", "2001:db8::100", "9.9.9.8", "9.9.9.10"] {
        assert!(!list.check(addr(outside)), "{outside} is in no range");
    }
    Ok(())
}

/// Ensures subnets match by their prefix, those that end within a byte or cover one address or all included.
#[test]
fn subnet_rules_match_by_prefix() -> io::Result<()> {
    for (network, prefix, inside, outside) in [
        ("1.1.1.0", 16, vec!["1.1.0.0", "1.1.255.255"], vec!["1.0.255.255", "1.2.0.0"]),
        ("192.168.1.32", 27, vec!["192.168.1.32", "192.168.1.63"], vec!["192.168.1.31", "192.168.1.64"]),
        ("1.2.3.4", 32, vec!["1.2.3.4"], vec!["1.2.3.3", "1.2.3.5"]),
        ("1.2.3.4", 0, vec!["0.0.0.0", "255.255.255.255"], vec!["::", "::1", "::fffe:ffff:ffff", "::1:0:0:0"]),
        ("8592:757c:efae:4e45::", 64, vec!["8592:757c:efae:4e45:ffff::"], vec!["8592:757c:efae:4e46::"]),
        (
            "8592:757c:efae:2fff::",
            51,
            vec!["8592:757c:efae:2000::", "8592:757c:efae:3fff:ffff:ffff:ffff:ffff"],
            vec!["8592:757c:efae:1fff::", "8592:757c:efae:4000::"],
        ),
        ("::1", 128, vec!["::1"], vec!["::", "::2"]),
        ("::", 0, vec!["::", "1.2.3.4", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], vec![]),
        ("ffff::", 1, vec!["8000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], vec!["7fff::", "1.2.3.4"]),
    ] {
        let list = BlockList::new();
        list.add_subnet(addr(network), prefix)?;
        for ip in inside {
            assert!(list.check(addr(ip)), "{ip} is in {network}/{prefix}");
        }
        for ip in outside {
            assert!(!list.check(addr(ip)), "{ip} is not in {network}/{prefix}");
        }
        assert!(list.remove_subnet(addr(network), prefix)?, "what was added can be removed");
        assert!(!list.check(addr(network)), "nothing of {network}/{prefix} is left");
    }
    Ok(())
}

/// Ensures IPv4 rules of each kind match the mapped form, and rules in mapped form match IPv4.
#[test]
fn ipv4_and_mapped_addresses_match_each_other() -> io::Result<()> {
    let plain = BlockList::new();
    plain.add_address(addr("1.1.1.1"));
    plain.add_range(addr("2.2.2.1"), addr("2.2.2.9"))?;
    plain.add_subnet(addr("3.3.3.0"), 24)?;
    let mapped = BlockList::new();
    mapped.add_address(addr("::ffff:1.1.1.1"));
    mapped.add_range(addr("::ffff:2.2.2.1"), addr("::ffff:202:209"))?;
    mapped.add_subnet(addr("::ffff:3.3.3.0"), 120)?;

    for list in [plain, mapped] {
        for ip in
            ["1.1.1.1", "::ffff:1.1.1.1", "::ffff:101:101", "2.2.2.9", "::ffff:2.2.2.9", "3.3.3.255", "::ffff:303:3ff"]
        {
            assert!(list.check(addr(ip)), "{ip} matches in either form: {list:?}");
        }
        for ip in ["1.1.1.2", "::ffff:1.1.1.2", "2.2.2.10", "::ffff:2.2.2.10", "3.3.4.0", "::ffff:3.3.4.0", "::1.1.1.1"]
        {
            assert!(!list.check(addr(ip)), "{ip} matches in no form: {list:?}");
        }
    }
    Ok(())
}

/// Ensures std's types are checked as they are, and a client's address by its IP.
#[test]
fn check_takes_what_is_an_ip_address() -> io::Result<()> {
    let list = BlockList::new();
    list.add_address([1, 2, 3, 4]);
    list.add_address(Ipv6Addr::LOCALHOST);

    assert!(list.check([1, 2, 3, 4]) && list.check(IpAddr::from([1, 2, 3, 4])), "four parts, and either family");
    let client: Address = "[::1]:80".parse()?;
    assert!(client.ip().is_some_and(|ip| list.check(ip)), "the address of a client");
    Ok(())
}

/// Ensures a range from high to low, or from one family to the other, is ERR_INVALID_ARG_VALUE.
#[test]
fn reversed_ranges_are_refused() {
    let list = BlockList::new();
    let error = list.add_range(addr("1.1.1.2"), addr("1.1.1.1")).unwrap_err();
    assert_eq!(error.told().code(), "ERR_INVALID_ARG_VALUE", "start comes before end");
    assert_eq!(
        error.to_string(),
        "The argument 'start' must come before end, 1.1.1.1. Received 1.1.1.2",
        "both are named"
    );
    assert_eq!(code(list.add_range(addr("::2"), addr("::1"))), "ERR_INVALID_ARG_VALUE", "in IPv6 too");
    assert_eq!(code(list.add_range(addr("1.1.1.1"), addr("::1"))), "ERR_INVALID_ARG_VALUE", "a range has one family");
    assert!(list.is_empty(), "a call that fails adds nothing");
}

/// Ensures a prefix beyond the bits of the family is ERR_OUT_OF_RANGE, in Node's words.
#[test]
fn prefixes_out_of_range_are_refused() {
    let list = BlockList::new();
    let error = list.add_subnet(addr("1.1.1.1"), 33).unwrap_err();
    let text = "The value of \"prefix\" is out of range. It must be >= 0 && <= 32. Received 33";
    assert_eq!((error.told().code(), error.to_string().as_str()), ("ERR_OUT_OF_RANGE", text), "the limit is named");
    assert_eq!(code(list.add_subnet(addr("::"), 129)), "ERR_OUT_OF_RANGE", "IPv6 has 128 bits");
    assert_eq!(code(list.remove_subnet(addr("1.1.1.1"), 33)), "ERR_OUT_OF_RANGE", "removing asks the same");
    assert_eq!(code(list.add_cidr("1.1.1.1/33")), "ERR_OUT_OF_RANGE", "a text too");
    assert_eq!(code(list.add_cidr("::/99999999999")), "ERR_OUT_OF_RANGE", "however large");
    assert!(list.is_empty(), "a call that fails adds nothing");
}

/// Ensures subnets in one text are read in both families, and are the same rules as in two arguments.
#[test]
fn cidrs_are_subnets() -> io::Result<()> {
    let list = BlockList::new();
    list.add_cidr("10.0.0.0/8")?;
    list.add_cidr(String::from("2001:db8::/32"))?;
    assert!(
        list.check(addr("10.1.2.3")) && list.check(addr("::ffff:10.0.0.1")) && list.check(addr("2001:db8:ffff::1")),
        "inside"
    );
    assert!(!list.check(addr("11.0.0.1")) && !list.check(addr("2001:db9::1")), "outside");

    assert!(list.remove_subnet(addr("10.0.0.0"), 8)?, "a subnet removes what a text added");
    list.add_subnet(addr("192.168.0.0"), 16)?;
    assert!(list.remove_cidr("192.168.0.0/16")?, "a text removes what a subnet added");
    assert_eq!(list.rules(), ["Subnet: IPv6 2001:db8::/32"], "the rest stays");
    Ok(())
}

/// Ensures a subnet without an address before its slash and a number after it is ERR_INVALID_ARG_VALUE.
#[test]
fn bad_cidrs_are_refused() {
    let list = BlockList::new();
    for cidr in ["x/8", "10.0.0.0", "10.0.0.0/", "10.0.0.0/abc", "10.0.0.0/+8", "10.0.0.0/-8", "10.0.0.0/8 ", "", "/"] {
        assert_eq!(code(list.add_cidr(cidr)), "ERR_INVALID_ARG_VALUE", "{cidr:?} is no subnet");
        assert_eq!(code(list.remove_cidr(cidr)), "ERR_INVALID_ARG_VALUE", "removing asks the same of {cidr:?}");
    }
    assert!(list.is_empty(), "a call that fails adds nothing");
}

/// Ensures one wrong entry among several keeps all of them out.
#[test]
fn adding_several_adds_all_or_none() -> io::Result<()> {
    let list = BlockList::new();
    assert_eq!(code(list.add_cidrs(["10.0.0.0/8", "bad", "1.1.1.0/24"])), "ERR_INVALID_ARG_VALUE", "one is wrong");
    assert!(list.is_empty() && !list.check(addr("10.0.0.1")) && !list.check(addr("1.1.1.1")), "nothing was added");

    list.add_addresses(["1.1.1.1", "2.2.2.2", "::3"].map(addr));
    list.add_cidrs(vec!["10.0.0.0/8".to_string(), "2001:db8::/32".to_string()])?;
    list.add_cidrs([""; 0])?;
    assert_eq!(list.size(), 5, "all were added, and of none there is none");
    assert!(
        list.check(addr("2.2.2.2")) && list.check(addr("::3")) && list.check(addr("2001:db8::9")),
        "each of them matches"
    );
    Ok(())
}

/// Ensures each kind is removed by what it was added with, other rules stay, and the answer says what happened.
#[test]
fn removing_takes_back_one_rule() -> io::Result<()> {
    let list = BlockList::new();
    list.add_address(addr("1.1.1.1"));
    list.add_range(addr("1.1.1.1"), addr("1.1.1.9"))?;
    list.add_subnet(addr("1.1.1.0"), 24)?;

    assert!(!list.remove_address(addr("1.1.1.5")), "an address inside a range is no rule of its own");
    assert!(
        !list.remove_range(addr("1.1.1.0"), addr("1.1.1.255"))?,
        "a range is not the subnet with the same addresses"
    );
    assert!(!list.remove_subnet(addr("1.1.1.1"), 32)?, "a subnet is not the address it holds");
    assert_eq!(list.size(), 3, "removing what is not there changes nothing");

    assert!(list.remove_subnet(addr("1.1.1.0"), 24)?, "the subnet was there");
    assert!(!list.check(addr("1.1.1.20")) && list.check(addr("1.1.1.5")), "the range is left");
    assert!(list.remove_range(addr("1.1.1.1"), addr("1.1.1.9"))?, "the range was there");
    assert!(!list.check(addr("1.1.1.5")) && list.check(addr("1.1.1.1")), "the address is left");
    assert!(list.remove_address(addr("1.1.1.1")), "the address was there");
    assert!(!list.remove_address(addr("1.1.1.1")), "and is not there twice");
    assert!(list.is_empty() && !list.check(addr("1.1.1.1")), "nothing is left");
    Ok(())
}

/// Ensures a rule can be removed in the other form of its addresses, and a subnet by any address of it.
#[test]
fn removing_goes_by_what_a_rule_matches() -> io::Result<()> {
    let list = BlockList::new();
    list.add_address(addr("::ffff:1.1.1.1"));
    list.add_subnet(addr("10.1.2.3"), 8)?;
    assert!(list.remove_address(addr("1.1.1.1")), "one peer has one name");
    assert!(list.remove_subnet(addr("10.0.0.0"), 8)?, "the bits behind the prefix do not matter");
    assert!(list.is_empty(), "both are gone");
    Ok(())
}

/// Ensures removing a wide subnet leaves the narrow ones in it.
#[test]
fn removing_a_wide_subnet_leaves_the_narrow_ones() -> io::Result<()> {
    let list = BlockList::new();
    list.add_cidrs(["10.0.0.0/8", "10.1.0.0/16"])?;
    list.remove_cidr("10.0.0.0/8")?;
    assert!(list.check(addr("10.1.2.3")) && !list.check(addr("10.2.0.1")), "the /16 still matches, and it alone");
    Ok(())
}

/// Ensures the list counts its rules, each once, and can be emptied and filled again.
#[test]
fn size_counts_rules_and_clear_empties() -> io::Result<()> {
    let list = BlockList::new();
    assert!(list.is_empty() && list.size() == 0, "a new list has no rules");
    list.add_address(addr("1.1.1.1"));
    list.add_address(addr("1.1.1.1"));
    list.add_range(addr("10.0.0.1"), addr("10.0.0.10"))?;
    list.add_subnet(addr("192.168.0.0"), 16)?;
    assert_eq!((list.size(), list.rules().len()), (3, 3), "an address added twice is one rule");
    assert!(!list.is_empty(), "a list with rules is not empty");

    list.clear();
    assert_eq!((list.size(), list.rules().len()), (0, 0), "clear removes every rule");
    for ip in ["1.1.1.1", "10.0.0.5", "192.168.1.1"] {
        assert!(!list.check(addr(ip)), "{ip} was cleared");
    }
    list.add_address(addr("2.2.2.2"));
    assert!(list.check(addr("2.2.2.2")) && !list.check(addr("1.1.1.1")), "a cleared list can be filled again");
    Ok(())
}

/// Ensures rules read as Node's, as they were given, newest first; adding one again makes it the newest.
#[test]
fn rules_are_nodes_texts_newest_first() -> io::Result<()> {
    let list = BlockList::new();
    list.add_address(addr("1.1.1.1"));
    list.add_subnet(addr("10.1.2.3"), 8)?;
    list.add_range(addr("2.2.2.1"), addr("2.2.2.9"))?;
    list.add_address(addr("FE80::1"));
    list.add_subnet(addr("8592:757c:efae:4e45::"), 64)?;
    list.add_address(addr("::ffff:9.9.9.9"));
    let mut texts = vec![
        "Address: IPv6 ::ffff:9.9.9.9",
        "Subnet: IPv6 8592:757c:efae:4e45::/64",
        "Address: IPv6 fe80::1",
        "Range: IPv4 2.2.2.1-2.2.2.9",
        "Subnet: IPv4 10.1.2.3/8",
        "Address: IPv4 1.1.1.1",
    ];
    assert_eq!(list.rules(), texts, "the newest is first");

    list.add_address(addr("1.1.1.1"));
    texts.rotate_right(1);
    assert_eq!(list.rules(), texts, "what is added again is the newest");
    assert_eq!(format!("{list:?}"), format!("BlockList {{ rules: {texts:?} }}"), "it can be inspected");
    Ok(())
}

/// Ensures the texts of a list make a list with the same rules in the same order.
#[test]
fn rules_and_add_rules_keep_the_order() -> io::Result<()> {
    let list = BlockList::new();
    list.add_address(addr("10.0.0.5"));
    list.add_address(addr("::"));
    list.add_range(addr("10.0.0.1"), addr("10.0.0.9"))?;
    list.add_subnet(addr("192.168.1.0"), 24)?;

    let again = BlockList::new();
    assert_eq!(again.add_rules(list.rules()), list.size(), "each text is a rule");
    assert_eq!(again.rules(), list.rules(), "the same rules in the same order");
    for ip in ["10.0.0.5", "10.0.0.1", "10.0.0.10", "::", "::1", "192.168.1.0", "193.168.1.0"].map(addr) {
        assert_eq!(again.check(ip), list.check(ip), "{ip} is checked alike");
    }
    Ok(())
}

/// Ensures texts that are no rules are ignored and the others are added to what is there.
#[test]
fn unknown_rule_texts_are_ignored() {
    let list = BlockList::new();
    list.add_rules(["1", "", "Address: IPv4 1.1.1.1", "Host: IPv4 1.1.1.1"]);
    assert_eq!(list.rules(), ["Address: IPv4 1.1.1.1"], "the one rule among them is added");

    let added = list.add_rules([
        "Address: IPv4 ::1",
        "Address: IPv4",
        "Address IPv4 1.1.1.1",
        "Range: IPv4 1.1.1.2-1.1.1.1",
        "Range: IPv4 1.1.1.1",
        "Subnet: IPv4 1.1.1.1/33",
        "Subnet: IPv4 1.1.1.1",
        "Subnet: IPv4 10.0.0.0/8",
    ]);
    assert_eq!(added, 1, "the answer says how many were rules");
    assert_eq!(
        list.rules(),
        ["Subnet: IPv4 10.0.0.0/8", "Address: IPv4 1.1.1.1"],
        "they join the rules that were there"
    );
}

/// Ensures a family in a rule's text is read in any case.
#[test]
fn family_names_are_case_insensitive() {
    let list = BlockList::new();
    assert_eq!(list.add_rules(["Address: ipv4 1.1.1.1", "Range: IPV6 ::1-::2"]), 2, "ipv4 and IPV6 are families");
    assert_eq!(list.rules(), ["Address: IPv4 1.1.1.1", "Range: IPv6 ::1-::2"], "they are shown as Node shows them");
}

/// Ensures the ready-made ranges cover what is private, loopback and link-local, to the last address, and nothing more.
#[test]
fn private_ranges_cover_private_loopback_and_link_local() -> io::Result<()> {
    let list = BlockList::new();
    list.add_cidrs(BlockList::PRIVATE_RANGES)?;
    assert_eq!(list.size(), BlockList::PRIVATE_RANGES.len(), "each range is a rule");
    for ip in [
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.1",
        "169.254.255.255",
        "::1",
        "fe80::1",
        "febf::1",
        "fc00::1",
        "fdff::1",
        "::ffff:10.0.0.1",
    ] {
        assert!(list.check(addr(ip)), "{ip} is not public");
    }
    for ip in [
        "8.8.8.8",
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "203.0.113.1",
        "2001:db8::1",
        "::2",
        "fec0::1",
        "fe00::1",
        "fb00::1",
        "::ffff:8.8.8.8",
    ] {
        assert!(!list.check(addr(ip)), "{ip} is not in the ranges");
    }
    Ok(())
}

/// Ensures a clone is the same list, and rules change while other threads check.
#[test]
fn rules_change_live_across_threads() -> io::Result<()> {
    let list = BlockList::new();
    list.add_address(addr("9.9.9.9"));
    let (done, checks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (list, done, checks) = (list.clone(), &done, &checks);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    assert!(list.check(addr("9.9.9.9")), "a rule holds while others come and go");
                    checks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let changer = list.clone();
        let (before, end) = (checks.load(Ordering::Relaxed), Instant::now() + HANG);
        let are_few = || checks.load(Ordering::Relaxed) < before + 1000 && Instant::now() < end;
        for i in (0..2000_u16).cycle().enumerate().take_while(|(n, _)| *n < 2000 || are_few()).map(|(_, i)| i) {
            let [high, low] = i.to_be_bytes();
            changer.add_subnet([9, 9, high, low], 16).expect("the prefix is in range");
            changer.add_address([1, 1, high, low]);
            assert!(list.check([1, 1, high, low]), "the next check sees a new rule");
            changer.remove_subnet([9, 9, 0, 0], 16).expect("the prefix is in range");
        }
        done.store(true, Ordering::Relaxed);
        assert!(checks.load(Ordering::Relaxed) >= before + 1000, "the other threads check within {HANG:?}");
    });
    assert_eq!(list.size(), 2001, "a clone is the same list");
    Ok(())
}

/// Ensures that after any adding and removing the list answers as a plain walk over the rules would.
#[test]
fn check_equals_a_walk_over_the_rules() -> io::Result<()> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Few addresses, at the borders of the two families and at both ends of all, so that rules touch and overlap often.
    let ips: Vec<IpAddr> = [
        "::",
        "::1",
        "::2",
        "::3",
        "::fffe:ffff:fffe",
        "::fffe:ffff:ffff",
        "0.0.0.0",
        "0.0.0.1",
        "127.255.255.255",
        "128.0.0.0",
        "255.255.255.254",
        "255.255.255.255",
        "::1:0:0:0",
        "::1:0:0:1",
        "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "8000::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ]
    .map(addr)
    .to_vec();
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()),
        IpAddr::V6(ip) => u128::from(ip),
    };

    for _ in 0..150 {
        let list = BlockList::new();
        let mut model: Vec<(u8, u128, u128)> = Vec::new();
        for _ in 0..40 {
            let (a, b) = (ips[random.below(ips.len())], ips[random.below(ips.len())]);
            let (low, high) = (a.min(b), a.max(b));
            let add = random.below(3) > 0;
            let rule = match random.below(3) {
                1 if low.is_ipv4() == high.is_ipv4() => (1, number(low), number(high)),
                2 => {
                    let prefix = random.below(if a.is_ipv4() { 33 } else { 129 }) as u8;
                    let host_bits = u32::from(if a.is_ipv4() { 32 - prefix } else { 128 - prefix });
                    let host = if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 };
                    let done =
                        if add { list.add_subnet(a, prefix).map(|()| true) } else { list.remove_subnet(a, prefix) }?;
                    let rule = (2, number(a) & !host, number(a) | host);
                    assert_eq!(done, add || model.contains(&rule), "the answer says whether the rule was there");
                    model.retain(|other| *other != rule);
                    if add {
                        model.push(rule);
                    }
                    continue;
                }
                _ => (0, number(a), number(a)),
            };
            let done = match (rule.0, add) {
                (0, true) => {
                    list.add_address(a);
                    true
                }
                (0, false) => list.remove_address(a),
                (_, true) => list.add_range(low, high).map(|()| true)?,
                (_, false) => list.remove_range(low, high)?,
            };
            assert_eq!(done, add || model.contains(&rule), "the answer says whether the rule was there");
            model.retain(|other| *other != rule);
            if add {
                model.push(rule);
            }
        }
        assert_eq!(list.size(), model.len(), "each rule is there once");
        for ip in &ips {
            let walked = model.iter().any(|(_, first, last)| (first..=last).contains(&&number(*ip)));
            assert_eq!(list.check(*ip), walked, "{ip} in {list:?}");
        }
        let again = BlockList::new();
        again.add_rules(list.rules());
        assert_eq!(again.rules(), list.rules(), "the round trip keeps the rules");
    }
    Ok(())
}

/// Ensures Node shows the same rules, and gives the same answers, for the same list.
#[test]
fn rules_and_checks_agree_with_node() -> io::Result<()> {
    let list = BlockList::new();
    list.add_address(addr("1.1.1.1"));
    list.add_range(addr("10.0.0.1"), addr("10.0.1.10"))?;
    list.add_subnet(addr("192.168.77.5"), 19)?;
    list.add_address(addr("::ffff:7.7.7.7"));
    list.add_range(addr("2001:db8::fff0"), addr("2001:db8::1:2"))?;
    list.add_subnet(addr("8592:757c:efae:4e45::"), 51)?;
    list.add_subnet(addr("::ffff:8.8.8.0"), 120)?;
    let script = "const { BlockList, isIP } = require('net');
        const list = new BlockList();
        list.addAddress('1.1.1.1');
        list.addRange('10.0.0.1', '10.0.1.10');
        list.addSubnet('192.168.77.5', 19);
        list.addAddress('::ffff:7.7.7.7', 'ipv6');
        list.addRange('2001:db8::fff0', '2001:db8::1:2', 'ipv6');
        list.addSubnet('8592:757c:efae:4e45::', 51, 'ipv6');
        list.addSubnet('::ffff:8.8.8.0', 120, 'ipv6');
        const ips = require('fs').readFileSync(0, 'utf8').split('\\n');
        console.log(list.rules.join('\\n'));
        console.log(ips.map(ip => +list.check(ip, 'ipv' + isIP(ip))).join(''));";
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut ips = Vec::new();
    for _ in 0..300 {
        let [a, b] = [random.below(256), random.below(256)];
        let ipv4 = [
            format!("10.0.{}.{a}", b % 4),
            format!("192.168.{a}.{b}"),
            format!("8.8.{}.{b}", 7 + a % 3),
            format!("{}.1.1.1", a % 3),
            format!("7.7.7.{}", a % 16),
        ];
        ips.extend(ipv4.iter().map(|ip| format!("::ffff:{ip}")));
        ips.extend(ipv4);
        ips.push(format!("2001:db8::{:x}:{a:x}", b % 3));
        ips.push(format!("2001:db8::ff{a:02x}"));
        ips.push(format!("8592:757c:efae:{a:02x}{b:02x}::{a}"));
    }
    let Some(answer) = crate::encoding::node(script, &ips.join("\n")) else { return Ok(()) };
    let (rules, checks) = answer.trim_end().rsplit_once('\n').expect("rules and checks");

    assert_eq!(list.rules(), rules.lines().collect::<Vec<_>>(), "Node lists the same rules");
    for (ip, check) in ips.iter().zip(checks.chars()) {
        assert_eq!(u8::from(list.check(addr(ip))), check as u8 - b'0', "Node says {check} of {ip}");
    }
    assert!(
        checks.len() == ips.len() && checks.contains('0') && checks.contains('1'),
        "Node answers for every address"
    );
    Ok(())
}
