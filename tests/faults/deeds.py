"""A program whose memory a sweep of faults saves: a deed for each line, of which it says "done"."""

import mmap
import os
import sys

PAGES = 64
PAGE = 4096

file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(file, PAGES * PAGE)
memory = mmap.mmap(file, PAGES * PAGE)
os.close(file)
print("ready", flush=True)
for deed, _ in enumerate(sys.stdin, 1):
    for page in range(deed % 7, PAGES, 7):
        memory[page * PAGE : page * PAGE + 8] = deed.to_bytes(8, "little")
    print("done", flush=True)
