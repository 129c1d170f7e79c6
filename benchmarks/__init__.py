"""Speed and memory, measured and never asserted: this engine beside a conventional loop. `make bench` runs it."""
