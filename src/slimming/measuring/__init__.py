"""What a network is worth and what it costs. Training needs accuracy alone; the rest is measured from checkpoints."""
