use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::{fmt, io};

use crate::error::Error;
use crate::numbered::Numbered;

/// IP addresses, ranges and subnets to reject or to recognise.
///
/// A clone is the same list. Give one clone to a server, keep another, and change the rules while the server runs. The
/// next check uses the new rules. A check takes a read lock and allocates nothing. The time of a check grows with the
/// logarithm of the number of rules.
///
/// IPv4 and IPv6 share one address space, in which `1.2.3.4` and `::ffff:1.2.3.4` are the same address. A rule in
/// either form matches both forms. `::/0` therefore matches every IPv4 address too.
///
/// ```
/// use landline::BlockList;
///
/// let list = BlockList::new();
/// list.add_address([123, 123, 123, 123]);
/// list.add_range([10, 0, 0, 1], [10, 0, 0, 10])?;
/// list.add_cidr("8592:757c:efae:4e45::/64")?;
///
/// let client: std::net::IpAddr = "::ffff:123.123.123.123".parse()?;
/// assert!(list.check(client) && list.check([10, 0, 0, 3]) && !list.check([222, 111, 111, 222]));
///
/// list.remove_address([123, 123, 123, 123]);
/// assert_eq!(list.rules(), ["Subnet: IPv6 8592:757c:efae:4e45::/64", "Range: IPv4 10.0.0.1-10.0.0.10"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct BlockList(Arc<RwLock<Rules>>);

impl BlockList {
    /// The ranges of this machine and of private networks, for [`add_cidrs`](Self::add_cidrs). They are the ranges in
    /// Node's constant of this name:
    /// - IPv4: private (RFC 1918), loopback and link-local
    /// - IPv6: loopback, link-local and unique local (RFC 4193)
    ///
    /// If a client must not reach hosts inside its own network, block these ranges and others. There are more addresses
    /// that the internet does not route. These ranges leave out:
    ///
    /// - `0.0.0.0/8` and `::`. On many systems these addresses reach this machine.
    /// - `100.64.0.0/10`, the shared address space (RFC 6598) of carriers and clouds.
    /// - `64:ff9b::/96` and `2002::/16`. NAT64 and 6to4 reach IPv4 addresses through them, including private ones.
    /// - Multicast and broadcast, and ranges for tests and documentation.
    ///
    /// Add those that matter to you, and the public addresses of your own network.
    ///
    /// ```
    /// use landline::BlockList;
    ///
    /// let list = BlockList::new();
    /// list.add_cidrs(BlockList::PRIVATE_RANGES)?;
    /// assert!(list.check([192, 168, 1, 1]) && !list.check([8, 8, 8, 8]));
    /// # Ok::<(), landline::Error>(())
    /// ```
    pub const PRIVATE_RANGES: [&'static str; 8] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "::1/128",
        "169.254.0.0/16",
        "fe80::/10",
        "fc00::/7",
    ];

    /// Makes a list without rules.
    pub fn new() -> BlockList {
        BlockList::default()
    }

    /// Adds one address. If the address is already in the list, it becomes the newest rule. Adding any other kind of
    /// rule a second time does the same.
    #[doc(alias = "addAddress")]
    pub fn add_address(&self, address: impl Into<IpAddr>) {
        let rule = Rule::Address(address.into());
        self.write().add(rule);
    }

    /// Adds several addresses at once.
    #[doc(alias = "addAddresses")]
    pub fn add_addresses<I>(&self, addresses: I)
    where
        I: IntoIterator,
        I::Item: Into<IpAddr>,
    {
        // The caller's iterator is consumed before the lock is taken.
        let rules: Vec<Rule> = addresses.into_iter().map(|address| Rule::Address(address.into())).collect();
        let mut list = self.write();
        rules.into_iter().for_each(|rule| list.add(rule));
    }

    /// Adds the addresses from `start` to `end`, including both.
    ///
    /// # Errors
    /// `ERR_INVALID_ARG_VALUE` if `start` comes after `end`, or if they are not of the same family.
    #[doc(alias = "addRange")]
    pub fn add_range(&self, start: impl Into<IpAddr>, end: impl Into<IpAddr>) -> io::Result<()> {
        self.add([Rule::range(start.into(), end.into())])
    }

    /// Adds the subnet of all addresses that begin with the first `prefix` bits of `network`. The other bits of
    /// `network` are ignored.
    ///
    /// # Errors
    /// `ERR_OUT_OF_RANGE` for a prefix above 32 (IPv4) or 128 (IPv6).
    #[doc(alias = "addSubnet")]
    pub fn add_subnet(&self, network: impl Into<IpAddr>, prefix: u8) -> io::Result<()> {
        self.add([Rule::subnet(network.into(), prefix)])
    }

    /// Adds a subnet written as `10.0.0.0/8` or `2001:db8::/32`.
    ///
    /// # Errors
    /// `ERR_INVALID_ARG_VALUE` unless the text is an IP address, a slash and a number. Also the errors of
    /// [`add_subnet`](Self::add_subnet).
    #[doc(alias = "addCIDR")]
    pub fn add_cidr(&self, cidr: impl AsRef<str>) -> io::Result<()> {
        self.add([Rule::cidr(cidr)])
    }

    /// Adds several subnets. If one of them is invalid, adds none.
    ///
    /// # Errors
    /// The errors of [`add_cidr`](Self::add_cidr).
    #[doc(alias = "addCIDRs")]
    pub fn add_cidrs<I>(&self, cidrs: I) -> io::Result<()>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.add(cidrs.into_iter().map(Rule::cidr))
    }

    /// Removes a rule that [`add_address`](Self::add_address) added, and returns whether there was one. IPv4 and
    /// IPv4-mapped forms are the same address. Ranges and subnets that contain the address stay in the list.
    #[doc(alias = "removeAddress")]
    pub fn remove_address(&self, address: impl Into<IpAddr>) -> bool {
        let rule = Rule::Address(address.into());
        self.write().remove(rule)
    }

    /// Removes a rule that [`add_range`](Self::add_range) added with the same `start` and `end`. Returns whether there
    /// was one.
    ///
    /// # Errors
    /// The errors of [`add_range`](Self::add_range).
    #[doc(alias = "removeRange")]
    pub fn remove_range(&self, start: impl Into<IpAddr>, end: impl Into<IpAddr>) -> io::Result<bool> {
        self.remove(Rule::range(start.into(), end.into()))
    }

    /// Removes the rule for this subnet, which [`add_subnet`](Self::add_subnet) or [`add_cidr`](Self::add_cidr) added.
    /// Returns whether there was one.
    ///
    /// # Errors
    /// The errors of [`add_subnet`](Self::add_subnet).
    #[doc(alias = "removeSubnet")]
    pub fn remove_subnet(&self, network: impl Into<IpAddr>, prefix: u8) -> io::Result<bool> {
        self.remove(Rule::subnet(network.into(), prefix))
    }

    /// Removes the rule for a subnet written as `10.0.0.0/8`, like [`remove_subnet`](Self::remove_subnet).
    ///
    /// # Errors
    /// The errors of [`add_cidr`](Self::add_cidr).
    #[doc(alias = "removeCIDR")]
    pub fn remove_cidr(&self, cidr: impl AsRef<str>) -> io::Result<bool> {
        self.remove(Rule::cidr(cidr))
    }

    /// Removes every rule.
    pub fn clear(&self) {
        let old = std::mem::take(&mut *self.write());
        // Freed after the lock is released, because freeing a long list takes long.
        drop(old);
    }

    /// Returns the number of rules.
    #[doc(alias = "len")]
    pub fn size(&self) -> usize {
        self.read().by_age.len()
    }

    /// Returns whether the list has no rule.
    pub fn is_empty(&self) -> bool {
        self.size() == 0
    }

    /// Returns whether any rule matches the address.
    pub fn check(&self, address: impl Into<IpAddr>) -> bool {
        let address = number(address.into());
        self.read().covered.at(address) > 0
    }

    /// Returns the rules as Node writes them, newest first, such as `Address: IPv4 10.0.0.5`, `Range: IPv4
    /// 10.0.0.1-10.0.0.9` and `Subnet: IPv6 2001:db8::/32`.
    pub fn rules(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for rule in self.read().by_age.iter().rev() {
            rules.push(rule.to_string());
        }
        rules
    }

    /// Adds rules from texts in the form and order of [`rules`](Self::rules), newest first. Returns how many of the
    /// texts were rules. A text that is not a rule is ignored, as in Node. If a missing rule would be dangerous,
    /// compare the returned number with the number of texts.
    ///
    /// ```
    /// let list = landline::BlockList::new();
    /// assert_eq!(list.add_rules(["Address: IPv4 10.0.0.5", "Host: example.com"]), 1);
    /// ```
    #[doc(alias = "fromJSON")]
    pub fn add_rules<I>(&self, texts: I) -> usize
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let rules: Vec<Rule> = texts.into_iter().filter_map(|text| Rule::parse(text.as_ref())).collect();
        let known = rules.len();
        let mut list = self.write();
        rules.into_iter().rev().for_each(|rule| list.add(rule));
        known
    }

    /// Adds all the rules, or none. The caller's iterator is consumed before the lock is taken.
    fn add(&self, rules: impl IntoIterator<Item = io::Result<Rule>>) -> io::Result<()> {
        let rules = rules.into_iter().collect::<io::Result<Vec<Rule>>>()?;
        let mut list = self.write();
        rules.into_iter().for_each(|rule| list.add(rule));
        Ok(())
    }

    fn remove(&self, rule: io::Result<Rule>) -> io::Result<bool> {
        rule.map(|rule| self.write().remove(rule))
    }

    // Nothing under the lock panics, and the program's own code never runs under it. So the lock is never really
    // poisoned.
    fn read(&self) -> RwLockReadGuard<'_, Rules> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Rules> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BlockList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockList").field("rules", &self.rules()).finish()
    }
}

#[derive(Default)]
struct Rules {
    /// The rules by number, in the order they were added.
    by_age: Numbered<Rule>,
    /// The number of each rule. The key is what the rule covers, so no rule is in the list twice.
    ages: HashMap<Covers, u64>,
    next_age: u64,
    covered: Coverage,
}

impl Rules {
    fn add(&mut self, rule: Rule) {
        let covers = rule.covers();
        match self.ages.insert(covers, self.next_age) {
            Some(age) => drop(self.by_age.remove(age)),
            None => self.covered.change(covers.first, covers.last, 1),
        }
        self.by_age.insert(self.next_age, rule);
        self.next_age += 1;
    }

    fn remove(&mut self, rule: Rule) -> bool {
        let covers = rule.covers();
        let Some(age) = self.ages.remove(&covers) else {
            return false;
        };
        self.by_age.remove(age);
        self.covered.change(covers.first, covers.last, -1);
        true
    }
}

/// A rule as the caller wrote it. It is shown in this form.
#[derive(Clone, Copy)]
enum Rule {
    Address(IpAddr),
    Range(IpAddr, IpAddr),
    Subnet(IpAddr, u8),
}

/// Two rules are the same if they have the same kind and match the same addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Covers {
    kind: u8,
    first: u128,
    last: u128,
}

impl Rule {
    fn range(start: IpAddr, end: IpAddr) -> io::Result<Rule> {
        if start.is_ipv4() != end.is_ipv4() {
            let text = format!("The argument 'end' must be of the family of start, {start}. Received {end}");
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text).into());
        }
        if start > end {
            let text = format!("The argument 'start' must come before end, {end}. Received {start}");
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text).into());
        }
        Ok(Rule::Range(start, end))
    }

    fn subnet(network: IpAddr, prefix: u8) -> io::Result<Rule> {
        if prefix > bits(network) {
            return Err(bad_prefix(network, prefix).into());
        }
        Ok(Rule::Subnet(network, prefix))
    }

    fn cidr(cidr: impl AsRef<str>) -> io::Result<Rule> {
        let cidr = cidr.as_ref();
        let (network, prefix) = cidr
            .rsplit_once('/')
            .filter(|(_, prefix)| !prefix.is_empty() && prefix.bytes().all(|c| c.is_ascii_digit()))
            .and_then(|(network, prefix)| Some((network.parse::<IpAddr>().ok()?, prefix)))
            .ok_or_else(|| {
                let text = format!("The argument 'cidr' must be an address, a slash and a number. Received '{cidr}'");
                Error::invalid("ERR_INVALID_ARG_VALUE", text)
            })?;
        Rule::subnet(network, prefix.parse().map_err(|_| bad_prefix(network, prefix))?)
    }

    /// Parses a rule from the text that [`Display`](fmt::Display) prints.
    fn parse(text: &str) -> Option<Rule> {
        let (kind, rest) = text.split_once(':')?;
        let (family, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
        let rule = match kind {
            "Address" => rest.parse().map(Rule::Address).ok(),
            "Range" => {
                let (start, end) = rest.split_once('-')?;
                Rule::range(start.parse().ok()?, end.parse().ok()?).ok()
            }
            "Subnet" => Rule::cidr(rest).ok(),
            _ => None,
        };
        rule.filter(|rule| family.eq_ignore_ascii_case(rule.family()))
    }

    fn covers(&self) -> Covers {
        let (kind, first, last) = match *self {
            Rule::Address(ip) => (0, number(ip), number(ip)),
            Rule::Range(start, end) => (1, number(start), number(end)),
            Rule::Subnet(network, prefix) => {
                // Shifting 128 bits by 128 is an overflow. In this case the mask is empty.
                let host = u128::MAX.checked_shr(u32::from(128 - bits(network) + prefix)).unwrap_or(0);
                (2, number(network) & !host, number(network) | host)
            }
        };
        Covers { kind, first, last }
    }

    fn family(&self) -> &'static str {
        let (Rule::Address(ip) | Rule::Range(ip, _) | Rule::Subnet(ip, _)) = self;
        if ip.is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (f, family): (&mut dyn fmt::Write, _) = (f, self.family());
        match self {
            Rule::Address(ip) => write!(f, "Address: {family} {ip}"),
            Rule::Range(start, end) => write!(f, "Range: {family} {start}-{end}"),
            Rule::Subnet(network, prefix) => write!(f, "Subnet: {family} {network}/{prefix}"),
        }
    }
}

/// How many rules match each address.
///
/// Each key is an address at which the number of matching rules changes. The value of a key holds up to the next key.
/// Before the first key it is 0. The rules 2-5 and 4-9 are stored as `2: 1, 4: 2, 6: 1, 10: 0`. A check needs one
/// look-up, however the rules overlap. Removing one of two overlapping rules leaves the other complete.
#[derive(Default)]
struct Coverage(BTreeMap<u128, usize>);

impl Coverage {
    fn at(&self, ip: u128) -> usize {
        self.0.range(..=ip).next_back().map_or(0, |(_, &rules)| rules)
    }

    /// Adds `by` to the number of rules for the addresses from `first` to `last`.
    fn change(&mut self, first: u128, last: u128, by: isize) {
        // No key comes after the last address.
        let end = last.checked_add(1);
        self.begin_step(first);
        if let Some(end) = end {
            self.begin_step(end);
        }
        for (_, rules) in self.0.range_mut(first..=last) {
            *rules = rules.wrapping_add_signed(by);
        }
        // Only the values at the two ends have changed, so only these two keys can have become redundant.
        self.drop_if_no_step(first);
        if let Some(end) = end {
            self.drop_if_no_step(end);
        }
    }

    fn begin_step(&mut self, ip: u128) {
        let rules = self.at(ip);
        self.0.insert(ip, rules);
    }

    fn drop_if_no_step(&mut self, ip: u128) {
        let before = ip.checked_sub(1).map_or(0, |ip| self.at(ip));
        if self.at(ip) == before {
            self.0.remove(&ip);
        }
    }
}

/// The address as a number. IPv4 is in its mapped form.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn bad_prefix(network: IpAddr, received: impl fmt::Display) -> Error {
    Error::option("prefix", format_args!(">= 0 && <= {}", bits(network)), received)
}
