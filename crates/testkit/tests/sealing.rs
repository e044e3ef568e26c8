//! Epochs as sections of bytes: they come back as they were, and whatever else is read is refused,
//! or is what was read and nothing more.

use amicus_field::Limbs;
use amicus_protocol::control::{self, Held, OfferedEpoch};
use amicus_protocol::epoch::{HelperEpoch, PartyContext, PartyEpoch, longest_section};
use amicus_protocol::session::{Holding, Joining, SessionStart};
use amicus_protocol::{Parties, PartyId, ProtocolError};
use amicus_testkit::direct::{self, Loaded};
use amicus_testkit::nets::Net;
use amicus_testkit::random::Random;
use amicus_testkit::zoo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

type Sections = Vec<Vec<u8>>;

/// Bytes before the seeds: a mark, epoch, plan, number of parties and which one.
const HEAD: usize = 16 + 16 + 32 + 2;

fn parties() -> Parties {
    Parties::new(3).unwrap()
}

fn loaded(net: &Net) -> Loaded {
    direct::load(&net.plan, &net.layers(), parties(), None).unwrap()
}

fn sections(epoch: &PartyEpoch) -> Sections {
    let mut sections = Vec::new();
    let mut write = |section: &[u8]| {
        sections.push(section.to_vec());
        Ok::<(), Infallible>(())
    };
    epoch.seal(&mut write).unwrap();
    sections
}

fn unsealed(
    net: &Net,
    parties: Parties,
    me: PartyId,
    sections: &[Vec<u8>],
) -> Result<PartyEpoch, ProtocolError> {
    let ctx = PartyContext::new(Arc::clone(&net.plan), parties, me)?;
    let mut left: VecDeque<&Vec<u8>> = sections.iter().collect();
    let missing = || ProtocolError::Misuse("a section is missing".into());
    let mut read = || left.pop_front().map(|section| section.clone().into()).ok_or_else(missing);
    PartyEpoch::unseal(ctx, &mut read)
}

fn is_refused<T>(result: Result<T, ProtocolError>) -> bool {
    // A file is this node's own: nobody else is blamed.
    matches!(result, Err(ProtocolError::Misuse(_)))
}

#[test]
fn epochs_that_were_read_serve_inferences() {
    for net in [zoo::conv_net(Limbs::TWO), zoo::products(Limbs::ONE), zoo::residual(Limbs::THREE)] {
        let before = loaded(&net);
        let again = before.parties.iter().zip(parties().all()).map(|(epoch, me)| {
            let kept = sections(epoch);
            let longest = longest_section(&net.plan);
            assert!(kept.iter().all(|section| section.len() <= longest), "{longest}");
            let epoch = unsealed(&net, parties(), me, &kept).unwrap();
            assert_eq!(sections(&epoch), kept, "an epoch has one form");
            Arc::new(epoch)
        });
        let parties_again = again.collect();
        let section = before.helper.seal();
        let helper = HelperEpoch::unseal(Arc::clone(&net.plan), parties(), &section).unwrap();
        assert_eq!(helper.seal(), section);
        let after = Loaded { session: Arc::clone(&before.session), helper, parties: parties_again };
        let inputs = net.inputs(2, 1);
        for loaded in [&after, &before] {
            let outcome = direct::infer(loaded, &inputs, 2, &[], &mut |_| ()).unwrap();
            let error = net.error_of(&inputs, &outcome.logits.unwrap());
            assert!(net.plan.limbs == Limbs::ONE || error < 0.05, "{error}");
        }
    }
}

/// What parties say of an epoch when a session begins: the hash of each.
fn confirmed(net: &Net, epochs: &[PartyEpoch]) -> Vec<Held> {
    let offered = OfferedEpoch { epoch: epochs[0].epoch(), plan: net.plan.digest().unwrap(), failures: 0 };
    let mut random = amicus_field::OperatingSystem;
    let start = SessionStart::draw(parties(), vec![offered], &mut random).unwrap();
    let join = |me| {
        let offer = control::encode(&start.offer(me)).unwrap();
        Joining::begin(parties(), me, start.id(), &offer, &mut random).unwrap()
    };
    let mut joining: Vec<Joining> = parties().all().map(join).collect();
    for from in parties().all() {
        for to in parties().others(from) {
            let message = joining[from.index()].message(to);
            joining[to.index()].receive(from, &message).unwrap();
        }
    }
    let answers = joining.into_iter().zip(epochs);
    answers
        .map(|(joining, epoch)| joining.answer(|_| Holding::Epoch(epoch, 0)).unwrap().1.epochs[0].clone())
        .collect()
}

#[test]
fn epochs_that_were_read_are_confirmed_by_each_other_only() {
    let net = zoo::mlp(Limbs::TWO);
    let [one, other] = [(); 2].map(|()| loaded(&net));
    let read = |loaded: &Loaded, me: PartyId| {
        unsealed(&net, parties(), me, &sections(&loaded.parties[me.index()])).unwrap()
    };
    let same: Vec<PartyEpoch> = parties().all().map(|me| read(&one, me)).collect();
    let held = confirmed(&net, &same);
    assert!(held.iter().all(|each| *each == held[0] && matches!(each, Held::Same { .. })));
    let mixed = vec![
        read(&one, PartyId::FIRST),
        read(&other, parties().party(2).unwrap()),
        read(&one, parties().last()),
    ];
    let held = confirmed(&net, &mixed);
    assert!(held[0] == held[2] && held[0] != held[1]);
    // One party has the epoch with other public tags.
    let mut kept = sections(&one.parties[1]);
    let tags = kept.last_mut().unwrap();
    let half = tags.len() / 2;
    tags[half] ^= 1;
    let changed = unsealed(&net, parties(), parties().party(2).unwrap(), &kept).unwrap();
    let held = confirmed(&net, &[read(&one, PartyId::FIRST), changed, read(&one, parties().last())]);
    assert!(held[0] == held[2] && held[0] != held[1]);
}

#[test]
fn what_is_cut_or_longer_is_refused() {
    let net = zoo::mlp(Limbs::TWO);
    let before = loaded(&net);
    let (me, kept) = (PartyId::FIRST, sections(&before.parties[0]));
    for number in 0..kept.len() {
        assert!(is_refused(unsealed(&net, parties(), me, &kept[..number])), "{number} sections");
        for length in 0..kept[number].len() {
            let mut cut = kept.clone();
            cut[number].truncate(length);
            assert!(is_refused(unsealed(&net, parties(), me, &cut)), "section {number}, {length} bytes");
        }
        let mut longer = kept.clone();
        longer[number].push(0);
        assert!(is_refused(unsealed(&net, parties(), me, &longer)), "section {number}");
        let mut moved = kept.clone();
        moved.swap(number, (number + 1) % kept.len());
        assert!(is_refused(unsealed(&net, parties(), me, &moved)), "section {number}");
    }
    let section = before.helper.seal();
    let helper = |bytes: &[u8]| HelperEpoch::unseal(Arc::clone(&net.plan), parties(), bytes);
    for length in 0..section.len() {
        assert!(is_refused(helper(&section[..length])), "{length}");
    }
    assert!(is_refused(helper(&[&section[..], &[0]].concat())));
}

/// What others can compare, the head and the masked weights, is never another's. A flipped bit of a
/// secret gives another secret: a file's checksums are what notices it, and the checks of
/// inferences.
#[test]
fn a_flipped_bit_is_refused_or_read_as_it_is() {
    let net = zoo::mlp(Limbs::TWO);
    let before = loaded(&net);
    let (me, kept) = (parties().last(), sections(&before.parties[2]));
    let of_tensor = (kept.len() - 1) / net.plan.weights.len();
    assert_eq!(kept.len(), 1 + of_tensor * net.plan.weights.len(), "tensors of as many parts");
    let mut accepted = 0;
    for number in 0..kept.len() {
        for bit in 0..8 * kept[number].len() {
            let mut flipped = kept.clone();
            flipped[number][bit / 8] ^= 1 << (bit % 8);
            let read = unsealed(&net, parties(), me, &flipped);
            // After the first section, parts of each tensor and then its tags.
            let of_tags = number > 0 && number % of_tensor == 0;
            let of_seed = number == 0 && (HEAD..HEAD + 32).contains(&(bit / 8));
            match read {
                Err(error) => assert!(is_refused::<()>(Err(error))),
                Ok(epoch) => {
                    accepted += 1;
                    assert!(of_tags || of_seed, "section {number}, bit {bit}");
                    assert_eq!(sections(&epoch), flipped);
                }
            }
        }
    }
    assert!(accepted > 8 * 32, "{accepted}");
    let section = before.helper.seal();
    for bit in 0..8 * section.len() {
        let mut flipped = section.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = HelperEpoch::unseal(Arc::clone(&net.plan), parties(), &flipped);
        // The epoch's id is what others have it under: none of them knows another one.
        let of_head = bit / 8 < 16 || (32..HEAD).contains(&(bit / 8));
        assert_eq!(read.is_err(), of_head, "bit {bit}");
        assert!(read.is_err() || *read.unwrap().seal() == *flipped);
    }
}

#[test]
fn an_epoch_of_another_node_or_plan_is_refused() {
    let (net, other) = (zoo::mlp(Limbs::TWO), zoo::mlp(Limbs::THREE));
    let before = loaded(&net);
    let kept: Vec<Sections> = before.parties.iter().map(|epoch| sections(epoch)).collect();
    for (at, me) in parties().all().enumerate() {
        for (from, kept) in kept.iter().enumerate() {
            assert_eq!(unsealed(&net, parties(), me, kept).is_ok(), at == from);
        }
        assert!(is_refused(unsealed(&other, parties(), me, &kept[at])));
    }
    let (four, section) = (Parties::new(4).unwrap(), before.helper.seal());
    assert!(is_refused(unsealed(&net, four, PartyId::FIRST, &kept[0])));
    assert!(is_refused(HelperEpoch::unseal(Arc::clone(&net.plan), four, &section)));
    assert!(is_refused(HelperEpoch::unseal(Arc::clone(&other.plan), parties(), &section)));
    // One role's for the other.
    assert!(is_refused(HelperEpoch::unseal(Arc::clone(&net.plan), parties(), &kept[0][0])));
    assert!(is_refused(unsealed(&net, parties(), PartyId::FIRST, &[section.to_vec()])));
}

#[test]
fn random_sections_are_refused_and_never_panic() {
    let net = zoo::mlp(Limbs::TWO);
    let kept = sections(&loaded(&net).parties[0]);
    for seed in 0..2000 {
        let mut random = Random(seed);
        let mut sections = kept.clone();
        let at = random.below(sections.len());
        let length = random.below(2 * sections[at].len() + 2);
        sections[at] = random.bytes(length);
        let right_tags = at > 0 && sections[at].len() == kept[at].len();
        assert!(unsealed(&net, parties(), PartyId::FIRST, &sections).is_err() || right_tags);
    }
}
