//! Sessions among states: fresh, bound to what they are for, one-time.

use super::*;
use crate::control::{self, Held, OfferedEpoch, SessionAnswer};
use crate::keys::PartyKeys;
use crate::transcript::Digest;
use crate::{Culprit, EpochId, InferenceId, Parties, Peer, ProtocolError, Step};
use amicus_field::{LimbVec, Limbs, OperatingSystem, Randomness, RandomnessError};

const PLAN: PlanDigest = PlanDigest([9; 32]);
const EPOCH: EpochId = EpochId::from_bytes([7; 16]);

fn begin(start: &SessionStart, parties: Parties) -> Vec<Joining> {
    let mut joining: Vec<Joining> = parties
        .all()
        .map(|me| {
            let offer = control::encode(&start.offer(me)).unwrap();
            Joining::begin(parties, me, start.id(), &offer, &mut OperatingSystem).unwrap()
        })
        .collect();
    for from in parties.all() {
        for to in parties.others(from) {
            let message = joining[from.index()].message(to);
            joining[to.index()].receive(from, &message).unwrap();
        }
    }
    joining
}

fn answers(joining: Vec<Joining>) -> (Vec<PartySession>, Vec<SessionAnswer>) {
    joining.into_iter().map(|joining| joining.answer(|_| Holding::Nothing).unwrap()).unzip()
}

fn session(n: usize) -> (HelperSession, Vec<PartySession>) {
    let parties = Parties::new(n).unwrap();
    let start = SessionStart::draw(parties, Vec::new(), &mut OperatingSystem).unwrap();
    let (sessions, answers) = answers(begin(&start, parties));
    (start.open(&answers).unwrap().0, sessions)
}

fn sum(shares: &[LimbVec]) -> LimbVec {
    let mut sum = LimbVec::zeros(Limbs::TWO, 5);
    shares.iter().for_each(|share| sum.add_assign(share));
    sum
}

#[test]
fn helper_and_each_party_have_one_seed_that_no_other_has() {
    for n in [2, 3, 5] {
        let (helper, parties) = session(n);
        let keys = helper.next(EPOCH, &PLAN).unwrap();
        assert_eq!(keys.scope.id, InferenceId(1));
        let of_parties: Vec<PartyKeys> =
            parties.iter().map(|party| party.take(EPOCH, &PLAN, InferenceId(1)).unwrap()).collect();
        for (at, (seed, party)) in keys.seeds.iter().zip(&of_parties).enumerate() {
            assert_eq!(seed, &party.material);
            assert_eq!(party.scope, keys.scope);
            assert!(keys.seeds[..at].iter().all(|other| other != seed));
        }
        // Keys of the parties, which the helper lacks.
        assert!(of_parties.iter().all(|party| party.transcript == of_parties[0].transcript));
        assert!(keys.seeds.iter().all(|seed| *seed != of_parties[0].transcript));
    }
}

#[test]
fn every_part_of_a_seed_and_what_it_is_for_counts() {
    let seed = |byte| Seed::from_bytes([byte; 32]);
    let id = |byte| SessionId::from_bytes([byte; 16]);
    let parties = Parties::new(2).unwrap();
    let [one, two] = [1, 2].map(|number| parties.party(number).unwrap());
    let all = [
        party_seed(&seed(1), &seed(2), id(3), one),
        party_seed(&seed(9), &seed(2), id(3), one),
        party_seed(&seed(1), &seed(9), id(3), one),
        party_seed(&seed(1), &seed(2), id(9), one),
        party_seed(&seed(1), &seed(2), id(3), two),
    ];
    let scope = Scope::new(id(1), EPOCH, InferenceId(1));
    let keys = [
        bound(&seed(1), scope, &PLAN),
        bound(&seed(2), scope, &PLAN),
        bound(&seed(1), Scope { session: id(2), ..scope }, &PLAN),
        bound(&seed(1), Scope { epoch: EpochId::from_bytes([8; 16]), ..scope }, &PLAN),
        bound(&seed(1), Scope { id: InferenceId(2), ..scope }, &PLAN),
        bound(&seed(1), scope, &PlanDigest([8; 32])),
    ];
    for seeds in [&all[..], &keys[..]] {
        for (at, a) in seeds.iter().enumerate() {
            assert!(seeds[..at].iter().all(|b| a != b), "seed {at} is like an earlier one");
        }
    }
}

/// A generator that a virtual machine which is set back draws from again.
struct SetBack(u8);

impl Randomness for SetBack {
    fn seed(&mut self) -> Result<Seed, RandomnessError> {
        self.0 += 1;
        Ok(Seed::from_bytes([self.0; 32]))
    }
}

#[test]
fn a_repeated_part_of_either_side_gives_new_seeds() {
    let parties = Parties::new(2).unwrap();
    let draw = |randomness: &mut dyn Randomness| SessionStart::draw(parties, Vec::new(), randomness).unwrap();
    // The helper repeats itself, its session's id included.
    let (first, again) = (draw(&mut SetBack(0)), draw(&mut SetBack(0)));
    assert_eq!(first.id(), again.id());
    let (first, again) = [first, again]
        .map(|start| {
            let (_, answers) = answers(begin(&start, parties));
            start.open(&answers).unwrap().0
        })
        .into();
    // A party repeats itself.
    let party = || {
        let start = draw(&mut OperatingSystem);
        let mut joining = begin(&start, parties);
        let offer = control::encode(&start.offer(crate::PartyId::FIRST)).unwrap();
        let me = crate::PartyId::FIRST;
        let mut repeating = Joining::begin(parties, me, start.id(), &offer, &mut SetBack(9)).unwrap();
        repeating.receive(parties.last(), &joining[1].message(me)).unwrap();
        joining[0] = repeating;
        joining.remove(0).answer(|_| Holding::Nothing).unwrap().0
    };
    let mut seeds: Vec<Seed> =
        [first, again].iter().flat_map(|session| session.next(EPOCH, &PLAN).unwrap().seeds).collect();
    for session in [party(), party()] {
        seeds.push(session.take(EPOCH, &PLAN, InferenceId(1)).unwrap().material);
    }
    for (at, seed) in seeds.iter().enumerate() {
        assert!(seeds[..at].iter().all(|other| other != seed), "seed {at}");
    }
}

#[test]
fn parties_without_a_common_key_get_no_session() {
    let parties = Parties::new(3).unwrap();
    let start = SessionStart::draw(parties, Vec::new(), &mut OperatingSystem).unwrap();
    let (_, mut all) = answers(begin(&start, parties));
    all[1].hash[31] ^= 1;
    assert!(matches!(start.open(&all), Err(ProtocolError::Rejected { .. })));
    for broken in [vec![0; 31], Vec::new()] {
        let start = SessionStart::draw(parties, Vec::new(), &mut OperatingSystem).unwrap();
        let (_, mut all) = answers(begin(&start, parties));
        all[2].part = broken;
        let error = start.open(&all).unwrap_err().to_string();
        assert!(error.contains("party 3 misbehaved"), "{error}");
    }
}

#[test]
fn parties_without_a_key_of_their_pair_get_no_session() {
    for n in [2, 3, 5] {
        let parties = Parties::new(n).unwrap();
        for (low, high) in (0..n).flat_map(|high| (0..high).map(move |low| (low, high))) {
            for (at, place) in [(low, high - 1), (high, low)] {
                let start = SessionStart::draw(parties, Vec::new(), &mut OperatingSystem).unwrap();
                let (_, mut all) = answers(begin(&start, parties));
                all[at].pairs[place][0] ^= 1;
                let error = start.open(&all).unwrap_err();
                assert!(matches!(error, ProtocolError::Rejected { step: Step::Keys }), "{error}");
            }
        }
        for pairs in [n - 2, n] {
            let start = SessionStart::draw(parties, Vec::new(), &mut OperatingSystem).unwrap();
            let (_, mut all) = answers(begin(&start, parties));
            all[0].pairs.resize(pairs, [0; 32]);
            assert!(start.open(&all).unwrap_err().to_string().contains("party 1 misbehaved"));
        }
    }
}

#[test]
fn an_epoch_is_confirmed_only_if_all_hold_the_same_and_none_retired_it() {
    let same = |hash, failures| Held::Same { hash: [hash; 32], failures };
    let parties = Parties::new(2).unwrap();
    let confirmed = |known: u32, held: [Held; 2]| {
        let offered = vec![OfferedEpoch { epoch: EPOCH, plan: PLAN, failures: known }];
        let start = SessionStart::draw(parties, offered, &mut OperatingSystem).unwrap();
        let (_, mut all) = answers(begin(&start, parties));
        all.iter_mut().zip(held).for_each(|(answer, held)| answer.epochs = vec![held]);
        start.open(&all).unwrap().1[0].standing
    };
    // The largest count that any of them knows.
    for (known, held, most) in [(5, [1, 2], 5), (1, [7, 2], 7), (0, [0, 3], 3)] {
        let standing = confirmed(known, held.map(|failures| same(1, failures)));
        assert_eq!(standing, Standing::Confirmed { failures: most });
    }
    assert_eq!(confirmed(0, [same(1, 0), same(2, 0)]), Standing::Different);
    assert_eq!(confirmed(0, [Held::Nothing, same(1, 0)]), Standing::Missing);
    for held in [[Held::Retired, same(1, 0)], [same(1, 0), Held::Retired], [Held::Nothing, Held::Retired]] {
        assert_eq!(confirmed(0, held), Standing::Retired);
    }
    // An answer about fewer epochs than were offered.
    let offered = vec![OfferedEpoch { epoch: EPOCH, plan: PLAN, failures: 0 }];
    let start = SessionStart::draw(parties, offered, &mut OperatingSystem).unwrap();
    let (_, mut all) = answers(begin(&start, parties));
    all[1].epochs.clear();
    assert!(start.open(&all).is_err());
}

#[test]
fn zero_shares_add_up_to_zero_and_differ_by_id_and_view() {
    for n in [2, 3, 5] {
        let (_, parties) = session(n);
        let keys = |id| -> Vec<PartyKeys> {
            parties.iter().map(|party| party.take(EPOCH, &PLAN, InferenceId(id)).unwrap()).collect()
        };
        let (one, two) = (keys(1), keys(2));
        let zero = LimbVec::zeros(Limbs::TWO, 5);
        let of_load: Vec<LimbVec> = one.iter().map(|k| k.zero_share_of_load(Limbs::TWO, 5)).collect();
        assert_eq!(sum(&of_load), zero);
        assert_ne!(of_load[0], zero);
        let of = |k: &PartyKeys, view: u8| k.zero_share_of_inference(&Digest([view; 32]), Limbs::TWO, 5);
        let mut shares: Vec<LimbVec> = one.iter().map(|k| of(k, 1)).collect();
        assert_eq!(sum(&shares), zero);
        assert_ne!(of(&one[0], 1), of_load[0]);
        assert_ne!(of(&one[0], 1), of(&two[0], 1));
        // One party saw something else: nothing cancels.
        shares[0] = of(&one[0], 2);
        let noise = sum(&shares);
        assert!((0..5).all(|i| !noise.get(i).is_zero()));
    }
}

#[test]
fn keys_of_an_id_are_given_out_once() {
    let (helper, parties) = session(2);
    let ids: Vec<u64> = (0..4).map(|_| helper.next(EPOCH, &PLAN).unwrap().scope.id.0).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    parties[0].take(EPOCH, &PLAN, InferenceId(2)).unwrap();
    // Not for another epoch, either.
    for epoch in [EPOCH, EpochId::from_bytes([1; 16])] {
        let again = parties[0].take(epoch, &PLAN, InferenceId(2));
        assert!(matches!(again, Err(ProtocolError::Spent { .. })));
    }
    parties[0].take(EPOCH, &PLAN, InferenceId(1)).unwrap();
}

/// An id that a party is told of is the helper's word: none is a misuse by the party itself.
#[test]
fn an_id_far_ahead_is_the_helpers_fault() {
    let (_, parties) = session(2);
    parties[0].take(EPOCH, &PLAN, InferenceId(2)).unwrap();
    for id in [3 + 1 + WINDOW as u64, u64::MAX - 1, u64::MAX] {
        let error = parties[0].take(EPOCH, &PLAN, InferenceId(id)).unwrap_err();
        assert!(
            matches!(&error, ProtocolError::Peer { culprit: Culprit::Peer(Peer::Helper), .. }),
            "{error}"
        );
        assert!(error.to_string().contains("too far ahead of the next one, inference 3"), "{error}");
    }
    parties[0].take(EPOCH, &PLAN, InferenceId(3 + WINDOW as u64)).unwrap();
}
