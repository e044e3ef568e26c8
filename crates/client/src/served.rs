//! What nodes say of themselves, held against each other before anything is sent.

use crate::fingerprint::Fingerprints;
use crate::https::Info;
use amicus_plan::PlanDigest;
use amicus_plan::printable::visible;
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::VERSION;
use amicus_protocol::{EpochId, Fault, PartyId, Peer, ProtocolError, Step};

/// Whether this is the node that was asked, and speaks as this program does.
///
/// # Errors
/// What is wrong, about the node.
pub fn speaks(node: &Peer, info: &Info) -> Result<(), String> {
    if info.role != node.to_string() {
        return Err(format!("it says that it is {}", visible(&info.role)));
    }
    if info.wire != VERSION {
        let theirs = info.wire;
        return Err(format!("it speaks version {theirs} of the protocol, we speak {VERSION}; use the same"));
    }
    Ok(())
}

/// The digest of a model's plan, in which all parties agree.
///
/// # Errors
/// The first party that serves no such model, or one of another plan than those before it, and what
/// is wrong.
pub fn plan_of<'a>(
    model: &str,
    parties: impl IntoIterator<Item = (PartyId, &'a Info)>,
) -> Result<&'a str, (PartyId, String)> {
    let mut common: Option<&str> = None;
    for (party, info) in parties {
        let served = info.models.iter().find(|served| served.name == model).map(|served| &served.plan[..]);
        match (served, common) {
            (Some(plan), None) => common = Some(plan),
            (Some(plan), Some(known)) if plan == known => {}
            _ => return Err((party, format!("it serves no model {} to these tokens", visible(model)))),
        }
    }
    common.ok_or_else(|| (PartyId::FIRST, "it was not asked".to_owned()))
}

/// The epoch and fingerprint of the model of a plan, the same at all parties.
///
/// # Errors
/// A party that has not loaded it, or other things than those before it.
pub fn fingerprint<'a>(
    plan: &PlanDigest,
    parties: impl IntoIterator<Item = (PartyId, &'a Info)>,
) -> Result<(EpochId, Digest), ProtocolError> {
    let plan = plan.to_string();
    let mut fingerprints = Fingerprints::default();
    let mut common = None;
    for (party, info) in parties {
        let served = info.models.iter().find(|model| model.plan == plan);
        let loaded = served.and_then(|model| Some((model.epoch.as_ref()?, model.fingerprint.as_ref()?)));
        let (epoch, fingerprint) = loaded.ok_or(ProtocolError::NoModel)?;
        let fail = || {
            let fault = Fault::Unexpected("an epoch or fingerprint that is none".into());
            ProtocolError::peer(party, Step::load_part("fingerprint"), fault)
        };
        let epoch = EpochId::from_bytes(unhex(epoch).ok_or_else(fail)?);
        let fingerprint: [u8; 32] = unhex(fingerprint).ok_or_else(fail)?;
        common = Some((epoch, fingerprints.answer(party, epoch, &fingerprint)?));
    }
    common.ok_or(ProtocolError::NoModel)
}

/// So many bytes of hex digits.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::https::ModelInfo;
    use amicus_protocol::Parties;

    fn info(party: PartyId, plan: &PlanDigest, fingerprint: Option<&str>) -> Info {
        Info {
            role: party.to_string(),
            version: "0".into(),
            wire: VERSION,
            cluster: "test".into(),
            digest: "0".into(),
            parties: 2,
            ready: true,
            models: vec![ModelInfo {
                name: "lenet".into(),
                plan: plan.to_string(),
                batch: 1,
                epoch: fingerprint.map(|_| "01".repeat(16)),
                fingerprint: fingerprint.map(str::to_owned),
            }],
        }
    }

    #[test]
    fn nodes_are_who_they_should_be() {
        let party = Parties::new(2).unwrap().last();
        let mut said = info(party, &PlanDigest([1; 32]), None);
        assert_eq!(speaks(&Peer::Party(party), &said), Ok(()));
        assert!(speaks(&Peer::Helper, &said).unwrap_err().contains("says that it is party 2"));
        said.wire += 1;
        assert!(speaks(&Peer::Party(party), &said).unwrap_err().contains("use the same"));
    }

    #[test]
    fn parties_serve_one_plan_and_one_model() {
        let all: Vec<PartyId> = Parties::new(2).unwrap().all().collect();
        let (plan, other) = (PlanDigest([1; 32]), PlanDigest([2; 32]));
        let good = "ab".repeat(32);
        let infos = |second: &PlanDigest, fingerprint: Option<&str>| {
            [info(all[0], &plan, Some(&good)), info(all[1], second, fingerprint)]
        };
        let heard = |infos: &[Info; 2], model: &str| {
            let said = || all.iter().copied().zip(infos);
            (plan_of(model, said()).map(str::to_owned), fingerprint(&plan, said()))
        };
        let (named, found) = heard(&infos(&plan, Some(&good)), "lenet");
        assert_eq!(named, Ok(plan.to_string()));
        assert_eq!(found.unwrap(), (EpochId::from_bytes([1; 16]), Digest([0xab; 32])));
        assert_eq!(heard(&infos(&plan, Some(&good)), "vgg").0.unwrap_err().0, all[0]);
        assert_eq!(heard(&infos(&other, Some(&good)), "lenet").0.unwrap_err().0, all[1]);
        let none = [infos(&plan, None), infos(&other, Some(&good))];
        for infos in none {
            assert!(matches!(heard(&infos, "lenet").1, Err(ProtocolError::NoModel)));
        }
        for wrong in ["cd".repeat(32), "ab".repeat(31), format!("+{}", &good[1..])] {
            let error = heard(&infos(&plan, Some(&wrong)), "lenet").1.unwrap_err().to_string();
            assert!(error.contains("party 2"), "{error}");
        }
    }
}
