"""Files that are reached over a network: one module for each kind of server, imported only where one is named."""
