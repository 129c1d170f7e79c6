"""Training: the loop, how a batch's gradient is computed on a machine, and the parameters as one vector."""
