"""Speed and memory, measured and never asserted: this engine beside a conventional loop. `slimming bench` runs it."""
