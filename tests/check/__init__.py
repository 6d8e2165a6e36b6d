"""What `wf check` finds, and what it leaves alone."""
