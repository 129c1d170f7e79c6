"""The stages of a run as jobs: each reads files, calls one room of the package, writes a checkpoint and a record."""
