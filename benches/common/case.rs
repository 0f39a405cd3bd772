//! The cases: what each server does, what the clients do to it, and where both run.

/// One thing that is measured, of every server in turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) serve: Serve,
    pub(crate) load: Load,
    pub(crate) pin: Pin,
    /// The first one ranks.
    pub(crate) measures: &'static [Measure],
    /// Whether each round has servers that were started for it.
    pub(crate) fresh: bool,
}

/// What a server does; its name is the server's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serve {
    /// TCP: sends back what comes.
    Echo,
    /// The same for [`LIMIT`] clients at once; it closes those beyond.
    Limit,
    /// The same for as many as the system allows.
    Many,
    /// UDP: sends back what comes.
    Udp,
    /// UDP: counts what comes, and answers a datagram of one byte with the count.
    Sink,
    /// TCP: carries bytes both ways between a client and the address it is given.
    Proxy,
    /// Redis's protocol: the commands of redis-benchmark.
    Redis,
    /// Sends what one client publishes to all that subscribe, by Redis's protocol or by MQTT.
    Publish,
    /// HTTP: one small page.
    Http,
    /// DNS over UDP: one address for every name.
    Dns,
}

/// What the clients do. Those on threads block; those that are polled are on one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Messages there and back, one at a time on each connection.
    Echo { connections: usize, size: usize },
    /// The same, by one thread that polls.
    EchoPolled { connections: usize, size: usize },
    /// Writes without waiting for what comes back.
    Bulk { connections: usize },
    /// Connects, sends 64 bytes, gets them back, closes.
    Churn { clients: usize },
    /// Connects as fast as it goes, so many at once, and asks once on each connection.
    Burst { connects: usize, at_once: usize },
    /// Clients beyond the limit, beside as many as are admitted, which send 64 bytes a millisecond.
    Refusals { clients: usize },
    /// Connections that have had one message each.
    Idle { connections: usize },
    /// Messages of 64 bytes on connections that are all open: 10,000 a second, one a second on each, and as many as
    /// it goes, by one thread that polls.
    Scale { connections: usize },
    /// Datagrams of 64 bytes there and back, so many under way for each client.
    Window { clients: usize, window: usize },
    /// Datagrams of 64 bytes a second, for a second.
    Flood { rate: usize },
    /// Writes through the server to a reader behind it.
    Through { connections: usize },
    /// Publishes so many messages of 1 KiB a second to so many subscribers.
    FanOut { subscribers: usize, rate: usize },
    /// redis-benchmark: so many clients, each with so many requests under way.
    RedisBenchmark { clients: usize, pipeline: usize },
    /// wrk: one request at a time on each connection.
    Wrk { connections: usize },
    /// dnsperf: so many clients, with 100 questions under way.
    Dnsperf { clients: usize },
}

/// How many clients a server with a limit serves.
pub(crate) const LIMIT: usize = 8;

/// Which of two processors the two ends run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pin {
    /// Both on the same one.
    Same,
    /// Each on its own.
    Split,
    /// Where the system puts them.
    Free,
}

impl Pin {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Pin::Same => "both ends on one processor",
            Pin::Split => "each end on a processor of its own",
            Pin::Free => "not pinned",
        }
    }
}

/// A figure that a load gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) key: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) less_is_better: bool,
}

const fn more(key: &'static str, unit: &'static str) -> Measure {
    Measure { key, unit, less_is_better: false }
}

const fn less(key: &'static str, unit: &'static str) -> Measure {
    Measure { key, unit, less_is_better: true }
}

const RATE: &[Measure] = &[more("rate", "messages/s")];
const CONNECTIONS: &[Measure] = &[more("rate", "connections/s")];
const BULK: &[Measure] = &[more("rate", "MB/s")];
const DATAGRAMS: &[Measure] = &[more("rate", "datagrams/s")];
const REQUESTS: &[Measure] = &[more("rate", "requests/s"), less("cost", "server us / request")];
const ANSWERS: &[Measure] = &[more("rate", "answers/s"), less("cost", "server us / answer")];
// The rate is given, so the cost ranks.
const DELIVERIES: &[Measure] = &[less("cost", "server us / delivery"), more("rate", "deliveries/s")];
const MEMORY: &[Measure] = &[
    less("sum", "bytes a connection"),
    less("resident", "bytes resident"),
    less("tables", "bytes of page tables"),
    less("stack", "bytes of kernel stack"),
    less("threads_left", "threads after all closed"),
];
// On a machine that has other work, many threads get more of it than few, so the cost ranks and not the rate.
const SCALE: &[Measure] = &[
    less("cost", "server us / message"),
    more("rate", "messages/s"),
    less("switches", "switches / message"),
    less("threads", "threads"),
    less("sum", "bytes a connection"),
    less("records", "bytes of the kernel's records, both ends"),
    less("mappings", "mappings a connection"),
    less("paced-cost", "10,000/s: server us / message"),
    less("paced-switches", "10,000/s: switches / message"),
    less("paced-p50", "10,000/s: us, median"),
    less("paced-p99", "10,000/s: us, 99 %"),
    less("each-cost", "1/s each: server us / message"),
    less("each-switches", "1/s each: switches / message"),
    less("each-p50", "1/s each: us, median"),
    less("each-p99", "1/s each: us, 99 %"),
];

const fn case(
    name: &'static str,
    title: &'static str,
    serve: Serve,
    load: Load,
    pin: Pin,
    measures: &'static [Measure],
) -> Case {
    Case { name, title, serve, load, pin, measures, fresh: false }
}

const fn fresh(case: Case) -> Case {
    Case { fresh: true, ..case }
}

const fn scale(name: &'static str, title: &'static str, connections: usize) -> Case {
    fresh(case(name, title, Serve::Many, Load::Scale { connections }, Pin::Free, SCALE))
}

pub(crate) const CASES: &[Case] = &[
    case(
        "echo-64-1",
        "Echo of 64 B, 1 connection",
        Serve::Echo,
        Load::Echo { connections: 1, size: 64 },
        Pin::Same,
        RATE,
    ),
    case(
        "echo-64-1-split",
        "Echo of 64 B, 1 connection, across processors",
        Serve::Echo,
        Load::Echo { connections: 1, size: 64 },
        Pin::Split,
        RATE,
    ),
    case(
        "echo-64-64",
        "Echo of 64 B, 64 connections, clients on threads",
        Serve::Echo,
        Load::Echo { connections: 64, size: 64 },
        Pin::Free,
        RATE,
    ),
    case(
        "echo-64-64-polled",
        "Echo of 64 B, 64 connections, one client that polls",
        Serve::Echo,
        Load::EchoPolled { connections: 64, size: 64 },
        Pin::Free,
        RATE,
    ),
    case(
        "echo-64-256-polled",
        "Echo of 64 B, 256 connections, one client that polls",
        Serve::Echo,
        Load::EchoPolled { connections: 256, size: 64 },
        Pin::Free,
        RATE,
    ),
    case(
        "echo-64k",
        "Echo of 64 KiB, 1 connection",
        Serve::Echo,
        Load::Echo { connections: 1, size: 65536 },
        Pin::Same,
        RATE,
    ),
    case("bulk-1", "Bulk echo, 1 connection", Serve::Echo, Load::Bulk { connections: 1 }, Pin::Split, BULK),
    case("bulk-8", "Bulk echo, 8 connections", Serve::Echo, Load::Bulk { connections: 8 }, Pin::Free, BULK),
    case(
        "churn-1",
        "Connect, 64 B, echo, close: 1 client",
        Serve::Echo,
        Load::Churn { clients: 1 },
        Pin::Same,
        CONNECTIONS,
    ),
    case(
        "churn-16",
        "Connect, 64 B, echo, close: 16 clients",
        Serve::Echo,
        Load::Churn { clients: 16 },
        Pin::Free,
        CONNECTIONS,
    ),
    fresh(case(
        "burst",
        "Burst of 3,000 connects",
        Serve::Echo,
        Load::Burst { connects: 3000, at_once: 100 },
        Pin::Free,
        &[less("seconds", "s")],
    )),
    case(
        "refusals",
        "Refusals at the limit, beside admitted traffic",
        Serve::Limit,
        Load::Refusals { clients: 4 },
        Pin::Free,
        &[more("rate", "refusals/s"), less("p50", "us admitted, median"), less("p99", "us admitted, 99 %")],
    ),
    fresh(case("idle", "10,000 idle connections", Serve::Echo, Load::Idle { connections: 10_000 }, Pin::Free, MEMORY)),
    scale("scale-100", "Scale: 100 connections", 100),
    scale("scale-300", "Scale: 300 connections", 300),
    scale("scale-1000", "Scale: 1,000 connections", 1000),
    scale("scale-3000", "Scale: 3,000 connections", 3000),
    scale("scale-10000", "Scale: 10,000 connections", 10_000),
    scale("scale-15000", "Scale: 15,000 connections", 15_000),
    case("udp", "UDP ping-pong of 64 B", Serve::Udp, Load::Window { clients: 1, window: 1 }, Pin::Same, DATAGRAMS),
    case(
        "udp-window",
        "UDP, 4 clients with 32 datagrams each under way",
        Serve::Udp,
        Load::Window { clients: 4, window: 32 },
        Pin::Split,
        DATAGRAMS,
    ),
    fresh(case(
        "udp-flood",
        "UDP flood of 200,000 datagrams a second",
        Serve::Sink,
        Load::Flood { rate: 200_000 },
        Pin::Free,
        &[less("loss", "% lost"), more("sent", "datagrams/s sent")],
    )),
    case("proxy-1", "TCP proxy, 1 connection", Serve::Proxy, Load::Through { connections: 1 }, Pin::Split, BULK),
    case("proxy-8", "TCP proxy, 8 connections", Serve::Proxy, Load::Through { connections: 8 }, Pin::Free, BULK),
    case(
        "redis-1",
        "Redis: INCR by redis-benchmark, 50 clients",
        Serve::Redis,
        Load::RedisBenchmark { clients: 50, pipeline: 1 },
        Pin::Free,
        REQUESTS,
    ),
    case(
        "redis-16",
        "Redis: INCR by redis-benchmark, 50 clients with 16 requests each under way",
        Serve::Redis,
        Load::RedisBenchmark { clients: 50, pipeline: 16 },
        Pin::Free,
        REQUESTS,
    ),
    case(
        "fan-out-200",
        "Fan-out: 500 messages of 1 KiB a second to 200 subscribers",
        Serve::Publish,
        Load::FanOut { subscribers: 200, rate: 500 },
        Pin::Free,
        DELIVERIES,
    ),
    case(
        "fan-out-50",
        "Fan-out: 5,000 messages of 1 KiB a second to 50 subscribers",
        Serve::Publish,
        Load::FanOut { subscribers: 50, rate: 5000 },
        Pin::Free,
        DELIVERIES,
    ),
    case(
        "http-4",
        "HTTP: a small page by wrk, 4 connections",
        Serve::Http,
        Load::Wrk { connections: 4 },
        Pin::Free,
        REQUESTS,
    ),
    case(
        "http-64",
        "HTTP: a small page by wrk, 64 connections",
        Serve::Http,
        Load::Wrk { connections: 64 },
        Pin::Free,
        REQUESTS,
    ),
    case("dns", "DNS answers by dnsperf, 4 clients", Serve::Dns, Load::Dnsperf { clients: 4 }, Pin::Split, ANSWERS),
    case(
        "ways-tcp",
        "The three ways to use landline: echo of 64 B, 1 connection",
        Serve::Echo,
        Load::Echo { connections: 1, size: 64 },
        Pin::Same,
        RATE,
    ),
    case(
        "ways-tcp-64",
        "The three ways to use landline: echo of 64 B, 64 connections",
        Serve::Echo,
        Load::Echo { connections: 64, size: 64 },
        Pin::Free,
        RATE,
    ),
    case(
        "ways-udp",
        "The three ways to use landline: UDP ping-pong of 64 B",
        Serve::Udp,
        Load::Window { clients: 1, window: 1 },
        Pin::Same,
        DATAGRAMS,
    ),
];

impl Serve {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Serve::Echo => "echo",
            Serve::Limit => "limit",
            Serve::Many => "many",
            Serve::Udp => "udp",
            Serve::Sink => "sink",
            Serve::Proxy => "proxy",
            Serve::Redis => "redis",
            Serve::Publish => "publish",
            Serve::Http => "http",
            Serve::Dns => "dns",
        }
    }
}

impl Case {
    pub(crate) fn by_name(name: &str) -> Option<&'static Case> {
        CASES.iter().find(|case| case.name == name)
    }

    /// Whether clients that kept so many processors busy were as fast as they can be: then the server may be faster
    /// than it looks.
    pub(crate) fn is_limited_by_load(&self, busy: f64) -> bool {
        busy >= 0.9 * self.load_width()
    }

    /// Whether it compares the ways to use landline rather than servers.
    pub(crate) fn is_about_ways(&self) -> bool {
        self.name.starts_with("ways-")
    }

    /// Whether it is a point of the curve of scale.
    pub(crate) fn is_of_scale(&self) -> bool {
        matches!(self.load, Load::Scale { .. })
    }

    /// Whether its servers speak a protocol, and its clients are programs of others.
    pub(crate) fn is_of_a_protocol(&self) -> bool {
        matches!(self.serve, Serve::Redis | Serve::Publish | Serve::Http | Serve::Dns)
    }

    /// Whether each of its connections, and with it a server's threads, lives through all that is measured.
    pub(crate) fn keeps_connections(&self) -> bool {
        !matches!(self.load, Load::Churn { .. } | Load::Burst { .. } | Load::Refusals { .. } | Load::Wrk { .. })
    }

    /// On how many processors at most the load can run, by its threads.
    fn load_width(&self) -> f64 {
        let threads = match self.load {
            Load::Echo { connections, .. } => connections,
            Load::EchoPolled { .. } | Load::Scale { .. } | Load::Idle { .. } | Load::Flood { .. } => 1,
            Load::RedisBenchmark { .. } | Load::Dnsperf { .. } => 1,
            Load::Wrk { .. } | Load::FanOut { .. } => 2,
            Load::Bulk { connections } | Load::Through { connections } => 2 * connections,
            Load::Churn { clients } | Load::Window { clients, .. } => clients,
            Load::Burst { at_once, .. } => at_once,
            Load::Refusals { clients } => clients + LIMIT,
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        threads.min(if self.pin == Pin::Free { processors } else { 1 }) as f64
    }
}
