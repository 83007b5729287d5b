"""Images: dump directories in CRIU's format, with a link to their parent and our manifest.

:mod:`~tidemark.image.writer` writes one, :mod:`~tidemark.image.chain` reads one together with
its parents, :mod:`~tidemark.image.check` proves that nothing in them is damaged. The others are
a layer each: framing, pagemap and inventory (CRIU's files), manifest (ours), directory (one
dump), level (one region in one dump).
"""
