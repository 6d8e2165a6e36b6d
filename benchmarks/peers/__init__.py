"""Other engines, each driven at its idiomatic best, with the same letters for the same work.

They run in environments of their own, without wf and its dependencies.
"""
