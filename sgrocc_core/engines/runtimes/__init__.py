"""The runtimes that run the exported networks, one file each; `engines.open` chooses among them."""
