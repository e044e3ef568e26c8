//! A named receiver hears of an inference what it needs for the output, and nothing else: no seed
//! of the input's mask.

use amicus_client::inference::{Awaiting, PendingRequest};
use amicus_field::{Limbs, OperatingSystem};
use amicus_node::Peer;
use amicus_protocol::control::{self, Invitation, TicketGrant};
use amicus_protocol::wire::Kind;
use amicus_testkit::PATIENCE;
use amicus_testkit::run::Setup;
use amicus_testkit::user::User;
use amicus_testkit::zoo;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_named_receiver_gets_the_binding_the_outputs_and_the_release_alone() {
    for n in [2, 3] {
        let mut run = Setup::new(zoo::mlp(Limbs::TWO), n).start();
        let plan = Arc::clone(&run.net.plan);
        let parties: Vec<Peer> = run.parties.all().map(Peer::Party).collect();
        let [mut alice, mut bob, mut carol] = ["2", "3", "4"]
            .map(|name| User::connect(&mut run.cluster, run.parties, &Peer::Client(name.into())));
        let (pending, request) =
            PendingRequest::new(Arc::clone(&plan), run.parties, 1, vec!["client 3".into()]).unwrap();
        alice.send(&Peer::Helper, &request);
        let ticket = alice.expect(&Peer::Helper, &[Kind::Ticket]);
        let grant: TicketGrant = control::decode(ticket.body()).unwrap();
        assert_eq!(grant.seeds.len(), 32 * n);

        let invite = bob.expect(&Peer::Helper, &[Kind::Invite]);
        let invitation: Invitation = control::decode(invite.body()).unwrap();
        assert_eq!(invitation.binding, grant.binding);
        assert_eq!(invitation.keys.len(), 32 * n);
        assert!(invitation.keys.chunks(32).zip(grant.keys.chunks(32)).all(|(bobs, alices)| bobs != alices));
        let (mut awaiting, key) =
            Awaiting::invited(&plan, run.parties, &invite.header, invite.body(), &mut OperatingSystem)
                .unwrap();
        let inputs = run.next_inputs();
        let admission = pending.granted(&ticket.header, ticket.body(), &mut OperatingSystem).unwrap();
        let (awaiting_of_alice, messages) = admission.mask(&inputs).unwrap();
        for party in &parties {
            messages.iter().for_each(|m| alice.send_to(party, m));
            bob.send_to(party, &key);
        }
        run.assert_right(&inputs, &alice.result(awaiting_of_alice).unwrap());

        let mut heard = Vec::new();
        // The outputs and the release, and then whatever else comes.
        while let Some(message) =
            bob.heard(if heard.len() <= n { PATIENCE } else { Duration::from_millis(200) })
        {
            for seed in grant.seeds.chunks(32).chain(grant.keys.chunks(32)) {
                assert!(
                    !message.body().windows(32).any(|w| w == seed),
                    "a seed in {:?}",
                    message.header.kind
                );
            }
            match (&message.peer, message.header.kind) {
                (Peer::Party(party), Kind::Output) => awaiting.output(*party, message.body().to_vec()),
                (Peer::Helper, Kind::Release) => awaiting.release(message.body().to_vec()),
                (peer, kind) => panic!("{kind:?} of {peer}"),
            }
            heard.push((message.peer, message.header.kind as u8));
        }
        heard.sort();
        let mut expected: Vec<(Peer, u8)> = parties.iter().map(|p| (p.clone(), Kind::Output as u8)).collect();
        expected.push((Peer::Helper, Kind::Release as u8));
        expected.sort();
        assert_eq!(heard, expected);
        run.assert_right(&inputs, &awaiting.result().unwrap().unwrap());
        // Somebody without a part in it hears nothing at all.
        assert!(carol.heard(Duration::from_millis(100)).is_none());
        run.finish();
    }
}
