"""The native library for Python: handles as context managers, codes as exceptions.

Only :mod:`tidemark.native.library` touches the extension; the other modules are one subject
each, as the C files are: bitmap, maps, tracee, space, pages, probe. They wrap what
``native/tidemark.h`` declares and add no behaviour of their own.
"""
