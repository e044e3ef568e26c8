//! Whole training runs on tiny data sets (feature `burn`).
#![cfg(feature = "burn")]
#![allow(clippy::unwrap_used)] // a test may fail by panicking, its helpers too

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use amicus_model::networks::WeightFile;
use amicus_train::checkpoint::path_for;
use amicus_train::export::beside;
use amicus_train::{
    ActivationName, DatasetName, ModelName, Progress, Rates, TrainConfig, TrainError, TrainReport,
    WeightsType, train,
};
use common::naive::Naive;
use common::{Folder, colours, squares, write_batches, write_set};

fn digits(folder: &Folder) -> TrainConfig {
    write_set(&folder.0, &squares(330, 1), &squares(50, 2));
    let mut config = TrainConfig::new(
        DatasetName::Mnist,
        ModelName::LeNet5,
        folder.0.clone(),
        folder.file("out.safetensors"),
    );
    config.excluded = Some(squares(330, 1).select(&[0, 5]));
    (config.epochs, config.batch_size, config.validation) = (3, 16, 40);
    config.rates = Rates { matrix_rate: 0.08, learning_rate: 2e-3, weight_decay: 0.05 };
    config
}

/// A ReLU teacher of the same digits.
fn teacher(folder: &Folder) -> TrainConfig {
    let mut config = digits(folder);
    config.activation = ActivationName::Relu;
    config.out = folder.file("teacher.safetensors");
    config
}

fn quiet(config: &TrainConfig) -> Result<TrainReport, TrainError> {
    train(config, &mut |_| ())
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn refuse(config: &TrainConfig, change: impl FnOnce(&mut TrainConfig)) -> String {
    let mut config = config.clone();
    change(&mut config);
    train(&config, &mut |news| assert!(!matches!(news, Progress::Step { .. }))).unwrap_err().to_string()
}

#[test]
fn a_run_learns_reports_and_repeats() {
    let folder = Folder::new("run");
    let config = digits(&folder);
    let mut news = Vec::new();
    let report = train(&config, &mut |progress| news.push(progress)).unwrap();
    assert_eq!(news[0], Progress::Loaded { training: 288, validation: 40, test: 50, dropped: 2 });
    assert_eq!(news.iter().filter(|n| matches!(n, Progress::Step { .. })).count(), 54);
    assert_eq!(news.iter().filter(|n| matches!(n, Progress::Epoch { .. })).count(), 3);
    assert!(report.test.correct >= 45, "{}", report.test);
    assert!(report.curve[2].loss < 0.5 * report.curve[0].loss, "{:?}", report.curve);
    assert_eq!(
        report.validation_ranges.iter().map(|r| r.values).collect::<Vec<_>>(),
        [40 * 4704, 40 * 1600, 40 * 120, 40 * 84]
    );
    for (range, (validation, layer)) in
        report.ranges.iter().zip(report.validation_ranges.iter().zip(["act1", "act2", "act3", "act4"]))
    {
        assert!(*range >= validation.max_ratio && validation.layer == layer && validation.images == 40);
    }

    // The file alone gives the same answers and ranges.
    let file = bytes(&config.out);
    let naive = Naive::new(&file);
    let test = squares(50, 2);
    let mut largest = [0f64; 4];
    let mut correct = 0;
    for i in 0..test.len() {
        correct += usize::from(naive.answer(test.image(i)) == usize::from(test.label(i)));
        let ratios = naive.forward(test.image(i)).1;
        ratios.iter().zip(&mut largest).for_each(|(ratio, max)| *max = max.max(*ratio));
    }
    assert_eq!(correct, report.test.correct);
    for (range, largest) in report.test_ranges.iter().zip(largest) {
        assert!((range.max_ratio - largest).abs() < 1e-4, "{range:?} {largest}");
    }
    assert_eq!(naive.metadata["accuracy.test"], report.test.to_string());
    let ranges: Vec<f64> = serde_json::from_str(&naive.metadata["activation.ranges"]).unwrap();
    assert!(ranges.iter().zip(&report.ranges).all(|(stored, reported)| (stored - reported).abs() < 1e-12));

    // The learning curve lies beside it.
    let table = std::fs::read_to_string(beside(&config.out, ".csv")).unwrap();
    assert_eq!(table.lines().count(), 4);
    assert!(std::fs::read_to_string(beside(&config.out, ".svg")).unwrap().contains("polyline"));

    let again = quiet(&config).unwrap();
    assert_eq!(bytes(&config.out), file, "a second run gave other weights");
    assert_eq!((again.validation, again.test_ranges), (report.validation, report.test_ranges));
    let mut other = config.clone();
    other.seed = 2;
    quiet(&other).unwrap();
    assert_ne!(bytes(&config.out), file);
}

#[test]
fn projection_holds_in_the_file_and_can_be_switched_off() {
    let folder = Folder::new("projection");
    let mut config = digits(&folder);
    config.rates.learning_rate = 0.02;
    let mut reach = |projection| {
        config.projection = projection;
        quiet(&config).unwrap();
        let file = bytes(&config.out);
        let file = WeightFile::parse(&file).unwrap();
        let mut largest = 0f32;
        for (norm, channels) in [("bn1", 6), ("bn2", 16), ("bn3", 120), ("bn4", 84)] {
            let part = |part: &str| file.tensor(&format!("{norm}.{part}"), &[channels]).unwrap();
            let reaches = part("weight").into_iter().zip(part("bias")).map(|(g, b)| b.abs() + 5.0 * g.abs());
            largest = reaches.fold(largest, f32::max);
        }
        largest
    };
    assert!(reach(true) < 4.0001);
    assert!(reach(false) > 4.1);
}

#[test]
fn a_student_learns_from_its_teacher_in_every_way() {
    let folder = Folder::new("student");
    let teacher = teacher(&folder);
    let taught = quiet(&teacher).unwrap();
    assert!(taught.test.correct >= 45 && taught.ranges.is_empty(), "{}", taught.test);
    let mut student = digits(&folder);
    student.epochs = 2;
    student.teacher = Some(teacher.out.clone());
    student.rates = Rates { matrix_rate: 0.0, learning_rate: 1e-4, ..student.rates };

    // Warm: good from the first epoch on, with rates at which nothing is learned from scratch.
    let warm = quiet(&student).unwrap();
    assert!(warm.curve[0].validation_accuracy > 0.85, "{:?}", warm.curve);
    assert!(warm.test.correct >= 43, "{}", warm.test);
    student.warm_start = false;
    let cold = quiet(&student).unwrap();
    assert!(cold.curve[0].validation_accuracy < 0.7, "{:?}", cold.curve);

    // Learned coefficients: one list an activation, near the fitted ones but not them.
    student.warm_start = true;
    student.learned = true;
    student.fixed_epochs = 1;
    student.weights_type = WeightsType::Bf16;
    let learned = quiet(&student).unwrap();
    assert_eq!(learned.coefficients.len(), 4);
    assert_ne!(learned.coefficients[0], learned.coefficients[1]);
    for (own, fitted) in learned.coefficients[0].iter().zip(&warm.coefficients[0]) {
        assert!((own - fitted).abs() < 0.1);
    }
    assert!(learned.test.correct >= 43, "{}", learned.test);
    let file = bytes(&student.out);
    let file = WeightFile::parse(&file).unwrap();
    let kernel = file.tensor("conv2.weight", &[16, 6, 5, 5]).unwrap();
    assert!(kernel.iter().all(|w| w.to_bits() << 16 == 0), "not bf16");
    let lists: Vec<Vec<f64>> =
        serde_json::from_str(file.metadata("activation.coefficients").unwrap()).unwrap();
    for (stored, reported) in lists.iter().flatten().zip(learned.coefficients.iter().flatten()) {
        assert!((stored - reported).abs() < 1e-12);
    }
}

#[test]
fn distillation_and_features_change_what_is_learned() {
    let folder = Folder::new("distillation");
    let teacher = teacher(&folder);
    quiet(&teacher).unwrap();
    let mut student = digits(&folder);
    student.epochs = 1;
    student.teacher = Some(teacher.out.clone());
    let mut learned = std::collections::HashSet::new();
    for (distillation, features) in [(0.9, 0.5), (0.9, 0.0), (0.0, 0.5), (0.0, 0.0)] {
        (student.distillation, student.features) = (distillation, features);
        quiet(&student).unwrap();
        let file = bytes(&student.out);
        let weights = WeightFile::parse(&file).unwrap().tensor("fc1.weight", &[120, 400]).unwrap();
        learned.insert(weights.into_iter().map(f32::to_bits).collect::<Vec<u32>>());
    }
    assert_eq!(learned.len(), 4, "a switch does nothing");
}

/// Stopped after the second epoch, as by a kill, and gone on with: the same file to the last bit.
#[test]
fn a_resumed_run_gives_what_an_uninterrupted_one_does() {
    let folder = Folder::new("resume");
    let teacher = teacher(&folder);
    quiet(&teacher).unwrap();
    let mut config = digits(&folder);
    config.teacher = Some(teacher.out.clone());
    config.learned = true;
    config.fixed_epochs = 1;
    quiet(&config).unwrap();
    let whole = bytes(&config.out);
    std::fs::remove_file(&config.out).unwrap();
    std::fs::remove_file(path_for(&config.out)).unwrap();

    let stopped = catch_unwind(AssertUnwindSafe(|| {
        train(&config, &mut |news| {
            if let Progress::Step { epoch: 3, step: 5, .. } = news {
                panic!("stopped here");
            }
        })
    }));
    assert!(stopped.is_err() && !config.out.exists());
    config.resume = true;
    let mut epochs = Vec::new();
    let report = train(&config, &mut |news| match news {
        Progress::Resumed { epochs: done } => epochs.push(done),
        Progress::Epoch { point, .. } => epochs.push(point.epoch),
        _ => {}
    })
    .unwrap();
    assert_eq!(epochs, [2, 3]);
    assert_eq!(bytes(&config.out), whole, "a resumed run gave other weights");
    assert_eq!(report.curve.len(), 3);

    // A finished run resumes to the same file; another configuration does not.
    quiet(&config).unwrap();
    assert_eq!(bytes(&config.out), whole);
    let message = refuse(&config, |c| c.interval = 3.0);
    assert!(message.contains("interval is 3.0") && message.contains("4.0"), "{message}");
    assert!(refuse(&config, |c| c.teacher = None).contains("teacher"));
    let other = folder.file("other");
    assert!(refuse(&config, |c| c.out = other).contains("nothing to resume"));
    let checkpoint = path_for(&config.out);
    let length = bytes(&checkpoint).len();
    std::fs::write(&checkpoint, &bytes(&checkpoint)[..length - 9]).unwrap();
    assert!(refuse(&config, |_| ()).contains("cut off"));
}

#[test]
fn a_run_that_diverges_names_step_and_layer_and_leaves_the_old_file() {
    let folder = Folder::new("diverge");
    let mut config = digits(&folder);
    config.rates = Rates { matrix_rate: 0.0, learning_rate: 1e300, weight_decay: 0.0 };
    config.projection = false;
    std::fs::write(&config.out, "old").unwrap();
    let error = quiet(&config).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { epoch: 1, step: 2..=18, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("first layer whose values are not finite is conv1"), "{message}");
    assert_eq!(bytes(&config.out), b"old");
    let left: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().ends_with(".tmp")), "{left:?}");
}

#[test]
fn what_cannot_work_is_said_before_training() {
    let folder = Folder::new("early");
    let good = digits(&folder);
    assert!(refuse(&good, |c| c.out = "no/such/folder/x".into()).contains("no/such/folder/x"));
    assert!(refuse(&good, |c| c.batch_size = 1000).contains("batch-size"));
    assert!(refuse(&good, |c| c.data_dir = "no-data".into()).contains("no-data"));
    assert!(refuse(&good, |c| c.epochs = 0).contains("epochs"));
    assert!(refuse(&good, |c| c.teacher = Some("no-teacher".into())).contains("no-teacher"));
    let file = folder.file("not-a-teacher");
    std::fs::write(&file, "text").unwrap();
    assert!(refuse(&good, |c| c.teacher = Some(file.clone())).contains("not a complete safetensors file"));
    quiet(&TrainConfig { epochs: 1, ..good.clone() }).unwrap();
    let student = good.out.clone();
    assert!(refuse(&good, |c| c.teacher = Some(student.clone())).contains("--activation relu"));
    let wrong = refuse(&good, |c| {
        (c.dataset, c.model, c.teacher) = (DatasetName::Cifar10, ModelName::ResNet8, Some(student));
    });
    assert!(wrong.contains("a lenet5, the student is a resnet8"), "{wrong}");
}

/// The networks for colour images, teacher and student, end to end.
#[test]
fn residual_networks_learn_colours() {
    let folder = Folder::new("colours");
    write_batches(&folder.0, &colours(200, 1), &colours(40, 2));
    let out = folder.file("teacher");
    let mut config = TrainConfig::new(DatasetName::Cifar10, ModelName::ResNet8, folder.0.clone(), out);
    (config.activation, config.epochs, config.rates.matrix_rate) = (ActivationName::Relu, 4, 0.08);
    (config.batch_size, config.validation) = (20, 40);
    let teacher = quiet(&config).unwrap();
    assert!(teacher.test.correct >= 32, "{}", teacher.test);
    config.activation = ActivationName::Polynomial;
    config.teacher = Some(std::mem::replace(&mut config.out, folder.file("student")));
    (config.epochs, config.rates.matrix_rate) = (2, 0.02);
    let student = quiet(&config).unwrap();
    assert!(student.test.correct >= 30, "{}", student.test);
    let file = bytes(&config.out);
    let file = WeightFile::parse(&file).unwrap();
    for (key, value) in [
        ("architecture", "resnet8"),
        ("dataset", "cifar10"),
        ("input", "pixel/127.5-1"),
        ("activation", "polynomial"),
        ("width", "16"),
    ] {
        assert_eq!(file.metadata(key).unwrap(), value);
    }
}
