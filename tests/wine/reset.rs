//! Wine tells a read of a peer's reset as its orderly end: the read gives 0 bytes, where Windows fails by WSAECONNRESET.
//!
//! A socket that is closed with input unread resets its peer, on Windows and Linux alike.
//!
//! - `accept::reset_and_destroy_resets_the_peer_though_a_call_is_blocked`
//! - `channel::a_reset_is_told_before_the_close`
//! - `available::a_reset_is_no_clean_end_for_any_thread`
//! - `data::relay_resets_the_other_side_when_one_direction_fails`
//! - `destroy::a_closed_server_resets_its_connections_and_then_is_over`
//! - `destroy::a_reset_by_the_server_is_an_error_for_the_client`
//! - `destroy::a_reset_is_an_error_for_the_peer_and_none_for_us`
//! - `destroy::a_reset_socket_can_be_destroyed_and_says_so_to_later_calls`
//! - `destroy::a_reset_wakes_our_reader_and_is_still_a_reset`
//! - `destroy::every_read_after_a_reset_says_so_again`
//! - `events::destroy_with_input_unread_is_a_reset_for_the_peer`
//! - `ends_from_inside::each_call_returns_in_the_report_of_a_failure`
//! - `ends_from_inside::each_call_returns_in_the_report_of_an_end`
//! - `ends_from_inside::each_call_returns_in_the_report_of_the_last_end`
//! - `events::each_returns_what_ended_the_connection`
//! - `race::a_reset_at_once_is_told_as_one`
//! - `relay::a_half_that_fails_resets_the_peer`
//! - `relay::a_shutdown_that_cuts_a_relay_resets_the_peer`
//! - `relay::what_ends_a_relay_is_told`
//! - `overload::who_is_queued_when_the_server_closes_gets_an_answer_if_asked_for`
//! - `server::settings_go_by_the_socket_and_not_by_its_header`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

fn main() -> ExitCode {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    let mut as_reset = true;
    for is_blocked in [false, true] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).expect("it listens");
        let (server, _) = listener.accept().expect("a client has come");
        client.write_all(b"unread").expect("it is connected");
        sleep(Duration::from_millis(200));
        let closing = std::thread::spawn(move || {
            if is_blocked {
                sleep(Duration::from_millis(300));
            }
            drop(server);
        });
        if !is_blocked {
            sleep(Duration::from_millis(300));
        }
        let read = client.read(&mut [0]);
        closing.join().unwrap();
        println!("a read {} a reset gives {read:?}", if is_blocked { "during" } else { "behind" });
        as_reset &= read.is_err();
    }
    if as_reset { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
