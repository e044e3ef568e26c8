//! Peers that a node hears of and never meets.

use amicus_node::Peer;
use amicus_node::inbox::Inbox;
use std::time::Duration;

/// Names of receivers come from clients; nobody is remembered who never had a link.
#[test]
fn whoever_has_no_link_is_not_written_to() {
    let mut inbox = Inbox::new(1 << 16, Duration::ZERO).expect("an inbox");
    for name in 0..100 {
        let nobody = Peer::Client(name.to_string());
        assert!(inbox.send_raw(&nobody, &[b"x"]).is_err());
        inbox.close(&nobody);
    }
    assert_eq!(inbox.known(), 0);
}
