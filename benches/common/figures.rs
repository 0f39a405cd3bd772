//! What came out, and what is made of it: medians, and ratios of what was measured in the same round.

/// One number of one server in one round of one case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) case: String,
    pub(crate) server: String,
    pub(crate) round: usize,
    pub(crate) key: String,
    pub(crate) value: f64,
}

/// A median with the least and the most it was taken of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, least, most })
    }
}

impl Figure {
    /// A line of it, without the end, in columns parted by tabs.
    pub(crate) fn to_line(&self) -> String {
        format!("{}\t{}\t{}\t{}\t{}", self.case, self.server, self.round, self.key, self.value)
    }

    pub(crate) fn from_line(line: &str) -> Option<Figure> {
        let mut parts = line.split('\t').map(str::to_owned);
        let figure = Figure {
            case: parts.next()?,
            server: parts.next()?,
            round: parts.next()?.parse().ok()?,
            key: parts.next()?,
            value: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(figure)
    }
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures(pub(crate) Vec<Figure>);

impl Figures {
    fn values<'a>(&'a self, case: &'a str, server: &'a str, key: &'a str) -> impl Iterator<Item = (usize, f64)> + 'a {
        let is_it = move |f: &&Figure| f.case == case && f.server == server && f.key == key;
        self.0.iter().filter(is_it).map(|f| (f.round, f.value))
    }

    pub(crate) fn spread(&self, case: &str, server: &str, key: &str) -> Option<Spread> {
        Spread::of(self.values(case, server, key).map(|(_, value)| value).collect())
    }

    /// Of one server to another, of the same round.
    pub(crate) fn ratio(&self, case: &str, server: &str, base: &str, key: &str) -> Option<Spread> {
        self.quotient(case, (server, key), (base, key))
    }

    /// One figure divided by another of the same round.
    pub(crate) fn quotient(&self, case: &str, (server, key): (&str, &str), by: (&str, &str)) -> Option<Spread> {
        let bases: Vec<_> = self.values(case, by.0, by.1).collect();
        let of = |round| bases.iter().find(|(other, _)| *other == round).map(|(_, value)| *value);
        let ratios = self.values(case, server, key).filter_map(|(round, value)| {
            let base = of(round)?;
            // Nothing of nothing is as much.
            Some(if value == base { 1.0 } else { value / base })
        });
        Spread::of(ratios.collect())
    }

    /// The servers of a case, in the order they came in.
    pub(crate) fn servers(&self, case: &str) -> Vec<&str> {
        let mut servers: Vec<&str> = Vec::new();
        for figure in self.0.iter().filter(|f| f.case == case) {
            if !servers.contains(&figure.server.as_str()) {
                servers.push(&figure.server);
            }
        }
        servers
    }
}

/// A number with about three digits that count.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        let digits = format!("{value:.0}");
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
        let mut text = String::new();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        format!("{sign}{text}")
    } else if size >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}
