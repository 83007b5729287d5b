"""Runs on a cluster: what their batch jobs need, and what Slurm says of them."""
