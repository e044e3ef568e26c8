//! What the documents point to exists: files and headings that links name, sections that code and
//! documents cite, paths of this repository, and the contents that a document begins with.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Documents by their path in the repository, without what stands in fenced blocks.
type Documents = BTreeMap<PathBuf, String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up").to_path_buf()
}

/// Files of the repository that end in one of `endings`. What is hidden or built is not looked at.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path.strip_prefix(&root).expect("below the root").to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).expect("a text")
}

fn documents() -> Documents {
    let mut documents = Documents::new();
    for path in files(&[".md"]) {
        let mut text = String::new();
        let mut fenced = false;
        for line in read(&path).lines() {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            if !fenced && !fence {
                text.push_str(line);
                text.push('\n');
            }
        }
        documents.insert(path, text);
    }
    assert!(documents.len() >= 8, "too few documents: {:?}", documents.keys());
    documents
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    let marked = text.lines().filter(|line| line.starts_with('#'));
    marked.map(|line| line.trim_start_matches('#').trim())
}

/// The name of a heading in a link, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

/// `text` without its spans of code, and those spans.
fn spans(text: &str) -> (String, Vec<&str>) {
    let mut parts = text.split('`');
    let mut prose = parts.next().unwrap_or("").to_owned();
    let mut code = Vec::new();
    while let Some(span) = parts.next() {
        code.push(span);
        prose.push_str(parts.next().unwrap_or(""));
    }
    (prose, code)
}

/// Where the links of `text` lead, as written.
fn links(text: &str) -> Vec<String> {
    let (prose, _) = spans(text);
    let targets = prose.split("](").skip(1);
    targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// `target`, written in `document`, from the repository's root.
fn from_root(document: &Path, target: &str) -> PathBuf {
    let mut path = document.parent().expect("a file").to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                assert!(path.pop(), "{}: {target} leaves the repository", document.display())
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

/// Numbers of sections at the beginning of `text`: those of "6.1, 6.8 and 7): different keys".
fn numbers(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for word in text.split_whitespace() {
        let number = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        if number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || c == '.')
        {
            found.push(number);
            if !matches!(&word[number.len()..], "" | ",") {
                break;
            }
        } else if !matches!(word, "and" | "to") {
            break;
        }
    }
    found
}

/// Sections that `text` cites, each with the document's name if one stands right before them.
fn cited(text: &str) -> Vec<(Option<&str>, &str)> {
    let mut found = Vec::new();
    for (at, word) in text.match_indices("section") {
        let rest = &text[at + word.len()..];
        let Some(rest) = rest.strip_prefix("s ").or_else(|| rest.strip_prefix(' ')) else { continue };
        let before = text[..at].trim_end_matches([' ', ',', '`', ')', ']']);
        let name = before.rsplit(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))).next();
        let name = name.filter(|name| name.ends_with(".md"));
        found.extend(numbers(rest).into_iter().map(|number| (name, number)));
    }
    found
}

fn has_section(document: &str, number: &str) -> bool {
    headings(document).any(|heading| heading.split(' ').next() == Some(number))
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (document, text) in &documents {
        for target in links(text) {
            if target.contains(':') {
                continue; // elsewhere
            }
            checked += 1;
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = if file.is_empty() { document.clone() } else { from_root(document, file) };
            let there = root().join(&file).exists();
            let named =
                || documents.get(&file).is_some_and(|text| headings(text).any(|h| anchor(h) == heading));
            if !there || !heading.is_empty() && !named() {
                wrong.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere: {wrong:#?}");
    assert!(checked > 30, "only {checked} links found");
}

#[test]
fn contents_list_all_sections() {
    let documents = documents();
    for name in ["docs/protocol.md", "docs/security.md"] {
        let text = &documents[Path::new(name)];
        let contents = text.split_once("Contents: ").expect("contents").1;
        let contents = contents.split_once("\n\n").expect("an end of the contents").0;
        let listed: Vec<String> =
            links(contents).iter().map(|target| target.trim_start_matches('#').to_owned()).collect();
        let sections = text.lines().filter_map(|line| line.strip_prefix("## "));
        assert_eq!(listed, sections.map(anchor).collect::<Vec<_>>(), "contents of {name}");
    }
}

#[test]
fn cited_sections_exist() {
    let documents = documents();
    let mut wrong = Vec::new();
    let mut checked = 0;
    let mut check = |place: &Path, document: &Path, number: &str| {
        checked += 1;
        if !documents.get(document).is_some_and(|text| has_section(text, number)) {
            wrong.push(format!("{}: section {number} of {}", place.display(), document.display()));
        }
    };
    for (document, text) in &documents {
        // Only these two number their sections; elsewhere a section is that of a paper.
        let own = matches!(document.to_str(), Some("docs/protocol.md" | "docs/security.md"));
        let text = text.replace('\n', " ");
        for (name, number) in cited(&text) {
            match name {
                Some(name) => check(document, &Path::new("docs").join(name), number),
                None if own => check(document, document, number),
                None => {}
            }
        }
    }
    for source in files(&[".rs", ".py", ".toml"]) {
        if source.ends_with("xtask/tests/docs.rs") {
            continue; // examples of citations
        }
        let lines = read(&source);
        let words = lines.split_whitespace().filter(|word| !matches!(*word, "//!" | "///" | "//" | "#"));
        for (name, number) in cited(&words.collect::<Vec<_>>().join(" ")) {
            if let Some(name) = name {
                check(&source, &Path::new("docs").join(name), number);
            }
        }
    }
    assert!(wrong.is_empty(), "cited, and not there: {wrong:#?}");
    assert!(checked > 60, "only {checked} citations found");
}

#[test]
fn paths_in_documents_exist() {
    let mut wrong = Vec::new();
    for (document, text) in documents() {
        if document == Path::new("CHANGELOG.md") {
            continue; // tells of the past
        }
        for span in spans(&text).1 {
            let inside = span.starts_with("crates/") || span.starts_with("docs/");
            if inside && !span.contains(['*', ' ']) && !root().join(span).exists() {
                wrong.push(format!("{}: {span}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "paths that are not there: {wrong:#?}");
}

/// Whether `span` of ARCHITECTURE.md is a place in a crate, as in `node/party/infer.rs`: a crate's
/// folder, then what lies in its sources, with or without the ending.
fn is_there(span: &str) -> bool {
    let (folder, rest) = span.split_once('/').expect("a path");
    let sources = root().join("crates").join(folder).join("src");
    sources.join(rest).exists() || sources.join(format!("{rest}.rs")).exists()
}

#[test]
fn places_in_the_architecture_exist() {
    let text = documents().remove(Path::new("ARCHITECTURE.md")).expect("the document");
    let place = |span: &&str| {
        let (folder, rest) = span.split_once('/').unwrap_or((span, ""));
        let names = rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.'));
        !rest.is_empty() && names && root().join("crates").join(folder).join("src").is_dir()
    };
    let spans = spans(&text).1;
    let places: Vec<&str> = spans.into_iter().filter(place).collect();
    let wrong: Vec<&&str> = places.iter().filter(|span| !is_there(span)).collect();
    assert!(wrong.is_empty(), "places that are not there: {wrong:?}");
    assert!(places.len() > 20, "only {} places found", places.len());
}

#[test]
fn anchors_and_citations_are_read() {
    assert_eq!(anchor("15 The model's fingerprint"), "15-the-models-fingerprint");
    assert_eq!(links("`[a](b)` [c](d.md#e), [f](#g)"), ["d.md#e", "#g"]);
    assert_eq!(numbers("6.1, 6.8 and 7): different 5"), ["6.1", "6.8", "7"]);
    let text = "`docs/a.md`, sections 2 to 4; [b.md](b.md), section 3. And section 5";
    let found = [(Some("a.md"), "2"), (Some("a.md"), "4"), (Some("b.md"), "3"), (None, "5")];
    assert_eq!(cited(text), found);
    assert!(has_section("## 3 Values\n", "3") && !has_section("## 3 Values\n", "4"));
}

/// From the page of a crate in `target/doc`, where `cargo doc` writes it, documents lie three
/// folders up.
#[test]
fn documents_that_crates_name_are_linked() {
    let mut named = 0;
    for path in files(&["lib.rs"]).iter().filter(|path| path.starts_with("crates")) {
        let text = read(path);
        let docs: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("//!")).collect();
        for link in docs.iter().flat_map(|line| line.split("[docs/").skip(1)) {
            let name = link.split(']').next().expect("a name");
            let definition = format!(" [docs/{name}]: ../../../docs/{name}");
            assert!(docs.contains(&definition.as_str()), "{}: no link to docs/{name}", path.display());
            assert!(root().join("docs").join(name).is_file(), "{}: docs/{name}", path.display());
            named += 1;
        }
    }
    assert!(named >= 10, "{named} names and links");
}
