"""From the ledger's CSV files to tables, figures and the paper; nothing here reads records or checkpoints."""
