"""The deterministic core: facts in, decisions out.

Nothing here does I/O, reads a clock or starts a thread.
"""
