"""From a ledger to verdicts on the paper's claims.

`rules` reads what is claimed and what decides it, `evidence` makes one difference a seed of a ledger's curves,
`statistics` tests those, `judgement` turns tests into words, and `evaluation` puts it all in one table. `precedence`
asks git what came first, and `references` sets published results beside ours. Imports run in that order.
"""
