"""Who walks the batches of a run: this process, several on this machine, or the workers of a cluster."""
