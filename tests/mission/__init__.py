"""One test per row of the mission's checklist, through the public API or the command line."""
