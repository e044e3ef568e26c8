//! Which cell a client asks first, and which next: by rendezvous hashing.
//!
//! Every client has an order of its own, so that clients spread over cells, and those of a cell that
//! goes away spread over the others while all else stays as it is. The order follows from who asks,
//! for which model; what is asked cannot have a say, for it is no argument.

use amicus_net::Fingerprint;
use amicus_plan::PlanDigest;

/// The order in which a client asks cells of these names, as their positions.
pub(super) fn order(client: Fingerprint, plan: PlanDigest, names: &[&str]) -> Vec<usize> {
    let weight = |name: &str| {
        let mut hasher = blake3::Hasher::new_derive_key("amicus 2026-11 rendezvous");
        hasher.update(client.as_bytes()).update(&plan.0).update(name.as_bytes());
        *hasher.finalize().as_bytes()
    };
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(weight(names[*at])));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> Fingerprint {
        format!("{number:064x}").parse().unwrap()
    }

    const PLAN: PlanDigest = PlanDigest([3; 32]);

    #[test]
    fn clients_spread_evenly_and_move_only_when_they_must() {
        let names = ["north", "south", "west", "east"];
        let mut first = [0; 4];
        let mut next = [[0; 4]; 4];
        for number in 0..4000 {
            let all = order(client(number), PLAN, &names);
            assert_eq!(all, order(client(number), PLAN, &names));
            first[all[0]] += 1;
            next[all[0]][all[1]] += 1;
            // Without one of them, the others keep their order.
            for gone in 0..4 {
                let left: Vec<&str> = (0..4).filter(|at| *at != gone).map(|at| names[at]).collect();
                let order = order(client(number), PLAN, &left);
                let order: Vec<&str> = order.into_iter().map(|at| left[at]).collect();
                let expected: Vec<&str> = all.iter().filter(|at| **at != gone).map(|at| names[*at]).collect();
                assert_eq!(order, expected);
            }
        }
        assert!(first.iter().all(|count| (850..1150).contains(count)), "{first:?}");
        for (at, next) in next.iter().enumerate() {
            assert!((0..4).all(|to| to == at || (250..420).contains(&next[to])), "{next:?}");
        }
        // Another model may be asked of another cell first.
        let other = PlanDigest([4; 32]);
        assert!((0..20).any(|n| order(client(n), PLAN, &names) != order(client(n), other, &names)));
    }
}
