//! The code as an ELF image that C libraries and Go's runtime take for the kernel's vDSO: System V gABI, and vdso(7) for the names.

use super::code::{self, Code};
use migrate_common::clocks::{CODE, LOG};

/// What functions of the vDSO have as their version.
const VERSION: &str = "LINUX_2.6";
const NAME: &str = "linux-vdso.so.1";

const HEADER_BYTES: u64 = 64;
const PROGRAM_HEADER_BYTES: u64 = 56;
const SYMBOL_BYTES: u64 = 24;

/// An image, and the code in it.
#[derive(Debug)]
pub(super) struct Image {
    /// From [`CODE`] on.
    pub(super) bytes: Vec<u8>,
    code: Code,
    /// Where the code is in it.
    at: u64,
}

impl Image {
    /// Where something of the code is in a process.
    pub(super) fn address(&self, of: impl FnOnce(&Code) -> u64) -> u64 {
        CODE + self.at + of(&self.code)
    }

    pub(super) fn new() -> Self {
        let code = code::code();
        let functions = [
            ("__vdso_clock_gettime", code.clock_gettime),
            ("__vdso_gettimeofday", code.gettimeofday),
            ("__vdso_time", code.time),
        ];
        let mut strings = Strings::default();
        let (version, name) = (strings.add(VERSION), strings.add(NAME));
        let names = functions.map(|(name, _)| strings.add(name));

        let mut bytes = vec![0; (HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES) as usize];
        let strings_at = put(&mut bytes, &strings.0);
        let hash_at = put(&mut bytes, &words(hash_table(functions.len())));
        // The first is no symbol, as in every table.
        let versions_at = put(&mut bytes, &[0_u16, 2, 2, 2].map(u16::to_le_bytes).concat());
        let definitions_at = put(&mut bytes, &definitions(name, version));
        let symbols_at = reserve(&mut bytes, (functions.len() as u64 + 1) * SYMBOL_BYTES);
        let dynamic_at = reserve(&mut bytes, DYNAMIC as u64 * 16);
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        let at = put(&mut bytes, code.bytes);

        for (n, (name, (_, offset))) in names.into_iter().zip(functions).enumerate() {
            // STB_GLOBAL and STT_FUNC, in some section.
            let symbol = [u64::from(name) | 0x12 << 32 | 1 << 48, at + offset, 16];
            write(&mut bytes, symbols_at + (n as u64 + 1) * SYMBOL_BYTES, &symbol.map(u64::to_le_bytes).concat());
        }
        let dynamic: [(u64, u64); DYNAMIC] = [
            (14, name.into()),             // DT_SONAME
            (4, hash_at),                  // DT_HASH
            (5, strings_at),               // DT_STRTAB
            (10, strings.0.len() as u64),  // DT_STRSZ
            (6, symbols_at),               // DT_SYMTAB
            (11, SYMBOL_BYTES),            // DT_SYMENT
            (0x6fff_fff0, versions_at),    // DT_VERSYM
            (0x6fff_fffc, definitions_at), // DT_VERDEF
            (0x6fff_fffd, 2),              // DT_VERDEFNUM
            (0, 0),
        ];
        write(&mut bytes, dynamic_at, &words64(dynamic.into_iter().flat_map(|(tag, value)| [tag, value])));
        let end = bytes.len() as u64;
        // PT_LOAD, readable and executable; PT_DYNAMIC, readable: type and flags, offset, two addresses, two sizes, alignment.
        let load = [1 | 5 << 32, 0, 0, 0, end, end, 4096];
        let dynamic = [2 | 4 << 32, dynamic_at, dynamic_at, dynamic_at, DYNAMIC as u64 * 16, DYNAMIC as u64 * 16, 8];
        write(&mut bytes, HEADER_BYTES, &words64([load, dynamic].concat()));
        write(&mut bytes, 0, &header());
        assert!(end <= LOG - CODE, "it is one page");
        Self { bytes, code, at }
    }
}

/// Entries of the dynamic section.
const DYNAMIC: usize = 10;

/// A shared object for x86-64 with two program headers.
fn header() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend(words64([3 | 62 << 16 | 1 << 32, 0, HEADER_BYTES, 0]));
    // Flags; bytes of this header and of a program header, how many there are; no sections.
    header.extend(0_u32.to_le_bytes());
    header.extend([HEADER_BYTES as u16, PROGRAM_HEADER_BYTES as u16, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
    header
}

/// One bucket with all symbols in it.
fn hash_table(functions: usize) -> Vec<u32> {
    let symbols = functions as u32 + 1;
    let chain = (0..symbols).map(|n| if n == 0 || n + 1 == symbols { 0 } else { n + 1 });
    [1, symbols, 1].into_iter().chain(chain).collect()
}

/// The file's own version, and the one that the functions have.
fn definitions(name: u32, version: u32) -> Vec<u8> {
    let definition = |flags: u16, index: u16, text: &str, at: u32, next: u32| {
        let mut bytes = [1, flags, index, 1].map(u16::to_le_bytes).concat();
        bytes.extend(words([hash(text), 20, next, at, 0]));
        bytes
    };
    [definition(1, 1, NAME, name, 28), definition(0, 2, VERSION, version, 0)].concat()
}

/// The gABI's hash of a name.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(byte.into());
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    })
}

#[derive(Debug)]
struct Strings(Vec<u8>);

impl Default for Strings {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend(text.bytes().chain([0]));
        at
    }
}

fn words(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn words64(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// Appends bytes, aligned to 8: where they are.
fn put(to: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    let at = reserve(to, bytes.len() as u64);
    write(to, at, bytes);
    at
}

fn reserve(to: &mut Vec<u8>, bytes: u64) -> u64 {
    let at = to.len().next_multiple_of(8);
    to.resize(at + bytes as usize, 0);
    at as u64
}

fn write(to: &mut [u8], at: u64, bytes: &[u8]) {
    to[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::vdso;

    #[test]
    fn the_image_has_the_functions_under_their_names() {
        let image = Image::new();
        for (name, of) in [
            ("__vdso_clock_gettime", image.code.clock_gettime),
            ("__vdso_gettimeofday", image.code.gettimeofday),
            ("__vdso_time", image.code.time),
        ] {
            assert_eq!(vdso::symbol(&image.bytes, name), Some(image.at + of), "{name}");
        }
        assert_eq!(vdso::symbol(&image.bytes, "__vdso_getcpu"), None);
        assert_eq!(hash(VERSION), 0x03ae_75f6);
        assert_eq!(image.bytes[image.at as usize..][..4], [0xf3, 0x0f, 0x1e, 0xfa], "endbr64");
    }
}
