"""How fast wf is, beside the floor of the machine and beside other engines: see `__main__`."""
