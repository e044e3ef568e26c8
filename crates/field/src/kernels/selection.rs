//! Which kernel runs: detection, the environment's choice, and an override for tests and benches.

use std::cell::Cell;
use std::ffi::OsString;
use std::sync::OnceLock;

/// The environment variable that forces a kernel.
const VARIABLE: &str = "AMICUS_KERNEL";

/// A set of implementations of the hot loops. All give bit-identical results.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Kernel {
    /// Plain Rust: 64-bit multiplications and the `aes` crate.
    Portable,
    /// AVX2 with FMA (52-bit products from doubles), AES and carry-less multiplication, for two
    /// blocks at a time where there is that.
    Avx2,
    /// AVX-512 with IFMA (52-bit multiply-add), VBMI (byte permutations), VAES and VPCLMULQDQ.
    Avx512,
}

/// A kernel was asked for that does not exist or cannot run here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The environment names no kernel.
    #[error("{VARIABLE}={value:?}: expected \"portable\", \"avx2\" or \"avx512\"")]
    Unknown {
        /// The value of the variable.
        value: OsString,
    },
    /// The kernel needs instructions this processor does not have.
    #[error("{VARIABLE}={}: this processor lacks {}", kernel.name(), kernel.needs())]
    Unavailable {
        /// The kernel asked for.
        kernel: Kernel,
    },
}

impl Kernel {
    /// Every kernel, for tests and benches, the fastest last.
    pub const ALL: [Kernel; 3] = [Kernel::Portable, Kernel::Avx2, Kernel::Avx512];

    /// The name the environment variable takes.
    pub const fn name(self) -> &'static str {
        match self {
            Kernel::Portable => "portable",
            Kernel::Avx2 => "avx2",
            Kernel::Avx512 => "avx512",
        }
    }

    /// What the processor must have.
    const fn needs(self) -> &'static str {
        match self {
            Kernel::Portable => "nothing",
            Kernel::Avx2 => "AVX2, FMA, AES or PCLMULQDQ",
            Kernel::Avx512 => "AVX-512 with IFMA, VBMI, VAES or VPCLMULQDQ",
        }
    }

    /// The fastest kernel that can run here.
    fn fastest() -> Kernel {
        Kernel::ALL.into_iter().rfind(|kernel| kernel.is_available()).unwrap_or(Kernel::Portable)
    }

    /// Whether this processor can run the kernel.
    pub fn is_available(self) -> bool {
        match self {
            Kernel::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => super::avx512::detected(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => super::avx2::detected(),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx2 | Kernel::Avx512 => false,
        }
    }

    /// The kernel that `AMICUS_KERNEL` asks for, or the fastest available when it is not set or
    /// empty.
    ///
    /// A program calls this first, so that a wrong value ends in this error and not in the panic of
    /// [`Kernel::active`].
    ///
    /// # Errors
    /// When the value names no kernel or one that this processor cannot run.
    pub fn from_env() -> Result<Kernel, KernelError> {
        Kernel::from_environment(std::env::var_os(VARIABLE))
    }

    fn from_environment(name: Option<OsString>) -> Result<Kernel, KernelError> {
        let kernel = match name {
            Some(value) if !value.is_empty() => *Kernel::ALL
                .iter()
                .find(|kernel| value == kernel.name())
                .ok_or(KernelError::Unknown { value })?,
            _ => Kernel::fastest(),
        };
        if kernel.is_available() { Ok(kernel) } else { Err(KernelError::Unavailable { kernel }) }
    }

    /// The kernel in use on this thread: that of [`with_kernel`], or else that of
    /// [`Kernel::from_env`], which is read once per process.
    ///
    /// # Panics
    /// When `AMICUS_KERNEL` cannot be followed; [`Kernel::from_env`] gives the same as an error.
    pub fn active() -> Kernel {
        static PROCESS: OnceLock<Kernel> = OnceLock::new();
        OVERRIDE.get().unwrap_or_else(|| {
            *PROCESS.get_or_init(|| match Kernel::from_env() {
                Ok(kernel) => kernel,
                Err(error) => panic!("{error}"),
            })
        })
    }
}

thread_local! {
    /// Only ever an available kernel.
    static OVERRIDE: Cell<Option<Kernel>> = const { Cell::new(None) };
}

/// Runs `f` with `kernel` on this thread, for tests and benches. Other threads are not affected.
///
/// # Panics
/// When this processor cannot run the kernel.
pub fn with_kernel<T>(kernel: Kernel, f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Kernel>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OVERRIDE.set(self.0);
        }
    }
    assert!(kernel.is_available(), "this processor cannot run the kernel {}", kernel.name());
    let _restore = Restore(OVERRIDE.replace(Some(kernel)));
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_followed_or_refused() {
        assert_eq!(Kernel::from_environment(Some("portable".into())), Ok(Kernel::Portable));
        let fastest = Kernel::fastest();
        assert!(
            Kernel::ALL
                .into_iter()
                .filter(|kernel| kernel.is_available())
                .all(|kernel| kernel as u8 <= fastest as u8)
        );
        assert_eq!(Kernel::from_environment(None), Ok(fastest));
        assert_eq!(Kernel::from_environment(Some(OsString::new())), Ok(fastest));
        let error = Kernel::from_environment(Some("sse9".into())).unwrap_err();
        let expected = "AMICUS_KERNEL=\"sse9\": expected \"portable\", \"avx2\" or \"avx512\"";
        assert_eq!(error.to_string(), expected);
        for kernel in Kernel::ALL {
            let chosen = Kernel::from_environment(Some(kernel.name().into()));
            assert_eq!(
                chosen,
                if kernel.is_available() { Ok(kernel) } else { Err(KernelError::Unavailable { kernel }) }
            );
        }
    }

    #[test]
    fn an_override_ends_with_its_scope() {
        let before = Kernel::active();
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            with_kernel(kernel, || {
                assert_eq!(Kernel::active(), kernel);
                with_kernel(Kernel::Portable, || assert_eq!(Kernel::active(), Kernel::Portable));
                assert_eq!(Kernel::active(), kernel);
            });
        }
        let _ = std::panic::catch_unwind(|| with_kernel(Kernel::Portable, || panic!("within")));
        assert_eq!(Kernel::active(), before);
    }

    /// Run by `the_variable_takes_effect` in a process of its own.
    #[test]
    #[ignore = "a helper of another test"]
    fn prints_the_active_kernel() {
        println!("active kernel: {}", Kernel::active().name());
    }

    #[test]
    fn the_variable_takes_effect() {
        let run = |value: &str| {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "--nocapture"])
                .arg("kernels::selection::tests::prints_the_active_kernel")
                .env(VARIABLE, value)
                .output()
                .unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            let (ok, text) = run(kernel.name());
            assert!(ok && text.contains(&format!("active kernel: {}", kernel.name())), "{text}");
        }
        assert!(!run("fast").0);
    }
}
