//! Seeds of what command line and library read.

use super::{Seed, seed};
use amicus_cli::rates::MachineRates;
use amicus_data::npz::{Column, Values, write};
use std::fs;

/// How they are read, and the file.
pub(super) fn samples() -> Vec<Seed> {
    let numbers: Vec<f64> = (0..12).map(|i| f64::from(i) / 12.0).collect();
    let labels = [0i64, 2, 1, 1];
    let x = Column { name: "x", shape: &[4, 3], values: Values::Reals(&numbers) };
    let y = Column { name: "y", shape: &[4], values: Values::Integers(&labels) };
    let mut file = Vec::new();
    write(&mut file, &[x, y]).expect("memory");
    let of = |name: &str, choice: u8| seed(name, [&[choice][..], &file].concat());
    vec![of("refused", 16), of("clipped", 18), of("two", 4 | 2 << 5), of("regression", 1 | 16)]
}

pub(super) fn rates() -> Vec<Seed> {
    let rates = MachineRates {
        machine: "a host, a processor, 2 core(s)".to_owned(),
        kernel: "avx2".to_owned(),
        products_per_second: 1.5e9,
        dense_products_per_second: 4e8,
        online_element_ns: 12.5,
        dealt_element_ns: 30.0,
        hop_us: 60.0,
        delayed_hop_us: 110.0,
    };
    vec![seed("rates", serde_json::to_vec(&rates).expect("memory"))]
}

pub(super) fn checkpoints() -> Vec<Seed> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.checkpoint");
    amicus_train::checkpoint::fuzz::write(&path);
    vec![seed("resnet8", fs::read(&path).expect("a file"))]
}

/// A deployment with every key, and one with a mistake.
pub(super) fn deployments() -> Vec<Seed> {
    let fingerprint = |digit: u8| digit.to_string().repeat(64);
    let mut text = "cluster = \"ward 7\"\n".to_owned();
    for (number, table) in (0..).zip(["[helper]", "[[party]]", "[[party]]"]) {
        let certificate = fingerprint(number);
        text += &format!(
            "{table}\naddress = \"[::1]:700{number}\"\nlisten = \"localhost:1\"\ncertificate = \"{certificate}\"\n"
        );
    }
    text += &format!("[owner]\ncertificate = \"{}\"\n", fingerprint(3));
    text += &format!("[client.alice]\ncertificate = \"{}\"\n", fingerprint(4));
    let limits = "[limits]\nround = 1\ninference = 2\nload = 3\nbatch = 4\nready = 5\n";
    let twice = text.replace(&fingerprint(4), &fingerprint(3));
    vec![seed("every-key", text + limits), seed("one-key-for-two", twice)]
}
