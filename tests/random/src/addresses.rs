//! Addresses and endpoints.

use std::net::{SocketAddr, SocketAddrV6};

use landline::net::SocketOptions;
use landline::{Address, Cancel, Endpoint, Error};
use proptest::prelude::*;

use crate::{inputs, ip};

fn socket_addr() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (ip(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<u128>(), any::<u16>(), any::<u32>()).prop_map(|(ip, port, scope)| SocketAddrV6::new(
            ip.into(),
            port,
            0,
            scope
        )
        .into()),
    ]
}

/// Texts that are addresses, nearly addresses, or anything.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*",
        r"[\[\]0-9a-f:.%]{0,24}",
        r"(\[?[0-9a-z.:%]{0,12}\]?)?:?[0-9]{0,6}",
        socket_addr().prop_map(|at| at.to_string()),
        (socket_addr(), any::<prop::sample::Index>(), any::<char>()).prop_map(|(at, index, c)| {
            let mut chars: Vec<char> = at.to_string().chars().collect();
            let at = index.index(chars.len());
            chars[at] = c;
            chars.into_iter().collect()
        }),
    ]
}

/// What a connect says of an endpoint before it does anything: it was cancelled before it began.
fn check(to: impl Into<Endpoint>) -> Result<(), Error> {
    let cancelled = Cancel::new();
    cancelled.cancel();
    let error = SocketOptions::new().cancel(&cancelled).connect(to).expect_err("it is cancelled");
    let error = Error::from(error);
    if error.code() == "ABORT_ERR" { Ok(()) } else { Err(error) }
}

proptest! {
    #![proptest_config(inputs(500))]

    /// Ensures that an address is read as it is written, whichever it is.
    #[test]
    fn an_address_is_read_as_it_is_written(at in socket_addr()) {
        let address = Address::from(at);
        let again: Address = address.to_string().parse().expect("what it writes is an address");
        prop_assert_eq!(&again, &address, "the same one");
        prop_assert_eq!(address.ip(), Some(at.ip().to_canonical()), "in its one form");
        prop_assert_eq!(address.port(), at.port(), "with its port");
    }

    /// Ensures that any text is an address, or an error that names the text.
    #[test]
    fn a_text_is_an_address_or_an_error_that_names_it(text in text()) {
        match text.parse::<Address>() {
            Ok(address) => prop_assert_eq!(address.to_string().parse::<Address>().ok(), Some(address)),
            Err(error) => {
                prop_assert_eq!(Error::of(&error).map(Error::code), Some("ERR_INVALID_ADDRESS"));
                prop_assert!(error.to_string().ends_with(&text), "it names the text: {}", error);
            }
        }
    }

    /// Ensures that any text is an endpoint, which is read as it is shown, or an error that names what is wrong with
    /// it.
    #[test]
    fn a_text_is_an_endpoint_or_an_error_that_names_it(text in text()) {
        let shown = Endpoint::from(text.as_str()).to_string();
        match check(text.as_str()) {
            Ok(()) => {
                prop_assert!(check(shown.as_str()).is_ok(), "{} is an endpoint too", shown);
                prop_assert_eq!(Endpoint::from(shown.as_str()).to_string(), shown, "and the same one");
            }
            Err(error) => {
                prop_assert_eq!(error.to_string(), shown, "a wrong endpoint shows its error");
                // A port that is too large is named alone, and so is a host that is none, with its quotes.
                let (host, port) = text.rsplit_once(':').unwrap_or(("", &text));
                let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                let host = inner.filter(|inner| inner.contains(':')).unwrap_or(host);
                let named = [format!("'{text}'"), format!("Received {port}."), format!("The host {host:?}")];
                let told = error.to_string();
                prop_assert!(named.iter().any(|named| told.contains(named)), "{:?}: {}", text, told);
            }
        }
    }

    /// Ensures that a host and a port given apart are an endpoint just as the two in one text.
    #[test]
    fn a_host_and_a_port_are_the_same_apart_and_in_one_text(host in "[a-z][a-z0-9.-]{0,20}", ip in ip(), port: u16) {
        prop_assert_eq!(Endpoint::from((host.as_str(), port)).to_string(), format!("{host}:{port}"));
        let whole = format!("{host}:{port}");
        prop_assert!(check((host.as_str(), port)).is_ok(), "given apart");
        prop_assert!(check(whole).is_ok(), "given as one text");
        let (apart, at) = (Endpoint::from((ip.to_string(), port)), SocketAddr::from((ip, port)));
        prop_assert_eq!(apart.to_string(), at.to_string());
        prop_assert_eq!(Endpoint::from(at.to_string()).to_string(), at.to_string());
    }
}
