//! The text of an address or an endpoint: it is read, or it is an error that names it, and what was read is
//! written so that it is read as the same again.
#![no_main]

use landline::net::SocketOptions;
use landline::{Address, Cancel, Endpoint};
use libfuzzer_sys::fuzz_target;

/// Whether the text is an endpoint. A connect that was cancelled before it began does nothing else than look at it.
fn check(text: &str) -> Result<(), landline::Error> {
    let cancelled = Cancel::new();
    cancelled.cancel();
    let error = SocketOptions::new().cancel(&cancelled).connect(text).expect_err("it is cancelled");
    let error = landline::Error::from(error);
    if error.code() == "ABORT_ERR" { Ok(()) } else { Err(error) }
}

fuzz_target!(|text: &str| {
    let address = text.parse::<Address>();
    match &address {
        Ok(address) => assert_eq!(address.to_string().parse().ok().as_ref(), Some(address), "{text:?}"),
        Err(error) => {
            assert_eq!(landline::Error::of(error).map(landline::Error::code), Some("ERR_INVALID_ADDRESS"));
            assert!(error.to_string().ends_with(text), "the error names the text: {error}");
        }
    }

    let shown = Endpoint::from(text).to_string();
    match check(text) {
        Ok(()) => {
            check(&shown).expect("what is shown is an endpoint too");
            assert_eq!(Endpoint::from(shown.as_str()).to_string(), shown, "and the same one");
        }
        Err(error) => {
            assert_eq!(error.to_string(), shown, "a wrong endpoint shows its error");
            // A port is named by itself, a host as Rust quotes it.
            let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
            let named = match error.code() {
                "ERR_SOCKET_BAD_PORT" => port.to_owned(),
                _ if shown.starts_with("The host") => format!("{host:?}").trim_matches('"').to_owned(),
                _ => text.to_owned(),
            };
            let named = named.trim_start_matches('[').trim_end_matches(']');
            assert!(shown.contains(named), "the error names what is wrong with {text:?}: {shown}");
        }
    }
});
