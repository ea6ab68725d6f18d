"""Jobs for run_job.cpp on Bochs' processor, which has AVX-512: `on_bochs.py run_job.elf`, as a HOSTED program would.

Runs in an environment that has bochscpu-python (PyPI), apart from compare_processors.py.
"""

import ctypes
import os
import struct
import sys
from pathlib import Path

import bochscpu
import bochscpu.cpu
import bochscpu.memory
import bochscpu.utils.cpu

PAGE = 4096
PAGE_TABLE, STACK, JOB = 0x100000, 0x20000000, 0x30000000
STACK_BYTES, JOB_BYTES = 0x40000, 0x1000000
HEADER = struct.Struct("<12q")
POINTERS = struct.Struct("<3q")  # behind the header, then the counts
COUNTS_BYTES = 24
CODE, DATA = 0, 1  # what bochscpu's page table calls its kinds of pages

_pages: dict[int, int] = {}  # address in the emulated memory -> address here


def add_pages(table: bochscpu.memory.PageMapLevel4Table, start: int, nbytes: int, kind: int) -> None:
    """Memory at its own physical address."""
    for page in range(start, start + nbytes, PAGE):
        _pages[page] = bochscpu.memory.allocate_host_page()
        bochscpu.memory.page_insert(page, _pages[page])
        table.insert(page, page, kind)


def write(address: int, data: bytes) -> None:
    for page in range(address & -PAGE, address + len(data), PAGE):
        start, stop = max(page, address), min(page + PAGE, address + len(data))
        ctypes.memmove(_pages[page] + start - page, data[start - address : stop - address], stop - start)


def read(address: int, nbytes: int) -> bytes:
    data = b""
    for page in range(address & -PAGE, address + nbytes, PAGE):
        start, stop = max(page, address), min(page + PAGE, address + nbytes)
        data += ctypes.string_at(_pages[page] + start - page, stop - start)
    return data


def load(elf: bytes, table: bochscpu.memory.PageMapLevel4Table) -> int:
    """A static program, the stack, and room for jobs in memory; returns the program's first instruction.

    `table` owns the memory of the page tables and must outlive the run.
    """
    (entry,) = struct.unpack_from("<Q", elf, 24)
    (headers,), (count,) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<H", elf, 56)
    parts = []
    for i in range(count):
        kind, flags, offset, address, _, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", elf, headers + 56 * i)
        if kind == 1:  # PT_LOAD
            add_pages(table, address, -(-in_memory // PAGE) * PAGE, CODE if flags & 1 else DATA)
            parts.append((address, elf[offset : offset + in_file]))
    add_pages(table, STACK, STACK_BYTES, DATA)
    add_pages(table, JOB, JOB_BYTES, DATA)
    for here, address in table.commit(PAGE_TABLE):
        bochscpu.memory.page_insert(address, here)
    for address, content in parts:
        write(address, content)
    return entry


def segment(selector: int, attributes: int) -> bochscpu.Segment:
    made = bochscpu.Segment()
    made.base, made.limit, made.selector, made.attr = 0, 0xFFFFFFFF, selector, attributes
    return made


def processor() -> bochscpu.State:
    """64-bit mode, with the system's consent to SSE, AVX and AVX-512 (CR4.OSXSAVE, XCR0)."""
    state = bochscpu.State()
    bochscpu.cpu.set_long_mode(state)
    cr0, cr4 = bochscpu.utils.cpu.CR0(state.cr0), bochscpu.utils.cpu.CR4(state.cr4)
    cr0.MP, cr0.EM = True, False
    cr4.OSFXSR = cr4.OSXSAVE = cr4.OSXMMEXCPT = True
    state.cr0, state.cr4, state.cr3, state.xcr0 = int(cr0), int(cr4), PAGE_TABLE, 0xE7
    state.mxcsr, state.mxcsr_mask, state.rflags = 0x1F80, 0xFFFF, 2
    flags = bochscpu.cpu.SegmentFlags()
    flags.A = flags.R = flags.E = flags.S = flags.P = flags.L = True
    state.cs = segment(0x10, int(flags))
    for name in ("ss", "ds", "es", "fs", "gs"):
        setattr(state, name, segment(0x18, 0xC93))
    return state


def main() -> None:
    session, table = bochscpu.Session(), bochscpu.memory.PageMapLevel4Table()
    entry = load(Path(sys.argv[1]).read_bytes(), table)
    state, hook = processor(), bochscpu.Hook()

    def fail(*what: object) -> None:
        sys.stderr.write(f"{what} at {session.cpu.state.rip:#x}\n")
        os._exit(1)

    session.missing_page_handler = lambda page: fail("missing", page)
    hook.exception = lambda session, cpu, vector, code: fail("exception", vector, code)
    hook.hlt = lambda session, cpu: session.stop()
    source = JOB + HEADER.size + POINTERS.size + COUNTS_BYTES
    while header := sys.stdin.buffer.read(HEADER.size):
        *_, src_bytes, more_bytes, dst_bytes = HEADER.unpack(header)
        more = source + src_bytes
        dst = more + more_bytes
        assert dst + dst_bytes <= JOB + JOB_BYTES
        write(JOB, header + POINTERS.pack(source, more, dst))
        write(source, sys.stdin.buffer.read(src_bytes + more_bytes))
        state.rip, state.rsp, state.rdi = entry, STACK + STACK_BYTES - 64, JOB
        session.cpu.state = state
        session.run([hook])
        sys.stdout.buffer.write(read(dst, dst_bytes) + read(JOB + HEADER.size + POINTERS.size, COUNTS_BYTES))
    sys.stdout.buffer.flush()
    os._exit(0)  # the binding complains of what it leaks


if __name__ == "__main__":
    main()
