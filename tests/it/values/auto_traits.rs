//! Which types may go to other threads and across a caught panic: the traits that a private field decides. To lose one
//! breaks callers, and to gain one is a promise; the list of the public API has none of them.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::support::pages::{read, root};

/// The answer for a type that has no answer of its own.
trait Otherwise {
    const ANSWER: bool = false;
}

impl<T> Otherwise for T {}

/// A question about a type: where it has the trait, the answer is `true`, since an inherent constant hides the other
/// one.
macro_rules! question {
    ($($question:ident: $trait:path;)*) => {$(
        struct $question<T>(PhantomData<T>);

        impl<T: $trait> $question<T> {
            const ANSWER: bool = true;
        }
    )*};
}

question! {
    IsSend: Send;
    IsSync: Sync;
    IsUnpin: Unpin;
    IsUnwindSafe: UnwindSafe;
    IsRefUnwindSafe: RefUnwindSafe;
}

const YES: bool = true;
const NO: bool = false;

/// Compares each cell with the compiler's answer, when the tests are compiled.
macro_rules! table {
    ($($type:ty: $send:ident $sync:ident $unpin:ident $unwind:ident $ref_unwind:ident,)*) => {
        const TYPES: &[&str] = &[$(stringify!($type)),*];
        $(
            table! {
                $type: IsSend $send, IsSync $sync, IsUnpin $unpin, IsUnwindSafe $unwind, IsRefUnwindSafe $ref_unwind
            }
        )*
    };
    ($type:ty: $($question:ident $cell:ident),*) => {$(
        const _: () = assert!(
            <$question<$type>>::ANSWER == $cell,
            concat!("for ", stringify!($type), ", ", stringify!($question), " is not ", stringify!($cell))
        );
    )*};
}

// Not unwind-safe is what holds a callback of the caller's, a channel or a thread's handle, or a socket, which has
// some.
table! {
    //                                       Send Sync Unpin UnwindSafe RefUnwindSafe
    landline::Address:                       YES  YES  YES   YES        YES,
    landline::BlockList:                     YES  YES  YES   YES        YES,
    landline::Cancel:                        YES  YES  YES   YES        YES,
    landline::ConnectionId:                  YES  YES  YES   YES        YES,
    landline::ConnectionInfo:                YES  YES  YES   YES        YES,
    landline::Decoder:                       YES  YES  YES   YES        YES,
    landline::Encoding:                      YES  YES  YES   YES        YES,
    landline::Endpoint:                      YES  YES  YES   YES        YES,
    landline::Error:                         YES  YES  YES   YES        YES,
    landline::Events<()>:                    YES  YES  YES   YES        YES,
    landline::Family:                        YES  YES  YES   YES        YES,
    landline::Limit:                         YES  YES  YES   YES        YES,
    landline::Outcome:                       YES  YES  YES   YES        YES,
    landline::RefusedBy:                     YES  YES  YES   YES        YES,
    landline::Report:                        YES  YES  YES   YES        YES,
    landline::Running:                       YES  YES  YES   YES        YES,
    landline::Slot:                          YES  YES  YES   YES        YES,
    landline::net::KeepAlive:                YES  YES  YES   YES        YES,
    landline::net::Buffered:                 YES  YES  YES   YES        YES,
    landline::net::Message:                  YES  YES  YES   YES        YES,
    landline::net::Outbox:                   YES  YES  YES   YES        YES,
    landline::net::ReadyState:               YES  YES  YES   YES        YES,
    landline::net::Refused:                  YES  YES  YES   YES        YES,
    landline::net::Server:                   YES  YES  YES   YES        YES,
    landline::net::ServerCallbacks<'static>: YES  NO   YES   NO         NO,
    landline::net::ServerEvent:              YES  YES  YES   YES        YES,
    landline::net::ServerOptions:            YES  YES  YES   YES        YES,
    landline::net::ShutdownOnDrop:           YES  YES  YES   YES        YES,
    landline::net::ShutdownReport:           YES  YES  YES   YES        YES,
    landline::net::Socket:                   YES  YES  YES   YES        YES,
    landline::net::SocketEvent<()>:          YES  YES  YES   YES        YES,
    landline::net::SocketOptions:            YES  YES  YES   YES        YES,
    landline::net::Stats:                    YES  YES  YES   YES        YES,
    landline::net::SendError:             YES  YES  YES   YES        YES,
    landline::net::WhenFull:                 YES  YES  YES   YES        YES,
    landline::dgram::Interface:              YES  YES  YES   YES        YES,
    landline::dgram::RemoteInfo:             YES  YES  YES   YES        YES,
    landline::dgram::Socket:                 YES  YES  YES   YES        YES,
    landline::dgram::SocketEvent<()>:        YES  YES  YES   YES        YES,
    landline::dgram::SocketOptions:          YES  YES  YES   YES        YES,
}

/// Ensures that the table has every public type.
#[test]
fn every_public_type_is_in_the_table() {
    let api = read(&root().join("docs/public-api.txt"));
    let types = api.lines().filter_map(|line| {
        let item = line.strip_prefix("#[non_exhaustive] ").unwrap_or(line).strip_prefix("pub ")?;
        item.strip_prefix("struct ").or(item.strip_prefix("enum "))
    });
    let bare = |name: &str| name.split(['<', '(', ' ']).next().unwrap_or_default().to_owned();
    let types: BTreeSet<_> = types.map(bare).collect();
    let table: BTreeSet<_> = TYPES.iter().map(|name| bare(name)).collect();
    assert!(types.len() > 30, "the list is read: {}", types.len());
    let differ: Vec<_> = table.symmetric_difference(&types).collect();
    assert_eq!(differ, Vec::<&String>::new(), "each public type has a row in this file, and no other");
}
