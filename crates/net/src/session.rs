//! rustls without sockets: ciphertext in and out of our own buffers, plaintext to the caller.
//!
//! The unbuffered interface of rustls is used because the buffered one reads at most 4 KiB per
//! system call and keeps its own copy of everything; here a megabyte is a few large reads, and
//! plaintext goes from a record into its frame.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{ClientConfig, Error, ServerConfig};

use crate::buffer::Buffer;
use crate::error::Failure;
use crate::frame::{Assembler, Inbox};

/// The plaintext of one full TLS record.
pub(crate) const RECORD: usize = 16 << 10;
/// What TLS 1.3 adds to a record: header, content type, AEAD tag.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;

/// One end of a TLS connection.
pub(crate) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// Why [`Session::advance`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing more to do until more ciphertext arrives or leaves.
    Idle,
    /// The peer said goodbye; it will send nothing more.
    PeerClosed,
}

/// What a session works on: buffers of ciphertext on one side, frames on the other.
pub(crate) struct Desk<'a> {
    pub(crate) incoming: &'a mut Buffer,
    pub(crate) outgoing: &'a mut Buffer,
    pub(crate) assembler: &'a mut Assembler,
    pub(crate) inbox: &'a mut Inbox,
}

enum Step {
    Again,
    Stop(Stop),
}

impl Session {
    pub(crate) fn client(config: Arc<ClientConfig>) -> Result<Self, Failure> {
        // The name is never sent (no SNI) nor checked (pinned certificates); rustls wants one.
        let name = ServerName::try_from("amicus").map_err(|_| Error::General("server name".into()))?;
        Ok(Self::Client(UnbufferedClientConnection::new(config, name)?))
    }

    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, Failure> {
        Ok(Self::Server(UnbufferedServerConnection::new(config)?))
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Self::Client(session) => session.is_handshaking(),
            Self::Server(session) => session.is_handshaking(),
        }
    }

    /// The certificate the peer proved to own; empty until then.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match self {
            Self::Client(session) => session.peer_certificates(),
            Self::Server(session) => session.peer_certificates(),
        }
    }

    /// Processes all complete incoming records, then encrypts from `plaintext` as many bytes as fit
    /// into the outgoing buffer (never during the handshake); what was taken is cut from the front
    /// of `plaintext`.
    pub(crate) fn advance(&mut self, desk: &mut Desk<'_>, plaintext: &mut &[u8]) -> Result<Stop, Failure> {
        loop {
            // rustls must always see the incoming bytes it has not discarded yet: a handshake
            // message can span several records, of which it remembers positions.
            let Desk { incoming, outgoing, assembler, inbox } = desk;
            let (discard, step) = match self {
                Self::Client(session) => {
                    let UnbufferedStatus { discard, state } =
                        session.process_tls_records(incoming.filled_mut());
                    (discard, handle(state, outgoing, assembler, inbox, plaintext))
                }
                Self::Server(session) => {
                    let UnbufferedStatus { discard, state } =
                        session.process_tls_records(incoming.filled_mut());
                    (discard, handle(state, outgoing, assembler, inbox, plaintext))
                }
            };
            // Records are decrypted in place.
            incoming.consume_and_wipe(discard);
            match step? {
                Step::Again => {}
                Step::Stop(stop) => return Ok(stop),
            }
        }
    }

    /// Puts a goodbye (`close_notify`) into the outgoing buffer; after an error of this connection
    /// (`failed`) the alert about it instead. Data that still arrives is thrown away.
    pub(crate) fn say_goodbye(&mut self, failed: bool, incoming: &mut Buffer, outgoing: &mut Buffer) {
        loop {
            let (discard, farewell) = match self {
                Self::Client(session) => {
                    goodbye(session.process_tls_records(incoming.filled_mut()), outgoing)
                }
                Self::Server(session) => {
                    goodbye(session.process_tls_records(incoming.filled_mut()), outgoing)
                }
            };
            incoming.consume_and_wipe(discard);
            match farewell {
                Farewell::NotYet => {}
                // After an error there is one alert, and rustls must not be asked again: it would
                // look at the record it just refused once more.
                Farewell::Queued if !failed => {}
                Farewell::Queued | Farewell::Done => return,
            }
        }
    }
}

/// Acts on one state of rustls' machine.
fn handle<D>(
    state: Result<ConnectionState<'_, '_, D>, Error>,
    outgoing: &mut Buffer,
    assembler: &mut Assembler,
    inbox: &mut Inbox,
    plaintext: &mut &[u8],
) -> Result<Step, Failure> {
    match state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                assembler.push(record?.payload, &mut |frame| inbox.push(frame))?;
            }
            Ok(Step::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            // Handshake messages and alerts: few and small, so the buffer may grow for them.
            outgoing.reserve(RECORD);
            loop {
                match data.encode(outgoing.free_mut()) {
                    Ok(written) => {
                        outgoing.advance(written);
                        return Ok(Step::Again);
                    }
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        outgoing.reserve(required_size);
                    }
                    Err(error) => return Err(Error::General(error.to_string()).into()),
                }
            }
        }
        ConnectionState::TransmitTlsData(data) => {
            // What was encoded is in our buffer, in order before anything encrypted later.
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let take = plaintext.len().min(RECORD);
            if take == 0 {
                return Ok(Step::Stop(Stop::Idle));
            }
            match traffic.encrypt(&plaintext[..take], outgoing.free_mut()) {
                Ok(written) => {
                    outgoing.advance(written);
                    *plaintext = &plaintext[take..];
                    // The caller writes to the socket after every batch; stay here while there is
                    // room.
                    let done = plaintext.is_empty() || outgoing.free() < RECORD + RECORD_OVERHEAD;
                    Ok(if done { Step::Stop(Stop::Idle) } else { Step::Again })
                }
                Err(EncryptError::InsufficientSize(_)) => Ok(Step::Stop(Stop::Idle)),
                Err(error) => Err(Error::General(error.to_string()).into()),
            }
        }
        ConnectionState::BlockedHandshake => Ok(Step::Stop(Stop::Idle)),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Stop(Stop::PeerClosed)),
        // Early data is switched off on both sides.
        _ => Err(Error::General("unexpected TLS state".into()).into()),
    }
}

enum Farewell {
    NotYet,
    Queued,
    Done,
}

/// One step towards having queued everything that ends the connection, and how many bytes to
/// discard.
fn goodbye<D>(status: UnbufferedStatus<'_, '_, D>, outgoing: &mut Buffer) -> (usize, Farewell) {
    outgoing.reserve(RECORD);
    let farewell = match status.state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => match data.encode(outgoing.free_mut()) {
            Ok(written) => {
                outgoing.advance(written);
                Farewell::Queued
            }
            Err(_) => Farewell::Done,
        },
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Farewell::NotYet
        }
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while traffic.next_record().is_some() {}
            Farewell::NotYet
        }
        Ok(ConnectionState::PeerClosed) => Farewell::NotYet,
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            if let Ok(written) = traffic.queue_close_notify(outgoing.free_mut()) {
                outgoing.advance(written);
            }
            Farewell::Done
        }
        _ => Farewell::Done,
    };
    (status.discard, farewell)
}
