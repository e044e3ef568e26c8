//! What WebAssembly exports: functions over one machine and one buffer for bytes in and out.
//!
//! JavaScript asks for [`room`], writes what a step takes there, and calls the step. Afterwards the
//! buffer, [`size`] bytes at [`place`], holds what the step gives, or why it could not be taken. The
//! only unsafe things are the exports' names and the one import, `random`.

use crate::{Machine, WebError};
use amicus_client::https::Call;
use amicus_field::OperatingSystem;
use std::cell::RefCell;
use zeroize::Zeroizing;

/// Bytes that a caller may ask room for, at most: more than the longest plan.
const MOST: usize = 32 << 20;

#[derive(Default)]
struct Instance {
    machine: Option<Machine>,
    buffer: Zeroizing<Vec<u8>>,
}

thread_local! {
    /// WebAssembly without threads has one.
    static INSTANCE: RefCell<Instance> = RefCell::default();
}

#[link(wasm_import_module = "amicus")]
unsafe extern "C" {
    /// Fills bytes from `crypto.getRandomValues`.
    safe fn random(place: *mut u8, size: usize);
}

/// The system's randomness, for the crate `getrandom`.
///
/// # Safety
/// `place` is valid for `size` bytes, as its documentation says.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(place: *mut u8, size: usize) -> Result<(), getrandom::Error> {
    // A generator that fails throws, which ends the instance.
    random(place, size);
    Ok(())
}

/// Room for so many bytes that a step takes; null if that is too much. What was there is wiped.
#[unsafe(no_mangle)]
extern "C" fn room(size: usize) -> *mut u8 {
    if size > MOST {
        return std::ptr::null_mut();
    }
    INSTANCE.with_borrow_mut(|instance| {
        instance.buffer = Zeroizing::new(vec![0; size]);
        instance.buffer.as_mut_ptr()
    })
}

/// Where the bytes are that a step gave.
#[unsafe(no_mangle)]
extern "C" fn place() -> *const u8 {
    INSTANCE.with_borrow(|instance| instance.buffer.as_ptr())
}

/// How many there are.
#[unsafe(no_mangle)]
extern "C" fn size() -> usize {
    INSTANCE.with_borrow(|instance| instance.buffer.len())
}

/// What a step gives.
enum Given {
    Bytes(Zeroizing<Vec<u8>>),
    Call(Call),
}

impl From<()> for Given {
    fn from((): ()) -> Self {
        Given::Bytes(Zeroizing::default())
    }
}

impl From<Vec<u8>> for Given {
    fn from(bytes: Vec<u8>) -> Self {
        Given::Bytes(Zeroizing::new(bytes))
    }
}

impl From<Zeroizing<Vec<u8>>> for Given {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Given::Bytes(bytes)
    }
}

impl From<Call> for Given {
    fn from(call: Call) -> Self {
        Given::Call(call)
    }
}

/// A request as bytes: method and path, a line each, then the body.
fn encode(call: &Call) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(call.path.len() + call.body.0.len() + 16));
    for line in [call.method.name(), &call.path] {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(&call.body.0);
    bytes
}

/// Takes a step; 1 when it could be taken.
fn step<G: Into<Given>>(take: impl FnOnce(&mut Option<Machine>, &[u8]) -> Result<G, WebError>) -> u32 {
    INSTANCE.with_borrow_mut(|Instance { machine, buffer }| {
        let taken = take(machine, buffer).map(Into::into);
        let (given, good) = match taken {
            Ok(Given::Bytes(bytes)) => (bytes, 1),
            Ok(Given::Call(call)) => (encode(&call), 1),
            Err(error) => (Zeroizing::new(serde_json::to_vec(&error.problem()).unwrap_or_default()), 0),
        };
        *buffer = given;
        good
    })
}

/// Takes a step of the machine that was begun.
fn on<G: Into<Given>>(take: impl FnOnce(&mut Machine, &[u8]) -> Result<G, WebError>) -> u32 {
    step(|machine, bytes| {
        let machine = machine.as_mut().ok_or_else(|| WebError::Caller("nothing was begun".into()))?;
        take(machine, bytes)
    })
}

macro_rules! exports {
    ($($(#[$doc:meta])* $name:ident($machine:ident, $number:pat, $bytes:pat) $take:expr;)*) => {
        $($(#[$doc])*
        #[unsafe(no_mangle)]
        extern "C" fn $name(number: usize) -> u32 {
            let $number = number;
            on(|$machine, $bytes| $take)
        })*
    };
}

/// Begins: [`Machine::new`].
#[unsafe(no_mangle)]
extern "C" fn begin() -> u32 {
    step(|machine, cluster| {
        *machine = Some(Machine::new(cluster)?);
        Ok(())
    })
}

exports! {
    /// [`Machine::hear`]
    hear(machine, node, info) machine.hear(node, info);
    /// [`Machine::ask_plan`]
    ask_plan(machine, _, _) machine.ask_plan();
    /// [`Machine::take_plan`]
    take_plan(machine, _, plan) machine.take_plan(plan);
    /// [`Machine::compare`]
    compare(machine, _, _) machine.compare();
    /// [`Machine::take_input`]
    take_input(machine, _, numbers) machine.take_input(numbers);
    /// [`Machine::ask`]
    ask(machine, _, _) machine.ask();
    /// [`Machine::granted`]; so many bytes are the id, the ticket follows.
    granted(machine, id, bytes) {
        let (id, ticket) = bytes.split_at_checked(id).unwrap_or((&[], bytes));
        machine.granted(std::str::from_utf8(id).unwrap_or_default(), ticket, &mut OperatingSystem)
    };
    /// [`Machine::mask`]
    mask(machine, _, _) machine.mask();
    /// [`Machine::submit`]
    submit(machine, party, _) machine.submit(party);
    /// [`Machine::collect`]
    collect(machine, party, _) machine.collect(party);
    /// [`Machine::ask_release`]
    ask_release(machine, _, _) machine.ask_release();
    /// [`Machine::take_output`]
    take_output(machine, party, output) machine.take_output(party, output);
    /// [`Machine::take_release`]
    take_release(machine, _, release) machine.take_release(release);
    /// [`Machine::answer`]
    answer(machine, _, _) machine.answer();
    /// [`Machine::farewell`]
    farewell(machine, node, _) machine.farewell(node);
}
