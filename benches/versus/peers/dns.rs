//! A name server that knows one address, for every name: over landline and over std, with the same receive buffer.

use std::io;
use std::net::UdpSocket;

use landline::dgram::{Socket, SocketEvent};
use socket2::SockRef;

const HEADER: usize = 12;
/// The name of the question, type A, class IN, 300 s, an address.
const RECORD: [u8; 16] = [0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 127, 0, 0, 1];

/// Puts the answer in place of what was there. None if it is no question.
fn answer<'a>(query: &[u8], answer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let (header, rest) = query.split_at_checked(HEADER)?;
    let is_question = header[2] & 0xf8 == 0 && header[4..6] == [0, 1];
    let mut name = 0;
    while is_question && *rest.get(name)? > 0 {
        name += 1 + usize::from(rest[name]);
    }
    let question = rest.get(..name + 5)?;
    let has_address = is_question && question[name..] == [0, 0, 1, 0, 1];
    answer.clear();
    answer.extend(&header[..2]);
    // An answer with authority; what was asked for is repeated, as is the wish for recursion.
    answer.extend([0x84 | header[2] & 1, 0, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend(question);
    if has_address {
        answer.extend(RECORD);
    }
    is_question.then_some(answer)
}

pub(crate) fn landline() -> io::Result<()> {
    let socket = Socket::bind("127.0.0.1:0")?;
    println!("listening on {}", socket.address().port());
    let mut room = Vec::new();
    socket.each(|socket, event| match event {
        SocketEvent::Message(query, from) => match answer(query, &mut room) {
            Some(answer) => Ok(socket.send_to(answer, from).map(drop)?),
            None => Ok(()),
        },
        _ => Ok(()),
    })
}

pub(crate) fn std() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
    println!("listening on {}", socket.local_addr()?.port());
    let (mut buffer, mut room) = (vec![0; 65_535], Vec::new());
    loop {
        let (size, from) = socket.recv_from(&mut buffer)?;
        if let Some(answer) = answer(&buffer[..size], &mut room) {
            socket.send_to(answer, from)?;
        }
    }
}
