"""Networks built from architectures, and the supernet that shares their weights."""
