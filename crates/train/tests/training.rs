//! Whole training runs on a tiny data set (feature `burn`).
#![cfg(feature = "burn")]
#![allow(clippy::unwrap_used)] // a test may fail by panicking, its helpers too

mod common;

use amicus_train::{DatasetName, ModelName, Progress, TrainConfig, TrainError, train};
use common::naive::Naive;
use common::{Folder, squares, write_set};

fn config(folder: &Folder) -> TrainConfig {
    write_set(&folder.0, &squares(330, 1), &squares(50, 2));
    let mut config = TrainConfig::new(
        DatasetName::Mnist,
        ModelName::LeNet5,
        folder.0.clone(),
        folder.file("out.safetensors"),
    );
    config.excluded = Some(squares(330, 1).select(&[0, 5]));
    config.epochs = 2;
    config.batch_size = 16;
    config.validation = 40;
    config
}

#[test]
fn a_run_learns_reports_and_repeats() {
    let folder = Folder::new("run");
    let config = config(&folder);
    let mut news = Vec::new();
    let report = train(&config, &mut |progress| news.push(progress)).unwrap();
    assert_eq!(news[0], Progress::Loaded { training: 288, validation: 40, test: 50, dropped: 2 });
    assert_eq!(news.iter().filter(|n| matches!(n, Progress::Step { .. })).count(), 36);
    assert_eq!(news.iter().filter(|n| matches!(n, Progress::Epoch { .. })).count(), 2);
    assert!(report.test.correct >= 45, "{}", report.test);
    assert_eq!(
        report.validation_ranges.iter().map(|r| r.values).collect::<Vec<_>>(),
        [40 * 4704, 40 * 1600, 40 * 120, 40 * 84]
    );

    // The file alone gives the same answers and ranges.
    let bytes = std::fs::read(&config.out).unwrap();
    let naive = Naive::new(&bytes);
    let test = squares(50, 2);
    let mut largest = [0f64; 4];
    let mut correct = 0;
    for i in 0..test.len() {
        correct += usize::from(naive.answer(test.image(i)) == usize::from(test.label(i)));
        naive
            .forward(test.image(i))
            .1
            .iter()
            .zip(&mut largest)
            .for_each(|(ratio, max)| *max = max.max(*ratio));
    }
    assert_eq!(correct, report.test.correct);
    for (range, largest) in report.test_ranges.iter().zip(largest) {
        assert!((range.max_ratio - largest).abs() < 1e-4, "{range:?} {largest}");
    }
    assert_eq!(naive.metadata["accuracy.test"], report.test.to_string());

    let again = train(&config, &mut |_| ()).unwrap();
    assert_eq!(std::fs::read(&config.out).unwrap(), bytes, "a second run gave other weights");
    assert_eq!((again.validation, again.test_ranges), (report.validation, report.test_ranges));
    let mut other = config.clone();
    other.seed = 2;
    train(&other, &mut |_| ()).unwrap();
    assert_ne!(std::fs::read(&config.out).unwrap(), bytes);
}

#[test]
fn a_run_that_diverges_names_the_step_and_leaves_the_old_file() {
    let folder = Folder::new("diverge");
    let mut config = config(&folder);
    config.learning_rate = 1e20;
    std::fs::write(&config.out, "old").unwrap();
    let error = train(&config, &mut |_| ()).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { epoch: 1, step: 2..=18, .. }), "{error}");
    assert_eq!(std::fs::read(&config.out).unwrap(), b"old");
    let left: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().ends_with(".tmp")), "{left:?}");
}

#[test]
fn what_cannot_work_is_said_before_training() {
    let folder = Folder::new("early");
    let good = config(&folder);
    let refuse = |change: &dyn Fn(&mut TrainConfig)| {
        let mut config = good.clone();
        change(&mut config);
        train(&config, &mut |news| assert!(!matches!(news, Progress::Step { .. }))).unwrap_err().to_string()
    };
    assert!(refuse(&|c| c.out = "no/such/folder/x".into()).contains("no/such/folder/x"));
    assert!(refuse(&|c| c.batch_size = 1000).contains("batch-size"));
    assert!(refuse(&|c| c.data_dir = "no-data".into()).contains("no-data"));
    assert!(refuse(&|c| c.epochs = 0).contains("epochs"));
    assert!(!good.out.exists());
}
