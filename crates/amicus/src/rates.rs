//! How fast this machine computes: measured once, kept in a file, read by `amicus estimate`.
//!
//! Where it stands: the numbers that [`amicus_plan::Plan::estimate`] multiplies; the command line
//! measures them. One file a machine (host name, processor, cores) and kernel, in
//! `$XDG_CACHE_HOME/amicus` or `~/.cache/amicus`.

use amicus_field::Kernel;
use amicus_files::private_file::{self, Existing};
use amicus_net::shaper::Shape;
use amicus_plan::{Link, Rates};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;
use thiserror::Error;

/// Rates of one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineRates {
    /// Host name, processor and number of cores.
    pub machine: String,
    /// Kernel that was measured.
    pub kernel: String,
    /// Multiply-adds of convolutions, a second and limb, on one core.
    pub products_per_second: f64,
    /// Multiply-adds of a fully connected layer with one input, a second and limb, on one core.
    pub dense_products_per_second: f64,
    /// Nanoseconds to use one element of dealt material online, a limb.
    pub online_element_ns: f64,
    /// Nanoseconds to make, send and take in one element of dealt material, a limb.
    pub dealt_element_ns: f64,
    /// Microseconds to handle a message on this machine.
    pub hop_us: f64,
    /// Microseconds to handle a message that a network delays, beside that delay.
    pub delayed_hop_us: f64,
}

impl MachineRates {
    /// In the units of the estimate.
    pub fn rates(&self) -> Rates {
        Rates {
            product: self.products_per_second,
            dense: self.dense_products_per_second,
            element: 1e-9 * self.online_element_ns,
            dealt: 1e-9 * self.dealt_element_ns,
            hop: 1e-6 * self.hop_us,
            delayed_hop: 1e-6 * self.delayed_hop_us,
        }
    }

    /// Rates from the text of a file; none that are no rates at all.
    ///
    /// # Errors
    /// Text that holds no rates, or numbers that are not above 0.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rates: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if rates.is_sound() { Ok(rates) } else { Err("a rate is not above 0".to_owned()) }
    }

    fn is_sound(&self) -> bool {
        let all = [
            self.products_per_second,
            self.dense_products_per_second,
            self.online_element_ns,
            self.dealt_element_ns,
            self.hop_us,
            self.delayed_hop_us,
        ];
        all.iter().all(|v| v.is_finite() && *v > 0.0)
    }
}

/// Rates that cannot be measured, kept or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RatesError {
    /// The file of rates.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// There is no folder to keep rates in.
    #[error("no folder to keep rates in: set XDG_CACHE_HOME or HOME")]
    NoFolder,
    /// A network that was to be measured did not run.
    #[error("measuring: {0}")]
    Run(#[from] amicus_node::NodeError),
    /// A network that was to be measured did not compile.
    #[error("measuring: {0}")]
    Model(#[from] amicus_model::ModelError),
    /// A plan or kernel that was to be measured is not valid.
    #[error("measuring: {0}")]
    Setup(String),
}

/// The machine this runs on, in words: the name of the file follows from it.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let host = read("/proc/sys/kernel/hostname").trim().to_owned();
    let cpuinfo = read("/proc/cpuinfo");
    let processor = cpuinfo.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split_once(": "));
    let processor = processor.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let host = if host.is_empty() { "unnamed host" } else { &host };
    format!("{host}, {processor}, {cores} core(s)")
}

/// A network between roles as estimates take it. Without a network all roles share this machine's
/// cores; behind one, each has a machine of its own.
pub fn link(net: &Shape) -> Link {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Link {
        one_way: net.one_way.as_secs_f64(),
        bandwidth: net.bits_per_second.map(|b| b as f64 / 8.0),
        shared_cores: net.is_local().then_some(cores),
    }
}

/// Where this machine's rates are kept for a kernel.
///
/// # Errors
/// When the environment names no folder.
pub fn path(kernel: Kernel) -> Result<PathBuf, RatesError> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let key = format!("{}, {}", machine(), kernel.name());
    // 64-bit FNV-1a: names a file, protects nothing.
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    Ok(cache.ok_or(RatesError::NoFolder)?.join("amicus").join(format!("rates-{hash:016x}.json")))
}

/// This machine's rates, if they were measured.
///
/// # Errors
/// A file that cannot be read, or holds something else.
pub fn load(kernel: Kernel) -> Result<Option<MachineRates>, RatesError> {
    let path = path(kernel)?;
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(RatesError::File { path, reason: e.to_string() }),
    };
    let again = "measure again with `amicus bench --suite calibrate`";
    match MachineRates::parse(&text) {
        Ok(rates) if rates.machine == machine() && rates.kernel == kernel.name() => Ok(Some(rates)),
        Ok(_) => {
            let reason = format!("holds rates of another machine or kernel; {again}");
            Err(RatesError::File { path, reason })
        }
        Err(e) => Err(RatesError::File { path, reason: format!("holds no rates ({e}); {again}") }),
    }
}

/// Keeps rates for later; gives the file.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn save(kernel: Kernel, rates: &MachineRates) -> Result<PathBuf, RatesError> {
    let path = path(kernel)?;
    let failed = |e: std::io::Error| RatesError::File { path: path.clone(), reason: e.to_string() };
    let folder = path.parent().ok_or(RatesError::NoFolder)?;
    std::fs::create_dir_all(folder).map_err(failed)?;
    let text = serde_json::to_string_pretty(rates).map_err(|e| failed(e.into()))?;
    // Another process never sees half a file.
    private_file::write(&path, Existing::Replace, |file| file.write_all(text.as_bytes())).map_err(failed)?;
    Ok(path)
}
