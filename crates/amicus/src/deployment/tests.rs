use super::*;

fn hex(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A deployment of so many parties and one client. Party `n` has the digit `n`.
fn text(parties: usize) -> String {
    let node = |table: &str, port: usize, digit| {
        format!("{table}\naddress = \"127.0.0.1:{port}\"\ncertificate = \"{}\"\n\n", hex(digit))
    };
    let party = |n: usize| node("[[party]]", 7000 + n, char::from_digit(n as u32, 16).unwrap());
    let user = |table: &str, digit| format!("{table}\ncertificate = \"{}\"\n\n", hex(digit));
    let parties: String = (1..=parties).map(party).collect();
    let users = user("[owner]", 'd') + &user("[client.alice]", 'e');
    format!("cluster = \"test\"\n\n{}{parties}{users}", node("[helper]", 7000, '0'))
}

fn refused(text: &str) -> String {
    text.parse::<Deployment>().unwrap_err().to_string()
}

#[test]
fn roles_are_found_by_name_and_by_certificate() {
    let deployment: Deployment = text(3).parse().unwrap();
    let parties = deployment.count().unwrap();
    assert_eq!((parties.count(), deployment.patience()), (3, Limits::default()));
    let alice = Peer::Client("alice".into());
    for (role, digit) in
        parties.all().map(Peer::Party).zip(['1', '2', '3']).chain([(Peer::Helper, '0'), (alice.clone(), 'e')])
    {
        let certificate = hex(digit).parse().unwrap();
        assert_eq!(deployment.certificates(&role), [certificate]);
        assert_eq!(deployment.role_of(certificate), Some(role.clone()));
        let pins = deployment.pins(&role, parties);
        assert_eq!((pins.iter().count(), pins.name_of(&certificate)), (5, None));
    }
    assert!(deployment.certificates(&Peer::Client("bob".into())).is_empty());
    assert_eq!(deployment.role_of(hex('f').parse().unwrap()), None);
}

#[test]
fn two_to_eight_parties_are_a_deployment() {
    for parties in 0..=10 {
        let found = text(parties).parse::<Deployment>().map(|d| d.parties.len());
        match parties {
            0 => assert!(found.unwrap_err().to_string().contains("missing field `party`")),
            2..=8 => assert_eq!(found, Ok(parties)),
            _ => {
                let error = found.unwrap_err();
                assert_eq!(error.problem, DeploymentProblem::Parties(parties));
                assert!(error.to_string().contains("list 2 to 8 of them"), "{error}");
            }
        }
    }
}

#[test]
fn an_error_names_line_and_key() {
    let text = text(2);
    let line = |words: &str| 1 + text.lines().position(|line| line.contains(words)).unwrap();
    let [first, second] = ["7001", "7002"].map(line);
    let limits = |line: &str| format!("{text}[limits]\nround = 5\n{line}\n");
    let last = text.lines().count() + 3;
    for (wrong, place, words) in [
        (text.replace("[owner]", "[owners]"), line("[owner]"), "unknown field `owners`"),
        (text.replace("address = \"127.0.0.1:7001\"\n", ""), first - 1, "missing field `address`"),
        (
            text.replace(&hex('2'), "12"),
            second + 1,
            "`certificate` of party 2: \"12\" is no fingerprint of 64",
        ),
        (
            text.replace(&hex('2'), &hex('1')),
            second + 1,
            "`certificate` of party 2: it is that of party 1 too",
        ),
        (
            text.replace(&hex('e'), &hex('0')),
            line(&hex('e')),
            "`certificate` of client alice: it is that of helper",
        ),
        (text.replace("7002", "7001"), second, "`address` of party 2: it is that of party 1 too"),
        (text.replace("alice", "\"a\\nb\""), line("alice"), "client a\\u{a}b: a name has 1 to 64 bytes"),
        (text.replace("\"test\"", "\"\""), 1, "`cluster`: a name has 1 to 64 bytes"),
        (text.replace("cluster", "# cluster"), 1, "missing field `cluster`"),
        (limits("inference = 0"), last, "`inference` of limits: 0 cannot be, 1 to 86400 can"),
        (limits("batch = 1025"), last, "`batch` of limits: 1025 cannot be, 1 to 1024 can"),
        (limits("ready = 0"), last, "`ready` of limits: 0 cannot be, 1 to 1024 can"),
        (limits("load = -1"), last, "`load` of limits: "),
        (limits("rounds = 3"), last, "unknown field `rounds`, expected"),
        (limits("rounds = 3"), last, "did you mean `round`?"),
        (limits("inferense = 3"), last, "`inferense` of limits: unknown field"),
        (text.replace("[owner]", "[oner]"), line("[owner]"), "did you mean `owner`?"),
        (text.replace("[owner]", "[zzz]"), line("[owner]"), "`limits`"),
        (text.replace("cluster =", "id = \"12\"\ncluster ="), 1, "`id`: \"12\" is no id of a cluster"),
        (text.clone() + "[model.a]\nplan = \"zz\"\n", last - 1, "`plan` of model a: \"zz\" is no digest"),
        (text.clone() + "[model.a]\nplam = \"zz\"\n", last - 1, "did you mean `plan`?"),
        (limits("round = 3"), last, "duplicate key"),
        (limits("oops"), last, ""),
    ] {
        let error = wrong.parse::<Deployment>().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.line, Some(place), "{error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

#[test]
fn addresses_are_a_host_and_a_port() {
    for good in ["localhost:1", "a-b.example:7000", "127.0.0.1:65535", "[::1]:7000"] {
        assert!(is_address(good), "{good}");
    }
    let wrong = [
        "localhost",
        ":7000",
        "a:0",
        "a:65536",
        "a:+1",
        "a:",
        "::1:7000",
        "[::1]",
        "[a]:1",
        "a b:1",
        "a\n:1",
        "",
    ];
    for wrong in wrong {
        assert!(!is_address(wrong), "{wrong}");
        let changed = text(2).replace("127.0.0.1:7001", &wrong.replace('\n', "\\n"));
        assert!(refused(&changed).contains("`address` of party 1: an address is HOST:PORT"), "{wrong}");
        let listen = format!("listen = {wrong:?}\ncertificate = \"{}", hex('0'));
        let changed = text(2).replace(&format!("certificate = \"{}", hex('0')), &listen);
        assert!(refused(&changed).contains("`listen` of helper: an address is HOST:PORT"), "{wrong}");
    }
}

#[test]
fn files_cannot_steer_a_terminal_or_fill_memory() {
    let steering = "\u{1b}[2J\u{202e}";
    let quoted = format!("\"{steering}\" = 1\n");
    for wrong in [
        quoted.clone(),
        steering.to_owned(),
        text(2) + &quoted,
        text(2).replace(&hex('1'), "\\u001b[2J"),
        text(2).replace("7001", "\\u001b[2J"),
        text(2).replace("[client.alice]", "[client.\"\\u001b[2J\"]"),
        text(2) + "[limits]\nround = \"\\u001b[2J\"\n",
    ] {
        let error = refused(&wrong);
        assert!(error.chars().all(amicus_plan::printable::is_printable), "{error:?}");
        assert!(error.len() < 1000, "{}", error.len());
    }
    // Deep nesting takes neither the stack nor memory.
    for deep in [
        "a.".repeat(1 << 18) + "a = 1",
        "[".repeat(1 << 19),
        format!("a = {}", "[".repeat(1 << 19)),
        "{a=".repeat(1 << 17),
    ] {
        for text in [
            deep.clone(),
            text(2) + &deep,
            format!("[{}]", "a.".repeat(1 << 18) + "a"),
            text(2) + "[" + &"a.".repeat(1 << 18) + "a]\n",
        ] {
            assert!(refused(&text).len() < 1000);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployment.toml");
    for (bytes, words) in [
        (vec![b'#'; (1 << 20) + 1], "deployment.toml: has more than 1048576 bytes"),
        (b"cluster = \"\xff\"".to_vec(), "deployment.toml: it is no text"),
        (b"cluster = 1\n".to_vec(), "deployment.toml, line 1, `cluster`: invalid type"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Deployment::read(&path).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // It has no end, whatever its size says.
    let endless = Deployment::read(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(endless.contains("has more than"), "{endless}");
    let none = Deployment::read(&folder.path().join("none")).unwrap_err().to_string();
    assert!(none.contains("none: there is no such file"), "{none}");
}

#[test]
fn deployments_of_ones_own_making_are_checked_too() {
    let mut deployment: Deployment = text(2).parse().unwrap();
    deployment.parties[1].certificate = deployment.owner.certificate.clone();
    let error = deployment.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "deployment, `certificate` of owner: it is that of party 2 too; give every role its own"
    );
}

/// A file with another line in place of one.
fn with_certificates(of: char, list: &str) -> String {
    text(2).replace(&format!("certificate = \"{}\"", hex(of)), &format!("certificate = {list}"))
}

#[test]
fn a_node_has_several_certificates_while_it_changes_its_key() {
    let id = |text: String| format!("id = \"{}\"\n{text}", &hex('a')[..32]);
    let list = |digits: &str| {
        let all: Vec<String> = digits.chars().map(|digit| format!("\"{}\"", hex(digit))).collect();
        format!("[{}]", all.join(", "))
    };
    let both: Deployment = id(with_certificates('2', &list("29"))).parse().unwrap();
    let parties = both.count().unwrap();
    let party = Peer::Party(parties.all().nth(1).unwrap());
    for digit in ['2', '9'] {
        assert_eq!(both.role_of(hex(digit).parse().unwrap()), Some(party.clone()));
        let pins = both.pins(&Peer::Helper, parties);
        assert_eq!(pins.name_of(&hex(digit).parse().unwrap()), Some("party 2"));
    }
    assert_eq!(both.target(party, Channel::Online).fingerprints.len(), 2);
    // Folders are bound to the id, so old and new file are of one cluster.
    let before: Deployment = id(text(2)).parse().unwrap();
    assert_eq!(before.cluster_digest(parties), both.cluster_digest(parties));
    assert_ne!(before.digest().unwrap(), both.digest().unwrap());
    let other: Deployment = id(text(2)).replace("aaaa", "bbbb").parse().unwrap();
    assert_ne!(before.cluster_digest(parties), other.cluster_digest(parties));
    for (wrong, words) in [
        (with_certificates('2', &list("29")), "`certificate` of party 2: a node has two certificates"),
        (id(with_certificates('2', "[]")), "invalid length 0, expected a fingerprint, or a list of 1 to 3"),
        (id(with_certificates('2', &list("2678"))), "invalid length 4"),
        (id(with_certificates('2', &list("21"))), "`certificate` of party 2: it is that of party 1 too"),
        (id(with_certificates('2', &list("22"))), "`certificate` of party 2: it is that of party 2 too"),
        (id(with_certificates('2', "7")), "invalid type: integer"),
        (id(with_certificates('2', "[\"x\"]")), "\"x\" is no fingerprint"),
    ] {
        assert!(refused(&wrong).contains(words), "{}", refused(&wrong));
    }
    // Users have no folders.
    let owner: Deployment = with_certificates('d', &list("df")).parse().unwrap();
    assert_eq!(owner.certificates(&Peer::Owner).len(), 2);
}

#[test]
fn operators_compare_what_a_file_says_and_not_how() {
    let one: Deployment = text(2).parse().unwrap();
    let digest = one.digest().unwrap();
    let spaced = format!("# ours\n{}", text(2).replace(" = ", "   =  ")) + "\n[limits]\nround = 10\n";
    assert_eq!(spaced.parse::<Deployment>().unwrap().digest().unwrap(), digest);
    let model = format!("[model.lenet]\nplan = \"{}\"\n", hex('7'));
    for other in [
        text(3),
        text(2).replace("test", "tests"),
        text(2).replace("7001", "7003"),
        text(2).replace(&hex('e'), &hex('f')),
        text(2).replace("alice", "bob"),
        text(2) + "[limits]\nround = 11\n",
        text(2) + "[limits]\nlanes = 3\n",
        text(2) + &model,
        text(2).replace("7001\"", "7001\"\nlisten = \"0.0.0.0:1\""),
        format!("id = \"{}\"\n{}", &hex('0')[..32], text(2)),
    ] {
        let other: Deployment = other.parse().unwrap();
        assert_ne!(other.digest().unwrap(), digest);
        let again: Deployment = other.to_toml().unwrap().parse().unwrap();
        assert_eq!((&again, again.digest()), (&other, other.digest()));
    }
    let with: Deployment = (text(2) + &model).parse().unwrap();
    let plan = PlanDigest([0x77; 32]);
    assert_eq!((with.model_of(plan), with.model_of(PlanDigest([0; 32]))), (Some("lenet"), None));
    let twice = refused(&(text(2) + &model + &model.replace("lenet", "other")));
    assert!(twice.contains("`plan` of model other: it is that of model lenet too"), "{twice}");
}
