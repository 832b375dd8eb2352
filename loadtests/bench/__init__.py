"""crossrank beside its peers: one checkpoint, the same requests and cores, in one run."""
