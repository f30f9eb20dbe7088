//! The compiler of filters in libpcap, which is loaded when it is needed: without a filter nobody needs the library.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr::NonNull;

use libloading::Library;
use switch_core::bpf;

/// The library, loaded.
#[derive(Debug)]
pub(crate) struct Libpcap(Library);

impl Libpcap {
    /// Loads the first of these that is there.
    pub(crate) fn load(names: &[&str]) -> Result<Self, libloading::Error> {
        let mut last = None;
        for name in names {
            // SAFETY: what libpcap runs when it is loaded and unloaded depends on nothing of this process.
            match unsafe { Library::new(*name) } {
                Ok(library) => return Ok(Self(library)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(libloading::Error::DlOpenUnknown))
    }

    /// Compiles a filter for Ethernet frames, of which `snap_len` bytes are kept. The error is libpcap's.
    pub(crate) fn compile(
        &self,
        filter: &CStr,
        snap_len: u32,
    ) -> Result<Vec<bpf::Instruction>, String> {
        let functions = Functions::of(&self.0).map_err(|error| error.to_string())?;
        let snap_len = c_int::try_from(snap_len).unwrap_or(c_int::MAX);
        // SAFETY: the call takes two numbers, and gives a handle or none.
        let handle = unsafe { (functions.open_dead)(LINKTYPE_ETHERNET, snap_len) };
        let handle = NonNull::new(handle).ok_or("libpcap has no memory")?;
        let mut program = Program {
            len: 0,
            instructions: std::ptr::null_mut(),
        };
        // SAFETY: the handle is open, the program is ours to be filled, the filter ends in a zero and outlives the call.
        let outcome = unsafe {
            (functions.compile)(
                handle.as_ptr(),
                &raw mut program,
                filter.as_ptr(),
                OPTIMIZED,
                NETMASK_UNKNOWN,
            )
        };
        let compiled = match outcome {
            0 => Ok(program.read()),
            _ => {
                // SAFETY: the handle is open, so its text of the last error is there until it is closed.
                let text = unsafe { CStr::from_ptr((functions.last_error)(handle.as_ptr())) };
                Err(text.to_string_lossy().into_owned())
            }
        };
        // SAFETY: the program is as the library filled it or empty, and the handle is open; neither is used any more.
        unsafe {
            (functions.free_code)(&raw mut program);
            (functions.close)(handle.as_ptr());
        }
        compiled
    }
}

/// pcap_open_dead(3PCAP), pcap_compile(3PCAP), pcap_geterr(3PCAP), pcap_freecode(3PCAP), pcap_close(3PCAP).
struct Functions {
    open_dead: unsafe extern "C" fn(c_int, c_int) -> *mut Handle,
    compile: unsafe extern "C" fn(*mut Handle, *mut Program, *const c_char, c_int, c_uint) -> c_int,
    last_error: unsafe extern "C" fn(*mut Handle) -> *const c_char,
    free_code: unsafe extern "C" fn(*mut Program),
    close: unsafe extern "C" fn(*mut Handle),
}

impl Functions {
    fn of(library: &Library) -> Result<Self, libloading::Error> {
        // SAFETY: the types are those of pcap/pcap.h, unchanged since libpcap 1.0; the caller holds the library meanwhile.
        unsafe {
            Ok(Self {
                open_dead: *library.get(b"pcap_open_dead\0")?,
                compile: *library.get(b"pcap_compile\0")?,
                last_error: *library.get(b"pcap_geterr\0")?,
                free_code: *library.get(b"pcap_freecode\0")?,
                close: *library.get(b"pcap_close\0")?,
            })
        }
    }
}

/// `pcap_t`, which only the library looks into.
enum Handle {}

/// `struct bpf_program`.
#[repr(C)]
struct Program {
    len: c_uint,
    instructions: *mut Instruction,
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

impl Program {
    fn read(&self) -> Vec<bpf::Instruction> {
        let Some(first) = NonNull::new(self.instructions) else {
            return Vec::new();
        };
        let len = usize::try_from(self.len).unwrap_or(0);
        // SAFETY: the library filled both fields, and nobody changes the program before it is freed.
        let instructions = unsafe { std::slice::from_raw_parts(first.as_ptr(), len) };
        let instructions = instructions.iter().map(|it| bpf::Instruction {
            code: it.code,
            jt: it.jt,
            jf: it.jf,
            k: it.k,
        });
        instructions.collect()
    }
}

/// Under which names it is found: Debian's, and that of others.
pub(crate) const NAMES: &[&str] = &["libpcap.so.0.8", "libpcap.so.1"];
const LINKTYPE_ETHERNET: c_int = 1;
const OPTIMIZED: c_int = 1;
const NETMASK_UNKNOWN: c_uint = u32::MAX;
