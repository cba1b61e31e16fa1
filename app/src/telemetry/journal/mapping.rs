//! The one place that touches a file through the memory of the process.
//!
//! A mapped file is seen as a slice of atomic words and as nothing else. Words may be read and written by several
//! threads at once without a data race, so that everything above this file is safe code: what a reader makes of
//! bytes that change under it is decided by the records' checksums.

// A memory mapping cannot be had without `unsafe`: the compiler cannot know who else changes or shortens the file.
// Here the file is locked, preallocated, and never shortened by this program.
#![allow(unsafe_code)]

use std::{fs::File, io, ops::Range, sync::atomic::AtomicU64};

use memmap2::{Advice, MmapRaw, UncheckedAdvice};

/// A file in memory, as long as the file was when it was mapped.
pub(super) struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    /// Maps the whole of `file`, for reading and writing.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        Ok(Self { raw: MmapRaw::map_raw(file)? })
    }

    /// The file's bytes in words; what is left over at the end of a file cut short is not seen.
    pub(super) fn words(&self) -> &[AtomicU64] {
        let words = self.raw.len() / size_of::<u64>();
        // SAFETY: the mapping starts on a page, so it is aligned for words; it is `words * 8` bytes long or longer,
        // readable, writable and lives as long as `self`, to which the slice is bound; every pattern of bits is a
        // valid `AtomicU64`; nothing in this process accesses the memory in any other way.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().cast::<AtomicU64>(), words) }
    }

    /// Waits until these bytes are on the disk.
    pub(super) fn flush(&self, bytes: Range<usize>) -> io::Result<()> {
        self.raw.flush_range(bytes.start, bytes.len())
    }

    /// Lets the kernel set these pages up for writing now, so that a later write meets no page fault. Only a help: a
    /// kernel that cannot (before Linux 5.14) changes nothing.
    pub(super) fn populate(&self, bytes: Range<usize>) {
        let _ = self.raw.advise_range(Advice::PopulateWrite, bytes.start, bytes.len());
    }

    /// Takes these pages out of the process' resident set. Their contents stay in the file and in the page cache.
    pub(super) fn release(&self, bytes: Range<usize>) {
        // SAFETY: `MADV_DONTNEED` discards contents only where they are private to the process; this mapping is
        // shared, so that a later access finds the file's contents as they were.
        let _ =
            unsafe { self.raw.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
    }
}
