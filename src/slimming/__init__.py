"""Replication of *Improving Network Slimming with Nonconvex Regularization* (Bui et al., 2021)."""
