"""The public face: re-exports, nothing else."""
